"""How many hidden neurons does direct training need? The yardstick for the sizes of Fig. 4A of Zhao et al. 2017."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coppice.experiments.backprop import online_backprop_together
from coppice.experiments.studies.parts import Parts
from coppice.experiments.studies.setting import Setting
from coppice.parts.fitness import Score


@dataclass(frozen=True)
class NeededWidth:
    """Recipe table [study], name "needed_width": one network of each width, trained from scratch by the rule of 2017.

    updates: single-sample updates for every network, whatever the number of samples
    """

    widths: tuple[int, ...] = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    updates: int = 200_000

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths is {self.widths}, but must list widths of at least 1.")
        if self.updates < 1:
            raise ValueError(f"updates is {self.updates}, but must be at least 1.")

    def start(self, setting: Setting) -> Parts:
        """One part, which trains all widths side by side. Raises ValueError for another rule than that of 2017."""
        setting.refuse_other_rules("needed_width")
        return Parts({"widths": lambda done: self._trained(setting)}, setting.model())

    def _trained(self, setting: Setting) -> dict[str, Any]:
        models = [setting.model((width,)) for width in self.widths]
        left, epoch = self.updates, 0
        while left > 0:
            for x, y in setting.task.batches(epoch):
                samples = [(x[:left], y[:left])]
                online_backprop_together(models, samples, setting.recipe.training.learning_rate)
                left -= min(left, len(y))
            epoch += 1
        scores = [Score.of(setting.task.score(model)) for model in models]
        return {
            str(width): {"validation": score.value, "error": score.error}
            for width, score in zip(self.widths, scores, strict=True)
        }


def needed(runs: Sequence[dict[str, Any]]) -> int:
    """The smallest width whose score, averaged over runs, is within one standard error of the best width's."""
    widths = sorted(int(width) for width in runs[0])
    mean = {w: sum(run[str(w)]["validation"] for run in runs) / len(runs) for w in widths}
    best = max(widths, key=lambda w: mean[w])
    error = sum(run[str(best)]["error"] for run in runs) / len(runs)
    return next(w for w in widths if mean[w] >= mean[best] - error)
