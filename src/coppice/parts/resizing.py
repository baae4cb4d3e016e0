"""Give a network the sizes of another build of itself: the way to a snapshot, or to a saved shrunken model."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from coppice.parts import attention
from coppice.parts.chains import BATCH_NORMS
from coppice.parts.exchange import check_trained, replace
from coppice.parts.layers import ShrunkAttention, ShrunkLayerNorm
from coppice.parts.masks import SUFFIX
from coppice.parts.tracing import unwrap

State = dict[str, Any]
GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}  # of torch.nn, by mode


def resize(model: nn.Module, shapes: State, optimizer: Optimizer | None = None) -> None:
    """Give every parameter and buffer the shape of its namesake in a state dict; values are left to be loaded.

    The way back from a smaller network to a larger one, and from a fresh model to a shrunken checkpoint: masks and
    what shrunken LayerNorms and attentions count come and go as the state dict has them. Raises ValueError, before
    anything is changed, when the names or the numbers of dimensions differ, or when the optimizer trains another
    model.
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
    for owner in {name.rpartition(".")[0] for name in changed}:
        declare_size(inner.get_submodule(owner))


def declare_size(module: nn.Module) -> None:
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
    elif isinstance(module, nn.RNNBase):
        module.input_size = module.get_parameter("weight_ih_l0").shape[1]
        module.hidden_size = module.get_parameter("weight_hh_l0").shape[0] // GATES[module.mode]
        if module.proj_size:
            module.proj_size = module.get_parameter("weight_hh_l0").shape[1]
        module._init_flat_weights()  # else the kernels run on the old tensors; on CUDA also lays the new ones in a row
    elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        if isinstance(module, ShrunkAttention):
            module.num_heads = len(module.heads)
        module.embed_dim = module.kdim = module.vdim = module.in_proj_weight.shape[1]
        module.head_dim = module.in_proj_weight.shape[0] // (3 * module.num_heads)


def _may_come_and_go(model: nn.Module, name: str) -> bool:
    """Masks, and what shrunken layers count: what a network may have at one moment and not at another."""
    owner, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(owner)
    except AttributeError:
        return False
    if leaf == "silent":
        return type(module) in (nn.LayerNorm, ShrunkLayerNorm)
    if leaf == "heads":
        return type(module) in (nn.MultiheadAttention, ShrunkAttention)
    return leaf.endswith(SUFFIX) and leaf.removesuffix(SUFFIX) in module._parameters


def _come_or_go(model: nn.Module, name: str, stored: Tensor | None) -> None:
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    if isinstance(module, nn.LayerNorm) and leaf == "silent":
        if stored is not None:
            ShrunkLayerNorm.convert(module)
        elif isinstance(module, ShrunkLayerNorm):
            module.revert()
    elif isinstance(module, nn.MultiheadAttention) and leaf == "heads":
        if stored is None:
            attention.unshrink(model, owner)
        else:
            attention.shrink(model, owner)
            module.heads = module.in_proj_weight.new_zeros(stored.shape, dtype=torch.long)
    elif stored is None:
        delattr(module, leaf)
    else:
        parameter = module.get_parameter(leaf.removesuffix(SUFFIX))
        module.register_buffer(leaf, torch.ones(stored.shape, dtype=torch.bool, device=parameter.device))
