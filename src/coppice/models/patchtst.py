"""PatchTST, and the smaller encoder that the synaptic-pruning paper's released code calls by that name.

Nie et al. 2023, "A Time Series is Worth 64 Words". Attention is torch's own; the residual attention scores of the
authors' code are left out, as in the paper's text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from coppice.models.blocks import Block, RevIN, TokenBatchNorm
from coppice.models.windows import check_dropout, check_sizes, window_of


class PatchTST(nn.Module):
    """Windows [batch, length, channel] -> forecasts of channel 0, [batch, horizon].

    Instance norm (RevIN); patches that overlap, the last value repeated for one more at the end; linear embedding
    and learned positions; blocks with batch norm after each residual and GELU; one linear head over all tokens.
    Channels are independent and share all weights, so that only the channel that is forecast is computed: the
    others would change nothing but the running statistics of the batch norms.   Nie et al. 2023, section 3.1.
    """

    def __init__(
        self,
        length: int,
        horizon: int,
        patch: int = 16,
        stride: int = 8,
        width: int = 16,
        heads: int = 4,
        layers: int = 3,
        feedforward: int = 128,
        dropout: float = 0.0,
        affine: bool = True,
    ) -> None:
        super().__init__()
        self.patch, self.stride = patch, stride
        tokens = (length - patch) // stride + 2
        self.instance_norm = RevIN(affine)
        self.embed = nn.Linear(patch, width)
        self.position = nn.Parameter(torch.empty(tokens, width).uniform_(-0.02, 0.02))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width, heads, feedforward, dropout, 0.0, nn.GELU, TokenBatchNorm) for _ in range(layers)
        )
        self.head = nn.Linear(tokens * width, horizon)

    def forward(self, x: Tensor) -> Tensor:
        normal, mean, std = self.instance_norm(x[:, :, 0])
        tokens = self.dropout(self.embed(self.patches(normal)) + self.position)
        for block in self.blocks:
            tokens = block(tokens)
        forecast: Tensor = self.instance_norm.undo(self.head(tokens.flatten(1)), mean, std)
        return forecast

    def patches(self, x: Tensor) -> Tensor:
        """[batch, length] -> [batch, token, patch]; the last value is repeated `stride` times at the end."""
        padded = torch.cat([x, x[:, -1:].expand(-1, self.stride)], 1)
        return padded.unfold(1, self.patch, self.stride)


class PatchEncoder(nn.Module):
    """Windows [batch, length, channel] -> [batch, horizon]: the "PatchTST" of Vos et al. 2025's released code.

    Patches of all channels together, side by side, the last row repeated to fill the last; learned positions; blocks
    with layer norm after each residual and ReLU; the mean over the tokens goes to the head. It shares neither instance
    norm, nor overlap, nor independence of channels with PatchTST.
    """

    def __init__(
        self,
        length: int,
        channels: int,
        horizon: int,
        patch: int = 2,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        feedforward: int = 256,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch, self.missing = patch, -length % patch
        tokens = (length + self.missing) // patch
        self.embed = nn.Linear(patch * channels, width)
        self.position = nn.Parameter(torch.randn(tokens, width))
        self.blocks = nn.ModuleList(
            Block(width, heads, feedforward, dropout, dropout, nn.ReLU, nn.LayerNorm) for _ in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, horizon)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(self.patches(x)) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        forecast: Tensor = self.head(self.norm(self.dropout(tokens)).mean(1))
        return forecast

    def patches(self, x: Tensor) -> Tensor:
        """[batch, length, channel] -> [batch, token, patch * channel], row by row."""
        if self.missing:
            x = torch.cat([x, x[:, -1:].expand(-1, self.missing, -1)], 1)
        return x.unflatten(1, (-1, self.patch)).flatten(2)


@dataclass(frozen=True)
class Patch:
    """Recipe table [model], name "patchtst".

    patch:       rows of a patch; None: the even number nearest to a quarter of the window, 2 to 16
    stride:      rows from one patch to the next; None: half a patch
    width:       neurons of a token
    heads:       attention heads, which share the width
    layers:      blocks
    feedforward: neurons between the two feed-forward layers
    dropout:     of tokens, of what attention adds and of feed-forward neurons
    affine:      the instance norm learns a weight and a bias

    Width 16, 4 heads and 128 neurons are what Nie et al. 2023 take for small data sets; for others 128, 16 and 256.
    """

    name: Literal["patchtst"] = "patchtst"
    patch: int | None = None
    stride: int | None = None
    width: int = 16
    heads: int = 4
    layers: int = 3
    feedforward: int = 128
    dropout: float = 0.0
    affine: bool = True

    def __post_init__(self) -> None:
        check_sizes(patch=self.patch, stride=self.stride, layers=self.layers, feedforward=self.feedforward)
        _check_heads(self.width, self.heads)
        check_dropout(self.dropout)

    def build(self, shape: Sequence[int], outputs: int) -> PatchTST:
        """The network for windows of this shape [length, channel] with fresh weights from torch's generator."""
        length, _ = window_of(shape, self.name)
        patch = min(16, max(2, 2 * round(length / 8))) if self.patch is None else self.patch
        stride = max(1, patch // 2) if self.stride is None else self.stride
        _check_patch(patch, length)
        sizes = (self.width, self.heads, self.layers, self.feedforward)
        return PatchTST(length, outputs, patch, stride, *sizes, self.dropout, self.affine)

    def at_width(self, width: int) -> "Patch":
        """The same with tokens of so many neurons, feed-forward neurons in proportion."""
        return replace(self, **_in_proportion(self.width, self.heads, self.feedforward, width))


@dataclass(frozen=True)
class MixedPatch:
    """Recipe table [model], name "patch-encoder"; keys as for "patchtst".

    patch: None: 1, 2, 3 or 4 for windows of up to 7, 14, 30 or more rows, as in the released code
    """

    name: Literal["patch-encoder"] = "patch-encoder"
    patch: int | None = None
    width: int = 64
    heads: int = 4
    layers: int = 2
    feedforward: int = 256
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_sizes(patch=self.patch, layers=self.layers, feedforward=self.feedforward)
        _check_heads(self.width, self.heads)
        check_dropout(self.dropout)

    def build(self, shape: Sequence[int], outputs: int) -> PatchEncoder:
        """The network for windows of this shape [length, channel] with fresh weights from torch's generator."""
        length, channels = window_of(shape, self.name)
        patch = self.patch
        if patch is None:
            patch = 1 + sum(length > bound for bound in (7, 14, 30))
        _check_patch(patch, length)
        sizes = (self.width, self.heads, self.layers, self.feedforward)
        return PatchEncoder(length, channels, outputs, patch, *sizes, self.dropout)

    def at_width(self, width: int) -> "MixedPatch":
        """The same with tokens of so many neurons, feed-forward neurons in proportion."""
        return replace(self, **_in_proportion(self.width, self.heads, self.feedforward, width))


def _check_heads(width: int, heads: int) -> None:
    check_sizes(width=width, heads=heads)
    if width % heads:
        raise ValueError(
            f"heads is {heads}, but the heads share width = {width}, which {heads} does not divide: "
            f"width = {width - width % heads or heads} would do."
        )


def _check_patch(patch: int, length: int) -> None:
    if patch > length:
        raise ValueError(
            f"a patch has {patch} rows, but the window only {length}: lower model.patch, or raise data.length."
        )


def _in_proportion(width: int, heads: int, feedforward: int, wanted: int) -> dict[str, Any]:
    """Sizes at another width; as many of the heads as it can be shared by."""
    shared = max(count for count in range(1, heads + 1) if wanted % count == 0)
    return {"width": wanted, "heads": shared, "feedforward": max(1, round(feedforward * wanted / width))}
