"""The first part of coppice demo: a network for handwritten digits finds its size."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch

from coppice.cli import terminal
from coppice.cli.running import run_alone
from coppice.cli.timing import latencies
from coppice.experiments import batch, recipe
from coppice.experiments.report import Row, widths_text
from coppice.methods import Dense
from coppice.parts.blueprint import load_model

DIGITS = 8 * 8  # pixels


def show(out: Path, seed: int) -> list[dict[str, Any]]:
    """Search, train the large network for as many epochs, compare, draw; returns both records."""
    found_by_search = recipe.load("bdnn-digits")
    assert isinstance(found_by_search, recipe.Recipe)
    folders = {name: out / name for name in ("search", "dense")}
    search = run_alone(found_by_search, seed, folders["search"], "digits, search")
    epochs = sum(search["result"]["epochs"].values())
    training = dataclasses.replace(found_by_search.training, epochs=epochs)
    large_one = dataclasses.replace(found_by_search, name="dense-digits", training=training, method=Dense())
    dense = run_alone(large_one, seed, folders["dense"], "digits, dense")
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
        return [search, dense]
    png, svg = save(search_figure(search), out / "search")
    print(f"picture: {png}, {svg.name}")
    return [search, dense]
