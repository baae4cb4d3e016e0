"""What can die: single synapses, over all tensors at once; or whole neurons, the same share in every layer.

Both reach a share of dead, exactly, by killing the weakest of the living through `Masks`. With several processes the
first one's choice holds for all: scores may differ by what each has seen.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from coppice.parts.agreement import agreed
from coppice.parts.evidence import GATHERERS, Evidence
from coppice.parts.masks import Masks, count_alive
from coppice.parts.selection import lowest
from coppice.parts.stored import refuse_foreign, refuse_foreign_tensors
from coppice.parts.synapse_scores import SYNAPSE_SCORES
from coppice.parts.units import Units


class Deaths(NamedTuple):
    """How many died, and how many came back, at one event."""

    killed: int
    regrown: int = 0


class Prunable(ABC):
    """Named parameters under masks and the optimizer that trains them. `size` counts what can die, once and for all."""

    size: int
    dead: int
    stores: ClassVar[dict[str, Any]] = {"size": 0, "masks": ""}  # keys and kinds of its state

    def __init__(self, model: nn.Module, optimizer: Optimizer, names: Sequence[str]) -> None:
        self.model, self.optimizer, self.names = model, optimizer, list(names)
        self.masks = Masks.attach(model, where=lambda name, _: name in set(names))
        self.guard = self.masks.guard(optimizer)

    def parameter(self, name: str) -> nn.Parameter:
        return self.model.get_parameter(name)

    def layers(self) -> dict[str, float]:
        """Dead share of each parameter's synapses."""
        sparsities = self.masks.layers()
        return {name: sparsities[name] for name in self.names}

    @abstractmethod
    def reach(self, target: float, step: int) -> Deaths:
        """Kill until the share `target` is dead."""

    def before_step(self) -> None: ...  # noqa: B027  most have nothing to do then

    def remove(self) -> None:
        """Take all hooks out; masks and zeros stay."""
        self.guard.remove()

    def state_dict(self) -> dict[str, Any]:
        """What was gathered, and which masks it belongs to; the masks themselves are buffers of the model."""
        return {"size": self.size, "masks": self._digest()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError, before anything changes, where the state is damaged or of other masks than the model's."""
        refuse_foreign(state, self.stores, "the stored body")
        refuse_foreign_tensors(state.get("evidence", {}), self.names, self.model, "scores' evidence", True)
        refuse_foreign_tensors(state.get("died", {}), self.names, self.model, "times of death")
        # a model loaded from a state without masks has lost its own
        if any(name not in self.masks for name in self.names) or state["masks"] != self._digest():
            raise ValueError(
                "the model's masks are not those of the stored state: load the model's state dict of the same moment first,"
                " with its *_alive entries, after attaching (and never with strict=False)."
            )
        self.size = state["size"]

    def _digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name in self.names:
            digest.update(name.encode())
            digest.update(np.packbits(self.masks[name].detach().cpu().numpy()).tobytes())
        return digest.hexdigest()


class Synapses(Prunable):
    """Single synapses, ranked over all tensors together.

    cap:    most of one tensor that may die, a share; each tensor keeps one
    regrow: share of each event's deaths that comes back elsewhere, by gradient   Evci et al. 2020 (RigL)
    grows:  whether the dead may wake, so that their gradients have to be heard
    died:   where it grows, the step at which each dead synapse died (0 at birth), -1 while alive; int32, by name
    """

    stores: ClassVar = {**Prunable.stores, "evidence": {}, "died": {}, "chance": 0}

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        names: Sequence[str],
        score: str,
        cap: float,
        regrow: float,
        grows: bool,
    ) -> None:
        super().__init__(model, optimizer, names)
        self.score, self.cap, self.regrow = score, cap, regrow
        self.chance = torch.initial_seed()  # of torch's generator; what chance depends on, with the step
        self.size = sum(self.parameter(name).numel() for name in names)
        self.evidence = GATHERERS.get(score, Evidence)(model, self.names)
        self.died: dict[str, Tensor] = {}
        self.hears = False  # whether the next step is an event that may wake the dead
        self._calls: dict[str, Tensor] = {}
        self._hooks: list[Any] = []
        if grows:
            # a tensor's own hook, and so before the guard mutes the dead
            self._hooks = [self.parameter(name).register_hook(self._listener(name)) for name in names]
            self.died = {name: torch.full_like(self.masks[name], -1, dtype=torch.int32) for name in names}

    @property
    def dead(self) -> int:  # type: ignore[override]
        return self.size - sum(count_alive(self.masks[name]) for name in self.names)

    def reach(self, target: float, step: int) -> Deaths:
        """Kill the weakest, or wake the dead with the largest gradients, until round(target * size) are dead."""
        calls, self._calls = self._calls, {}
        dead = self.dead
        missing = round(target * self.size) - dead
        dead_before = {name: ~self.masks[name] for name in self.names} if calls else {}
        if missing < 0 and calls:
            return Deaths(0, self._wake(calls, dead_before, -missing))
        if missing <= 0:
            return Deaths(0)
        back = round(missing * self.regrow / (1 - self.regrow)) if calls else 0
        if back:
            back = max(0, min(back, dead, self.most(self.model, self.names, self.cap) - dead - missing))
        killed = self.kill(missing + back, self.score, step)
        return Deaths(killed, self._wake(calls, dead_before, back))

    @staticmethod
    def most(model: nn.Module, names: Sequence[str], cap: float) -> int:
        """How many may be dead at once."""
        sizes = [model.get_parameter(name).numel() for name in names]
        return sum(min(int(cap * size), size - 1) for size in sizes)

    def kill(self, count: int, score: str, step: int) -> int:
        """Kill the `count` living of lowest score."""
        alive = {name: self.masks[name] for name in self.names}
        random = torch.random.default_generator
        before = random.get_state()
        # the caller's random numbers stay as they were, and runs of different seeds draw different ones
        random.manual_seed((self.chance * 1_000_003 + step) % 2**63)
        scores = {
            name: SYNAPSE_SCORES[score](self.parameter(name), alive[name], self.evidence.seen.get(name))
            for name in self.names
        }
        random.set_state(before)
        doomed = agreed(lowest(scores, alive, count, self.cap))
        for name, deaths in self.died.items():
            deaths[doomed[name]] = step
        return self.masks.prune(doomed, self.optimizer)

    def before_step(self) -> None:
        scale = getattr(self.optimizer, "grad_scale", None)  # GradScaler lets fused optimizers unscale
        parameters = {name: self.parameter(name) for name in self.names}
        self.evidence.before_step(parameters, 1.0 if scale is None else float(scale))

    def remove(self) -> None:
        super().remove()
        self.evidence.remove()
        for hook in self._hooks:
            hook.remove()

    def state_dict(self) -> dict[str, Any]:
        evidence = {name: seen.clone() for name, seen in self.evidence.seen.items()}
        died = {name: steps.clone() for name, steps in self.died.items()}
        return super().state_dict() | {"evidence": evidence, "died": died, "chance": self.chance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.chance = state["chance"]
        for ours, stored in ((self.evidence.seen, state["evidence"]), (self.died, state["died"])):
            for name, value in stored.items():
                ours[name] = value.clone().to(self.parameter(name).device)

    def _wake(self, calls: dict[str, Tensor], among: dict[str, Tensor], count: int) -> int:
        if not count:
            return 0
        quiet = {
            name: -calls[name].abs() if name in calls else torch.zeros_like(self.parameter(name))
            for name in self.names
        }
        chosen = agreed(lowest(quiet, among, count))
        for name, deaths in self.died.items():
            deaths[chosen[name]] = -1
        return self.masks.regrow(chosen, self.optimizer)

    def _listener(self, name: str) -> Any:
        def listen(gradient: Tensor) -> None:
            if self.hears:  # summed, for a step may accumulate several backward passes
                # a copy: the tensor itself becomes the gradient, in which the dead are muted; and finite, for what
                # overflows in a step that GradScaler skips is heard too
                call = gradient.detach().nan_to_num(0, 0, 0)
                self._calls[name] = self._calls[name] + call if name in self._calls else call

        return listen


class Neurons(Prunable):
    """Whole units; in every layer the same share of its first width, the weakest by strength. None keeps less than one."""

    stores: ClassVar = {**Prunable.stores, "widths": {}}

    def __init__(self, model: nn.Module, optimizer: Optimizer, chosen: Sequence[Units]) -> None:
        self.units = list(chosen)
        self.widths = {unit.name: unit.width(model) for unit in chosen}
        self.size = sum(self.widths.values())
        held = {
            name
            for unit in chosen
            for name in unit.synapses(model, torch.ones(unit.width(model), dtype=torch.bool))
        }
        super().__init__(model, optimizer, [name for name, _ in model.named_parameters() if name in held])

    @property
    def dead(self) -> int:  # type: ignore[override]
        """Removed ones count; a unit is dead when none of its synapses is worth anything."""
        return self.size - sum(int(torch.count_nonzero(unit.strength(self.model))) for unit in self.units)

    def reach(self, target: float, step: int) -> Deaths:
        before = self.dead
        for unit in self.units:
            strength, width = unit.strength(self.model), self.widths[unit.name]
            doomed = torch.zeros(len(strength), dtype=torch.bool)
            gone = width - len(strength)  # cut out for real meanwhile
            count = min(round(target * width), width - 1) - gone
            doomed[strength.argsort(stable=True).cpu()[: max(0, count)]] = True
            self.masks.prune(agreed(unit.synapses(self.model, doomed)), self.optimizer)
        return Deaths(self.dead - before)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"widths": dict(self.widths)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.widths = dict(state["widths"])
