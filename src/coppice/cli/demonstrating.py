"""coppice demo"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the five runs, the picture and the report; written over.")
    ] = Path("coppice-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of weights, batches and validation samples.")] = 0,
    open_: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
) -> None:
    """See it work in two minutes, on data that come with installed packages: nothing is downloaded.

    First a network for handwritten digits (scikit-learn's) finds its size; the network too large is trained once more
    for exactly as many epochs. Then a forecaster of weekly CO2 (statsmodels') loses nine tenths of its synapses while
    it trains, beside the dense one and the rule that next week will be like this week. Last, a spiking network learns
    six tasks of perception, motor control and interaction, one after another, and forgets little though it shrinks.
    At the end stands a page with pictures of all five runs, OUT/report.html. Two runs at a time, where there are two cores.
    """
    from coppice.cli import demo_forecast, demo_search, demo_tasks, paging
    from coppice.cli.running import run_together
    from coppice.experiments.page.render import refuse_other

    page = out / paging.NAME
    refuse_other(page)  # not after a minute
    # the longest first; the dense network is told by the search how long to train
    first = [demo_tasks.job(out, seed), demo_search.search_job(out, seed), *demo_forecast.jobs(out, seed)]
    tasks, search, *forecasts = run_together(first, workers=min(2, os.cpu_count() or 1))
    (dense,) = run_together([demo_search.dense_job(out, seed, search)])
    demo_search.show(out, search, dense)
    demo_forecast.show(*forecasts)
    demo_tasks.show(out, tasks)
    runs = [search, dense, *forecasts, tasks]
    try:
        paging.write(runs, page, "coppice demo")
    except ModuleNotFoundError as missing:
        print(f"no report: {missing}", file=sys.stderr)
        return
    if open_:
        paging.show(page)
