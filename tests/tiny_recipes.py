"""Runs that are a second's work: overrides of recipes, jobs of them, and how one is stopped."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from coppice.experiments import batch
from coppice.experiments.recipe import load

SEARCH = [
    "model.hidden=[24]",
    "training.batch=64",
    "method.pretrain_epochs=2",
    "method.plateau=0",
    "method.retrain_steps=0",
    "method.tune_epochs=2",
    "method.share=0.4",
]
FORECAST = ["model.hidden=6", "training.epochs=3", "training.batch=256", "method.every=1"]
STREAM = ["schooling.epochs=2", 'data.tasks=["digits-1", "cart-pole"]', "data.samples=30"]


def job(
    folder: Path, name: str = "bdnn-digits", settings: Sequence[str] = SEARCH, seed: int = 0
) -> batch.Job:
    return batch.Job(load(name, list(settings)), "", seed, folder / str(seed))


def stop_after(units: int) -> Callable[..., None]:
    """A watch's `progress` that stops the run, as Ctrl-C does, after so many units."""
    left = iter(range(units))

    def stop(*_: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return stop
