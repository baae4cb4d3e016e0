"""What belongs to one unit: its rows, columns and entries in the tensors of a model.

A unit is whatever can be taken out whole: a neuron, a channel, a hidden unit of an LSTM, an attention head. It owns
pieces of several tensors. Ranking, killing and cutting need only to know which pieces, whatever the kind of unit.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Piece(NamedTuple):
    """The places along one axis of a tensor that belong to each unit of a group.

    The axis is [block, unit, span]: `span` neighbouring places a unit, in each block the units in turn. A unit owns
    its places in the `blocks` named: the four gates of an LSTM, or one direction of two that stand side by side.
    """

    tensor: str  # name of a parameter or buffer within the model
    dim: int
    blocks: tuple[int, ...] = (0,)
    span: int = 1

    def places(self, width: int) -> Tensor:
        """Indices along the axis, [unit, place], for a group of `width` units."""
        first = (torch.tensor(self.blocks) * width + torch.arange(width)[:, None]) * self.span
        return (first[:, :, None] + torch.arange(self.span)).flatten(1)


class Units(ABC):
    """A group of removable units: they stand in the same tensors, one beside the other.

    Groups with the same `group` name share a size and lose the same number of units, each its own.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What they are called in records and messages."""

    @property
    def group(self) -> str:
        """Name of all those that must stay equally wide; by default their own."""
        return self.name

    @abstractmethod
    def width(self, model: nn.Module) -> int:
        """How many units there are now."""

    @abstractmethod
    def inward(self, model: nn.Module) -> list[Piece]:
        """Weights through which a unit hears."""

    @abstractmethod
    def outward(self, model: nn.Module) -> list[Piece]:
        """Weights through which it is heard, all of them."""

    def entries(self, model: nn.Module) -> list[Piece]:
        """What else it owns and loses when it is cut out: biases, entries of norms."""
        return []

    @abstractmethod
    def check(self, model: nn.Module) -> None:
        """Raise ValueError where these units do not fit the model or cannot be cut out of it."""

    def dead(self, model: nn.Module) -> Tensor:
        """[unit], True where nobody hears it, so that its removal changes no output."""
        width = self.width(model)
        heard = [_rows(model, piece, width) for piece in self.outward(model)]
        return torch.stack([(rows == 0).flatten(1).all(1) for rows in heard]).all(0)

    def prepare_cut(self, model: nn.Module) -> None:
        """Called before units are cut out: change what could not bear it."""
        return None

    def count_silent(self, model: nn.Module, gone: int) -> None:
        """Called before `gone` dead units are cut out: let those that average over units go on counting them."""
        return None

    def strength(self, model: nn.Module) -> Tensor:
        """Mean square of a unit's synapses, in and out, each counted once; float64, [unit], higher = more useful."""
        width = self.width(model)
        pieces = self.inward(model) + self.outward(model)
        total = torch.zeros(width, dtype=torch.float64)
        count = 0
        for piece in pieces:
            rows = _rows(model, piece, width).double().square().flatten(1)
            total += rows.sum(1).cpu()
            count += rows.shape[1]
        for one, other in combinations(pieces, 2):
            if one.tensor == other.tensor:  # row and column of a recurrent matrix cross
                first, second = (one, other) if one.dim < other.dim else (other, one)
                weight = _tensor(model, one.tensor)
                rows, columns = (p.places(width).to(weight.device) for p in (first, second))
                crossing = weight[rows[:, :, None], columns[:, None, :]].double().square().flatten(1)
                total -= crossing.sum(1).cpu()
                count -= crossing.shape[1]
        return total / count

    def synapses(self, model: nn.Module, chosen: Tensor) -> dict[str, Tensor]:
        """All weights of the chosen units, in and out: bool tensors by parameter name, True where theirs.

        chosen: bool [unit]. Raises ValueError for another dtype or shape.
        """
        width = self.width(model)
        if chosen.dtype != torch.bool or chosen.shape != (width,):
            raise ValueError(
                f"chosen is {chosen.dtype} of shape {list(chosen.shape)}, but '{self.name}' has {width} units: it "
                f"must be bool of shape [{width}]."
            )
        theirs: dict[str, Tensor] = {}
        for piece in self.inward(model) + self.outward(model):
            weight = _tensor(model, piece.tensor)
            mask = theirs.setdefault(piece.tensor, torch.zeros_like(weight, dtype=torch.bool))
            places = piece.places(width)[chosen.cpu()].flatten().to(weight.device)
            mask.index_fill_(piece.dim, places, True)
        return theirs


def order(size: int, width: int, cuts: Sequence[tuple[Piece, Tensor]]) -> Tensor:
    """Indices that remain of an axis of `size` places, when of each piece's units only the kept stay, in that order."""
    blocks = list(torch.arange(size).view(-1, width, cuts[0][0].span))
    for piece, kept in cuts:
        for block in piece.blocks:
            blocks[block] = blocks[block][kept]
    return torch.cat([block.flatten() for block in blocks])


def within(module: str, name: str) -> str:
    """Full name of what `module` holds under `name`; the model itself is called ""."""
    return f"{module}.{name}" if module else name


def _tensor(model: nn.Module, name: str) -> Tensor:
    owner, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(model.get_submodule(owner), leaf)
    return tensor.detach()


def _rows(model: nn.Module, piece: Piece, width: int) -> Tensor:
    """A piece's values, [unit, place, everything else]."""
    weight = _tensor(model, piece.tensor).movedim(piece.dim, 0)
    return weight[piece.places(width).to(weight.device)]
