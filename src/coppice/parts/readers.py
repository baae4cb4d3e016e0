"""Who reads a recurrent module: found by following its output through a traced forward pass.

Seen through: indexing, slicing and averaging over time and batch, element-wise functions, dropout, and h_n taken
apart by index; then a Linear or the next recurrent module. Inputs are taken to be batched, [batch, time, channel] or
[time, batch, channel].
"""

import operator
from collections import Counter
from typing import Any, cast

import torch
from torch import fx, nn

from coppice.parts import chains
from coppice.parts.recurrent import RECURRENT, RecurrentUnits, obstacle, places, reads, suffix, unreadable
from coppice.parts.tracing import uses

Place = tuple[int, int]  # layer, direction
OVER_AXIS = {"mean", "sum", "amax", torch.mean, torch.sum, torch.amax}
DROPS_AXIS = {"select", "squeeze", torch.select, torch.squeeze}


def in_graph(
    graph: fx.Graph, modules: dict[str, nn.Module], tied: set[str]
) -> tuple[list[RecurrentUnits], list[str]]:
    """The recurrent units of a traced forward pass; of each module left alone the name and the reason."""
    count = uses(graph)
    found: list[RecurrentUnits] = []
    refused: dict[str, None] = {}  # in order, none twice
    for node in graph.nodes:
        name = str(node.target)
        if node.op != "call_module" or not isinstance(modules[name], nn.RNNBase):
            continue
        reason = obstacle(modules[name], name in tied)
        if not reason:
            try:
                readers = _Search(node, modules, count, tied).readers()
            except _Unclear as unclear:
                reason = f"{unclear}; {by_hand(name)}"
            else:
                found += [
                    RecurrentUnits(name, tuple(dict.fromkeys(r)), *place) for place, r in readers.items()
                ]
        if reason:
            refused[f"'{name}' ({reason})"] = None
    return found, list(refused)


def by_hand(name: str) -> str:
    """What to write where the readers of a recurrent module are not found."""
    return f"list it yourself: recurrent_units(model, {name!r}, readers=(...))"


class _Unclear(Exception):
    """The readers of a recurrent module cannot be told."""


class _Search:
    """Follows one call of a recurrent module to everything that reads it."""

    def __init__(
        self, node: fx.Node, modules: dict[str, nn.Module], count: Counter[str], tied: set[str]
    ) -> None:
        self.node, self.modules, self.count, self.tied = node, modules, count, tied
        self.module = cast(nn.RNNBase, modules[str(node.target)])
        self.found: dict[Place, list[str]] = {place: [] for place in places(self.module)}

    def readers(self) -> dict[Place, list[str]]:
        """Names of the readers of each layer and direction; raises _Unclear."""
        if self.count[str(self.node.target)] > 1:
            raise _Unclear("it is used more than once")
        if sum(given is not None for given in (*self.node.args, *self.node.kwargs.values())) > 1:
            raise _Unclear("it is given an initial state, whose size would have to shrink with it")
        last = [place for place in self.found if place[0] == self.module.num_layers - 1]
        for part in self.node.users:
            which = _index(part)
            if which == 0:
                self._follow(part, 3, last)
            elif which == 1 and not isinstance(self.module, nn.LSTM):
                self._follow_state(part)
            elif which == 1:
                for state in part.users:
                    if _index(state) == 0:
                        self._follow_state(state)
                    elif _index(state) != 1 or state.users:
                        raise _Unclear("its cell state is read")
            else:
                raise _Unclear(f"'{chains.called(part)}' takes its output and its state together")
        if unread := [suffix(*place) for place in last if not self.found[place]]:
            raise _Unclear(f"nobody reads {' and '.join(unread)}")
        return self.found

    def _follow_state(self, state: fx.Node) -> None:
        """From h_n [layer * direction, batch, unit], which others take apart by index."""
        order = places(self.module)
        if len(order) == 1:
            return self._follow(state, 3, order)
        for user in state.users:
            index = _index(user)
            index = index[0] if isinstance(index, tuple) and index else index
            axes = _axes_left(user, 3)
            if type(index) is int and -len(order) <= index < len(order) and axes is not None:
                self._follow(user, axes, [order[index]])
            elif not chains.reads_only_shape(user):
                raise _Unclear(f"'{chains.called(user)}' reads its state, all layers and directions at once")

    def _follow(self, values: fx.Node, axes: int, heard: list[Place]) -> None:
        """From values [..., unit] of `axes` dimensions, the units heard side by side, to every layer that reads them."""
        for user in values.users:
            reader = self.modules.get(str(user.target)) if user.op == "call_module" else None
            if chains.reads_only_shape(user):
                continue
            if isinstance(reader, (nn.Linear, *RECURRENT)):
                name = str(user.target)
                if reason := self._misread(user, reader, values, axes, heard):
                    raise _Unclear(f"'{name}' reads it, but {reason}")
                for place in heard:
                    self.found[place].append(name)
            elif user.op == "output":
                raise _Unclear("the model gives its values out as they are")
            elif chains.keeps_apart(user, reader):
                self._follow(user, axes, heard)
            elif (left := _axes_left(user, axes)) is not None:
                self._follow(user, left, heard)
            else:
                raise _Unclear(f"'{chains.called(user)}' stands between it and the layer that reads it")

    def _misread(
        self, user: fx.Node, reader: nn.Module, values: fx.Node, axes: int, heard: list[Place]
    ) -> str:
        name, width = str(user.target), self.module.hidden_size * len(heard)
        if self.count[name] > 1:
            return "it is used more than once"
        if user.args[:1] != (values,) or (isinstance(reader, RECURRENT) and axes != 3):
            return "not as its input"
        if reason := unreadable(reader, name in self.tied):
            return reason
        return f"it takes {reads(reader)} values, not {width}" if reads(reader) != width else ""


def _index(node: fx.Node) -> Any:
    """k of values[k]; None for any other step."""
    return node.args[1] if node.target is operator.getitem else None


def _axes_left(node: fx.Node, axes: int) -> int | None:
    """Axes that remain after a step that picks or averages along another axis than the last; None for other steps."""
    if node.target is operator.getitem:
        return _axes_after_index(node.args[1], axes)
    axis = chains.argument(node, 1, "dim", None)
    if type(axis) is not int or axis in (-1, axes - 1):
        return None
    if node.target in DROPS_AXIS:
        return axes - 1
    if node.target in OVER_AXIS:
        return axes if chains.argument(node, 2, "keepdim", False) else axes - 1
    return None


def _axes_after_index(index: Any, axes: int) -> int | None:
    parts = list(index) if isinstance(index, tuple) else [index]
    if parts.count(Ellipsis) == 1:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (axes - len(parts) + 1)
    if len(parts) > axes or not all(type(part) in (int, slice) for part in parts):
        return None
    if len(parts) == axes and parts[-1] != slice(None):
        return None
    return axes - sum(type(part) is int for part in parts)
