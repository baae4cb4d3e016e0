"""Synaptic pruning: weak synapses die for good while the network trains, over all layers at once.

    rho(t) = 0                                                 before the start
             s_0 + (s_f - s_0) c((t - start) / (end - start))  on the ramp, c(p) = 1 - (1 - p)^3 or p^3
    every few steps: the weakest of the living die, until round(rho N) of the N synapses are dead

Vos et al. 2025, "Synaptic pruning: a biological inspiration for deep learning regularization", with the curve of Zhu &
Gupta 2017. It sits on the optimizer's step, so any training loop gives it its moments. Deviations from the paper:
docs/methods/synaptic_pruning.md.
"""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from coppice.contract import Method, Task
from coppice.parts.evidence import GATHERERS, Nothing
from coppice.parts.masks import Masks
from coppice.parts.schedules import SCHEDULES
from coppice.parts.selection import lowest
from coppice.parts.synapse_scores import SYNAPSE_SCORES
from coppice.parts.synapses import attends, synapses

COLLAPSE = 0.95  # of one tensor, the cap where a model has attention: a global |w| took 97 % of a feed-forward matrix


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
    max_layer_sparsity: no tensor loses more; None: 0.95 where the model has attention, else all but one synapse
    include, exclude:   regular expressions on parameter names, see `parts.synapses`
    regrow:             share of each event's deaths that comes back, by gradient, among those dead before
    newborn:            share dead at birth, at random; grown by gradient until the start   Han et al.: grow, then prune
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

    def end_task(self, model: nn.Module, task: Task) -> None:
        if self.at_work is not None:
            self.at_work.remove()

    @property
    def settled(self) -> bool:
        return self.at_work is None or self.at_work.done

    def state_dict(self) -> dict[str, Any]:
        return {} if self.at_work is None else self.at_work.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.at_work is not None:
            self.at_work.load_state_dict(state)


PRESETS = {
    # The target of the paper changes once an epoch, of 20: from 0.3 after 2 epochs of warm-up to 0.7 with the last.
    "vos2025": SynapticPruning(
        0.7, 0.3, start=0.1, end=1.0, every=0.05, schedule="rising_cubic", max_layer_sparsity=1.0
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
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"there is no preset '{preset}': the presets are {', '.join(PRESETS)}.")
    if final_sparsity is not None:
        options["final_sparsity"] = final_sparsity
    settings = replace(PRESETS[preset] if preset else SynapticPruning(), **options)
    pruning = settings.attach(model, optimizer, steps)
    if not quiet and (not dist.is_initialized() or dist.get_rank() == 0):
        print(pruning.coverage, file=sys.stderr)
    return pruning


class Pruning:
    """Synaptic pruning at work on a model and the optimizer that trains it.

    step, steps: optimizer steps done and planned
    masks:       which synapses are alive; buffers of the model
    names:       of the pruned parameters
    events:      what happened: step, target, sparsity, killed, regrown
    died:        with regrowth, the step at which each dead synapse died (0 at birth), -1 while alive; int32, by name
    """

    def __init__(self, settings: SynapticPruning, model: nn.Module, optimizer: Optimizer, steps: int) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(
                f"steps is {steps}, but must be the number of optimizer steps planned in all, 1 or more: epochs times"
                " batches, divided by the batches accumulated for a step."
            )
        self.settings, self.model, self.optimizer, self.steps = settings, model, optimizer, steps
        self.step = 0
        self.events: list[dict[str, Any]] = []
        self.first = max(1, round(settings.start * steps))
        self.last = max(self.first, round(settings.end * steps))
        self.every = int(settings.every) if settings.every >= 1 else max(1, round(settings.every * steps))
        held = {id(p) for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
        chosen = [
            name
            for name in synapses(model, settings.include, settings.exclude)
            if id(model.get_parameter(name)) in held
        ]
        if not chosen:
            raise ValueError(
                f"the {type(optimizer).__name__} trains none of the synapses of {type(model).__name__}: build it on"
                " this model's parameters, unfrozen."
            )
        self.names = chosen
        cap = settings.max_layer_sparsity
        self.cap = cap if cap is not None else COLLAPSE if attends(model) else 1.0
        self._check_reachable()
        wanted = set(chosen)
        self.masks = Masks.attach(model, where=lambda name, _: name in wanted)
        self.guard = self.masks.guard(optimizer)
        self.evidence = GATHERERS.get(settings.score, Nothing)(model, chosen)
        self.died: dict[str, Tensor] = {}
        self._dead_gradients: dict[str, Tensor] = {}
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        if settings.regrow or settings.newborn:
            self._hooks += [self._parameter(name).register_hook(self._listener(name)) for name in chosen]
            self.died = {n: torch.full_like(self.masks[n], -1, dtype=torch.int32) for n in chosen}
        if settings.newborn and not self._dead:
            doomed = self._weakest(round(settings.newborn * self._size), SYNAPSE_SCORES["random"])
            self._kill(doomed)

    # --- what it came to ---

    @property
    def sparsity(self) -> float:
        """Dead share of the synapses."""
        return self._dead / self._size

    @property
    def done(self) -> bool:
        """Whether the ramp is over: from here on the structure stays as it is."""
        return self.step >= self.last

    @property
    def coverage(self) -> str:
        """Which share of the parameters can die, in one line."""
        total = sum(p.numel() for p in self.model.parameters())
        names = {name for name, p in self.model.named_parameters() if p.dim() >= 2} - set(self.names)
        left = f"; not {', '.join(sorted(names)[:4])}{', ...' if len(names) > 4 else ''}" if names else ""
        return (
            f"synaptic pruning: {self._size:,} of {total:,} parameters ({self._size / total:.1%}) in {len(self.names)}"
            f" tensors can die, {self.settings.final_sparsity:.0%} of them will, between steps {self.first:,} and"
            f" {self.last:,} of {self.steps:,}{left}."
        )

    def layers(self) -> dict[str, float]:
        """Dead share of each pruned parameter."""
        return {n: 1 - int(torch.count_nonzero(self.masks[n])) / self.masks[n].numel() for n in self.names}

    def target(self, step: int) -> float:
        """Dead share that the schedule asks for after so many optimizer steps."""
        settings = self.settings
        if step < self.first:
            return (
                settings.newborn + (settings.initial_sparsity - settings.newborn) * step / self.first
                if (settings.newborn)
                else 0.0
            )
        progress = 1.0 if step >= self.last else (step - self.first) / (self.last - self.first)
        rise = SCHEDULES[settings.schedule](progress)
        return settings.initial_sparsity + (settings.final_sparsity - settings.initial_sparsity) * rise

    def remove(self) -> None:
        """Take all hooks out; masks, zeros and the record stay. Twice does no harm."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self.evidence.remove()
        self.guard.remove()

    # --- storing ---

    def state_dict(self) -> dict[str, Any]:
        """All but the masks, which are buffers of the model and travel with its own state."""
        return {
            "settings": _plain(self.settings),
            "step": self.step,
            "steps": self.steps,
            "events": list(self.events),
            "masks": self._digest(),
            "evidence": {name: seen.clone() for name, seen in self.evidence.seen.items()},
            "died": {name: steps.clone() for name, steps in self.died.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a stored state, to the same bits; load the model's and the optimizer's first.

        Raises ValueError where the state is of other settings, or of other masks than the model's: a checkpoint
        without its masks would train on as a dense network.
        """
        missing = self.state_dict().keys() - state.keys()
        if missing:
            raise ValueError(f"the state lacks {sorted(missing)}: it is not what Pruning.state_dict() gave.")
        for key, ours in {**_plain(self.settings), "steps": self.steps}.items():
            theirs = state["steps"] if key == "steps" else dict(state["settings"]).get(key)
            if theirs != ours:
                raise ValueError(
                    f"the state was stored with {key} = {theirs}, but this pruning has {ours}: attach with the same settings."
                )
        if state["masks"] != self._digest():
            raise ValueError(
                "the model's masks are not those of the stored state: load the model's state dict of the same moment first,"
                " with its *_alive entries, after attaching (and never with strict=False)."
            )
        self.step, self.events = state["step"], [dict(event) for event in state["events"]]
        for name, seen in state["evidence"].items():
            self.evidence.seen[name] = seen.clone().to(self._parameter(name).device)
        self.died = {
            name: steps.clone().to(self._parameter(name).device) for name, steps in state["died"].items()
        }

    # --- at work ---

    def _before_step(self, *_: Any) -> None:
        self.evidence.before_step({name: self._parameter(name) for name in self.names})

    def _after_step(self, *_: Any) -> None:
        self.step += 1
        if self._due(self.step):
            self._event()
        self._dead_gradients.clear()

    def _due(self, step: int) -> bool:
        if step == self.last:
            return True
        if step < self.first:
            return bool(self.settings.newborn) and step % self.every == 0
        return step < self.last and (step - self.first) % self.every == 0

    @torch.no_grad()
    def _event(self) -> None:
        target = self.target(self.step)
        missing = round(target * self._size) - self._dead
        killed = regrown = 0
        if missing > 0:
            back = min(round(missing * self.settings.regrow / (1 - self.settings.regrow)), self._dead)
            if self.step == self.last:
                back = 0
            dead_before = {name: ~self.masks[name] for name in self.names}
            killed = self._kill(self._weakest(missing + back, SYNAPSE_SCORES[self.settings.score]))
            regrown = self._revive(dead_before, back)
        elif missing < 0 and self.step <= self.first and self.settings.newborn:
            regrown = self._revive({name: ~self.masks[name] for name in self.names}, -missing)
        self.events.append(
            {
                "step": self.step,
                "target": target,
                "sparsity": self.sparsity,
                "killed": killed,
                "regrown": regrown,
            }
        )

    def _weakest(self, count: int, score: Any) -> dict[str, Tensor]:
        alive = {name: self.masks[name] for name in self.names}
        random = torch.random.default_generator
        before = random.get_state()
        random.manual_seed(self.step)  # of the step alone, and the caller's random numbers stay as they were
        scores = {
            name: score(self._parameter(name), alive[name], self.evidence.seen.get(name))
            for name in self.names
        }
        random.set_state(before)
        return lowest(scores, alive, count, self.cap)

    def _kill(self, doomed: dict[str, Tensor]) -> int:
        doomed = _agreed(doomed)
        for name in self.died:
            self.died[name][doomed[name]] = self.step
        return self.masks.prune(doomed, self.optimizer)

    def _revive(self, among: dict[str, Tensor], count: int) -> int:
        """Those of the dead whose gradient calls loudest.   Evci et al. 2020 (RigL)"""
        if not count or not self._dead_gradients:
            return 0
        calls = {
            name: -self._dead_gradients.get(name, torch.zeros_like(self._parameter(name))).abs()
            for name in self.names
        }
        chosen = _agreed(lowest(calls, among, count))
        for name in self.died:
            self.died[name][chosen[name]] = -1
        return self.masks.regrow(chosen, self.optimizer)

    def _listener(self, name: str) -> Any:
        def listen(gradient: Tensor) -> None:  # before the guard mutes the dead
            if self._due(self.step + 1):
                held = self._dead_gradients.get(name)
                self._dead_gradients[name] = (
                    gradient.detach().clone() if held is None else held + gradient.detach()
                )

        return listen

    # --- small things ---

    @property
    def _size(self) -> int:
        return sum(self._parameter(name).numel() for name in self.names)

    @property
    def _dead(self) -> int:
        return self._size - sum(int(torch.count_nonzero(self.masks[name])) for name in self.names)

    def _parameter(self, name: str) -> nn.Parameter:
        return self.model.get_parameter(name)

    def _check_reachable(self) -> None:
        sizes = [self._parameter(name).numel() for name in self.names]
        most = sum(min(int(self.cap * size), size - 1) for size in sizes)
        if round(self.settings.final_sparsity * sum(sizes)) > most:
            raise ValueError(
                f"final_sparsity is {self.settings.final_sparsity}, but with at most {self.cap:.0%} of each tensor dead only"
                f" {most:,} of {sum(sizes):,} synapses can die: lower it, or raise max_layer_sparsity."
            )

    def _digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name in self.names:
            digest.update(name.encode())
            digest.update(np.packbits(self.masks[name].detach().cpu().numpy()).tobytes())
        return digest.hexdigest()


def _plain(settings: SynapticPruning) -> dict[str, Any]:
    """As JSON would bring it back: lists for tuples."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}


def _agreed(choice: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the first process chose, in all of them: scores may differ by what each has seen."""
    if dist.is_available() and dist.is_initialized():
        for mask in choice.values():
            shared = mask.to(torch.uint8)
            dist.broadcast(shared, src=0)
            mask.copy_(shared.bool())
    return choice
