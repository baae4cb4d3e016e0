"""Inhibit, prune: later modules say which local kernels of earlier ones they call for; the others fade, then die.

Two bounds hold whatever is asked for: a task takes no more than a share of a layer's living kernels, and no more than a
share of the layer's own mass, which bounds to first order what the old task can lose, without a sample of it.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from coppice.methods.td_mcl_network import Network
from coppice.methods.td_mcl_options import TDMCL
from coppice.parts.feedback import call, condemned, feedback, magnitudes, norm, survival, traces, worth
from coppice.parts.kernels import LocalConv

# of "survival"; all epochs as shares, so that a kernel dies when its worth stays below about RHO / 3
RHO = 0.5  # worth at which it neither gains nor loses, doubled
BONUS = 2.0  # for gaining
ONSET = 0.3  # of the epochs, before the first change
SLOW = 0.25  # of the epochs, in which changes fall to 1/e


class Old(NamedTuple):
    """A layer of local synapses of an earlier module; `key` names it in the network."""

    key: str
    module: int
    layer: LocalConv


def old_layers(network: Network, number: int) -> Iterator[Old]:
    """Of all modules before that number, in order."""
    for module in range(number):
        for local in network.module(module).locals():
            yield Old(f"{module}.{local.name}", module, local.layer)


class Inhibition:
    """Inhibition of old kernels while one task is learned. What is inhibited stands in the layers themselves.

    before:   of each old layer, living kernels and own mass already dead, when the task began
    survival: R of each kernel, "survival" only
    """

    def __init__(self, method: TDMCL, network: Network, number: int) -> None:
        self.method, self.network, self.number = method, network, number
        self.before = {old.key: (int(old.layer.alive.sum()), _spent(old.layer)) for old in self._layers()}
        self.survival: dict[str, Tensor] = {}

    def _layers(self) -> list[Old]:
        return list(old_layers(self.network, self.number)) if self.method.inhibit else []

    def _left(self, old: Old) -> tuple[int, float]:
        """How many more kernels, of how much own mass, this task may take from a layer."""
        method, own = self.method, old.layer.own
        capped = method.growth == "strict" or method.inhibition == "survival"
        living, spent = self.before[old.key]
        mass = float(own.double().sum())
        budget = min(method.task_budget * mass, method.own_budget * mass - spent)
        taken = living - int(old.layer.alive.sum())
        most = math.floor((method.cap if capped else method.inhibit) * living)
        return max(0, most - taken), budget - (_spent(old.layer) - spent)

    def forecast(self) -> int:
        """Synapses that old modules would give if there were no feedback."""
        given = 0
        for old in self._layers():
            layer = old.layer
            worths = worth(layer.own, torch.zeros_like(layer.own), layer.alive, self.method.kappa)
            given += int(condemned(worths, layer.own, layer.alive, *self._left(old)).sum()) * layer.taps
        return given

    def condemn(self, x: Tensor, batch: int, chance: torch.Generator) -> None:
        """ "rank": the kernels of least worth are those to be inhibited, as `ramp` then says; `x`: samples of the new task."""
        for old, worths in self._worths(x, batch, chance):
            old.layer.q.copy_(condemned(worths, old.layer.own, old.layer.alive, *self._left(old)))

    def ramp(self, progress: float) -> None:
        """ "rank": all that is inhibited is inhibited so far, in (0, 1]."""
        for old in self._layers():
            old.layer.q.copy_(progress * (old.layer.q > 0))

    def survive(self, x: Tensor, batch: int, chance: torch.Generator, epoch: int, epochs: int) -> None:
        """ "survival": one epoch's change of R.

        Of the kernels whose R sinks below its start, those with the lowest are inhibited by q = 1 - R / R_0 and die at
        R < 0, as far as the bounds allow; the others are spared.
        """
        slow = SLOW * epochs
        start = RHO * slow / 2
        for old, worths in self._worths(x, batch, chance):
            layer = old.layer
            value = self.survival.get(old.key, torch.full_like(layer.own, start))
            value = survival(value, worths, epoch, math.ceil(ONSET * epochs), slow, RHO, BONUS)
            sinking = layer.alive & (value < start)
            chosen = condemned(value, layer.own, sinking, *self._left(old))
            value = torch.where(chosen, value, value.clamp_min(0))
            layer.q.copy_((1 - value / start).clamp(0, 1) * chosen)
            layer.prune(chosen & (value < 0))
            self.survival[old.key] = value

    def settle(self) -> dict[int, int]:
        """The end of the task: what is condemned by rank dies, what survived is released. Kernels dead in this task, by module."""
        dead: dict[int, int] = {}
        for old in self._layers():
            if self.method.inhibition == "rank":
                old.layer.prune(old.layer.q > 0)
            old.layer.q.zero_()
            taken = self.before[old.key][0] - int(old.layer.alive.sum())
            dead[old.module] = dead.get(old.module, 0) + taken
        return dead

    def _worths(self, x: Tensor, batch: int, chance: torch.Generator) -> Iterator[tuple[Old, Tensor]]:
        """The worth of each old kernel by the method's measure, [output, input]."""
        measure = self.method.worth
        fed = (
            feedback_by_layer(self.network, self.number, x, batch) if measure in ("gated", "feedback") else {}
        )
        for old in self._layers():
            own, alive = old.layer.own, old.layer.alive
            called = fed.get(old.key, torch.zeros_like(own))
            if measure == "feedback":
                yield old, norm(called, alive)
            elif measure == "magnitude":
                yield old, norm(magnitudes(old.layer.weight), alive)
            elif measure == "random":
                yield old, torch.rand(own.shape, generator=chance).to(own)
            else:
                yield old, worth(own, called, alive, self.method.kappa)

    def state_dict(self) -> dict[str, Any]:
        return {
            "before": {key: list(pair) for key, pair in self.before.items()},
            "survival": {key: value.clone() for key, value in self.survival.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.before = {key: (int(pair[0]), float(pair[1])) for key, pair in state["before"].items()}
        device = {old.key: old.layer.own.device for old in self._layers()}
        self.survival = {key: value.to(device[key], copy=True) for key, value in state["survival"].items()}


@torch.no_grad()
def feedback_by_layer(network: Network, number: int, x: Tensor, batch: int) -> dict[str, Tensor]:
    """fb of each old layer that the task `number` needs, [output, input] by key, while it sees the samples `x`.

    Called are the channels which links of this and of the earlier modules at work read. The hidden layer of a residual
    unit and a module that this task does not need are not called: for them, own worth decides alone. The read-out has no
    spikes; its probabilities stand for them.
    """
    network.eval()
    share = 1.0  # of the samples, in the batch at hand
    steps, blocks = network.plan.steps, len(network.plan.widths)
    layers = {old.key: old.layer for old in old_layers(network, number)}
    rates: dict[str, Tensor] = {}
    called: dict[tuple[int, int], Tensor] = {}
    handles = [
        layer.register_forward_pre_hook(
            lambda _, inputs, key=key: _add(rates, key, inputs[0].mean((0, 2, 3)) * share)
        )
        for key, layer in layers.items()
    ]
    try:
        for part in x.split(batch):
            share = len(part) / len(x)
            activity = network.activity(part, number)
            trace = {
                (module, block): traces(spikes.unflatten(0, (steps, -1)))
                for module, found in activity.items()
                for block, spikes in enumerate(found.spikes)
            }
            for module, found in activity.items():
                trace[module, blocks] = traces(found.logits.softmax(1).expand(steps, -1, -1))
                for block, sources in network.module(module).wiring().items():
                    for source in sources:
                        link = network.module(module).synapses_from(block, source)
                        calls = call(link, trace[source, block - 1], trace[module, block])
                        _add(called, (source, block - 1), calls * share)
    finally:
        for handle in handles:
            handle.remove()
    fed: dict[str, Tensor] = {}
    for module in range(number):
        for local in network.module(module).locals():
            key = f"{module}.{local.name}"
            if local.read and (module, local.block) in called and key in rates:
                fed[key] = feedback(local.layer.weight, rates[key], called[module, local.block])
    return fed


def _add(sums: dict[Any, Tensor], key: Any, value: Tensor) -> None:
    sums[key] = sums[key] + value if key in sums else value


def _spent(layer: LocalConv) -> float:
    """Own mass of the dead."""
    return float(layer.own.double()[~layer.alive].sum())
