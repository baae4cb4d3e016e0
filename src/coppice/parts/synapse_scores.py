"""How useful is each synapse? Pure functions of one weight tensor; higher = keep, comparable over tensors.

Each takes the weight, its mask `alive` (bool, same shape) and the `evidence` gathered for it while training (see
`parts.evidence`; None where the score needs none) and returns a float tensor of the weight's shape. What it says of
the dead is not read.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

SynapseScore = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def magnitude(weight: Tensor, alive: Tensor, evidence: Tensor | None = None) -> Tensor:
    """|w|.   Vos et al. 2025; Han et al. 2015."""
    return weight.detach().abs()


def fan_in(weight: Tensor, alive: Tensor, evidence: Tensor | None = None) -> Tensor:
    """|w| sqrt(fan-in): undoes the usual initial scale, by which layers of many inputs would go first."""
    return weight.detach().abs() * math.sqrt(weight[0].numel())


def lamp(weight: Tensor, alive: Tensor, evidence: Tensor | None = None) -> Tensor:
    """w^2 / sum of all w'^2 >= w^2 of the same tensor: the last synapse of a tensor scores 1.   Lee et al. 2021, Eq. 2.

    Summed in float64; of equal synapses the earlier counts the later ones in, as if it were smaller.
    """
    squares = weight.detach().double().square().masked_fill(~alive, 0).flatten()
    order = squares.argsort(stable=True)
    heavier = squares[order].flip(0).cumsum(0).flip(0)
    scores = torch.zeros_like(squares)
    scores[order] = squares[order] / heavier.clamp_min(torch.finfo(torch.float64).tiny)
    return scores.view_as(weight)


def uniform(weight: Tensor, alive: Tensor, evidence: Tensor | None = None) -> Tensor:
    """Rank of |w| within its tensor, as a share: every tensor loses the same share.

    The dead hold the lowest ranks, so that the share counts from the tensor's full size.
    """
    strength = weight.detach().abs().double().masked_fill(~alive, -1).flatten()
    ranks = torch.empty_like(strength)
    ranks[strength.argsort(stable=True)] = torch.arange(
        len(strength), dtype=torch.float64, device=weight.device
    )
    return ((ranks + 0.5) / len(strength)).view_as(weight)


def activity(weight: Tensor, alive: Tensor, evidence: Tensor | None = None) -> Tensor:
    """|w| mean|input|: a strong synapse that nothing ever passes is weak.   Sun et al. 2024 (Wanda), with a mean.

    `evidence` [source]: mean absolute input of each source.
    """
    if evidence is None:
        raise ValueError("activity needs the mean input of each source: train at least one step first.")
    shape = (1, -1) + (1,) * (weight.dim() - 2)
    return weight.detach().abs() * evidence.to(weight).reshape(shape)


def gathered(weight: Tensor, alive: Tensor, evidence: Tensor | None = None) -> Tensor:
    """What was gathered step by step, as it is: for movement and Taylor, which rank by their history."""
    if evidence is None:
        raise ValueError("this score is gathered from gradients: train at least one step first.")
    return evidence


def chance(weight: Tensor, alive: Tensor, evidence: Tensor | None = None) -> Tensor:
    """Uniform random numbers from torch's generator: the control every score must beat."""
    return torch.rand(weight.shape, dtype=torch.float64).to(weight.device)


SYNAPSE_SCORES: dict[str, SynapseScore] = {
    "magnitude": magnitude,
    "fan_in": fan_in,
    "lamp": lamp,
    "uniform": uniform,
    "activity": activity,
    "movement": gathered,
    "taylor": gathered,
    "random": chance,
}
