"""What encoders of patches are made of: instance norm of a window, batch norm of tokens, the attention block."""

import torch
from torch import Tensor, nn

EPSILON = 1e-5  # added to the variance of a window, as in RevIN's code


class RevIN(nn.Module):
    """Reversible instance normalisation of one channel: each window by its own mean and standard deviation.

    normalised = (x - mean) / sqrt(var + 1e-5) * weight + bias, var over the window, and back again for its forecast.
    Kim et al. 2022, eq. 1-3.
    """

    def __init__(self, affine: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1)) if affine else None
        self.bias = nn.Parameter(torch.zeros(1)) if affine else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Windows [batch, length] -> (normalised, mean [batch, 1], standard deviation [batch, 1])."""
        # constants of the window, not a path for gradients
        mean = x.mean(1, keepdim=True).detach()
        std = (x.var(1, unbiased=False, keepdim=True) + EPSILON).sqrt().detach()
        normal = (x - mean) / std
        if self.weight is not None and self.bias is not None:
            normal = normal * self.weight + self.bias
        return normal, mean, std

    def undo(self, forecast: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Forecasts [batch, horizon] in the units of their windows."""
        if self.weight is not None and self.bias is not None:
            # squared epsilon: a weight that learns its way to 0 must not divide by it
            forecast = (forecast - self.bias) / (self.weight + EPSILON**2)
        return forecast * std + mean


class TokenBatchNorm(nn.Module):
    """Batch norm of tokens [batch, token, width] over batch and tokens, each neuron by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, tokens: Tensor) -> Tensor:
        normal: Tensor = self.norm(tokens.transpose(1, 2))
        return normal.transpose(1, 2)


class Block(nn.Module):
    """Self-attention and feed-forward neurons, each added to its input and normalised afterwards."""

    def __init__(
        self,
        width: int,
        heads: int,
        feedforward: int,
        dropout: float,
        attention_dropout: float,
        activation: type[nn.Module],
        norm: type[nn.Module],
    ) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=attention_dropout, batch_first=True)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward), activation(), nn.Dropout(dropout), nn.Linear(feedforward, width)
        )
        self.dropout = nn.Dropout(dropout)
        self.attention_norm, self.feedforward_norm = norm(width), norm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        heard, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        tokens = self.attention_norm(tokens + self.dropout(heard))
        tokens = self.feedforward_norm(tokens + self.dropout(self.feedforward(tokens)))
        return tokens
