"""Latencies to be compared."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

ROUNDS = 5
SECONDS = 0.1  # for each network in each round


def latencies(
    models: Sequence["nn.Module"], examples: "Tensor | Sequence[Tensor]", seconds: float = SECONDS
) -> list[float]:
    """Seconds of a forward pass of each model, over the one example or each over its own; in turns, so that whatever
    else the machine does hits all alike.

    The smallest of the rounds' medians: what else runs can only add.
    """
    from torch import Tensor

    from coppice.parts.cost import latency

    each = [examples] * len(models) if isinstance(examples, Tensor) else examples
    rounds = [[latency(m, x, seconds) for m, x in zip(models, each, strict=True)] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]
