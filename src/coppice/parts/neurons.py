"""A neuron: its incoming row, its bias, its normalisation entries, its outgoing column.

`populations(model)` finds, by tracing the forward pass, every layer whose neurons can be removed. It sees through
plain chains: Linear, Conv1d, Conv2d, then element-wise functions, dropout, pooling, BatchNorm, LayerNorm, flatten,
then the next Linear or Conv. Where several paths meet (residual sums, concatenation) a layer is left alone and
named in a warning.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, fx, nn

from coppice.parts import chains
from coppice.parts.chains import BATCH_NORMS, LAYER_NORMS, LAYERS
from coppice.parts.layers import ShrunkLayerNorm


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


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside torch.compile's wrapper; other wrappers are refused, for they hold on to the old tensors."""
    inner = getattr(model, "_orig_mod", model)
    inner = inner if isinstance(inner, nn.Module) else model
    if isinstance(inner, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        raise ValueError(
            f"{type(inner).__name__} holds the old tensors: cut `model.module`, then wrap it again."
        )
    return inner


def populations(model: nn.Module) -> list[Population]:
    """Every population of removable neurons, in the order of the forward pass.

    Raises ValueError when the model cannot be traced or holds none. Warns, naming each, of layers left alone.
    """
    model = unwrap(model)
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # whatever the user's forward raises under tracing
        raise ValueError(
            f"the forward pass of {type(model).__name__} cannot be traced ({error}). Write it without branches on "
            "tensor values, or list the populations yourself: Population(incoming, norms, outgoing, spread)."
        ) from error
    modules = dict(model.named_modules())
    uses = Counter(_used_module(node) for node in graph.nodes)
    tied = _tied_modules(model)
    found: list[Population] = []
    refused: dict[str, None] = {}  # in order, none twice
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(modules[node.target], LAYERS):
            continue
        population, reason = _follow(node, modules)
        shared = [n for n in _modules(population) if uses[n] > 1 or n in tied] if population else []
        if shared:
            refused[f"'{node.target}' ('{shared[0]}' is shared or used more than once)"] = None
        elif population is not None:
            found.append(population)
        elif reason:
            refused[f"'{node.target}' ({reason})"] = None
    if not found:
        why = "; ".join(refused) or "it has no hidden Linear, Conv1d or Conv2d layer"
        raise ValueError(f"{type(model).__name__} has no neurons that can be removed: {why}.")
    if refused:
        warnings.warn(f"these layers keep their size: {', '.join(refused)}.", stacklevel=2)
    return found


def check_populations(model: nn.Module, listed: Sequence[Population]) -> None:
    """Refuse populations, written by hand, that do not fit the model's layers and shapes."""
    modules, tied = dict(model.named_modules()), _tied_modules(model)
    for population in listed:
        for name in _modules(population):
            if name not in modules:
                raise ValueError(f"{population} names '{name}', which the model does not have.")
            kinds = BATCH_NORMS + LAYER_NORMS if name in population.norms else LAYERS
            if not isinstance(modules[name], kinds):
                raise ValueError(
                    f"'{name}' is a {type(modules[name]).__name__}, but {population} needs one of "
                    f"{', '.join(kind.__name__ for kind in kinds)} there."
                )
            reason = "it is tied to another layer" if name in tied else chains.obstacle(modules[name])
            if name in population.norms and not reason:
                reason = chains.misses(modules[name], modules[population.incoming], False, False)
            if reason:
                raise ValueError(f"'{name}' cannot be cut: {reason}.")
        width, reads = population.width(model), model.get_parameter(f"{population.outgoing}.weight").shape[1]
        if reads != width * population.spread:
            raise ValueError(
                f"'{population.outgoing}' reads {reads} values, but '{population.incoming}' has {width} neurons "
                f"with spread {population.spread}, which makes {width * population.spread}."
            )


def _modules(population: Population) -> tuple[str, ...]:
    return (population.incoming, *population.norms, population.outgoing)


def _used_module(node: fx.Node) -> str:
    """The module that a step calls, or whose tensor it takes past the module's own forward; "" for neither."""
    if node.op == "call_module":
        return str(node.target)
    return str(node.target).rpartition(".")[0] if node.op == "get_attr" else ""


def _tied_modules(model: nn.Module) -> set[str]:
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name.rpartition(".")[0])
    return {name for names in owners.values() if len(names) > 1 for name in names}


def _follow(start: fx.Node, modules: dict[str, nn.Module]) -> tuple[Population | None, str]:
    """From a layer to the next; (None, reason) when its neurons cannot be removed, reason "" at the output."""
    layer = modules[str(start.target)]
    obstacle = chains.obstacle(layer)
    norms: list[str] = []
    flattened = voiced = False
    node = start
    while True:
        readers = [user for user in node.users if not chains.reads_only_shape(user)]
        if len(readers) != 1:
            return None, f"{len(readers)} places read its output"
        node = readers[0]
        if node.op == "output":
            return None, ""
        if obstacle:
            return None, obstacle
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, LAYERS):
            return _meet(str(start.target), layer, tuple(norms), str(node.target), module, flattened)
        if isinstance(module, BATCH_NORMS + LAYER_NORMS):
            if reason := chains.misses(module, layer, flattened, voiced):
                return None, f"at '{node.target}' {reason}"
            norms.append(str(node.target))
        elif chains.flattens(node, module):
            flattened = True
        elif chains.pools(node, module):
            if flattened or isinstance(layer, nn.Linear):
                return None, f"'{chains.called(node)}' pools over its neurons"
        elif chains.keeps_apart(node, module):
            voiced = voiced or chains.speaks_at_zero(node, module)
        else:
            return None, f"'{chains.called(node)}' stands between it and the next layer"


def _meet(
    incoming: str, layer: nn.Module, norms: tuple[str, ...], outgoing: str, reader: nn.Module, flattened: bool
) -> tuple[Population | None, str]:
    if reason := chains.obstacle(reader):
        return None, f"at '{outgoing}' {reason}"
    spread, rest = divmod(reader.get_parameter("weight").shape[1], layer.get_parameter("weight").shape[0])
    # a flatten makes one neuron's values neighbours only where channels come before places
    if isinstance(layer, nn.Linear):
        fits = isinstance(reader, nn.Linear) and spread == 1
    else:
        fits = flattened if isinstance(reader, nn.Linear) else spread == 1 and not flattened
    if rest or not fits:
        return None, f"its neurons are not a plain axis of what '{outgoing}' reads"
    return Population(incoming, norms, outgoing, spread), ""
