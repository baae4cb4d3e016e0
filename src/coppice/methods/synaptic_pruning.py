"""Synaptic pruning: weak synapses die for good while the network trains, over all layers at once.

    rho(t) = 0                                                 before the start
             s_0 + (s_f - s_0) c((t - start) / (end - start))  on the ramp, c(p) = 1 - (1 - p)^3 or p^3
    every few steps: the weakest of the living die, until round(rho N) of the N synapses are dead

Vos et al. 2025, "Synaptic pruning: a biological inspiration for deep learning regularization", with the curve of Zhu &
Gupta 2017. It sits on the optimizer's step hooks and not on the moments of the contract, so that any training loop will
do; in a coppice loop `begin_task` puts it there and `end_task` takes it off. Deviations from the paper:
docs/methods/synaptic_pruning.md.
(Over the 250 lines: one paper, one file; the first half is what a user reads, the second is `Pruning` at work.)
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from coppice.contract import Method, Task
from coppice.parts.agreement import is_first
from coppice.parts.histograms import histogram
from coppice.parts.options import changed
from coppice.parts.prunable import Neurons, Synapses
from coppice.parts.schedules import SCHEDULES
from coppice.parts.stored import refuse_foreign
from coppice.parts.surgery import count_parameters
from coppice.parts.synapse_scores import SYNAPSE_SCORES
from coppice.parts.synapses import attends, synapses
from coppice.parts.units import units

# most of one tensor that may die where a model has attention: a global |w| took 97 % of a feed-forward matrix
ATTENTION_CAP = 0.95
LOOKS = 11  # histograms of |w| that a run keeps at the most


@dataclass
class SynapticPruning(Method):
    """Hyper-parameters of synaptic pruning, as measured best; `PRESETS["vos2025"]` holds the paper's own.

    final_sparsity:     dead share of all synapses at the end, in [0, 1)
    initial_sparsity:   dead share when the ramp starts
    start, end:         of the ramp, as shares of all optimizer steps; the rest of the steps is recovery
    every:              between two events: optimizer steps (whole number) or a share of all steps (below 1)
    schedule:           "cubic" (early), "rising_cubic" (late; the paper's), "linear", "one_shot"
    score:              "magnitude", "fan_in", "lamp", "uniform", "activity", "movement", "taylor", "random"
    unit:               what dies: a "synapse", or a whole "neuron" (hidden units, feed-forward neurons, attention
                        heads, the same share in every layer), which `compact` then removes for real
    max_layer_sparsity: no tensor loses more; None: 0.95, or half-way from final_sparsity to 1, where the model has
                        attention; else all but one synapse
    include, exclude:   regular expressions on parameter names, see `parts.synapses`
    regrow:             share of each event's deaths that comes back, by gradient, among those dead before
    newborn:            share dead at birth, at random, which falls to initial_sparsity until the start, woken by gradient:
                        growth before pruning, which Vos et al. name as a next step
    """

    final_sparsity: float = 0.7
    initial_sparsity: float = 0.0
    start: float = 0.1
    end: float = 0.75
    every: int | float = 10
    schedule: Literal["cubic", "rising_cubic", "linear", "one_shot"] = "cubic"
    score: Literal["magnitude", "fan_in", "lamp", "uniform", "activity", "movement", "taylor", "random"] = (
        "magnitude"
    )
    unit: Literal["synapse", "neuron"] = "synapse"
    max_layer_sparsity: float | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    regrow: float = 0.0
    newborn: float = 0.0

    at_work: ClassVar["Pruning | None"] = None  # of the task at hand; no hyper-parameter

    def __post_init__(self) -> None:
        for name in ("final_sparsity", "initial_sparsity", "regrow", "newborn"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, but must be a share in [0, 1): 0.7 means 70 %."
                )
        if self.initial_sparsity > self.final_sparsity:
            raise ValueError(
                f"initial_sparsity is {self.initial_sparsity}, above final_sparsity, {self.final_sparsity}: the dead do"
                " not wake, so lower it."
            )
        if not (0 <= self.start <= 1 and 0 <= self.end <= 1 and self.start <= self.end):
            raise ValueError(
                f"the ramp goes from start = {self.start} to end = {self.end}, but both are shares of all steps in"
                " [0, 1], start not after end: 0.1 and 0.75 by default."
            )
        if not (0 < self.every < 1 or (self.every >= 1 and self.every == int(self.every))):
            raise ValueError(
                f"every is {self.every}, but must be a whole number of steps, 1 or more, or a share of all steps below 1."
            )
        for name, choices in (
            ("schedule", SCHEDULES),
            ("score", SYNAPSE_SCORES),
            ("unit", ("synapse", "neuron")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is '{getattr(self, name)}', but must be one of {', '.join(choices)}."
                )
        cap = self.max_layer_sparsity
        if cap is not None and not self.final_sparsity <= cap <= 1:
            raise ValueError(
                f"max_layer_sparsity is {cap}, but must be a share from final_sparsity, {self.final_sparsity}, to 1."
            )
        if self.unit == "neuron" and (
            self.score != "magnitude" or self.regrow or self.newborn or cap is not None
        ):
            raise ValueError(
                "unit is 'neuron', which ranks by magnitude, takes the same share of every layer and does not grow: leave"
                " score, regrow, newborn and max_layer_sparsity as they are."
            )

    @classmethod
    def of(
        cls, final_sparsity: float | None = None, preset: str | None = None, **options: Any
    ) -> "SynapticPruning":
        """The defaults, or those of a preset, with what else is given changed. Raises ValueError for an unknown preset."""
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"there is no preset '{preset}': the presets are {', '.join(PRESETS)}.")
        if final_sparsity is not None:
            options["final_sparsity"] = final_sparsity
        return changed(PRESETS[preset] if preset else cls(), options)

    def attach(self, model: nn.Module, optimizer: Optimizer, steps: int) -> "Pruning":
        """Begin: from now on the optimizer's steps prune the model. `steps`: optimizer steps planned in all.

        Raises ValueError where there is nothing to prune or `steps` is below 1, RuntimeError where something else
        guards the optimizer already.
        """
        return Pruning(self, model, optimizer, steps)

    def begin_task(self, model: nn.Module, optimizer: Optimizer, task: Task) -> None:
        if task.steps is None:
            raise ValueError(
                f"task '{task.name}' does not say how many steps are planned, but the ramp is a share of them: set"
                " Task.steps."
            )
        self.at_work = self.attach(model, optimizer, task.steps)  # type: ignore[misc]
        self.at_work.looks = self.unit == "synapse"

    def end_task(self, model: nn.Module, task: Task) -> None:
        if self.at_work is not None:
            self.at_work.remove()

    @property
    def settled(self) -> bool:
        return self.at_work is None or self.at_work.done

    def summary(self) -> dict[str, Any]:
        """histograms: how strong the synapses were at up to LOOKS events of the ramp, see `parts.histograms`."""
        return (
            {} if self.at_work is None or not self.at_work.looks else {"histograms": self.at_work.histograms}
        )

    def state_dict(self) -> dict[str, Any]:
        return {} if self.at_work is None else self.at_work.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.at_work is not None:
            self.at_work.load_state_dict(state)


PRESETS = {
    # The paper counts epochs from 1 to 20 and sets the target as each begins: 0.3 with epoch 2, 0.7 with epoch 20.
    "vos2025": SynapticPruning(
        0.7, 0.3, start=0.05, end=0.95, every=0.05, schedule="rising_cubic", max_layer_sparsity=1.0
    ),
    "zhu_gupta2017": SynapticPruning(score="uniform"),
}


def prune_synapses(
    model: nn.Module,
    optimizer: Optimizer,
    steps: int,
    final_sparsity: float | None = None,
    *,
    preset: Literal["vos2025", "zhu_gupta2017"] | None = None,
    quiet: bool = False,
    **options: Any,
) -> "Pruning":
    """Prune synapses while your own loop trains; call once, after the optimizer is built, and change nothing else.

        pruning = prune_synapses(model, optimizer, steps=epochs * len(loader), final_sparsity=0.9)

    `steps`: optimizer steps planned in all. `final_sparsity`: dead share at the end, 0.7 by default. `options`: any
    other field of `SynapticPruning`. Says on standard error, in one line, what share of the parameters can die, unless
    `quiet`. Raises ValueError, naming value and bound, before the model is touched.
    """
    pruning = SynapticPruning.of(final_sparsity, preset, **options).attach(model, optimizer, steps)
    if not quiet:
        pruning.announce()
    return pruning


class Pruning:
    """Synaptic pruning at work on a model and the optimizer that trains it.

    step, steps: optimizer steps done and planned
    first, last: steps at which the ramp starts and ends
    body:        what can die
    masks:       which synapses are alive; buffers of the model
    events:      what happened: step, target, sparsity, killed, regrown
    looks:       whether histograms of |w| are kept, at the first event, at each tenth of the ramp and at the last
    """

    def __init__(self, settings: SynapticPruning, model: nn.Module, optimizer: Optimizer, steps: int) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(
                f"steps is {steps}, but must be the number of optimizer steps planned in all, 1 or more: epochs times"
                " batches, divided by the batches accumulated for a step."
            )
        optimizer = _bare(optimizer)
        self.settings, self.model, self.optimizer, self.steps = settings, model, optimizer, steps
        self.step = 0
        self.events: list[dict[str, Any]] = []
        self.looks = False
        self.histograms: list[dict[str, Any]] = []
        self.first = max(1, round(settings.start * steps))
        self.last = max(self.first, round(settings.end * steps))
        self.every = int(settings.every) if settings.every >= 1 else max(1, round(settings.every * steps))
        self.body = (
            _neurons(settings, model, optimizer)
            if settings.unit == "neuron"
            else _synapses(settings, model, optimizer)
        )
        self.masks = self.body.masks
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        if isinstance(self.body, Synapses) and settings.newborn and not self.body.dead:
            self.body.kill(round(settings.newborn * self.body.size), "random", 0)
        self._listen()

    @property
    def sparsity(self) -> float:
        """Dead share of the synapses, or of the neurons."""
        return self.body.dead / self.body.size

    @property
    def done(self) -> bool:
        """Whether the ramp is over: from here on the structure stays as it is."""
        return self.step >= self.last

    @property
    def coverage(self) -> str:
        """Which share of the parameters can die, in one line."""
        total = count_parameters(self.model)
        held = sum(self.body.parameter(name).numel() for name in self.body.names)
        others = {name for name, p in self.model.named_parameters() if p.dim() >= 2} - set(self.body.names)
        left = f"; not {', '.join(sorted(others)[:4])}{', ...' if len(others) > 4 else ''}" if others else ""
        kind = (
            f"in {self.body.size:,} neurons"
            if isinstance(self.body, Neurons)
            else f"in {len(self.body.names)} tensors"
        )
        return (
            f"synaptic pruning: {held:,} of {total:,} parameters ({held / total:.1%}) {kind} can die,"
            f" {self.settings.final_sparsity:.0%} will, from step {self.first:,} to {self.last:,} of {self.steps:,}{left}."
        )

    def announce(self) -> None:
        """Say on standard error what can die; of several processes the first one does."""
        if is_first():
            print(self.coverage, file=sys.stderr)

    def layers(self) -> dict[str, float]:
        """Dead share of each pruned parameter."""
        return self.body.layers()

    def target(self, step: int) -> float:
        """Dead share that the schedule asks for after so many optimizer steps."""
        settings = self.settings
        if step < self.first:
            grown = step / self.first
            return (
                settings.newborn + (settings.initial_sparsity - settings.newborn) * grown
                if settings.newborn
                else 0.0
            )
        progress = 1.0 if step >= self.last else (step - self.first) / (self.last - self.first)
        risen = SCHEDULES[settings.schedule](progress)
        return settings.initial_sparsity + (settings.final_sparsity - settings.initial_sparsity) * risen

    def remove(self) -> None:
        """Take all hooks out; masks, zeros and the record stay. Twice does no harm."""
        for hook in self._hooks:
            hook.remove()
        self.body.remove()

    def state_dict(self) -> dict[str, Any]:
        """All but the masks, which are buffers of the model and travel with its own state."""
        return {
            "settings": _plain(self.settings),
            "step": self.step,
            "steps": self.steps,
            "events": [dict(event) for event in self.events],
            "body": self.body.state_dict(),
            **({"histograms": list(self.histograms)} if self.looks else {}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a stored state, to the same bits; load the model's and the optimizer's first.

        Raises ValueError, before anything changes, where the state is damaged, of other settings, or of other masks
        than the model's: a checkpoint without its masks would train on as a dense network.
        """
        refuse_foreign(state, {"settings": {}, "step": 0, "steps": 0, "events": [], "body": {}}, "the state")
        if state["step"] < 0:
            raise ValueError(f"the state is of step {state['step']}, but steps begin at 0: it is damaged.")
        for key, ours in {**_plain(self.settings), "steps": self.steps}.items():
            theirs = state["steps"] if key == "steps" else dict(state["settings"]).get(key)
            if theirs != ours:
                raise ValueError(
                    f"the state was stored with {key} = {theirs}, but this pruning has {ours}: attach with the same settings."
                )
        self.body.load_state_dict(state["body"])
        self.step, self.events = state["step"], [dict(event) for event in state["events"]]
        self.histograms = list(state.get("histograms", []))  # an earlier version kept none
        self._listen()

    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Look at the gradients; where the step is given a closure, they are there only after its first call."""
        if _overflowed(optimizer):
            return None
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self.body.before_step()
            return None
        seen = False

        def then_look() -> Any:
            nonlocal seen
            loss = closure()
            if not seen:
                self.body.before_step()
            seen = True
            return loss

        return (args[0], then_look, *args[2:]), {k: v for k, v in kwargs.items() if k != "closure"}

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        if _overflowed(optimizer):
            return
        self.step += 1
        if self._due(self.step):
            target = self.target(self.step)
            before = self._strengths() if self._worth_a_look() else None
            deaths = self.body.reach(target, self.step)
            if before is not None:
                seen = histogram(before, self.masks, threshold=self.settings.score == "magnitude")
                self.histograms.append({"step": self.step, "sparsity": self.sparsity, **seen})
            self.events.append(
                {"step": self.step, "target": target, "sparsity": self.sparsity, **deaths._asdict()}
            )
        self._listen()

    def _due(self, step: int) -> bool:
        if step == self.last:
            return True
        if step < self.first:
            return bool(self.settings.newborn) and step % self.every == 0
        return step < self.last and (step - self.first) % self.every == 0

    def _worth_a_look(self) -> bool:
        """The first event of each tenth of the ramp, and the last."""
        if not self.looks or self.step < self.first:
            return False
        if not self.histograms:
            return True
        length = max(1, self.last - self.first)
        now, seen = (
            (LOOKS - 1) * (step - self.first) // length for step in (self.step, self.histograms[-1]["step"])
        )
        return now > seen

    def _strengths(self) -> dict[str, tuple[Tensor, Tensor]]:
        """|w| and mask as they are now, by name."""
        names = self.body.names
        return {name: (self.body.parameter(name).abs(), self.masks[name].clone()) for name in names}

    def _listen(self) -> None:
        """Hear the gradients of the dead where the next step may wake them; the last event wakes none."""
        if isinstance(self.body, Synapses):
            self.body.hears = self._due(self.step + 1) and self.step + 1 < self.last


def _synapses(settings: SynapticPruning, model: nn.Module, optimizer: Optimizer) -> Synapses:
    held = _trained(optimizer)
    found = synapses(model, settings.include, settings.exclude)
    names = [name for name in found if id(model.get_parameter(name)) in held]
    if not names:
        raise ValueError(_NOT_TRAINED.format(type(optimizer).__name__, type(model).__name__))
    cap = settings.max_layer_sparsity
    if cap is None:
        cap = max(ATTENTION_CAP, (1 + settings.final_sparsity) / 2) if attends(model) else 1.0
    size = sum(model.get_parameter(name).numel() for name in names)
    most = Synapses.most(model, names, cap)
    if round(settings.final_sparsity * size) > most:
        raise ValueError(
            f"final_sparsity is {settings.final_sparsity}, but with at most {cap:.0%} of each tensor dead only"
            f" {most:,} of {size:,} synapses can die: lower it, or raise max_layer_sparsity."
        )
    grows = bool(settings.regrow or settings.newborn)
    return Synapses(model, optimizer, names, settings.score, cap, settings.regrow, grows)


def _neurons(settings: SynapticPruning, model: nn.Module, optimizer: Optimizer) -> Neurons:
    held = _trained(optimizer)
    wanted = set(synapses(model, settings.include, settings.exclude))
    chosen = []
    for unit in units(model):
        names = unit.synapses(model, torch.ones(unit.width(model), dtype=torch.bool)).keys()
        if all(name in wanted and id(model.get_parameter(name)) in held for name in names):
            chosen.append(unit)
    if not chosen:
        raise ValueError(_NOT_TRAINED.format(type(optimizer).__name__, type(model).__name__))
    return Neurons(model, optimizer, chosen)


_NOT_TRAINED = "the {} trains nothing of {} that could die: build it on this model's parameters, unfrozen."


def _trained(optimizer: Optimizer) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"] if p.requires_grad}


def _bare(optimizer: Optimizer) -> Optimizer:
    """The optimizer whose step is taken, out of wrappers such as accelerate's, which have no hooks of their own."""
    while not hasattr(optimizer, "_optimizer_step_post_hooks") and hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


def _overflowed(optimizer: Optimizer) -> bool:
    """Whether a fused optimizer, told so by GradScaler, lets this step change nothing: it is none."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


def _plain(settings: SynapticPruning) -> dict[str, Any]:
    """As JSON would bring it back: lists for tuples."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}
