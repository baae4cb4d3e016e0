"""Layers that torch lacks: LayerNorm and attention of a network from which neurons or heads were cut out."""

from typing import cast

import torch
import torch.nn.functional as F
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


class ShrunkAttention(nn.MultiheadAttention):
    """nn.MultiheadAttention of which some heads were cut out: num_heads * head_dim < embed_dim.

    Same call, same results as torch's layer whose missing heads are dead; made by `convert`. `embed_dim` and
    `head_dim` stay, `num_heads` is the number of the living, and the buffer `heads` [num_heads] says which they were.
    An attn_mask with a matrix a head may have those of the living or those of all heads. Weights that are returned
    are of the living, their average too. Nested tensors are not taken.
    """

    heads: Tensor

    @classmethod
    def convert(cls, attention: nn.MultiheadAttention) -> "ShrunkAttention":
        """Turn torch's attention into this layer in place, whole as yet: its parameters, hooks and holders stay."""
        if not isinstance(attention, cls):
            attention.__class__ = cls
            device = attention.out_proj.weight.device
            attention.register_buffer("heads", torch.arange(attention.num_heads, device=device))
            # so that torch's fused encoder layer does not read the weights past `forward`
            attention._qkv_same_embed_dim = False
        return cast(ShrunkAttention, attention)

    def revert(self) -> None:
        """Undo of `convert`, in place; the tensors must be given their full size."""
        del self.heads
        self.num_heads = self.embed_dim // self.head_dim
        self._qkv_same_embed_dim = True
        self.__class__ = nn.MultiheadAttention  # type: ignore[assignment]

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal=True is a hint about attn_mask: give the causal attn_mask as well.")
        batched, itself = query.dim() == 3, query is key and key is value
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = (
            x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)  # [batch, head, time, value]
            for x in self._project(query, key, value, itself)
        )
        # torch takes the hint only where no other mask and no weights are asked for
        hinted = is_causal and key_padding_mask is None and not need_weights
        mask = None if hinted else self._mask(attn_mask, key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = (q * self.head_dim**-0.5) @ k.transpose(-2, -1)
            weights = F.dropout((weights if mask is None else weights + mask).softmax(-1), dropout)
            heard = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            heard = F.scaled_dot_product_attention(q, k, v, mask, dropout, hinted)
        output = F.linear(heard.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor, itself: bool) -> tuple[Tensor, ...]:
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if itself:
            return F.linear(query, weight, bias).chunk(3, -1)
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        return tuple(
            F.linear(x, w, b) for x, w, b in zip((query, key, value), weight.chunk(3), biases, strict=True)
        )

    def _mask(self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor) -> Tensor | None:
        """Both masks as numbers to be added, broadcast over [batch, head, query, key]."""
        mask = None
        if attn_mask is not None:
            mask = _additive(attn_mask, q)
            if mask.dim() == 3:
                whole, batch = self.embed_dim // self.head_dim, q.shape[0]
                if len(mask) not in (batch * self.num_heads, batch * whole):
                    raise ValueError(
                        f"attn_mask holds {len(mask)} matrices, but for {batch} samples there must be "
                        f"{batch * self.num_heads} for the living heads or {batch * whole} for all."
                    )
                mask = mask.unflatten(0, (batch, -1))
                mask = mask[:, self.heads] if mask.shape[1] != self.num_heads else mask
        if key_padding_mask is not None:
            padding = _additive(key_padding_mask, q)[:, None, None, :]
            mask = padding if mask is None else mask + padding
        return mask


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """True, "do not look", becomes minus infinity; numbers stay."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, float("-inf"))
