"""The hidden units of nn.RNN, nn.LSTM and nn.GRU.

Unit j of a layer and direction owns row j of every gate, in weight_ih, weight_hh and both biases, column j of
weight_hh, and its columns in the next layer and in the readers of the output. The gates of torch stand one below the
other, so that gate g of unit j is row g * hidden_size + j (documentation of torch.nn.LSTM, "weight_ih_l[k]").

All layers and directions of a module have one hidden_size: they lose the same number of units, each its own, and
the module stays what it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from coppice.parts import chains
from coppice.parts.pieces import Piece, Units
from coppice.parts.tracing import tied_modules

RECURRENT = (nn.RNN, nn.LSTM, nn.GRU)


@dataclass(frozen=True)
class RecurrentUnits(Units):
    """The hidden units of one layer and direction of a recurrent module, as names within the model.

    module:    the nn.RNN, nn.LSTM or nn.GRU
    readers:   Linear or recurrent modules that read what these units give out: all directions side by side, as in
               the module's output, or these units alone, as in h_n[k]
    layer:     0 is the first
    direction: 0 is forward, 1 is backward in time
    """

    module: str
    readers: tuple[str, ...]
    layer: int = 0
    direction: int = 0

    @property
    def name(self) -> str:
        return f"{self.module}.{suffix(self.layer, self.direction)}"

    @property
    def group(self) -> str:
        return self.module

    def width(self, model: nn.Module) -> int:
        return model.get_parameter(f"{self.module}.weight_hh_l0").shape[1]

    def inward(self, model: nn.Module) -> list[Piece]:
        return self._gates(model, "weight")

    def outward(self, model: nn.Module) -> list[Piece]:
        itself = Piece(f"{self.module}.weight_hh_{suffix(self.layer, self.direction)}", 1)
        return [itself, *self._onward(model)]

    def entries(self, model: nn.Module) -> list[Piece]:
        return self._gates(model, "bias") if _recurrent(model, self.module).bias else []

    def dead(self, model: nn.Module) -> Tensor:
        """[unit], True where no reader and no living unit of its own layer hears it, not even by a detour."""
        width = self.width(model)
        weight = model.get_parameter(f"{self.module}.weight_hh_{suffix(self.layer, self.direction)}").detach()
        hears = (weight.view(-1, width, width) != 0).any(0)  # [unit, other unit]
        alive = torch.zeros(width, dtype=torch.bool, device=weight.device)
        for piece in self._onward(model):
            columns = piece.places(width).flatten().to(weight.device)
            alive |= (model.get_parameter(piece.tensor).detach()[:, columns] != 0).any(0)
        while (more := alive | hears[alive].any(0)).ne(alive).any():
            alive = more
        return ~alive

    def check(self, model: nn.Module) -> None:
        modules, tied = dict(model.named_modules()), tied_modules(model)
        for name in (self.module, *self.readers):
            if name not in modules:
                raise ValueError(f"{self} names '{name}', which the model does not have.")
        if reason := obstacle(modules[self.module], self.module in tied):
            raise ValueError(f"'{self.module}' cannot be cut: {reason}.")
        module = _recurrent(model, self.module)
        if (self.layer, self.direction) not in places(module):
            raise ValueError(
                f"'{self.module}' has {module.num_layers} layers and {1 + module.bidirectional} directions, counted from "
                f"0, but {self} names layer {self.layer} and direction {self.direction}."
            )
        if self.layer == module.num_layers - 1 and not self.readers:
            raise ValueError(
                f"{self} names no reader, but somebody must read the last layer: give "
                "readers=(name of the Linear that reads its output,)."
            )
        for name in self.readers:
            if reason := unreadable(modules[name], name in tied):
                raise ValueError(f"'{name}' cannot lose what it reads of '{self.module}': {reason}.")
            wide, own = (1 + module.bidirectional) * module.hidden_size, module.hidden_size
            if reads(modules[name]) not in (own, wide):
                raise ValueError(
                    f"'{name}' reads {reads(modules[name])} values, but '{self.module}' gives out {wide}"
                    + (f", or {own} of one direction." if wide > own else ".")
                )

    def _gates(self, model: nn.Module, kind: str) -> list[Piece]:
        rows, width = model.get_parameter(f"{self.module}.weight_hh_l0").shape
        place = suffix(self.layer, self.direction)
        return [
            Piece(f"{self.module}.{kind}_{side}_{place}", 0, tuple(range(rows // width)))
            for side in ("ih", "hh")
        ]

    def _onward(self, model: nn.Module) -> Iterator[Piece]:
        """Columns of the next layer and of the readers."""
        module = _recurrent(model, self.module)
        for layer, direction in places(module):
            if layer == self.layer + 1:
                yield Piece(f"{self.module}.weight_ih_{suffix(layer, direction)}", 1, (self.direction,))
        for name in self.readers:
            reader = model.get_submodule(name)
            block = 0 if reads(reader) == self.width(model) else self.direction
            if isinstance(reader, nn.RNNBase):
                firsts = [suffix(*place) for place in places(reader) if place[0] == 0]
                yield from (Piece(f"{name}.weight_ih_{first}", 1, (block,)) for first in firsts)
            else:
                yield Piece(f"{name}.weight", 1, (block,))


def recurrent_units(model: nn.Module, module: str, readers: Sequence[str]) -> list[RecurrentUnits]:
    """All hidden units of one recurrent module by hand, one `RecurrentUnits` a layer and direction.

    readers: names of the Linear (or recurrent) modules that read its output, all directions side by side. Raises
    ValueError where they do not fit and where the module cannot be cut, such as with proj_size > 0.
    """
    if module not in dict(model.named_modules()):
        known = [name for name, m in model.named_modules() if isinstance(m, RECURRENT)]
        raise ValueError(f"{type(model).__name__} has no '{module}': its recurrent modules are {known}.")
    if reason := obstacle(model.get_submodule(module), module in tied_modules(model)):
        raise ValueError(f"'{module}' cannot be cut: {reason}.")
    layers = _recurrent(model, module)
    found = []
    for layer, direction in places(layers):
        last = layer == layers.num_layers - 1
        found.append(RecurrentUnits(module, tuple(readers) if last else (), layer, direction))
        found[-1].check(model)
    wide = (1 + layers.bidirectional) * layers.hidden_size
    for name in readers:
        if reads(model.get_submodule(name)) != wide:
            raise ValueError(
                f"'{name}' reads one direction of '{module}', and which one is not known: list RecurrentUnits("
                f"{module!r}, readers, layer, direction) of each layer and direction yourself."
            )
    return found


def check_complete(model: nn.Module, listed: Sequence[Units]) -> None:
    """Refuse a list that holds only some of the layers and directions of a recurrent module."""
    for module in {units.module for units in listed if isinstance(units, RecurrentUnits)}:
        have = {
            (u.layer, u.direction) for u in listed if isinstance(u, RecurrentUnits) and u.module == module
        }
        missing = [suffix(*place) for place in places(_recurrent(model, module)) if place not in have]
        if missing:
            raise ValueError(
                f"the layers and directions of '{module}' share one hidden_size and can only be cut together, but "
                f"{', '.join(missing)} of it is not listed: take all that recurrent_units(model, {module!r}, readers) "
                "gives."
            )


def obstacle(module: nn.Module, tied: bool) -> str:
    """Why the units of this module cannot be cut; "" when they can."""
    if type(module) not in RECURRENT:
        return f"it is a {type(module).__name__}, not an nn.RNN, nn.LSTM or nn.GRU"
    module = cast(nn.RNNBase, module)
    if module.proj_size > 0:
        return f"its proj_size is {module.proj_size}, and what others read is a mixture of its units: use proj_size=0"
    if set(module._flat_weights_names) - module._parameters.keys():
        return "its weights are computed from other tensors"
    return "it is tied to another layer" if tied else ""


def unreadable(reader: nn.Module, tied: bool) -> str:
    """Why the columns of this reader cannot be cut; "" when they can."""
    if not isinstance(reader, nn.Linear):
        return obstacle(reader, tied)
    return "it is tied to another layer" if tied else chains.obstacle(reader)


def reads(reader: nn.Module) -> int:
    """How many values a Linear or recurrent module reads."""
    return reader.get_parameter("weight_ih_l0" if isinstance(reader, RECURRENT) else "weight").shape[1]


def places(module: nn.RNNBase) -> list[tuple[int, int]]:
    """Layers and directions in torch's order, which is that of h_n as well."""
    return [(n, d) for n in range(module.num_layers) for d in range(1 + module.bidirectional)]


def suffix(layer: int, direction: int) -> str:
    """How torch ends the names of their parameters."""
    return f"l{layer}{'_reverse' if direction else ''}"


def _recurrent(model: nn.Module, name: str) -> nn.RNNBase:
    return cast(nn.RNNBase, model.get_submodule(name))
