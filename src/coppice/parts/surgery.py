"""Cut neurons out of a model for real: smaller tensors, and the optimizer's moments cut along with them.

Every change of a parameter goes through `_replace`: a new Parameter takes the old one's place in the module, its
mask is cut the same way, and the optimizer, the same object as before, finds the new one in its groups and its
state. So schedulers and scalers that hold the optimizer go on working.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from coppice.parts.layers import ShrunkLayerNorm
from coppice.parts.neurons import BATCH_NORMS, Population, populations

State = dict[str, Any]


@dataclass(frozen=True)
class Compaction:
    """What `compact` did: neurons removed by layer, parameters before and after."""

    removed: dict[str, int]
    parameters_before: int
    parameters_after: int


def compact(model: nn.Module, optimizer: Optimizer | None = None) -> Compaction:
    """Remove every dead neuron; outputs stay equal (to rounding) and training can go on without a break.

    A neuron is dead when all its outgoing synapses are zero: whatever it says, nobody hears it. Each population
    keeps at least one neuron. Works in place, on the model and on the optimizer that trains it.
    """
    before = count_parameters(model)
    removed: dict[str, int] = {}
    for population in populations(unwrap(model)):
        alive = (population.outgoing_weight(unwrap(model)) != 0).any(1)
        if not alive.any():
            alive[0] = True
        if gone := int((~alive).sum()):
            keep_neurons(model, population, alive.nonzero().flatten(), optimizer, count_silent=True)
            removed[population.incoming] = gone
    return Compaction(removed, before, count_parameters(model))


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
    Raises ValueError for indices that do not fit, and, before anything is cut, for an optimizer whose state has
    no entry per synapse and so cannot be cut.
    """
    model = unwrap(model)
    width = population.width(model)
    kept = kept.long().cpu()
    if kept.ndim != 1 or not 1 <= kept.numel() <= width or kept.unique().numel() != kept.numel():
        raise ValueError(
            f"kept must list between 1 and {width} different neurons of '{population.incoming}'."
        )
    if int(kept.min()) < 0 or int(kept.max()) >= width:
        raise ValueError(
            f"kept names neuron {int(kept.max())} of '{population.incoming}', which has {width} (0 to {width - 1})."
        )
    incoming, outgoing = model.get_submodule(population.incoming), model.get_submodule(population.outgoing)
    norms = [model.get_submodule(name) for name in population.norms]
    _check_state([incoming, outgoing, *norms], optimizer)

    columns = (kept[:, None] * population.spread + torch.arange(population.spread)).flatten()
    _cut(incoming, "weight", 0, kept, optimizer)
    _cut(incoming, "bias", 0, kept, optimizer)
    _cut(outgoing, "weight", 1, columns, optimizer)
    for name, norm in zip(population.norms, norms, strict=True):
        if isinstance(norm, nn.LayerNorm) and count_silent and len(kept) < width:
            norm = _count_silent(model, name, norm, width - len(kept))
        for entry in ("weight", "bias", "running_mean", "running_var"):
            _cut(norm, entry, 0, kept, optimizer)
    for module in (incoming, outgoing, *(model.get_submodule(name) for name in population.norms)):
        _declare_size(module)


def resize(model: nn.Module, shapes: State, optimizer: Optimizer | None = None) -> None:
    """Give every parameter and buffer the shape of its namesake in a state dict; values are left to be loaded.

    The way back from a smaller network to a larger one, and from a fresh model to a shrunken checkpoint.
    Raises ValueError when the names differ.
    """
    model = unwrap(model)
    for name in shapes:
        owner, _, leaf = name.rpartition(".")
        if leaf == "silent" and isinstance(norm := model.get_submodule(owner), nn.LayerNorm):
            if not isinstance(norm, ShrunkLayerNorm):
                _count_silent(model, owner, norm, 0)
        elif leaf.endswith("_alive") and hasattr(
            module := model.get_submodule(owner), leaf.removesuffix("_alive")
        ):
            module.register_buffer(
                leaf, torch.ones_like(getattr(module, leaf.removesuffix("_alive")), dtype=torch.bool)
            )
    own = model.state_dict()
    if missing := sorted(own.keys() ^ shapes.keys()):
        raise ValueError(
            f"the stored network and this {type(model).__name__} are not of one build: only one of them has "
            f"{', '.join(repr(n) for n in missing[:4])}{' ...' if len(missing) > 4 else ''}."
        )
    for name, stored in shapes.items():
        if not isinstance(stored, Tensor) or own[name].shape == stored.shape:
            continue
        if own[name].ndim != stored.ndim:
            raise ValueError(
                f"'{name}' is {list(own[name].shape)} here but {list(stored.shape)} in the stored network."
            )
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        empty = torch.zeros(stored.shape, dtype=own[name].dtype, device=own[name].device)
        if leaf in module._parameters:
            _replace(module, leaf, lambda old, like=empty: like.to(old.dtype), optimizer)
        else:
            module._buffers[leaf] = empty
        _declare_size(module)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside torch.compile's wrapper; other wrappers are refused, for they hold on to the old tensors."""
    if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        raise ValueError(
            f"{type(model).__name__} holds the old tensors: cut `model.module`, then wrap it again."
        )
    inner = getattr(model, "_orig_mod", model)
    return inner if isinstance(inner, nn.Module) else model


def count_parameters(model: nn.Module) -> int:
    """Number of trainable and frozen parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters())


def _cut(module: nn.Module, name: str, dim: int, kept: Tensor, optimizer: Optimizer | None) -> None:
    tensor = getattr(module, name, None)
    if tensor is None:
        return
    if name in module._parameters:
        _replace(module, name, lambda old: old.index_select(dim, kept.to(old.device)), optimizer)
    else:
        module._buffers[name] = tensor.index_select(dim, kept.to(tensor.device))
    if (alive := module._buffers.get(f"{name}_alive")) is not None:
        module._buffers[f"{name}_alive"] = alive.index_select(dim, kept.to(alive.device))


def _replace(
    module: nn.Module, name: str, change: Callable[[Tensor], Tensor], optimizer: Optimizer | None
) -> None:
    """The one door through which a parameter is exchanged; `change` maps the old tensor, and each moment, to the new."""
    old: nn.Parameter = getattr(module, name)
    new = nn.Parameter(change(old.detach()).clone(), requires_grad=old.requires_grad)
    if old.grad is not None:
        new.grad = change(old.grad).clone()
    module._parameters[name] = new
    if optimizer is None:
        return
    for group in optimizer.param_groups:
        group["params"] = [new if p is old else p for p in group["params"]]
    if old in optimizer.state:
        state = optimizer.state.pop(old)
        optimizer.state[new] = {
            key: change(value).clone() if isinstance(value, Tensor) and value.shape == old.shape else value
            for key, value in state.items()
        }


def _check_state(modules: Iterable[nn.Module], optimizer: Optimizer | None) -> None:
    if optimizer is None:
        return
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for module in modules:
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in known:
                raise ValueError(
                    f"the {type(optimizer).__name__} given does not train '{name}' of {module}: pass the optimizer that "
                    "was built on this very model, or freeze the parameter."
                )
            for key, value in optimizer.state.get(parameter, {}).items():
                whole = isinstance(value, (list, dict)) and len(value) > 0
                if whole or (isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape):
                    raise ValueError(
                        f"{type(optimizer).__name__} keeps '{key}' for '{name}' in a form that has no entry per synapse, "
                        "so it cannot be cut along. Use an element-wise optimizer such as AdamW or SGD, or cut "
                        "without the optimizer and start a new one."
                    )


def _count_silent(model: nn.Module, name: str, norm: nn.LayerNorm, gone: int) -> ShrunkLayerNorm:
    if not isinstance(norm, ShrunkLayerNorm):
        shrunk = ShrunkLayerNorm(
            norm.normalized_shape[0], norm.eps, norm.weight is not None, norm.bias is not None
        )
        shrunk._parameters = norm._parameters  # the very parameters, so that the optimizer knows them
        shrunk._buffers.update(norm._buffers)
        reference = norm.weight if norm.weight is not None else next(iter(model.parameters()))
        shrunk.silent = shrunk.silent.to(reference.device)
        shrunk.train(norm.training)
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, shrunk)
        norm = shrunk
    norm.silent += gone
    return norm


def _declare_size(module: nn.Module) -> None:
    """Bring the sizes a module states of itself in line with its tensors."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, (nn.Conv1d, nn.Conv2d)):
        module.out_channels, module.in_channels = module.weight.shape[:2]
    elif isinstance(module, BATCH_NORMS):
        entries = weight if weight is not None else module.running_mean
        if entries is not None:
            module.num_features = entries.shape[0]
    elif isinstance(module, nn.LayerNorm) and weight is not None:
        module.normalized_shape = (weight.shape[0],)
