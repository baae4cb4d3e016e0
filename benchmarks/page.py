"""How long does it take to write the page of many runs, and how large is it? Goal: 100 runs of 200 epochs, 20 s, 10 MB."""

import argparse
import copy
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from coppice.experiments import recipe
from coppice.experiments.folder import Folder
from coppice.experiments.page import render
from coppice.experiments.run import run

SPARSITIES = (0.5, 0.7, 0.9, 0.95)


def stretched(record: dict[str, Any], number: int, epochs: int) -> dict[str, Any]:
    """The record as if of another seed and setting, with a curve of so many epochs; its numbers nobody measured."""
    found, draw = copy.deepcopy(record), random.Random(number)
    found |= {"seed": number // len(SPARSITIES), "fingerprint": str(number)}
    found["recipe"]["method"]["final_sparsity"] = SPARSITIES[number % len(SPARSITIES)]
    curve = record["result"]["curve"]
    found["result"]["curve"] = [
        {
            **curve[epoch * len(curve) // epochs],
            "epoch": epoch,
            "score": -draw.random(),
            "loss": draw.random(),
        }
        for epoch in range(epochs)
    ]
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=100)
    options.add_argument("--epochs", type=int, default=200)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one = run(recipe.load("forecast", ["training.epochs=20"]), 0, Folder(Path(folder)))
    records = [stretched(one, number, given.epochs) for number in range(given.runs)]
    begun = time.perf_counter()
    page = render(records, title="benchmark")
    seconds = time.perf_counter() - begun
    print(
        f"{given.runs} runs of {given.epochs} epochs: {seconds:.1f} s, {len(page.encode()) / 1e6:.1f} MB (goal: 20 s, 10 MB)"
    )


if __name__ == "__main__":
    main()
