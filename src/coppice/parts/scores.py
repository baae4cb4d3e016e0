"""How useful is each neuron? Pure functions of the weights; float64 sums.

Each takes the model and a population and returns one importance a neuron, [neuron], higher = keep.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from coppice.parts.neurons import Population

Importance = Callable[[nn.Module, Population], Tensor]


def _sums(model: nn.Module, population: Population) -> tuple[Tensor, Tensor]:
    incoming = population.incoming_weight(model).double().abs().sum(1)
    outgoing = population.outgoing_weight(model).double().abs().sum(1)
    return incoming, outgoing


def total(model: nn.Module, population: Population) -> Tensor:
    """I_j = sum_i |w_ij| + sum_k |w_jk|.   Zhao et al. 2017, Eq. 1."""
    incoming, outgoing = _sums(model, population)
    return incoming + outgoing


def balanced(model: nn.Module, population: Population) -> Tensor:
    """Eq. 1 with each side divided by its mean over the population: both sides count alike.

    In Eq. 1 the side with more synapses decides alone: of 784 inputs and 10 outputs a neuron's inputs make 95 %.
    """
    incoming, outgoing = _sums(model, population)
    # a population whose whole side is zero has nothing to rank on that side
    return incoming / incoming.mean().clamp_min(1e-300) + outgoing / outgoing.mean().clamp_min(1e-300)


def chance(model: nn.Module, population: Population) -> Tensor:
    """Uniform random numbers from torch's generator: the control every importance must beat."""
    return torch.rand(population.width(model), dtype=torch.float64)


IMPORTANCES: dict[str, Importance] = {"total": total, "balanced": balanced, "chance": chance}
