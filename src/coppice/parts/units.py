"""Everything in a model that can be taken out whole: neurons, channels, hidden units, attention heads.

`units(model)` finds them: by tracing the forward pass (`parts.neurons`, `parts.readers`), and by module type what
lies within torch's own transformer layers, whatever stands around them. Where the whole model cannot be traced, its
parts are, each taken to be called as a module.
"""

import warnings
from collections.abc import Sequence

from torch import nn

from coppice.parts import attention, chains, neurons, readers
from coppice.parts.attention import AttentionHeads
from coppice.parts.neurons import Population
from coppice.parts.pieces import Units, within
from coppice.parts.recurrent import check_complete
from coppice.parts.tracing import Tracer, tied_modules, unwrap

FEED_FORWARD = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)

Found = tuple[list[Units], list[str]]  # and of each layer left alone the name and the reason


def units(model: nn.Module) -> list[Units]:
    """Every group of removable units, each once; those found by tracing in the order of the forward pass.

    Recurrent modules give one group a layer and direction. Raises ValueError when there is none. Warns, naming each,
    of layers left alone.
    """
    model = unwrap(model)
    tied = tied_modules(model)
    found, refused = _by_tracing(model, "", dict(model.named_modules()), tied)
    for by_type in (_heads, _feed_forward):
        more, left = by_type(model, tied)
        found, refused = found + more, refused + left
    if not found:
        why = "; ".join(refused) or "it has no hidden layer"
        raise ValueError(
            f"{type(model).__name__} has no units that can be removed: {why}. What is not found can be listed by hand: "
            "Population, recurrent_units, AttentionHeads."
        )
    if refused:
        warnings.warn(f"these layers keep their size: {', '.join(refused)}.", stacklevel=2)
    return found


def check_units(model: nn.Module, listed: Sequence[Units]) -> None:
    """Refuse units, written by hand, that do not fit the model."""
    for group in listed:
        group.check(model)
    check_complete(model, listed)


def _by_tracing(part: nn.Module, prefix: str, modules: dict[str, nn.Module], tied: set[str]) -> Found:
    """Units of the model or, where it cannot be traced, of its parts; `prefix` is the part's name in the model."""
    if isinstance(part, nn.RNNBase):
        return [], [f"'{prefix}' (its readers are not known; {readers.by_hand(prefix)})"]
    if Tracer().is_leaf_module(part, prefix):
        return [], []
    try:
        graph = Tracer().trace(part)
    except Exception as error:  # whatever the user's forward raises under tracing
        reason = f"the forward pass of {type(part).__name__} cannot be traced: {error}"
        return _by_parts(part, reason, prefix, modules, tied)
    for node in graph.nodes:
        if prefix and node.op in ("call_module", "get_attr"):
            node.target = f"{prefix}.{node.target}"
    plain, unplain = neurons.in_graph(graph, modules, tied)
    hidden, unheard = readers.in_graph(graph, modules, tied)
    position = {str(node.target): n for n, node in enumerate(graph.nodes) if node.op == "call_module"}
    found: list[Units] = [*plain, *hidden]
    found.sort(key=lambda group: position[group.incoming if isinstance(group, Population) else group.group])
    return found, unplain + unheard


def _by_parts(
    part: nn.Module, reason: str, prefix: str, modules: dict[str, nn.Module], tied: set[str]
) -> Found:
    found: list[Units] = []
    refused: list[str] = []
    more: list[Units]
    for name, child in part.named_children():
        name = within(prefix, name)
        if isinstance(child, nn.RNNBase):
            more, left = [], [f"'{name}' ({reason}; {readers.by_hand(name)})"]
        elif isinstance(child, chains.LAYERS):
            more, left = [], [f"'{name}' ({reason})"]
        elif isinstance(child, (nn.ModuleList, nn.ModuleDict)):  # have no forward pass of their own
            more, left = _by_parts(child, reason, name, modules, tied)
        else:
            more, left = _by_tracing(child, name, modules, tied)
        found, refused = found + more, refused + left
    return found, refused


def _heads(model: nn.Module, tied: set[str]) -> Found:
    """By module type: a head is heard within its own layer only."""
    found: list[Units] = []
    refused: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            if reason := attention.obstacle(module, name, tied):
                refused.append(f"'{name}' ({reason})")
            else:
                found.append(AttentionHeads(name))
    return found, refused


def _feed_forward(model: nn.Module, tied: set[str]) -> Found:
    """By module type: the neurons between linear1 and linear2 of torch's transformer layers."""
    found: list[Units] = []
    refused: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, FEED_FORWARD):
            continue
        if reason := _unfit(module, name, tied):
            refused.append(f"'{within(name, 'linear1')}' ({reason})")
        else:
            found.append(Population(within(name, "linear1"), (), within(name, "linear2"), 1))
    return found, refused


def _unfit(layer: nn.Module, name: str, tied: set[str]) -> str:
    """Why the feed-forward neurons of a transformer layer cannot be cut; "" when they can."""
    if type(layer) not in FEED_FORWARD:
        return f"its layer is a {type(layer).__name__}, a class of its own"
    if not (isinstance(layer.activation, chains.ACTIVATIONS) or layer.activation in chains.FUNCTIONS):
        return "its activation is not known to be element-wise"
    if {within(name, "linear1"), within(name, "linear2")} & tied:
        return "it is tied to another layer"
    return chains.obstacle(layer.get_submodule("linear1")) or chains.obstacle(layer.get_submodule("linear2"))
