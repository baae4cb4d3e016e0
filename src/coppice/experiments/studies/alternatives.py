"""What a user would do instead of a search: same data, same seed, same validation, total time of each."""

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import nn

from coppice.contract import Method, Task
from coppice.experiments.loop import Fitting, Training
from coppice.experiments.studies.parts import Part, Parts
from coppice.experiments.studies.setting import Setting
from coppice.methods.dense import Dense
from coppice.parts.chains import LAYERS
from coppice.parts.cost import stored_bytes
from coppice.parts.neurons import populations
from coppice.parts.surgery import count_parameters


@dataclass(frozen=True)
class Alternatives:
    """Recipe table [study], name "alternatives".

    widths:       of the grid search, each for every hidden layer
    grid_epochs:  for each network of the grid; several values make several grids
    rates:        factors on the learning rate that the tuned small network tries, best by validation
    """

    widths: tuple[int, ...] = (25, 50, 100, 200, 400, 800)
    grid_epochs: tuple[int, ...] = (40,)
    rates: tuple[float, ...] = (0.5, 1.0, 2.0)

    def __post_init__(self) -> None:
        for name in ("widths", "grid_epochs", "rates"):
            values = getattr(self, name)
            if not values or not all(value > 0 for value in values):
                raise ValueError(f"{name} is {values}, but must list at least one number above 0.")

    def start(self, setting: Setting) -> Parts:
        """The search, then everything else; each trained with the learning rate falling to 0, best weights kept.

        Raises ValueError for another model than an mlp, whose hidden layers the widths are those of, and for a method that
        does not search.
        """
        if isinstance(setting.recipe.method, Method):
            raise ValueError(
                "the study 'alternatives' compares with the network that a search finds, but the method is"
                f' {type(setting.recipe.method).__name__}, which searches for none: set method.name to "bdnn-sp".'
            )
        if setting.recipe.model.name != "mlp":
            raise ValueError(
                f"the study 'alternatives' builds networks by their hidden widths alone, but model.name is "
                f"'{setting.recipe.model.name}': set it to \"mlp\", or choose another study."
            )
        study = _Study(self, setting)
        parts: dict[str, Part] = {"search": lambda done: study.search()}
        for epochs in self.grid_epochs:
            for width in self.widths:
                parts[f"grid {epochs} epochs/{width}"] = lambda done, w=width, e=epochs: study.direct((w,), e)  # type: ignore[misc]
        parts["unpruned, same epochs"] = lambda done: study.direct(
            setting.recipe.model.hidden, done["search"]["epochs"]
        )
        parts["one-shot, same epochs"] = lambda done: study.one_shot(done["search"])
        for rate in self.rates:
            parts[f"scratch, same epochs/{rate:g}"] = lambda done, r=rate: study.direct(  # type: ignore[misc]
                done["search"]["widths"], done["search"]["epochs"], r
            )
        return Parts(parts, setting.model())


class _Study:
    def __init__(self, options: Alternatives, setting: Setting) -> None:
        self.options, self.setting = options, setting

    def search(self) -> dict[str, Any]:
        search, _ = self.setting.process()
        while search.advance():
            pass
        summary = search.summary()
        return {
            **self._judged(search.model, summary["validation"]),
            "widths": list(search.path[summary["chosen"]].widths),  # type: ignore[attr-defined]
            "epochs": sum(summary["epochs"].values()),
            "epochs_before": summary["epochs"]["pretrain"],
            "training_flops": sum(summary["training_flops"].values()),
        }

    def direct(self, widths: Any, epochs: int, rate: float = 1.0) -> dict[str, Any]:
        """A network of these widths from scratch; one width stands for every hidden layer."""
        hidden = tuple(widths)
        if len(hidden) == 1:
            hidden = hidden * len(self.setting.recipe.model.hidden)
        model = self.setting.model(hidden)
        return self._fitted(model, self._training(epochs, rate))

    def one_shot(self, found: dict[str, Any]) -> dict[str, Any]:
        """Train the large network, cut it at once to the found widths by magnitude, train on: the usual recipe.

        Torch-Pruning cuts. Equal epochs in all: as many before the cut as the search had, the rest after it.
        """
        try:
            import torch_pruning
        except ImportError as error:
            raise ImportError(
                'this comparison needs Torch-Pruning: pip install "coppice[compare]".'
            ) from error
        model = self.setting.model()
        before = found["epochs_before"]
        first = self._fitted(model, dataclasses.replace(self._training(before), schedule="constant"))
        example = self.setting.example
        targets = dict(zip((p.incoming for p in populations(model)), found["widths"], strict=True))
        modules = dict(model.named_modules())
        # half a neuron more, because Torch-Pruning rounds the number it keeps down
        ratios = {modules[n]: 1 - (width + 0.5) / modules[n].weight.shape[0] for n, width in targets.items()}
        last = [m for m in model.modules() if isinstance(m, LAYERS)][-1]
        torch_pruning.MagnitudePruner(
            model,
            example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(),
            pruning_ratio_dict=ratios,
            ignored_layers=[last],
        ).step()
        cut = tuple(modules[name].weight.shape[0] for name in targets)
        if cut != tuple(found["widths"]):
            raise RuntimeError(f"Torch-Pruning cut to {cut}, but the search found {tuple(found['widths'])}.")
        second = self._fitted(model, self._training(found["epochs"] - before))
        return {**second, "training_flops": first["training_flops"] + second["training_flops"]}

    def _training(self, epochs: int, rate: float = 1.0) -> Training:
        base = self.setting.recipe.training
        return dataclasses.replace(
            base, epochs=epochs, schedule="linear", learning_rate=base.learning_rate * rate
        )

    def _fitted(self, model: nn.Module, training: Training) -> dict[str, Any]:
        task: Task = self.setting.task
        fitting = Fitting(Dense(), model, training.optimizer_for(model), task, training)
        while fitting.advance():
            pass
        summary = fitting.summary()
        return {
            **self._judged(model, summary["validation"]),
            "epochs": training.epochs,
            "training_flops": summary["training_flops"]["train"],
        }

    def _judged(self, model: nn.Module, validation: float) -> dict[str, Any]:
        return {
            "validation": validation,
            "test": self.setting.test_score(model),
            "parameters": count_parameters(model),
            "bytes": stored_bytes(model),
        }


def picked(parts: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Of the parts whose name begins so, the one with the best validation score, with the training of all added up."""
    rivals = {name: part for name, part in parts.items() if name.startswith(prefix)}
    name = max(rivals, key=lambda key: rivals[key]["validation"])
    chosen = copy.deepcopy(rivals[name])
    return {**chosen, "picked": name, "training_flops": sum(p["training_flops"] for p in rivals.values())}
