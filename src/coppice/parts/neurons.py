"""A neuron: its incoming row, its bias, its normalisation entries, its outgoing column.

`populations(model)` finds, by tracing the forward pass, every layer whose neurons can be removed. It sees through
plain chains: Linear, Conv1d, Conv2d, then element-wise functions, dropout, pooling, BatchNorm, LayerNorm, flatten,
then the next Linear or Conv. Where several paths meet (residual sums, concatenation) a layer is left alone and
named in a warning.
"""

import operator
import warnings
from collections import Counter
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from coppice.parts.layers import ShrunkLayerNorm

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Sigmoid,
    nn.Tanh, nn.Hardtanh, nn.Softplus, nn.Softsign, nn.Hardsigmoid, nn.LogSigmoid, nn.Identity,
)  # fmt: skip
KEEPS_CHANNELS = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
FUNCTIONS = {
    F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.gelu, F.silu, F.mish, F.hardswish, F.softplus, F.dropout,
    F.sigmoid, F.tanh, torch.relu, torch.sigmoid, torch.tanh, F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d,
    F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_max_pool1d, F.adaptive_max_pool2d,
}  # fmt: skip
METHODS = {"relu", "sigmoid", "tanh", "contiguous"}


class Population(NamedTuple):
    """The neurons of one hidden layer, as module names within the model.

    incoming: the layer whose outputs they are, weight [neuron, source, ...]
    norms:    normalisations between the two layers, one entry a neuron
    outgoing: the layer that reads them, weight [target, neuron * spread, ...]
    spread:   neighbouring inputs of `outgoing` per neuron: 1, or height * width of a flattened feature map
    """

    incoming: str
    norms: tuple[str, ...]
    outgoing: str
    spread: int

    def width(self, model: nn.Module) -> int:
        """How many neurons there are now."""
        return model.get_parameter(f"{self.incoming}.weight").shape[0]

    def incoming_weight(self, model: nn.Module) -> Tensor:
        """Weights into the neurons, [neuron, everything else]."""
        return model.get_parameter(f"{self.incoming}.weight").detach().flatten(1)

    def outgoing_weight(self, model: nn.Module) -> Tensor:
        """Weights out of the neurons, [neuron, everything else]."""
        weight = model.get_parameter(f"{self.outgoing}.weight").detach().transpose(0, 1)
        return weight.reshape(self.width(model), -1)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ShrunkLayerNorm) or super().is_leaf_module(m, module_qualified_name)


def populations(model: nn.Module) -> list[Population]:
    """Every population of removable neurons, in the order of the forward pass.

    Raises ValueError when the model cannot be traced or holds none. Warns, naming each, of layers left alone.
    """
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # whatever the user's forward raises under tracing
        raise ValueError(
            f"the forward pass of {type(model).__name__} cannot be traced ({error}). Write it without branches on "
            "tensor values, or list the populations yourself: Population(incoming, norms, outgoing, spread)."
        ) from error
    modules = dict(model.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    tied = _tied_modules(model)
    found, refused = [], []
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(modules[node.target], LAYERS):
            continue
        population, reason = _follow(node, modules)
        if population is not None:
            names = (population.incoming, *population.norms, population.outgoing)
            if shared := [n for n in names if calls[n] > 1 or n in tied]:
                population, reason = None, f"'{shared[0]}' is shared or used more than once"
        if population is not None:
            found.append(population)
        elif reason:
            refused.append(f"'{node.target}' ({reason})")
    if not found:
        why = "; ".join(refused) or "it has no hidden Linear, Conv1d or Conv2d layer"
        raise ValueError(f"{type(model).__name__} has no neurons that can be removed: {why}.")
    if refused:
        warnings.warn(f"these layers keep their size: {', '.join(refused)}.", stacklevel=2)
    return found


def check_populations(model: nn.Module, listed: list[Population]) -> None:
    """Refuse populations, written by hand, that do not fit the model's shapes."""
    modules = dict(model.named_modules())
    for population in listed:
        for name in (population.incoming, *population.norms, population.outgoing):
            if name not in modules:
                raise ValueError(f"{population} names '{name}', which the model does not have.")
        width, reads = population.width(model), model.get_parameter(f"{population.outgoing}.weight").shape[1]
        if reads != width * population.spread:
            raise ValueError(
                f"'{population.outgoing}' reads {reads} values, but '{population.incoming}' has {width} neurons "
                f"with spread {population.spread}, which makes {width * population.spread}."
            )


def _tied_modules(model: nn.Module) -> set[str]:
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name.rpartition(".")[0])
    return {name for names in owners.values() if len(names) > 1 for name in names}


def _follow(start: fx.Node, modules: dict[str, nn.Module]) -> tuple[Population | None, str]:
    """From a layer to the next; (None, reason) when its neurons cannot be removed, reason "" at the output."""
    layer = modules[str(start.target)]
    if getattr(layer, "groups", 1) != 1:
        return None, f"its groups are {layer.groups}, only 1 can be cut"
    width = layer.weight.shape[0]  # type: ignore[union-attr]
    norms: list[str] = []
    flattened = False
    node = start
    while True:
        readers = [user for user in node.users if not _reads_only_shape(user)]
        if len(readers) != 1:
            return None, f"{len(readers)} places read its output"
        node = readers[0]
        if node.op == "output":
            return None, ""
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, LAYERS):
            return _meet(str(start.target), layer, tuple(norms), str(node.target), module, flattened)
        if (isinstance(module, BATCH_NORMS) and module.num_features == width and not flattened) or (
            isinstance(module, nn.LayerNorm) and _normalises_neurons(module, layer) and not flattened
        ):
            norms.append(str(node.target))
        elif _flattens(node, module):
            flattened = True
        elif not _keeps_channels(node, module):
            return None, f"'{node.target}' stands between it and the next layer"


def _meet(
    incoming: str, layer: nn.Module, norms: tuple[str, ...], outgoing: str, reader: nn.Module, flattened: bool
) -> tuple[Population | None, str]:
    if getattr(reader, "groups", 1) != 1:
        return None, f"'{outgoing}' has groups {reader.groups}, only 1 can be cut"
    spread, rest = divmod(reader.weight.shape[1], layer.weight.shape[0])  # type: ignore[operator,union-attr]
    # a flatten makes one neuron's values neighbours only where channels come before places
    fits = spread == 1 or (flattened and not isinstance(layer, nn.Linear))
    same_kind = isinstance(layer, nn.Linear) == isinstance(reader, nn.Linear)
    if rest or not fits or not (same_kind or (flattened and isinstance(reader, nn.Linear))):
        return None, f"its neurons are not a plain axis of what '{outgoing}' reads"
    return Population(incoming, norms, outgoing, spread), ""


def _normalises_neurons(norm: nn.LayerNorm, layer: nn.Module) -> bool:
    # without an affine entry a neuron, nothing in the layer's tensors says how many neurons it expects
    return isinstance(layer, nn.Linear) and norm.weight is not None and norm.weight.ndim == 1


def _reads_only_shape(node: fx.Node) -> bool:
    if node.op == "call_method" and node.target in ("size", "dim"):
        return True
    return node.op == "call_function" and node.target is getattr and node.args[1] in ("shape", "ndim")


def _flattens(node: fx.Node, module: nn.Module | None) -> bool:
    if isinstance(module, nn.Flatten):
        return module.start_dim == 1 and module.end_dim == -1
    if node.target is torch.flatten or (node.op == "call_method" and node.target == "flatten"):
        return _argument(node, 1, "start_dim", 0) == 1 and _argument(node, 2, "end_dim", -1) == -1
    if node.op == "call_method" and node.target in ("view", "reshape"):
        return len(node.args) == 3 and node.args[2] == -1 and _is_batch_size(node.args[1])
    return False


def _is_batch_size(argument: Any) -> bool:
    if not isinstance(argument, fx.Node):
        return False
    if argument.op == "call_method" and argument.target == "size":
        return _argument(argument, 1, "dim", None) == 0
    return argument.target is operator.getitem and argument.args[1] == 0


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _keeps_channels(node: fx.Node, module: nn.Module | None) -> bool:
    if node.op == "call_module":
        return isinstance(module, ACTIVATIONS + KEEPS_CHANNELS)
    if node.op == "call_method":
        return node.target in METHODS
    return node.target in FUNCTIONS
