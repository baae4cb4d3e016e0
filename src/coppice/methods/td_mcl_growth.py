"""Grow: how wide a new module may be, and from which earlier one it starts."""

import torch
from torch import Tensor

from coppice.methods.td_mcl_inhibition import Inhibition
from coppice.methods.td_mcl_network import Module, Network, synapses
from coppice.methods.td_mcl_options import TDMCL
from coppice.parts.feedback import norm

RIDGE = 1e-3  # of the mean square of a rate


def predecessor(
    network: Network,
    number: int,
    learned: tuple[Tensor, Tensor],
    held: tuple[Tensor, Tensor],
    batch: int,
) -> int:
    """The earlier module whose last spikes tell this task's classes apart best; of equals the younger.

    A ridge regression on its firing rates is fitted on `learned` and judged on `held`. Where inputs have another shape,
    they are heard through a sense that has learned nothing yet.
    """
    known, unknown = (_rates(network, number, x, batch) for x in (learned[0], held[0]))
    found = []
    for earlier in range(number):
        guessed = (unknown[earlier] @ _ridge(known[earlier], learned[1])).argmax(1)
        found.append((int((guessed == held[1]).sum()), earlier))
    return max(found)[1]


@torch.no_grad()
def _rates(network: Network, number: int, x: Tensor, batch: int) -> list[Tensor]:
    """Mean over time and places of the last block's spikes, and a 1: of each earlier module [sample, channel + 1] float64"""
    network.eval()
    readout = {len(network.plan.widths): list(range(number))}
    found: list[list[Tensor]] = [[] for _ in range(number)]
    for part in x.split(batch):
        activity = network.activity(part, number, readout)
        for earlier, rates in enumerate(found):
            spikes = activity[earlier].spikes[-1]
            rates.append(spikes.unflatten(0, (-1, len(part))).mean((0, 3, 4)).double())
    return [torch.cat([torch.cat(rates), rates[0].new_ones(len(x), 1)], 1) for rates in found]


def _ridge(rates: Tensor, y: Tensor) -> Tensor:
    targets = torch.nn.functional.one_hot(y).double()
    square = rates.T @ rates
    slack = RIDGE * square.trace() / len(square)
    return torch.linalg.solve(square + slack * torch.eye(len(square)).to(square), rates.T @ targets)


def fitting_width(
    method: TDMCL, network: Network, shape: tuple[int, ...], classes: int, allowed: int
) -> float:
    """The greatest width at which the network, once the task is learned, should have no more than `allowed` synapses.

    What the old modules will give is forecast from their own worth alone, for there is no feedback yet. Raises
    ValueError where the narrowest module does not fit.
    """
    now = synapses(network)
    given = Inhibition(method, network, len(network.names)).forecast()
    full = max(network.plan.widths)
    size = 0
    for channels in range(full, 0, -1):
        size = settled_size(method, network.sketch(shape, classes, channels / full))
        if now - given + size <= allowed:
            return channels / full
    raise ValueError(
        f"growth is 'strict', but the network has {now} living synapses, of which old modules can give about {given}, and"
        f" the narrowest new module needs {size}: more than the {allowed} after the first task. Raise own_budget, inhibit"
        " and cap, keep fewer links, lower refine, or set growth to 'full'."
    )


def settled_size(method: TDMCL, sketch: Module) -> int:
    """Living synapses of a module once it is refined and has its links; of links the largest are counted."""
    size = synapses(sketch)
    for local in sketch.locals():
        kernels = local.layer.own.numel()
        size -= round(refined(method, kernels) * kernels) * local.layer.taps
    for block, sources in sketch.wiring().items():
        sizes = sorted((sketch.synapses_from(block, earlier).numel() for earlier in sources), reverse=True)
        kept = {"all": len(sizes), "none": 0}.get(method.evolution, method.links)
        size -= sum(sizes[kept:])
    return size


def refined(method: TDMCL, kernels: int) -> float:
    """Share of a layer's kernels that refinement lets die; one stays."""
    return min(1 - method.refine, 1 - 1 / kernels)


def surplus_kernels(module: Module, surplus: int) -> list[Tensor]:
    """The kernels worth least to their own task that hold at least `surplus` synapses, bool by layer.

    Every layer keeps one. Raises RuntimeError where that is not enough.
    """
    locals_ = module.locals()
    doomed = [torch.zeros_like(local.layer.alive) for local in locals_]
    candidates = []
    for number, local in enumerate(locals_):
        worths = norm(local.layer.own, local.layer.alive).tolist()
        places = local.layer.alive.nonzero().tolist()
        ranked = sorted((worths[o][i], number, o, i) for o, i in places)
        candidates += ranked[:-1]
    left = surplus
    for _, number, o, i in sorted(candidates):
        if left <= 0:
            break
        doomed[number][o, i] = True
        left -= locals_[number].layer.taps
    if left > 0:
        raise RuntimeError(
            f"growth is 'strict', but {surplus} synapses are too many and the new module can give {surplus - left} only:"
            " raise own_budget, inhibit and cap, keep fewer links, lower refine, or set growth to 'full'."
        )
    return doomed
