"""The second part of coppice demo: a forecaster loses nine tenths of its synapses while it trains."""

import dataclasses
from pathlib import Path
from typing import Any

from coppice.cli import terminal
from coppice.cli.running import run_alone
from coppice.experiments import recipe
from coppice.methods import Dense

UNIT = "ppm"  # of CO2 in the air


def show(out: Path, seed: int) -> list[dict[str, Any]]:
    """Train dense and pruned with the same seed; compare with each other and with persistence; returns both records."""
    pruned_one = recipe.load("forecast")
    assert isinstance(pruned_one, recipe.Recipe)
    dense_one = dataclasses.replace(pruned_one, name="dense-forecast", method=Dense())
    pruned = run_alone(pruned_one, seed, out / "pruned-forecast", "forecast, pruned")
    dense = run_alone(dense_one, seed, out / "dense-forecast", "forecast, dense")
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
        f"weekly CO2, one week ahead, {pruned_one.training.epochs} epochs each",
        ["forecast", "parameters alive", "bytes as saved", f"mean absolute test error, {UNIT}"],
        lines,
    )
    small, large = pruned["result"]["final"], dense["result"]["final"]
    print(
        f"{100 * small['sparsity']:.0f} % of the synapses died for good, the file is {large['bytes'] / small['bytes']:.1f} times "
        f"smaller, the test error {100 * (small['test'] / large['test'] - 1):+.1f} % ({pruned['data']['counts']['test']} "
        "test weeks, one seed; `coppice run forecasting` compares on many)."
    )
    return [pruned, dense]
