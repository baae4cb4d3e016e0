"""A layer that torch lacks: the LayerNorm of a network from which neurons were cut out."""

import torch
from torch import Tensor, nn


class ShrunkLayerNorm(nn.LayerNorm):
    """LayerNorm over the living neurons that still counts `silent` removed ones, whose values were all zero.

        mean = sum(x) / (n + silent)      var = (sum((x - mean)^2) + silent * mean^2) / (n + silent)

    A dead neuron's zero enters the mean and the variance of a LayerNorm, so that taking it out changes what the
    others get; with this layer the outputs stay equal. Input and output [..., n]. With silent = 0 it is LayerNorm.
    """

    silent: Tensor

    def __init__(
        self, normalized_shape: int, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True
    ) -> None:
        super().__init__(normalized_shape, eps, elementwise_affine, bias)
        self.register_buffer("silent", torch.zeros((), dtype=torch.long))

    def forward(self, input: Tensor) -> Tensor:
        count = input.shape[-1] + self.silent
        mean = input.sum(-1, keepdim=True) / count
        centred = input - mean
        variance = (centred.square().sum(-1, keepdim=True) + self.silent * mean.square()) / count
        normal = centred * torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            normal = normal * self.weight
        return normal if self.bias is None else normal + self.bias
