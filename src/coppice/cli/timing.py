"""Latencies to be compared."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

ROUNDS = 5
SECONDS = 0.1  # for each network in each round


def latencies(models: Sequence["nn.Module"], example: "Tensor") -> list[float]:
    """Seconds of a forward pass of each model; in turns, so that whatever else the machine does hits all alike.

    The smallest of the rounds' medians: what else runs can only add.
    """
    from coppice.parts.cost import latency

    rounds = [[latency(model, example, SECONDS) for model in models] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]
