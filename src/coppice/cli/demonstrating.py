"""coppice demo"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the five runs, the picture and the report; written over.")
    ] = Path("coppice-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of weights, batches and validation samples.")] = 0,
    open_: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
) -> None:
    """See it work in two minutes, on data that come with installed packages: nothing is downloaded.

    A forecaster of weekly CO2 (statsmodels') loses nine tenths of its synapses while it trains, beside the dense one and
    the rule that next week will be like this week. A network for handwritten digits (scikit-learn's) finds its size; the
    network too large is trained once more for exactly as many epochs. Meanwhile a spiking network learns six tasks of
    perception, motor control and interaction, one after another, and forgets little though it shrinks. Each part is shown
    when it is done; at the end stands a page with pictures of all five runs, OUT/report.html. Two runs at a time, where
    there are two cores.
    """
    from coppice.cli import demo_forecast, demo_search, demo_tasks, paging
    from coppice.cli.running import run_together
    from coppice.experiments.folder import Folder
    from coppice.experiments.page.render import refuse_other

    page = out / paging.NAME
    refuse_other(page)  # not after a minute
    parts: dict[tuple[str, ...], Callable[..., None]] = {
        ("pruned-forecast", "dense-forecast"): demo_forecast.show,
        ("search", "dense"): partial(demo_search.show, out),
        ("tasks",): partial(demo_tasks.show, out),
    }
    found: dict[str, dict[str, Any]] = {}

    def show(folder: Path, run: dict[str, Any]) -> None:
        found[folder.name] = run
        for names, whole in parts.items():
            if folder.name in names and found.keys() >= {*names}:
                whole(*(found[name] for name in names))

    for folder in (out / name for names in parts for name in names):
        Folder(folder).clear()
    search = demo_search.search_job(out, seed)
    first = [demo_tasks.job(out, seed), *demo_forecast.jobs(out, seed), search]  # the longest first
    # the search tells the dense network how long to train
    then = {search.folder: lambda run: demo_search.dense_job(out, seed, run)}
    run_together(first, min(2, os.cpu_count() or 1), then, show)
    try:
        paging.write([found[name] for names in parts for name in names], page, "coppice demo")
    except ModuleNotFoundError as missing:
        print(f"no report: {missing}", file=sys.stderr)
        return
    if open_:
        paging.show(page)
