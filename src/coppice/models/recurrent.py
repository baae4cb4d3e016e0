"""Recurrent forecasters: a window of rows goes in, the last hidden state tells the future."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from coppice.models.windows import check_dropout, check_sizes, window_of

KINDS: dict[str, type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]] = {
    "rnn": nn.RNN,
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}


class RecurrentForecaster(nn.Module):
    """Windows [batch, length, channel] -> forecasts [batch, horizon], from the last state of the top layer.

    `recurrent`: "rnn", "lstm" or "gru" of so many hidden neurons and layers; `dropout` acts before the head and
    between the layers. Any length of window will do.
    """

    def __init__(
        self,
        channels: int,
        horizon: int,
        kind: str = "lstm",
        hidden: int = 64,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0  # torch warns of a dropout between layers that are not there
        self.recurrent = KINDS[kind](channels, hidden, layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, horizon)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrent(x)
        forecast: Tensor = self.head(self.dropout(states[:, -1]))
        return forecast


@dataclass(frozen=True)
class Recurrent:
    """Recipe table [model], names "rnn", "lstm" and "gru".

    hidden:  neurons of each recurrent layer
    layers:  recurrent layers, one on top of the other
    dropout: before the head and between the layers
    """

    name: Literal["rnn", "lstm", "gru"] = "lstm"
    hidden: int = 64
    layers: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_sizes(hidden=self.hidden, layers=self.layers)
        check_dropout(self.dropout)

    def build(self, shape: Sequence[int], outputs: int) -> RecurrentForecaster:
        """The network for windows of this shape [length, channel] with fresh weights from torch's generator."""
        _, channels = window_of(shape, self.name)
        return RecurrentForecaster(channels, outputs, self.name, self.hidden, self.layers, self.dropout)

    @property
    def width(self) -> int:
        """What `at_width` changes."""
        return self.hidden

    def at_width(self, width: int) -> "Recurrent":
        """The same with so many hidden neurons."""
        return replace(self, hidden=width)
