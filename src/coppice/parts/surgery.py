"""Cut neurons out of a model for real: smaller tensors, and the optimizer's moments cut along with them.

Every parameter is exchanged through `parts.exchange`, which tells the optimizer; its mask is cut the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from coppice.parts.exchange import check_cuttable, check_trained, replace
from coppice.parts.layers import ShrunkLayerNorm
from coppice.parts.masks import SUFFIX
from coppice.parts.neurons import BATCH_NORMS, Population, check_populations, populations, unwrap

State = dict[str, Any]


@dataclass(frozen=True)
class Compaction:
    """What `compact` did: neurons removed by layer, parameters before and after."""

    removed: dict[str, int]
    parameters_before: int
    parameters_after: int


def compact(
    model: nn.Module, optimizer: Optimizer | None = None, neurons: Sequence[Population] | None = None
) -> Compaction:
    """Remove every dead neuron; outputs stay equal (to rounding) and training can go on without a break.

    A neuron is dead when nobody hears it: all its outgoing synapses are zero and, should a LayerNorm average it
    with the others, what it says there is always zero too. Each population keeps at least one neuron. Works in
    place, on the model and on the optimizer that trains it. `neurons`: the populations, when they are not to be
    found by tracing. Raises ValueError as `keep_neurons` does, before anything is cut.
    """
    inner = unwrap(model)
    listed = populations(inner) if neurons is None else list(neurons)
    _check(inner, listed, optimizer)
    before, removed = count_parameters(inner), {}
    for population in reversed(listed):  # backwards: who was heard only by the dead is heard by nobody
        alive = ~_dead(inner, population)
        if not alive.any():
            alive[0] = True
        if gone := int((~alive).sum()):
            keep_neurons(inner, population, alive.nonzero().flatten(), optimizer, count_silent=True)
            removed[population.incoming] = gone
    return Compaction(dict(reversed(removed.items())), before, count_parameters(inner))


def keep_neurons(
    model: nn.Module,
    population: Population,
    kept: Tensor,
    optimizer: Optimizer | None = None,
    count_silent: bool = False,
) -> None:
    """Keep only these neurons of a population, in this order: rows, biases, norm entries, columns, moments, masks.

    kept: indices [n], n >= 1, each in [0, width), none twice. With `count_silent`, a LayerNorm goes on counting
    the removed neurons as zeros (exact for dead neurons); otherwise it normalises over the kept ones only.
    Raises ValueError, before anything is cut, for indices or a population that do not fit, for an optimizer that
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
            f"kept must name between 1 and {width} different neurons of '{population.incoming}', but is "
            f"{kept.tolist()}."
        )
    if strangers := [index for index in kept.tolist() if not 0 <= index < width]:
        raise ValueError(
            f"kept names neuron {strangers[0]} of '{population.incoming}', which has {width} (0 to {width - 1})."
        )
    incoming, outgoing = inner.get_submodule(population.incoming), inner.get_submodule(population.outgoing)
    norms = [inner.get_submodule(name) for name in population.norms]
    columns = (kept[:, None] * population.spread + torch.arange(population.spread)).flatten()
    _cut(incoming, "weight", 0, kept, optimizer)
    _cut(incoming, "bias", 0, kept, optimizer)
    _cut(outgoing, "weight", 1, columns, optimizer)
    for norm in norms:
        for entry in ("weight", "bias", "running_mean", "running_var"):
            _cut(norm, entry, 0, kept, optimizer)
        if isinstance(norm, nn.LayerNorm) and count_silent and len(kept) < width:
            ShrunkLayerNorm.convert(norm).silent += width - len(kept)
    for module in (incoming, outgoing, *norms):
        _declare_size(module)


def resize(model: nn.Module, shapes: State, optimizer: Optimizer | None = None) -> None:
    """Give every parameter and buffer the shape of its namesake in a state dict; values are left to be loaded.

    The way back from a smaller network to a larger one, and from a fresh model to a shrunken checkpoint: masks and
    the counters of shrunken LayerNorms come and go as the state dict has them. Raises ValueError, before anything
    is changed, when the names or the numbers of dimensions differ, or when the optimizer trains another model.
    """
    inner = unwrap(model)
    own = inner.state_dict()
    extra = [name for name in (own | shapes) if name not in own or name not in shapes]
    if missing := [name for name in extra if not _may_come_and_go(inner, name)]:
        raise ValueError(
            f"the stored network and this {type(inner).__name__} are not of one build: only one of them has "
            f"{', '.join(repr(n) for n in missing[:4])}{' ...' if len(missing) > 4 else ''}."
        )
    changed = []
    for name, stored in shapes.items():
        here = own.get(name)
        if not isinstance(here, Tensor) or here.shape == stored.shape:
            continue
        if here.ndim != stored.ndim:
            raise ValueError(
                f"'{name}' is {list(here.shape)} here but {list(stored.shape)} in the stored network."
            )
        changed.append(name)
    check_trained(inner, {name.rpartition(".")[0] for name in changed}, optimizer)
    for name in extra:
        _come_or_go(inner, name, shapes.get(name))
    for name in changed:
        owner, _, leaf = name.rpartition(".")
        module, shape = inner.get_submodule(owner), shapes[name].shape
        if leaf in module._parameters:
            replace(module, leaf, lambda old, shape=shape: old.new_zeros(shape), optimizer)  # type: ignore[misc]
        else:
            module._buffers[leaf] = own[name].new_zeros(shape)
        _declare_size(module)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable and frozen parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters())


def _dead(model: nn.Module, population: Population) -> Tensor:
    """[neuron], True where its removal changes no output."""
    dead = (population.outgoing_weight(model) == 0).all(1)
    source = model.get_submodule(population.incoming)
    for name in population.norms:
        norm = model.get_submodule(name)
        if isinstance(norm, nn.LayerNorm):  # a neuron dies in all three or in none
            dead &= _silent(source, len(dead)).to(dead.device)
        source = norm
    return dead


def _silent(source: nn.Module, width: int) -> Tensor:
    """[neuron], True where what a layer or norm gives out is zero whatever it reads."""
    if source._parameters["weight"] is None:
        return torch.zeros(width, dtype=torch.bool)
    given = [p.detach().reshape(width, -1) for p in source._parameters.values() if p is not None]
    return (torch.cat(given, 1) == 0).all(1)


def _cut(module: nn.Module, name: str, dim: int, kept: Tensor, optimizer: Optimizer | None) -> None:
    tensor = getattr(module, name, None)
    if tensor is None:
        return
    if name in module._parameters:
        replace(module, name, lambda old: old.index_select(dim, kept.to(old.device)), optimizer)
    else:
        module._buffers[name] = tensor.index_select(dim, kept.to(tensor.device))
    if (alive := module._buffers.get(name + SUFFIX)) is not None:
        module._buffers[name + SUFFIX] = alive.index_select(dim, kept.to(alive.device))


def _check(model: nn.Module, listed: Sequence[Population], optimizer: Optimizer | None) -> None:
    """Whether these populations and their optimizer can be cut; before the first cut, so that none is left half-way."""
    check_populations(model, listed)
    check_trained(model, {name for p in listed for name in (p.incoming, *p.norms, p.outgoing)}, optimizer)
    check_cuttable(optimizer)


def _may_come_and_go(model: nn.Module, name: str) -> bool:
    """Masks and the counter of a shrunken LayerNorm: what a network may have at one moment and not at another."""
    owner, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(owner)
    except AttributeError:
        return False
    if leaf == "silent":
        return type(module) in (nn.LayerNorm, ShrunkLayerNorm)
    return leaf.endswith(SUFFIX) and leaf.removesuffix(SUFFIX) in module._parameters


def _come_or_go(model: nn.Module, name: str, stored: Tensor | None) -> None:
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    if isinstance(module, nn.LayerNorm) and leaf == "silent":
        if stored is not None:
            ShrunkLayerNorm.convert(module)
        elif isinstance(module, ShrunkLayerNorm):
            module.revert()
    elif stored is None:
        delattr(module, leaf)
    else:
        parameter = module.get_parameter(leaf.removesuffix(SUFFIX))
        module.register_buffer(leaf, torch.ones(stored.shape, dtype=torch.bool, device=parameter.device))


def _declare_size(module: nn.Module) -> None:
    """Bring the sizes a module states of itself in line with its tensors."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, (nn.Conv1d, nn.Conv2d)):
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, BATCH_NORMS):
        entries = weight if weight is not None else module.running_mean
        if entries is not None:
            module.num_features = entries.shape[0]
    elif isinstance(module, nn.LayerNorm) and weight is not None:
        module.normalized_shape = (weight.shape[0],)
