"""The multi-layer perceptron: the three-layer network of Zhao et al. 2017, and deeper ones."""

import math
from collections.abc import Sequence

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}


def mlp(
    shape: Sequence[int],
    hidden: Sequence[int],
    outputs: int,
    activation: str = "relu",
    norm: str = "none",
    output: str = "linear",
) -> nn.Sequential:
    """Inputs of any shape [batch, *shape], flattened; hidden layers; outputs [batch, outputs]."""
    layers: list[nn.Module] = [nn.Flatten()]
    layers += dense_layers(math.prod(shape), hidden, outputs, activation, norm, output)
    return nn.Sequential(*layers)


def dense_layers(
    inputs: int, hidden: Sequence[int], outputs: int, activation: str, norm: str, output: str
) -> list[nn.Module]:
    """Linear, norm, activation for each hidden width, then the output layer."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers.append(nn.Linear(inputs, width))
        if norm != "none":
            layers.append(nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width))
        layers.append(ACTIVATIONS[activation]())
        inputs = width
    layers.append(nn.Linear(inputs, outputs))
    if output == "sigmoid":
        layers.append(nn.Sigmoid())
    return layers
