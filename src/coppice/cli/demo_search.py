"""A part of coppice demo: a network for handwritten digits finds its size."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch

from coppice.cli import terminal
from coppice.cli.timing import latencies
from coppice.experiments import batch, recipe
from coppice.experiments.batch import Job
from coppice.experiments.report import Row, widths_text
from coppice.methods import Dense
from coppice.parts.blueprint import load_model

DIGITS = 8 * 8  # pixels


def search_job(out: Path, seed: int) -> Job:
    """The search itself."""
    return Job(recipe.load("bdnn-digits"), "digits, search", seed, out / "search")


def dense_job(out: Path, seed: int, search: dict[str, Any]) -> Job:
    """The network too large, for as many epochs as the search took."""
    found = recipe.load("bdnn-digits")
    assert isinstance(found, recipe.Recipe)
    training = dataclasses.replace(found.training, epochs=sum(search["result"]["epochs"].values()))
    large = dataclasses.replace(found, name="dense-digits", training=training, method=Dense())
    return Job(large, "digits, dense", seed, out / "dense")


def show(out: Path, search: dict[str, Any], dense: dict[str, Any]) -> None:
    """Compare and draw them."""
    rows = {"too large, trained as long": Row.of(dense), "found by coppice": Row.of(search)}
    with batch.cpu_threads(1):
        models = [load_model(out / name / "model.safetensors") for name in ("dense", "search")]
        times = latencies(models, torch.zeros(1, DIGITS))
    terminal.print_table(
        f"digits, {dense['recipe']['training']['epochs']} epochs each",
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
