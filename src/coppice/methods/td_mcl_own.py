"""What is each local kernel worth to its own task? Measured once, on its own samples, when the task has been learned."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from coppice.parts.kernels import LocalConv
from coppice.parts.selection import lowest

STAGES = 10
LEFT = 0.2  # share of a layer's living kernels that the last stage finds
PASSES = 2  # over the samples, by all stages together
OWN = "own masses"  # as an error names them
LOT = 20  # samples behind one gradient: what one needs and another does not must not cancel out

Masses = Callable[[Sequence[Tensor]], list[Tensor]]  # of each layer, summed over these parts of the samples


@torch.no_grad()
def expect(layers: Sequence[LocalConv], answer: Callable[[], None]) -> None:
    """Each layer keeps the mean of what it gets while `answer` puts the task's samples through the network.

    So a kernel that dies later can leave its mean behind: one number an input channel and tap, over all samples.
    """
    sums: dict[LocalConv, Tensor] = {}
    counts: dict[LocalConv, int] = {}

    def listen(layer: LocalConv, inputs: tuple[Tensor]) -> None:
        (x,) = inputs
        sums[layer] = sums.get(layer, torch.zeros_like(x[0])) + x.sum(0)
        counts[layer] = counts.get(layer, 0) + len(x)

    hooks = [layer.register_forward_pre_hook(listen) for layer in layers]
    try:
        answer()
    finally:
        for hook in hooks:
            hook.remove()
    for layer, whole in sums.items():
        layer.expect(whole / counts[layer])


def at_once(layers: Sequence[LocalConv], parts: Sequence[Tensor], masses: Masses) -> None:
    """Own masses from one pass over all samples, with every kernel in its place."""
    for layer, mass in zip(layers, masses(parts), strict=True):
        layer.own.copy_(mass)


def in_turn(layers: Sequence[LocalConv], parts: Sequence[Tensor], masses: Masses) -> None:
    """Own masses of kernels that are taken out for a while, the least first: each is measured in what is left by then.

    At once, two kernels that stand in for each other both look idle; in turn, the second one does not. The masses of a layer
    rise in the order in which its kernels went, and are of the size of a whole pass.
    """
    lots = torch.cat(list(parts)).split(LOT)
    each = math.ceil(PASSES * len(lots) / STAGES)
    living = [int(layer.alive.sum()) for layer in layers]
    least = [0.0] * len(layers)
    for layer in layers:
        layer.own.zero_()
    for stage in range(STAGES):
        chosen = [lots[number % len(lots)] for number in range(stage * each, (stage + 1) * each)]
        for number, (layer, found) in enumerate(zip(layers, masses(chosen), strict=True)):
            mass = (found * len(lots) / each).clamp_min(least[number])
            standing = layer.alive & (layer.q == 0)
            going = standing
            if stage < STAGES - 1:
                stay = math.ceil(living[number] * LEFT ** ((stage + 1) / (STAGES - 1)))
                going = lowest({OWN: mass}, {OWN: standing}, max(0, int(standing.sum()) - stay))[OWN]
            layer.own[going] = mass[going]
            layer.q[going] = 1.0
            least[number] = float(layer.own.max())
    for layer in layers:
        layer.q.zero_()
