"""Does a pruned network adapt faster to new samples?  Fig. 4B and 4C of Zhao et al. 2017.

Every network first learns the same samples up to the same accuracy, then learns new ones; its error is followed.
"""

import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from coppice.data import Split
from coppice.experiments.backprop import online_backprop
from coppice.experiments.studies.parts import Part, Parts
from coppice.experiments.studies.setting import Setting
from coppice.parts import surgery
from coppice.parts.fitness import Score
from coppice.parts.neurons import populations
from coppice.parts.scores import IMPORTANCES

CHECK = 200  # samples between two looks at the accuracy while the first samples are learned


@dataclass(frozen=True)
class Transfer:
    """Recipe table [study], name "transfer".

    first:    samples learned first, up to `accuracy`
    accuracy: at which every network changes over to new samples, 88.72 % in the paper
    new:      numbers of new samples, each learned from the state at the change
    passes:   over the new samples, for each of `new`
    widths:   of the pruned networks
    limit:    samples after which a network that has not reached `accuracy` is given up
    """

    first: int = 9600
    accuracy: float = 0.8872
    new: tuple[int, ...] = (19200, 1200)
    passes: tuple[int, ...] = (1, 5)
    widths: tuple[int, ...] = (100, 30)
    limit: int = 96_000

    def __post_init__(self) -> None:
        if not 0 < self.accuracy < 1:
            raise ValueError(f"accuracy is {self.accuracy}, but must lie between 0 and 1.")
        if len(self.new) != len(self.passes):
            raise ValueError(f"new lists {len(self.new)} sample counts, but passes lists {len(self.passes)}.")
        for name in ("first", "limit"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 1.")
        for name in ("new", "passes", "widths"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ValueError(f"{name} is {values}, but must list at least one number, each at least 1.")

    def start(self, setting: Setting) -> Parts:
        """One part for each network. Raises ValueError for another rule than that of 2017, or too few samples."""
        setting.refuse_other_rules("transfer")
        study = _Study(self, setting)
        parts: dict[str, Part] = {"un-pruned": lambda done: study.follow(study.learned(None, "total"))}
        for width in self.widths:
            parts[f"pruned {width}"] = lambda done, w=width: study.follow(study.learned(w, "total"))  # type: ignore[misc]
        width = self.widths[0]
        parts[f"randomly pruned {width}"] = lambda done: study.follow(study.learned(width, "chance"))
        parts[f"fresh {width}"] = lambda done: study.follow(study.fresh(width))
        return Parts(parts, setting.model())


class _Study:
    def __init__(self, options: Transfer, setting: Setting) -> None:
        needed = options.first + max(options.new)
        if len(setting.train.y) < needed:
            raise ValueError(f"data.train is {len(setting.train.y)}, but the study needs {needed} samples.")
        self.options, self.setting = options, setting
        self.rate = setting.recipe.training.learning_rate
        self.old = Split(setting.train.x[: options.first], setting.train.y[: options.first])

    def fresh(self, width: int) -> tuple[nn.Module, int]:
        model = self.setting.model((width,))
        return model, self._reach(model)

    def learned(self, width: int | None, importance: str) -> tuple[nn.Module, int]:
        """The large network at the accuracy; or cut from there to `width` and brought back to it."""
        large, seen = self._large
        model = copy.deepcopy(large)
        if width is not None and seen <= self.options.limit:
            torch.manual_seed(self.setting.seed)  # for a random ranking, whatever was done before
            (population,) = populations(model)
            values = IMPORTANCES[importance](model, population)
            kept = values.sort(descending=True, stable=True).indices[:width].sort().values
            surgery.keep_neurons(model, population, kept)
            seen = self._reach(model)
        return model, seen

    @functools.cached_property
    def _large(self) -> tuple[nn.Module, int]:
        model = self.setting.model()
        return model, self._reach(model)

    def follow(self, start: tuple[nn.Module, int]) -> dict[str, Any]:
        """Error on validation data while new samples are learned, each count from the same starting state."""
        model, seen = start
        state = {name: value.clone() for name, value in model.state_dict().items()}
        result: dict[str, Any] = {"samples_before": seen, "reached": seen <= self.options.limit, "curves": {}}
        if not result["reached"]:
            return result
        for count, passes in zip(self.options.new, self.options.passes, strict=True):
            model.load_state_dict(state)
            new = slice(self.options.first, self.options.first + count)
            x, y = self.setting.train.x[new], self.setting.train.y[new]
            curve, done = [[0, self._error(model)]], 0
            for x_part, y_part in _pieces(x, y, passes, self.setting.seed, max(count // 8, 300)):
                online_backprop(model, [(x_part, y_part)], self.rate)
                done += len(y_part)
                curve.append([done, self._error(model)])
            result["curves"][str(count)] = {"error": curve, "test_error": 1 - self.setting.test_score(model)}
        return result

    def _reach(self, model: nn.Module) -> int:
        """Train on the first samples up to the accuracy; returns the samples seen, more than `limit` when in vain."""
        seen = 0
        if 1 - self._error(model) >= self.options.accuracy:
            return seen
        for x, y in _pieces(
            self.old.x, self.old.y, -(-self.options.limit // len(self.old.y)), self.setting.seed, CHECK
        ):
            online_backprop(model, [(x, y)], self.rate)
            seen += len(y)
            if 1 - self._error(model) >= self.options.accuracy:
                return seen
        return self.options.limit + 1

    def _error(self, model: nn.Module) -> float:
        return 1 - Score.of(self.setting.task.score(model)).value


def _pieces(x: Tensor, y: Tensor, passes: int, seed: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled passes over the samples, `size` at a time."""
    for number in range(passes):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        for part in torch.randperm(len(y), generator=generator).split(size):
            yield x[part], y[part]
