"""What every part of a study shares: the data as drawn by the seed, the task, fresh models, the last word."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from coppice.contract import Process, Task
from coppice.data import Split, Splits
from coppice.data.tasks import TaskData
from coppice.models import Plan


@dataclasses.dataclass(frozen=True)
class Setting:
    """A recipe and a seed, opened up for a study."""

    recipe: Any  # experiments.recipe.Recipe, which knows the studies and so cannot be imported here
    seed: int
    device: torch.device
    splits: Splits
    train: Split
    validation: Split
    task: Task
    process: Callable[[], tuple[Process, Tensor]]
    test_score: Callable[[nn.Module], float]

    @property
    def example(self) -> Tensor:
        """One input, [1, ...]."""
        return self.train.x[:1]

    def refuse_other_rules(self, study: str) -> None:
        """Raise ValueError unless the recipe trains by the rule of 2017, the only one that this study uses."""
        if (chosen := self.recipe.training.optimizer) != "online_backprop":
            raise ValueError(
                f"the study '{study}' trains by the rule of 2017 alone, but training.optimizer is \"{chosen}\": set it to "
                '"online_backprop", or choose another study.'
            )

    def model(self, hidden: tuple[int, ...] | None = None) -> nn.Module:
        """The recipe's network, or one with other hidden widths, freshly seeded."""
        plan = self.recipe.model if hidden is None else dataclasses.replace(self.recipe.model, hidden=hidden)
        return self.built(plan)

    def built(self, plan: Plan) -> nn.Module:
        """The network of a plan, freshly seeded: equal plans, equal weights."""
        torch.manual_seed(self.seed)
        return plan.build(self.train.x.shape[1:], self.splits.outputs).to(self.device)


@dataclasses.dataclass(frozen=True)
class StreamSetting:
    """The same where the data are a stream of tasks, on the device of the run."""

    recipe: Any  # experiments.recipe.StreamRecipe
    seed: int
    tasks: list[TaskData]
