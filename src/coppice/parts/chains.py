"""Which steps of a forward pass keep neurons apart, so that one can be taken out without touching the others."""

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from coppice.parts.layers import ShrunkLayerNorm

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
LAYER_NORMS = (nn.LayerNorm, ShrunkLayerNorm)

ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Sigmoid,
    nn.Tanh, nn.Hardtanh, nn.Softplus, nn.Softsign, nn.Hardsigmoid, nn.LogSigmoid, nn.Identity,
)  # fmt: skip
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
KEEPS_CHANNELS = DROPOUTS + POOLS
FUNCTIONS = {
    F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.hardswish, F.softplus,
    F.softsign, F.hardtanh, F.hardsigmoid, F.logsigmoid, F.dropout, F.dropout1d, F.dropout2d,
    torch.relu, torch.sigmoid, torch.tanh, "relu", "sigmoid", "tanh", "contiguous",
}  # fmt: skip
POOL_FUNCTIONS = {
    F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d,
    F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_max_pool1d, F.adaptive_max_pool2d,
}  # fmt: skip
VOICED = (nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Softplus)
VOICED_FUNCTIONS = {torch.sigmoid, "sigmoid", F.hardsigmoid, F.logsigmoid, F.softplus}


def obstacle(module: nn.Module) -> str:
    """Why this layer or norm cannot be cut; "" when it can."""
    if module._parameters.keys() != {"weight", "bias"}:
        return "its weight is computed from other tensors"  # parametrized, weight_norm, torch.nn.utils.prune
    if any(p is not None and nn.parameter.is_lazy(p) for p in module._parameters.values()):
        return "it is lazy and has no size yet: run a batch through the model first"
    if getattr(module, "groups", 1) != 1:
        return f"its groups are {module.groups}, only 1 can be cut"
    if isinstance(module, nn.LayerNorm) and type(module) not in LAYER_NORMS:
        return "it is a LayerNorm of a class of its own, which may compute something else"
    if not isinstance(module, LAYERS) and entries(module) is None:
        # else no stored tensor would tell its size, and a snapshot could not bring it back
        return "it has no entry a neuron (affine weight or running mean)"
    return ""


def entries(norm: nn.Module) -> int | None:
    """How many values a norm holds an entry for; None when none of its tensors tells."""
    for name in ("weight", "running_mean"):
        tensor = getattr(norm, name, None)
        if isinstance(tensor, Tensor) and tensor.ndim == 1:
            return tensor.shape[0]
    return None


def misses(norm: nn.Module, layer: nn.Module, flattened: bool, voiced: bool) -> str:
    """Why the neurons of `layer` cannot be cut through this norm; "" when they can."""
    if reason := obstacle(norm):
        return reason
    if flattened or (isinstance(norm, nn.LayerNorm) and not isinstance(layer, nn.Linear)):
        return "the normalised values are not its neurons"
    if isinstance(norm, nn.LayerNorm) and voiced:
        return "a LayerNorm hears its dead neurons, for the function before is not zero at zero"
    if entries(norm) != layer.get_parameter("weight").shape[0]:
        return f"{entries(norm)} values are normalised"
    return ""


def flattens(node: fx.Node, module: nn.Module | None) -> bool:
    """[batch, channel, ...] -> [batch, values], one channel's values side by side."""
    if isinstance(module, nn.Flatten):
        return module.start_dim == 1 and module.end_dim == -1
    if node.target is torch.flatten or (node.op == "call_method" and node.target == "flatten"):
        return bool(argument(node, 1, "start_dim", 0) == 1 and argument(node, 2, "end_dim", -1) == -1)
    if node.op == "call_method" and node.target in ("view", "reshape"):
        return len(node.args) == 3 and bool(node.args[2] == -1) and _is_batch_size(node.args[1])
    return False


def reads_only_shape(node: fx.Node) -> bool:
    """True for `x.size(...)`, `x.shape` and the like."""
    if node.op == "call_method" and node.target in ("size", "dim"):
        return True
    return node.op == "call_function" and node.target is getattr and node.args[1] in ("shape", "ndim")


def pools(node: fx.Node, module: nn.Module | None) -> bool:
    """A pooling over the places of a feature map; over neurons, where the last axis are neurons."""
    return _is_one_of(node, module, POOLS, POOL_FUNCTIONS)


def keeps_apart(node: fx.Node, module: nn.Module | None) -> bool:
    """An element-wise function or dropout."""
    return _is_one_of(node, module, ACTIVATIONS + DROPOUTS, FUNCTIONS)


def speaks_at_zero(node: fx.Node, module: nn.Module | None) -> bool:
    """An element-wise function with f(0) != 0, after which a dead neuron is not silent."""
    return _is_one_of(node, module, VOICED, VOICED_FUNCTIONS)


def called(node: fx.Node) -> str:
    """What a step is called, for messages."""
    return node.target if isinstance(node.target, str) else node.name


def _is_one_of(
    node: fx.Node, module: nn.Module | None, kinds: tuple[type[nn.Module], ...], functions: set[Any]
) -> bool:
    return isinstance(module, kinds) if node.op == "call_module" else node.target in functions


def _is_batch_size(value: Any) -> bool:
    if not isinstance(value, fx.Node):
        return False
    if value.op == "call_method" and value.target == "size":
        return bool(argument(value, 1, "dim", None) == 0)
    return value.target is operator.getitem and bool(value.args[1] == 0)


def argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    """An argument of a call, given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)
