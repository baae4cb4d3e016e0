"""coppice demo"""

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
    At the end stands a page with pictures of all five runs, OUT/report.html.
    """
    from coppice.cli import demo_forecast, demo_search, demo_tasks, paging
    from coppice.experiments.page.render import refuse_other

    page = out / paging.NAME
    refuse_other(page)  # not after two minutes
    runs = [*demo_search.show(out, seed), *demo_forecast.show(out, seed), demo_tasks.show(out, seed)]
    try:
        paging.write(runs, page, "coppice demo")
    except ModuleNotFoundError as missing:
        print(f"no report: {missing}", file=sys.stderr)
        return
    if open_:
        paging.show(page)
