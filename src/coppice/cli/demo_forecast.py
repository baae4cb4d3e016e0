"""A part of coppice demo: a forecaster loses nine tenths of its synapses while it trains."""

import dataclasses
from pathlib import Path
from typing import Any

from coppice.cli import terminal
from coppice.experiments import recipe
from coppice.experiments.batch import Job
from coppice.methods import Dense

UNIT = "ppm"  # of CO2 in the air


def jobs(out: Path, seed: int) -> list[Job]:
    """Pruned and dense, with the same seed."""
    pruned = recipe.load("forecast")
    assert isinstance(pruned, recipe.Recipe)
    dense = dataclasses.replace(pruned, name="dense-forecast", method=Dense())
    return [
        Job(pruned, "forecast, pruned", seed, out / "pruned-forecast"),
        Job(dense, "forecast, dense", seed, out / "dense-forecast"),
    ]


def show(pruned: dict[str, Any], dense: dict[str, Any]) -> None:
    """Compare them with each other and with persistence."""
    lines = [
        [
            "like this week (persistence)",
            "",
            "",
            f"{pruned['result']['naive']['persistence']['test_unit']:.4f}",
        ]
    ]
    for name, run in (("dense LSTM", dense), ("synapses pruned while it trained", pruned)):
        final = run["result"]["final"]
        lines.append([name, f"{final['alive']:,}", f"{final['bytes']:,}", f"{final['test_unit']:.4f}"])
    terminal.print_table(
        f"weekly CO2, one week ahead, {pruned['recipe']['training']['epochs']} epochs each",
        ["forecast", "parameters alive", "bytes as saved", f"mean absolute test error, {UNIT}"],
        lines,
    )
    small, large = pruned["result"]["final"], dense["result"]["final"]
    print(
        f"{100 * small['sparsity']:.0f} % of the synapses died for good, the file is {large['bytes'] / small['bytes']:.1f} times "
        f"smaller, the test error {100 * (small['test'] / large['test'] - 1):+.1f} % ({pruned['data']['counts']['test']} "
        "test weeks, one seed; `coppice run forecasting` compares on many)."
    )
