"""Which parameters hold synapses? Weights between neurons, by the type of their module."""

import re
from collections.abc import Iterable, Sequence

from torch import nn

# Every weight of these connects neurons; recurrent and attention modules hold several.
CONNECTING = (
    nn.Linear,
    nn.Bilinear,
    nn.modules.conv._ConvNd,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
)


def synapses(model: nn.Module, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[str]:
    """Names of the parameters whose entries are synapses, in the model's order, tied ones once.

    By default every weight of Linear, Bilinear, convolution, RNN, LSTM, GRU (all layers and directions, cells too) and
    MultiheadAttention; not biases, norms, embeddings, a weight tied to an embedding, nor parameters of other modules.
    `include` adds, `exclude` then removes what these regular expressions find anywhere in the name.
    Raises ValueError for a pattern that is no regular expression or finds nothing, and when nothing is left.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    connecting, other = set[int](), set[int]()
    for module in model.modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if not parameter.is_floating_point():
                continue
            if isinstance(module, CONNECTING) and parameter.dim() >= 2 and "weight" in leaf:
                connecting.add(id(parameter))
            elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
                other.add(id(parameter))
    chosen = {names[i] for i in connecting - other}
    chosen |= _found(include, "include", names.values())
    chosen -= _found(exclude, "exclude", names.values())
    if not chosen:
        raise ValueError(
            f"{type(model).__name__} has no synapses to prune{' outside exclude' if exclude else ''}: they are looked for"
            " in Linear, convolution, recurrent and attention modules; name those of your own with include."
        )
    return [name for name in names.values() if name in chosen]


def attends(model: nn.Module) -> bool:
    """Whether any module is an attention, torch's or one that says so in the name of its class."""
    return any("Attention" in type(module).__name__ for module in model.modules())


def _found(patterns: Sequence[str], option: str, names: Iterable[str]) -> set[str]:
    if isinstance(patterns, str):  # each of its letters would be a pattern
        raise ValueError(f'{option} is "{patterns}", but must hold patterns: write ("{patterns}",).')
    found, known = set[str](), list(names)
    for pattern in patterns:
        try:
            matching = {name for name in known if re.search(pattern, name)}
        except re.error as error:
            raise ValueError(f"{option}: '{pattern}' is no regular expression ({error}).") from error
        if not matching:
            shown = ", ".join(known[:6]) + (", ..." if len(known) > 6 else "")
            raise ValueError(f"{option}: '{pattern}' finds none of the parameters: {shown}.")
        found |= matching
    return found
