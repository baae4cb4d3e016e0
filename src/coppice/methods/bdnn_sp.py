"""BDNN-sp: grow too large, cut the least important neurons, retrain, stop at the right size.

Zhao, Zhang, Zeng, Xu: Towards a Brain-inspired Developmental Neural Network by Adaptive Synaptic Pruning,
ICONIP 2017, doi 10.1007/978-3-319-70093-9_19. The card, docs/methods/bdnn_sp.md, maps its equations to the lines
below and lists every deviation. Algorithm 1 is `Search.advance`.
(Over the 250 lines: one paper, one file; a good half is what a user reads, the options, the result, the front door.)
"""

import copy
import dataclasses
import re
import warnings
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from coppice.contract import Progress
from coppice.parts import snapshot, surgery
from coppice.parts.cost import Meter, forward_flops
from coppice.parts.culling import survivors
from coppice.parts.fitness import (
    AccuracyStability,
    Fitness,
    PublishedFitness,
    Score,
    Step,
    mean_weight,
    relative_change,
    stability,
)
from coppice.parts.neurons import Population, check_populations, populations
from coppice.parts.options import changed
from coppice.parts.scores import IMPORTANCES, Importance
from coppice.parts.stopping import Budget, Choice, OneStandardError, Peak, Stop

Train = Callable[[nn.Module, Any, int], int | None]
Judge = Callable[[nn.Module], Score | Tensor | float]
PHASES = ("pretrain", "shrink", "tune")
DEAD_STEPS = 3  # steps at chance in a row before the network is called dead
OVERFLOW = 1e-4  # share of p > 1 above which Eq. 4 has lost its meaning
FEW_SAMPLES = 300  # validation samples under which one standard error is more than a point
NUMBER = re.compile(r"\d[\d.]*")
LONGEST_PRETRAINING = 5  # times pretrain_epochs, should the plateau not come


@dataclass(frozen=True)
class BDNNSP:
    """Hyper-parameters of the search for a network's size.

    importance:      how a neuron is ranked: "balanced", "total" (Eq. 1), "chance", or a function of parts.scores' kind
    share:           of the remaining neurons, cut in each step; at least one
    scope:           "global" ranks all populations together, "local" cuts each by the same share
    max_share:       no population loses more than this in one step (global scope)
    min_width:       neurons that each population keeps
    pretrain_epochs: before the first cut, at least
    plateau:         go on until the score has not risen for so many epochs (at most 5 times as long); 0: do not
    retrain_epochs:  after each cut
    retrain_steps:   optimizer steps after each cut, at least
    tune_epochs:     at the end, on the chosen size, the learning rate falling linearly to 0
    fitness, stop:   small replaceable objects, see parts.fitness and parts.stopping
    """

    importance: str | Importance = "balanced"
    share: float = 0.2
    scope: Literal["global", "local"] = "global"
    max_share: float = 0.5
    min_width: int = 1
    pretrain_epochs: int = 10
    plateau: int = 3
    retrain_epochs: int = 2
    retrain_steps: int = 50
    tune_epochs: int = 10
    fitness: Fitness = field(default_factory=AccuracyStability)
    stop: Stop = field(default_factory=OneStandardError)

    def __post_init__(self) -> None:
        if not callable(self.importance) and self.importance not in IMPORTANCES:
            raise ValueError(
                f"importance is {self.importance!r}, but must be one of {', '.join(IMPORTANCES)}, or a function."
            )
        if self.scope not in ("global", "local"):
            raise ValueError(f"scope is '{self.scope}', but must be global or local.")
        for name in ("share", "max_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, but must lie between 0 and 1; 0.2 cuts a fifth."
                )
        bounds = {"min_width": 1, "pretrain_epochs": 1, "retrain_epochs": 1}
        for name, bound in {**bounds, "plateau": 0, "retrain_steps": 0, "tune_epochs": 0}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < bound:
                raise ValueError(f"{name} is {value!r}, but must be a whole number, at least {bound}.")
        if not callable(self.fitness) or isinstance(self.fitness, type):
            raise ValueError(f"fitness is {self.fitness!r}, but must be one of parts.fitness' or a function.")
        if isinstance(self.stop, type) or not hasattr(self.stop, "choose"):
            raise ValueError(f"stop is {self.stop!r}, but must be a rule such as OneStandardError().")

    def start(
        self,
        model: nn.Module,
        train: Train,
        score: Judge,
        optimizer: Optimizer | None = None,
        *,
        example: Tensor | None = None,
        neurons: Sequence[Population] | None = None,
        chance: float | None = None,
        shelf: MutableMapping[int, surgery.State] | None = None,
    ) -> "Search":
        """A search that has not yet begun; see `find_size` for the arguments."""
        return Search(self, model, train, score, optimizer, example, neurons, chance, shelf)


PRESETS: dict[str, BDNNSP] = {
    # The paper's own form. What it leaves open is decided in the card: 12 % a step, one epoch before and between
    # the cuts, the whole path run and its greatest F taken, no final tuning.
    "zhao2017": BDNNSP(
        importance="total",
        share=0.12,
        min_width=4,
        pretrain_epochs=1,
        plateau=0,
        retrain_epochs=1,
        retrain_steps=0,
        tune_epochs=0,
        fitness=PublishedFitness(),
        stop=Peak(),
    )
}


@dataclass(frozen=True)
class Found:
    """What a search found: the network, the path of sizes it came by, and what that cost."""

    model: nn.Module
    score: float
    chosen: Step
    reason: str
    plateau: tuple[int, int] | None
    path: tuple[Step, ...]
    cost: dict[str, Any]
    warnings: tuple[str, ...]
    test: float | None
    _shelf: MutableMapping[int, surgery.State]

    def at(self, parameters: int | None = None, flops: int | None = None) -> nn.Module:
        """Another network of the path: a copy of the largest within this budget, as it was when it was judged."""
        index = Budget(parameters, flops).choose(self.path).step
        other = copy.deepcopy(self.model)
        snapshot.restore_model(other, self._shelf[index])
        return other


def find_size(
    model: nn.Module,
    train: Train,
    score: Judge,
    optimizer: Optimizer | None = None,
    *,
    preset: str | None = None,
    example: Tensor | None = None,
    neurons: Sequence[Population] | None = None,
    chance: float | None = None,
    test: Judge | None = None,
    on_unit: Callable[["Search"], None] | None = None,
    **options: Any,
) -> Found:
    """Give a model that is too large, your training loop and a validation score: get back the smallest as good.

    model:     changed in place; plain chains of Linear, Conv1d/2d and norms (see parts.neurons)
    train:     train(model, optimizer, epochs), your own loop; may return the operations it spent, which are
               counted otherwise
    score:     score(model) on validation data, higher = better: one number a sample as a tensor (best), a
               Score(value, error), or a plain number (then choose another stop rule than the default)
    optimizer: the one `train` steps, built on this model; its moments are cut along. None when `train` makes its own
    preset:    "zhao2017" for the paper's own form; `options` (fields of BDNNSP) then change single values
    example:   one input [1, ...], to count the operations of a forward pass at each size
    neurons:   the populations to cut, when they are not to be found by tracing
    chance:    the score of guessing, so that a dead network can be told from a bad one
    test:      like `score` on data never used before; called once, on the final network
    on_unit:   called with the search after each epoch before, and each cut with its retraining
    """
    if test is not None and test == score:  # ==, for a bound method is another object each time it is named
        raise ValueError("test and score are the same function: the size would be chosen on the test data.")
    method = configured(preset, options)
    search = method.start(model, train, score, optimizer, example=example, neurons=neurons, chance=chance)
    while search.advance():
        if on_unit is not None:
            on_unit(search)
    return search.found(None if test is None else Score.of(test(search.model)).value)


def configured(preset: str | None, options: dict[str, Any]) -> BDNNSP:
    """The method with the preset's values, changed by `options`."""
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset is '{preset}', but must be one of {', '.join(PRESETS)}, or left out.")
    return changed(PRESETS[preset] if preset else BDNNSP(), options)


class Search:
    """BDNN-sp at work on one model. Everything it decides on is in `state_dict`."""

    def __init__(
        self,
        method: BDNNSP,
        model: nn.Module,
        train: Train,
        score: Judge,
        optimizer: Optimizer | None,
        example: Tensor | None,
        neurons: Sequence[Population] | None,
        chance: float | None,
        shelf: MutableMapping[int, surgery.State] | None,
    ) -> None:
        self.method, self.model, self.optimizer = method, model, optimizer
        self.train, self.score, self.example, self.chance = train, score, example, chance
        inner = surgery.unwrap(model)
        self.populations = list(neurons) if neurons is not None else populations(inner)
        check_populations(inner, self.populations)
        self.shelf: MutableMapping[int, surgery.State] = {} if shelf is None else shelf
        self.pretraining: list[float] = []  # validation score after each epoch
        self.path: list[Step] = []
        self.seconds: list[float] = []  # of each step of the path
        self.ended: str | None = None  # why cutting stopped
        self.choice: Choice | None = None
        self.tuning: list[float] = []
        self.best: tuple[float, surgery.State] | None = None  # of the tuning
        self.rates: list[float] = []  # learning rates before the tuning
        self.epoch_steps = 0  # optimizer steps in an epoch, as last seen
        self.meters = {phase: Meter() for phase in PHASES}
        self.warnings: list[str] = []

    def advance(self) -> bool:
        """One unit: an epoch before the first cut, a cut with its retraining, the way back, or an epoch after it."""
        if not self._grown():
            self._pretrain()
        elif not self.path:
            self._judge(before=None)
        elif self.ended is None:
            self._shrink()
        elif self.choice is None:
            self._roll_back()
        elif len(self.tuning) < self.method.tune_epochs:
            self._tune()
        else:
            return False
        return True

    # --- before the first cut -------------------------------------------------------------------------------

    def _grown(self) -> bool:
        done, planned, patience = len(self.pretraining), self.method.pretrain_epochs, self.method.plateau
        if done < planned:
            return False
        if patience == 0 or done >= LONGEST_PRETRAINING * planned:
            return True
        best = max(range(done), key=self.pretraining.__getitem__)
        return done - 1 - best >= patience

    def _pretrain(self) -> None:
        self._run("pretrain", 1)
        score = Score.of(self.score(self.model))
        if isinstance(self.method.stop, OneStandardError):
            self.method.stop.check(score.error)  # refused after one epoch, not after all before the first cut
        self.pretraining.append(score.value)

    # --- Algorithm 1 ----------------------------------------------------------------------------------------

    def _shrink(self) -> None:
        method = self.method
        for population, kept in self._kept().items():  # steps 1 and 2
            if len(kept) < population.width(self._inner):
                surgery.keep_neurons(self.model, population, kept, self.optimizer)
        if self._inner is not self.model:
            torch.compiler.reset()  # each size is a new graph, and after eight of them torch gives up compiling
        pruned = [weight.clone() for weight in self._weights()]  # w_p: after this cut, the kept synapses only
        missing = -(-method.retrain_steps // self.epoch_steps) if self.epoch_steps else 0
        self._run("shrink", max(method.retrain_epochs, missing))  # step 3
        self._judge(pruned)  # step 4
        stuck = all(p.width(self._inner) <= method.min_width for p in self.populations)
        self.ended = method.stop.finished(self.path) or ("min_width reached" if stuck else None)  # step 5

    def _kept(self) -> dict[Population, Tensor]:
        """Which neurons of each population stay: all but the least important, ties cut in order of position."""
        method = self.method
        rank = IMPORTANCES[method.importance] if isinstance(method.importance, str) else method.importance
        importance = {p: rank(self._inner, p).double().cpu() for p in self.populations}
        for population, values in importance.items():
            if values.shape != (population.width(self._inner),) or not values.isfinite().all():
                raise ValueError(
                    f"the importance of '{population.incoming}' must be {population.width(self._inner)} finite numbers, "
                    f"but has shape {list(values.shape)} and {int((~values.isfinite()).sum())} that are not finite. If "
                    "the weights are not finite, training has diverged: lower the learning rate."
                )
        kept = survivors(
            list(importance.values()), method.share, method.scope, method.max_share, method.min_width
        )
        return dict(zip(importance, kept, strict=True))

    def _judge(self, before: list[Tensor] | None) -> None:
        """Add the present network to the path, and a copy of it, its optimizer and the random states to the shelf."""
        score, after = Score.of(self.score(self.model)), self._weights()
        step = Step(
            index=len(self.path),
            widths=tuple(p.width(self._inner) for p in self.populations),
            parameters=surgery.count_parameters(self.model),
            flops=None if self.example is None else forward_flops(self._inner, self.example),
            score=score.value,
            error=score.error,
            mean_weight=mean_weight(after),
        )
        if before is not None:
            s, overflow = stability(before, after)
            change = relative_change(before, after)
            step = dataclasses.replace(step, stability=s, overflow=overflow, change=change)
            step = dataclasses.replace(step, fitness=self.method.fitness(step))
        self.path.append(step)
        self.seconds.append(
            self.meters["pretrain"].seconds + self.meters["shrink"].seconds - sum(self.seconds)
        )
        self.shelf[step.index] = snapshot.take(self.model, self.optimizer)
        self._look_for_trouble(step, score)

    def _look_for_trouble(self, step: Step, score: Score) -> None:
        if score.samples is not None and score.samples < FEW_SAMPLES:
            self._warn(
                f"only {score.samples} validation samples: one standard error is {score.error:.3f}, so the size is "
                f"uncertain. Hold out {FEW_SAMPLES} or more."
            )
        if (step.overflow or 0) > OVERFLOW and isinstance(self.method.fitness, PublishedFitness):
            self._warn(
                f"p of Eq. 3 is above 1 for {step.overflow:.2%} of the synapses at {step.neurons} neurons: their terms in "
                "Eq. 4 are negative, and S falls for that reason alone. Read S with care, or use AccuracyStability."
            )
        start = self.path[:DEAD_STEPS]
        if self.chance is not None and len(start) == DEAD_STEPS:
            bar = [self.chance + 2 * (s.error or 0) for s in start]
            if all(s.score <= b for s, b in zip(start, bar, strict=True)):
                self._warn(
                    f"validation score at chance ({self.chance:.3f}) for {DEAD_STEPS} steps: outputs saturated, or not yet "
                    "trained; lower the learning rate or the width, or raise pretrain_epochs."
                )

    # --- the way back, and the end --------------------------------------------------------------------------

    def _roll_back(self) -> None:
        self.choice = self.method.stop.choose(self.path)
        for text in self.choice.warnings:
            self._warn(text)
        snapshot.restore(self.model, self.optimizer, self.shelf[self.choice.step])
        self.best = (self.chosen.score, snapshot.take(self.model, self.optimizer))
        if self.optimizer is not None:
            self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]

    def _tune(self) -> None:
        """One epoch with a falling learning rate; after the last, the weights with the best validation score stay."""
        total = self.method.tune_epochs * self.epoch_steps
        done = len(self.tuning) * self.epoch_steps

        def decay(*_: object) -> None:
            nonlocal done
            done += 1
            self._set_rates(max(0.0, 1 - done / total))

        handle = None
        self._set_rates(1 - len(self.tuning) / self.method.tune_epochs)
        # total is 0 when the loop only reads the rate, as online_backprop does
        if self.optimizer is not None and total:
            handle = self.optimizer.register_step_post_hook(decay)
        try:
            self._run("tune", 1)
        finally:
            if handle is not None:
                handle.remove()
        score = Score.of(self.score(self.model)).value
        self.tuning.append(score)
        if self.best is None or score >= self.best[0]:
            self.best = (score, snapshot.take(self.model, self.optimizer))
        if len(self.tuning) == self.method.tune_epochs:
            snapshot.restore(self.model, self.optimizer, self.best[1])
            self._set_rates(1.0)

    def _set_rates(self, factor: float) -> None:
        if self.optimizer is not None:
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor

    def _run(self, phase: str, epochs: int) -> None:
        """Let the user's loop train, and measure it."""
        meter = self.meters[phase]
        before, flops = meter.steps, meter.flops
        with meter.running(self.model, self.optimizer, epochs):
            spent = self.train(self.model, self.optimizer, epochs)
        if isinstance(spent, int):  # in place of what was counted; a loop may also return its loss
            meter.flops = flops + spent
        self.epoch_steps = (meter.steps - before) // epochs

    # --- what others read -----------------------------------------------------------------------------------

    @property
    def _inner(self) -> nn.Module:
        return surgery.unwrap(self.model)

    def _weights(self) -> list[Tensor]:
        """The weights that Eq. 3-6 look at: of every layer a population goes into or out of, once; no biases."""
        layers = dict.fromkeys(name for p in self.populations for name in (p.incoming, p.outgoing))
        return [self._inner.get_parameter(f"{layer}.weight").detach() for layer in layers]

    @property
    def epochs(self) -> int:
        """Epochs trained so far: the number of the next one."""
        return sum(meter.epochs for meter in self.meters.values())

    @property
    def chosen(self) -> Step:
        """The step of the path that was chosen."""
        if self.choice is None:
            raise RuntimeError("the search has not chosen yet: call advance() until it returns False.")
        return self.path[self.choice.step]

    def found(self, test: float | None = None) -> Found:
        """The result, once `advance` has returned False."""
        chosen, (score, _) = self.chosen, self.best or (0.0, {})
        stop = self.method.stop
        plateau = stop.plateau(self.path) if isinstance(stop, OneStandardError) else None
        reason = self.choice.reason if self.choice else ""
        cost = {**self.timing(), "training_flops": sum(m.flops for m in self.meters.values())}
        path, notes = tuple(self.path), tuple(self.warnings)
        return Found(self.model, score, chosen, reason, plateau, path, cost, notes, test, self.shelf)

    def progress(self) -> Progress:
        size = surgery.count_parameters(self.model)
        if not self.path:
            score = self.pretraining[-1] if self.pretraining else None
            return Progress("growing", None, size, score)
        if self.choice is None:
            return Progress(f"shrinking, {self.path[-1].neurons} neurons", None, size, self.path[-1].score)
        score = self.tuning[-1] if self.tuning else self.chosen.score
        done = len(self.tuning) / self.method.tune_epochs if self.method.tune_epochs else 1.0
        return Progress(f"tuning, {self.chosen.neurons} neurons", done, size, score)

    def summary(self) -> dict[str, Any]:
        decided: dict[str, Any] = {}
        if self.choice is not None:
            found = self.found()
            decided = {
                "chosen": found.chosen.index,
                "reason": found.reason,
                "plateau": found.plateau,
                "validation": found.score,
                "neurons": found.chosen.neurons,
            }
        return {
            "pretraining": self.pretraining,
            "path": [dataclasses.asdict(step) for step in self.path],
            "ended": self.ended,
            **decided,
            "tuning": self.tuning,
            "parameters": surgery.count_parameters(self.model),
            "training_flops": {phase: meter.flops for phase, meter in self.meters.items()},
            "optimizer_steps": {phase: meter.steps for phase, meter in self.meters.items()},
            "epochs": {phase: meter.epochs for phase, meter in self.meters.items()},
            "warnings": self.warnings,
        }

    def timing(self) -> dict[str, Any]:
        return {
            "seconds": sum(m.seconds for m in self.meters.values()),
            "cpu_seconds": sum(m.cpu_seconds for m in self.meters.values()),
            "phases": {phase: meter.seconds for phase, meter in self.meters.items()},
            "steps": self.seconds,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "now": snapshot.take(self.model, self.optimizer),
            "pretraining": list(self.pretraining),
            "path": [dataclasses.asdict(step) for step in self.path],
            "seconds": list(self.seconds),
            "ended": self.ended,
            "choice": None if self.choice is None else list(self.choice),
            "tuning": list(self.tuning),
            "best": None if self.best is None else list(self.best),
            "rates": list(self.rates),
            "epoch_steps": self.epoch_steps,
            "meters": {phase: dataclasses.asdict(meter) for phase, meter in self.meters.items()},
            "warnings": list(self.warnings),
            # a shelf of another kind keeps itself
            "shelf": dict(self.shelf) if type(self.shelf) is dict else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        snapshot.restore(self.model, self.optimizer, state["now"])
        self.pretraining, self.seconds = list(state["pretraining"]), list(state["seconds"])
        self.path = [Step(**{**step, "widths": tuple(step["widths"])}) for step in state["path"]]
        self.ended, self.tuning, self.rates = state["ended"], list(state["tuning"]), list(state["rates"])
        self.choice = None if state["choice"] is None else Choice(*state["choice"])
        self.best = None if state["best"] is None else (state["best"][0], state["best"][1])
        self.epoch_steps, self.warnings = state["epoch_steps"], list(state["warnings"])
        self.meters = {phase: Meter(**meter) for phase, meter in state["meters"].items()}
        if state["shelf"] is not None:
            self.shelf.update(state["shelf"])

    def _warn(self, text: str) -> None:
        known = [NUMBER.sub("", warning) for warning in self.warnings]
        if NUMBER.sub("", text) not in known:  # once is enough, whatever its numbers
            self.warnings.append(text)
            warnings.warn(text, stacklevel=3)
