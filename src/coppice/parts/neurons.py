"""A neuron: its incoming row, its bias, its normalisation entries, its outgoing column.

`populations(model)` finds, by tracing the forward pass, every layer whose neurons can be removed. It sees through
plain chains: Linear, Conv1d, Conv2d, then element-wise functions, dropout, pooling, BatchNorm, LayerNorm, flatten,
then the next Linear or Conv. Where several paths meet (residual sums, concatenation) a layer is left alone and
named in a warning.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from coppice.parts import chains
from coppice.parts.chains import BATCH_NORMS, LAYER_NORMS, LAYERS
from coppice.parts.layers import ShrunkLayerNorm
from coppice.parts.pieces import Piece, Units
from coppice.parts.tracing import Tracer, tied_modules, unwrap, uses


@dataclass(frozen=True)
class Population(Units):
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

    @property
    def name(self) -> str:
        return self.incoming

    def width(self, model: nn.Module) -> int:
        return model.get_parameter(f"{self.incoming}.weight").shape[0]

    def incoming_weight(self, model: nn.Module) -> Tensor:
        """Weights into the neurons, [neuron, everything else]."""
        return model.get_parameter(f"{self.incoming}.weight").detach().flatten(1)

    def outgoing_weight(self, model: nn.Module) -> Tensor:
        """Weights out of the neurons, [neuron, everything else]."""
        weight = model.get_parameter(f"{self.outgoing}.weight").detach().transpose(0, 1)
        return weight.reshape(self.width(model), -1)

    def inward(self, model: nn.Module) -> list[Piece]:
        return [Piece(f"{self.incoming}.weight", 0)]

    def outward(self, model: nn.Module) -> list[Piece]:
        return [Piece(f"{self.outgoing}.weight", 1, span=self.spread)]

    def entries(self, model: nn.Module) -> list[Piece]:
        owned = [(self.incoming, "bias")]
        owned += [(n, leaf) for n in self.norms for leaf in ("weight", "bias", "running_mean", "running_var")]
        return [
            Piece(f"{name}.{leaf}", 0)
            for name, leaf in owned
            if getattr(model.get_submodule(name), leaf, None) is not None
        ]

    def dead(self, model: nn.Module) -> Tensor:
        """[unit], True where nobody hears it and, should a LayerNorm average it, what it says there is always zero."""
        dead = super().dead(model)
        source = model.get_submodule(self.incoming)
        for name in self.norms:
            norm = model.get_submodule(name)
            if isinstance(norm, nn.LayerNorm):  # a neuron dies in all three or in none
                dead &= _silent(source, len(dead)).to(dead.device)
            source = norm
        return dead

    def count_silent(self, model: nn.Module, gone: int) -> None:
        for name in self.norms:
            norm = model.get_submodule(name)
            if isinstance(norm, nn.LayerNorm):
                ShrunkLayerNorm.convert(norm).silent += gone

    def check(self, model: nn.Module) -> None:
        check_populations(model, [self])


def populations(model: nn.Module) -> list[Population]:
    """Every population of removable neurons, in the order of the forward pass.

    Raises ValueError when the model cannot be traced or holds none. Warns, naming each, of layers left alone.
    """
    model = unwrap(model)
    try:
        graph = Tracer().trace(model)
    except Exception as error:  # whatever the user's forward raises under tracing
        raise ValueError(
            f"the forward pass of {type(model).__name__} cannot be traced ({error}). Write it without branches on "
            "tensor values, or list the populations yourself: Population(incoming, norms, outgoing, spread)."
        ) from error
    found, refused = in_graph(graph, dict(model.named_modules()), tied_modules(model))
    if not found:
        why = "; ".join(refused) or "it has no hidden Linear, Conv1d or Conv2d layer"
        raise ValueError(
            f"{type(model).__name__} has no neurons that can be removed: {why}. Give it hidden layers, or list the"
            " populations yourself: Population(incoming, norms, outgoing, spread). prune_synapses needs none."
        )
    if refused:
        warnings.warn(f"these layers keep their size: {', '.join(refused)}.", stacklevel=2)
    return found


def in_graph(
    graph: fx.Graph, modules: dict[str, nn.Module], tied: set[str]
) -> tuple[list[Population], list[str]]:
    """The populations of a traced forward pass, and of each layer that is left alone the name and the reason."""
    count = uses(graph)
    found: list[Population] = []
    refused: dict[str, None] = {}  # in order, none twice
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(modules[node.target], LAYERS):
            continue
        population, reason = _follow(node, modules)
        shared = [n for n in _modules(population) if count[n] > 1 or n in tied] if population else []
        if shared:
            refused[f"'{node.target}' ('{shared[0]}' is shared or used more than once)"] = None
        elif population is not None:
            found.append(population)
        elif reason:
            refused[f"'{node.target}' ({reason})"] = None
    return found, list(refused)


def check_populations(model: nn.Module, listed: Sequence[Population]) -> None:
    """Refuse populations, written by hand, that do not fit the model's layers and shapes."""
    modules, tied = dict(model.named_modules()), tied_modules(model)
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


def _silent(source: nn.Module, width: int) -> Tensor:
    """[neuron], True where what a layer or norm gives out is zero whatever it reads."""
    if source._parameters["weight"] is None:
        return torch.zeros(width, dtype=torch.bool)
    given = [p.detach().reshape(width, -1) for p in source._parameters.values() if p is not None]
    return (torch.cat(given, 1) == 0).all(1)


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
