"""A layer that torch lacks: the LayerNorm of a network from which neurons were cut out."""

from typing import cast

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

    @classmethod
    def convert(cls, norm: nn.LayerNorm) -> "ShrunkLayerNorm":
        """Turn a LayerNorm into this layer in place: its parameters, hooks and all who hold it stay."""
        if not isinstance(norm, cls):
            norm.__class__ = cls
            norm.register_buffer("silent", torch.zeros((), dtype=torch.long, device=norm.weight.device))
        return cast(ShrunkLayerNorm, norm)

    def revert(self) -> None:
        """Undo of `convert`, in place; the silent are forgotten."""
        del self.silent
        self.__class__ = nn.LayerNorm  # type: ignore[assignment]

    def forward(self, input: Tensor) -> Tensor:
        wide = input.to(torch.promote_types(input.dtype, torch.float32))  # sums of half floats lose the small
        count = input.shape[-1] + self.silent
        mean = wide.sum(-1, keepdim=True) / count
        centred = wide - mean
        variance = (centred.square().sum(-1, keepdim=True) + self.silent * mean.square()) / count
        normal = (centred * torch.rsqrt(variance + self.eps)).to(input.dtype)
        if self.weight is not None:
            normal = normal * self.weight
        return normal if self.bias is None else normal + self.bias
