"""Synaptic pruning against what a forecaster would do otherwise: same data, seed, initial weights, batches, epochs.

Each method is a part of its own that seeds itself, so the parts of one record are pairs. Every network is chosen by
its mean absolute error on validation data and scored on the test set once. Vos et al. 2025, with the baselines their
comparison lacks.
"""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from coppice.contract import Method
from coppice.experiments import forecasts
from coppice.experiments.loop import Fitting, Training
from coppice.experiments.saved import weighed
from coppice.experiments.studies.parts import Part, Parts
from coppice.experiments.studies.setting import Setting
from coppice.experiments.tables import refuse_unlisted
from coppice.methods.dense import Dense
from coppice.methods.synaptic_pruning import PRESETS, SynapticPruning
from coppice.models import MixedPatch, Patch, Plan, Recurrent
from coppice.parts.surgery import compact, count_parameters
from coppice.parts.synapses import synapses

NAIVE = ("persistence", "seasonal naive")
DROPOUT = {"dropout 0.1": 0.1, "dropout 0.3": 0.3}
DECAY = 1e-2
CURVED = ("pruned 0.9", "vos2025")  # whose sparsity of each layer is kept for every epoch
SMALL = 0.9  # sparsity whose living parameters the small dense network has from the start
PRUNED = {
    "random 0.9": SynapticPruning(0.9, score="random"),
    "one-shot 0.9": SynapticPruning(0.9, schedule="one_shot"),
    "pruned 0.5": SynapticPruning(0.5),
    "pruned 0.7": SynapticPruning(0.7),
    "pruned 0.9": SynapticPruning(0.9),
    "pruned 0.95": SynapticPruning(0.95),
    "vos2025": PRESETS["vos2025"],
    "neurons 0.5": SynapticPruning(0.5, unit="neuron"),
}
METHODS = (
    *NAIVE,
    "dense",
    *DROPOUT,
    "MC dropout",
    "weight decay",
    "random 0.9",
    "one-shot 0.9",
    "small dense",
    *(name for name in PRUNED if name not in ("random 0.9", "one-shot 0.9")),
)


@dataclass(frozen=True)
class Forecasting:
    """Recipe table [study], name "forecasting".

    methods: which to run, in this order; all by default
    passes:  of MC dropout, whose mean is its forecast
    """

    methods: tuple[str, ...] = METHODS
    passes: int = 20

    def __post_init__(self) -> None:
        refuse_unlisted("methods", self.methods, METHODS)
        if self.passes < 1:
            raise ValueError(f"passes is {self.passes}, but must be at least 1.")

    def start(self, setting: Setting) -> Parts:
        """One part for each method; a naive rule that the data do not offer is left out."""
        if setting.splits.task != "forecast":
            raise ValueError(
                f"the study 'forecasting' needs a series, but data.name is '{setting.recipe.data.name}', a task of "
                f'{setting.splits.task}: choose another, such as data.name = "co2".'
            )
        if not isinstance(setting.recipe.model, (Recurrent, Patch, MixedPatch)):
            raise ValueError(
                f"the study 'forecasting' compares with dropout, but model '{setting.recipe.model.name}' has none: "
                'choose another, such as model.name = "lstm".'
            )
        study = _Study(self, setting, setting.recipe.model)
        parts: dict[str, Part] = {}
        for name in self.methods:
            if name not in NAIVE or name in setting.splits.naive:
                parts[name] = lambda done, n=name: study.part(n)  # type: ignore[misc]
        return Parts(parts, setting.model())


class _Study:
    def __init__(self, options: Forecasting, setting: Setting, plan: Recurrent | Patch | MixedPatch) -> None:
        self.options, self.setting, self.plan = options, setting, plan
        self.training: Training = setting.recipe.training
        self.dropped: tuple[nn.Module, dict[str, Any]] | None = None  # the network that MC dropout shares

    def part(self, name: str) -> dict[str, Any]:
        if name in NAIVE:
            return forecasts.errors(self.setting.splits.naive[name], self.setting.splits)
        if name == "MC dropout":
            return self.averaged()
        with warnings.catch_warnings():
            # a residual stream keeps its width; which layers lose neurons stands in the record
            warnings.filterwarnings("ignore", "these layers keep their size")
            model, found = self.trained(name)
            if name == "neurons 0.5":
                compact(model)
                found |= {key: value for key, value in weighed(model).items() if key != "sparsity"}
        if name == "dropout 0.3":
            self.dropped = (model, found)
        return {**found, **self._tested(forecasts.forecast(model, self.setting.splits.test.x))}

    def trained(self, name: str) -> tuple[nn.Module, dict[str, Any]]:
        """The network of a method, and everything about it but its test errors."""
        if name in DROPOUT:
            return self.fit(replace(self.plan, dropout=DROPOUT[name]), Dense(), self.training)
        if name == "weight decay":
            decaying = replace(self.training, optimizer="adamw", weight_decay=DECAY)
            return self.fit(self.plan, Dense(), decaying)
        if name == "small dense":
            return self.fit(self.small(), Dense(), self.training)
        if name in PRUNED:
            return self.fit(self.plan, replace(PRUNED[name]), self.training, curved=name in CURVED)
        return self.fit(self.plan, Dense(), self.training)

    def fit(
        self, plan: Plan, method: Method, training: Training, curved: bool = False
    ) -> tuple[nn.Module, dict[str, Any]]:
        model, task = self.setting.built(plan), self.setting.task
        fitting = Fitting(method, model, training.optimizer_for(model), task, training)
        while fitting.advance():
            pass
        summary = fitting.summary()
        steps = summary["optimizer_steps"]["train"] // len(summary["curve"])
        return model, {
            "validation": -summary["validation"],
            **weighed(model),
            "best_epoch": summary["best_epoch"],
            "epochs": len(summary["curve"]),
            "training_flops": summary["training_flops"]["train"],
            "curve": [
                [steps * (number + 1), round(epoch.get("sparsity", 0.0), 4)]
                for number, epoch in enumerate(summary["curve"])
            ],
            "layers": summary["curve"][-1].get("layers", {}),
            **({"layer_curve": _by_layer(summary["curve"])} if curved else {}),
        }

    def small(self) -> Plan:
        """The recipe's network at the width whose parameters are nearest to those alive at 90 % sparsity."""
        large = self.setting.model()
        holding = sum(large.get_parameter(name).numel() for name in synapses(large))
        wanted = count_parameters(large) - round(SMALL * holding)
        plans = [self.plan.at_width(width) for width in range(1, self.plan.width + 1)]
        return min(plans, key=lambda plan: abs(count_parameters(self.setting.built(plan)) - wanted))

    def averaged(self) -> dict[str, Any]:
        """The mean of several passes with dropout on.   Gal & Ghahramani 2016"""
        if self.dropped is None:  # after a stop between the two: trained again, to the same bits
            self.dropped = self.trained("dropout 0.3")
        model, found = self.dropped
        setting = self.setting
        torch.manual_seed(setting.seed)
        y = setting.validation.y.cpu()
        off = self._mean_of_passes(model, setting.validation.x) - y.reshape(len(y), -1)
        tested = self._tested(self._mean_of_passes(model, setting.splits.test.x))
        return {**found, "validation": float(off.double().abs().mean()), **tested}

    @torch.no_grad()
    def _mean_of_passes(self, model: nn.Module, x: Tensor) -> Tensor:
        passes = [forecasts.forecast(model, x, dropout=True) for _ in range(self.options.passes)]
        return torch.stack(passes).mean(0)

    def _tested(self, forecast: Tensor) -> dict[str, float]:
        return forecasts.errors(forecast, self.setting.splits)


def _by_layer(curve: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The sparsity of each tensor after each epoch."""
    return {name: [round(epoch["layers"][name], 3) for epoch in curve] for name in curve[0]["layers"]}
