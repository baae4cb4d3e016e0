"""Cut units out of a model for real: smaller tensors, and the optimizer's moments cut along with them.

Every parameter is exchanged through `parts.exchange`, which tells the optimizer; its mask is cut the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from coppice.parts.exchange import check_cuttable, check_trained, replace
from coppice.parts.masks import SUFFIX
from coppice.parts.pieces import Piece, Units, order
from coppice.parts.resizing import State as State
from coppice.parts.resizing import declare_size
from coppice.parts.tracing import unwrap
from coppice.parts.units import check_units, units


@dataclass(frozen=True)
class Compaction:
    """What `compact` did: units removed by layer, parameters before and after."""

    removed: dict[str, int]
    parameters_before: int
    parameters_after: int


def compact(
    model: nn.Module, optimizer: Optimizer | None = None, neurons: Sequence[Units] | None = None
) -> Compaction:
    """Remove every dead unit; outputs stay equal (to rounding) and training can go on without a break.

    A unit, be it a neuron, a channel, a hidden unit of an RNN, LSTM or GRU or an attention head, is dead when nobody
    hears it: all its outgoing synapses are zero and, should a LayerNorm average it with the others, what it says
    there is always zero too. Each group keeps at least one unit; the layers and directions of a recurrent module,
    which have one size, all lose as many as the one with the fewest dead. Works in place, on the model and on the
    optimizer that trains it. `neurons`: the units, when they are not to be found by `parts.units`. Raises ValueError
    as `keep_neurons` does, before anything is cut.
    """
    inner = unwrap(model)
    listed = units(inner) if neurons is None else list(neurons)
    _check(inner, listed, optimizer)
    before, removed = count_parameters(inner), dict.fromkeys((group.name for group in listed), 0)
    together: dict[str, list[Units]] = {}
    for group in listed:
        together.setdefault(group.group, []).append(group)
    while True:  # until nothing dies any more: who was heard only by the dead is heard by nobody
        found = False
        for members in reversed(together.values()):
            kept = _survivors(inner, members)
            if kept:
                found = True
                gone = members[0].width(inner) - len(kept[members[0]])
                for member in members:
                    member.count_silent(inner, gone)
                    removed[member.name] += gone
                _keep(inner, kept, optimizer)
        if not found:
            break
    return Compaction({name: gone for name, gone in removed.items() if gone}, before, count_parameters(inner))


def keep_neurons(
    model: nn.Module,
    population: Units,
    kept: Tensor,
    optimizer: Optimizer | None = None,
    count_silent: bool = False,
) -> None:
    """Keep only these units of a group, in this order: rows, biases, norm entries, columns, moments, masks.

    kept: indices [n], n >= 1, each in [0, width), none twice. With `count_silent`, a LayerNorm goes on counting
    the removed neurons as zeros (exact for dead neurons); otherwise it normalises over the kept ones only.
    Raises ValueError, before anything is cut, for indices or units that do not fit, for an optimizer that
    does not train these parameters, and for one whose state has no entry per synapse and so cannot be cut.
    """
    inner = unwrap(model)
    _check(inner, [population], optimizer)
    width = population.width(inner)
    if kept.dtype not in (torch.int64, torch.int32) or kept.ndim != 1:
        raise ValueError(
            f"kept must be a list of whole numbers, but is {kept.dtype} of shape {list(kept.shape)}: "
            "of a mask take mask.nonzero().flatten()."
        )
    kept = kept.long().cpu()
    if not 1 <= kept.numel() <= width or kept.unique().numel() != kept.numel():
        raise ValueError(
            f"kept must name between 1 and {width} different neurons of '{population.name}', but is "
            f"{kept.tolist()}."
        )
    if strangers := [index for index in kept.tolist() if not 0 <= index < width]:
        raise ValueError(
            f"kept names neuron {strangers[0]} of '{population.name}', which has {width} (0 to {width - 1})."
        )
    if count_silent and len(kept) < width:
        population.count_silent(inner, width - len(kept))
    _keep(inner, {population: kept}, optimizer)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable and frozen parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters())


def _survivors(model: nn.Module, members: Sequence[Units]) -> dict[Units, Tensor]:
    """Who stays, by index, when as many dead go as all members have; empty when nobody goes."""
    dead = [member.dead(model).cpu().nonzero().flatten() for member in members]
    width = members[0].width(model)
    count = min(width - 1, *(len(those) for those in dead))
    if count < 1:
        return {}
    kept = {}
    for member, those in zip(members, dead, strict=True):
        stays = torch.ones(width, dtype=torch.bool)
        stays[those[-count:]] = False
        kept[member] = stays.nonzero().flatten()
    return kept


def _keep(model: nn.Module, kept: Mapping[Units, Tensor], optimizer: Optimizer | None) -> None:
    """Cut all groups that share a size at once: a tensor's axis may hold units of several of them."""
    width = next(iter(kept)).width(model)
    for group, stay in kept.items():
        if len(stay) < width:
            group.prepare_cut(model)
    cuts: dict[tuple[str, int], list[tuple[Piece, Tensor]]] = {}
    for group, stay in kept.items():
        for piece in _pieces(model, group):
            cuts.setdefault((piece.tensor, piece.dim), []).append((piece, stay))
    for (name, dim), shares in cuts.items():
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        size = getattr(module, leaf).shape[dim]
        _cut(module, leaf, dim, order(size, width, shares), optimizer)
    for owner in dict.fromkeys(name.rpartition(".")[0] for name, _ in cuts):
        declare_size(model.get_submodule(owner))


def _pieces(model: nn.Module, group: Units) -> list[Piece]:
    return group.inward(model) + group.entries(model) + group.outward(model)


def _cut(module: nn.Module, name: str, dim: int, kept: Tensor, optimizer: Optimizer | None) -> None:
    if name in module._parameters:
        replace(module, name, lambda old: old.index_select(dim, kept.to(old.device)), optimizer)
    else:
        tensor = getattr(module, name)
        module._buffers[name] = tensor.index_select(dim, kept.to(tensor.device))
    if (alive := module._buffers.get(name + SUFFIX)) is not None:
        module._buffers[name + SUFFIX] = alive.index_select(dim, kept.to(alive.device))


def _check(model: nn.Module, listed: Sequence[Units], optimizer: Optimizer | None) -> None:
    """Whether these units and their optimizer can be cut; before the first cut, so that none is left half-way."""
    check_units(model, listed)
    owners = {piece.tensor.rpartition(".")[0] for group in listed for piece in _pieces(model, group)}
    check_trained(model, owners, optimizer)
    check_cuttable(optimizer)
