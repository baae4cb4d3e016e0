"""Is a stored state one that would be stored here? Asked before anything is changed."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

WAY = "take what state_dict() gave, whole, of the same model and settings."


def refuse_foreign(state: Any, ours: Mapping[str, Any], what: str) -> None:
    """Raises ValueError, naming key, value and way out, where `state` has not the keys and kinds of `ours`."""
    if not isinstance(state, Mapping):
        raise ValueError(f"{what} is {_short(state)}, but must be a dict: {WAY}")
    if missing := ours.keys() - state.keys():
        raise ValueError(f"{what} lacks {sorted(missing)}: {WAY}")
    for key, mine in ours.items():
        if type(state[key]) is not type(mine):
            kind = type(mine).__name__
            raise ValueError(f"'{key}' of {what} is {_short(state[key])}, but must be of type {kind}: {WAY}")


def refuse_foreign_tensors(
    state: Mapping[str, Any], names: Iterable[str], model: nn.Module, what: str, by_source: bool = False
) -> None:
    """Raises ValueError where `state` holds anything but tensors shaped like the model's parameters of these names.

    `by_source`: or with one value for each source, [source], in place of one for each synapse.
    """
    known = set(names)
    for name, value in state.items():
        if name not in known:
            raise ValueError(f"{what} speak of '{name}', which this model has not, or not to prune: {WAY}")
        shape = model.get_parameter(name).shape
        allowed = (shape, shape[1:2]) if by_source else (shape,)
        if not isinstance(value, Tensor) or value.shape not in allowed:
            raise ValueError(
                f"{what} of '{name}' are {_short(value)}, but the parameter is of shape {tuple(shape)}: {WAY}"
            )


def _short(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)[:40]
