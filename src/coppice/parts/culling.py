"""Which neurons go next? Pure: importances in, survivors out; ties go in order of position."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def survivors(
    importance: Sequence[Tensor],
    share: float,
    scope: Literal["global", "local"] = "global",
    max_share: float = 0.5,
    min_width: int = 1,
) -> list[Tensor]:
    """Indices of the neurons that stay, ascending, for each population's importance [neuron].

    The least important `share` goes, at least one neuron while any may go.
    "global": of all populations together, each importance divided by its population's mean; no population loses more
    than max_share (or `share`, if that is more). "local": of each population alone, k = max(1, round(share * width)).
    No population falls under min_width.
    """
    importance = [values.double() for values in importance]
    doomed = [torch.zeros(len(values), dtype=torch.bool) for values in importance]
    if scope == "local":
        for values, gone in zip(importance, doomed, strict=True):
            count = min(max(1, round(share * len(values))), max(0, len(values) - min_width))
            gone[values.sort(stable=True).indices[:count]] = True
    else:
        room = [
            max(0, min(max(1, round(max(max_share, share) * len(values))), len(values) - min_width))
            for values in importance
        ]
        relative = torch.cat([values / values.mean().abs().clamp_min(1e-300) for values in importance])
        owner = [(p, j) for p, values in enumerate(importance) for j in range(len(values))]
        wanted = max(1, round(share * len(owner)))
        for position in relative.sort(stable=True).indices.tolist():
            population, neuron = owner[position]
            if wanted and room[population]:
                doomed[population][neuron] = True
                room[population] -= 1
                wanted -= 1
    return [(~gone).nonzero().flatten() for gone in doomed]
