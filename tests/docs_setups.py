"""What readers of README and docs have already when they come to a block of code, and which commands are only checked."""

import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).parent.parent
Namespace = dict[str, Any]


def own_model(names: Namespace) -> None:
    """A model, a loop, a score and an optimizer of the reader's, and a loader for loops that write themselves out."""
    torch.manual_seed(0)
    x = torch.randn(400, 8)
    y = (x[:, 0] * x[:, 1] > 0).long()
    model = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 2))

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
        model.train()
        for _ in range(epochs):
            for batch in torch.randperm(300).split(20):
                optimizer.zero_grad()
                F.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()

    @torch.no_grad()
    def right(model: nn.Module, rows: slice) -> Tensor:
        return (model.eval()(x[rows]).argmax(1) == y[rows]).float()

    names |= {
        "model": model,
        "optimizer": torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=0.1),
        "train": train,
        "score": lambda model: torch.cat([right(model, slice(300, 400))] * 3),  # 300, so that nobody is warned of few
        "epochs": 10,
        "loader": [(x[i : i + 20], y[i : i + 20]) for i in range(0, 300, 20)],
        "example": x[:1],
    }


def samples_of_two_tasks(names: Namespace) -> None:
    """Small pictures and short sequences with labels, which two tasks are learned from, as arrays."""
    names |= _tasks()


def _tasks() -> Namespace:
    random = np.random.default_rng(0)

    def made(shape: tuple[int, ...]) -> tuple[Any, Any]:
        y = random.integers(0, 3, 90)
        return (random.normal(size=(90, *shape)) + y.reshape(-1, *[1] * len(shape))).astype(np.float32), y

    (x, y), (more_x, more_y) = made((1, 6, 6)), made((10, 2))
    return {"x": x, "y": y, "more_x": more_x, "more_y": more_y}


def quick_learner(names: Namespace) -> None:
    """Two epochs a task and small modules, whatever the page says by default: tests of learning are elsewhere."""
    from coppice.learner import learner as home
    from coppice.methods.td_mcl_options import Schooling
    from coppice.models.modular_blocks import ModularPlan

    names["_patch"].setattr(home, "Schooling", lambda **given: Schooling(**{"epochs": 2, **given}))
    names["_patch"].setattr(home, "ModularPlan", lambda: ModularPlan(widths=(4, 8), steps=2))


SETUPS: dict[str, Callable[[Namespace], None]] = {
    each.__name__: each for each in (own_model, samples_of_two_tasks, quick_learner)
}
CHECKED_ONLY: dict[str, str] = {}
SHORTER: dict[str, list[str]] = {}
NOT_COPPICE: dict[str, Callable[[list[str]], None]] = {}
