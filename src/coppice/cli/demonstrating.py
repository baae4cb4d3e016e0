"""coppice demo"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

DIGITS = 8 * 8  # pixels


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the two runs and the picture; written over.")] = Path(
        "coppice-demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of weights, batches and validation samples.")] = 0,
) -> None:
    """See it work in seconds: a network for handwritten digits finds its size, and is compared.

    The data (scikit-learn's digits) are embedded: nothing is downloaded. The network too large is then
    trained once more for exactly as many epochs, for an honest comparison.
    """
    import torch

    from coppice.cli import running, terminal
    from coppice.cli.timing import latencies
    from coppice.experiments import batch
    from coppice.experiments.folder import Folder
    from coppice.experiments.recipe import load
    from coppice.experiments.report import Row, widths_text
    from coppice.methods import Dense
    from coppice.parts.blueprint import load_model

    found_by_search = load("bdnn-digits")
    folders = {name: out / name for name in ("search", "dense")}
    for folder in folders.values():
        Folder(folder).clear()

    def train(recipe: Any, name: str) -> dict[str, Any]:
        job = batch.Job(recipe, name, seed, folders[name])
        with running.interruptible(), terminal.watching(1) as watch:
            (outcome,) = batch.run_all([job], watch=watch)
        terminal.print_warnings(outcome.warnings)
        if outcome.record is None:
            raise RuntimeError(f"{outcome.trace or ''}{outcome.error}")
        return outcome.record

    search = train(found_by_search, "search")
    epochs = sum(search["result"]["epochs"].values())
    training = dataclasses.replace(found_by_search.training, epochs=epochs)
    dense = train(
        dataclasses.replace(found_by_search, name="dense-digits", training=training, method=Dense()), "dense"
    )
    rows = {"too large, trained as long": Row.of(dense), "found by coppice": Row.of(search)}
    with batch.cpu_threads(1):
        models = [load_model(folders[name] / "model.safetensors") for name in ("dense", "search")]
        times = latencies(models, torch.zeros(1, DIGITS))
    terminal.print_table(
        f"digits, {epochs} epochs each",
        ["network", "neurons", "parameters", "bytes", "latency, µs", "test accuracy"],
        [
            [
                name,
                widths_text(row.widths),
                f"{row.parameters:,}",
                f"{row.bytes:,}",
                f"{time * 1e6:.0f}",
                f"{row.test:.4f}",
            ]
            for (name, row), time in zip(rows.items(), times, strict=True)
        ],
    )
    large, small = rows.values()
    print(
        f"{large.parameters / small.parameters:.1f} times fewer parameters, "
        f"{100 * (small.test - large.test):+.1f} points of test accuracy "
        f"({search['data']['counts']['test']} test samples; latency of one input, one thread, here)."
    )
    try:
        from coppice.experiments.figures import save, search_figure
    except ModuleNotFoundError as missing:
        print(f'no picture: {missing.name} is missing; pip install "coppice[plots]".', file=sys.stderr)
        return
    png, svg = save(search_figure(search), out / "search")
    print(f"picture: {png}, {svg.name}")
