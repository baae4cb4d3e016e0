"""How far off are forecasts? Mean absolute errors, beside those of forecasts that need no network."""

import torch
from torch import Tensor, nn

from coppice.data import Splits

DROPPING = (nn.Dropout, nn.RNNBase, nn.MultiheadAttention)  # modules in which dropout is at home


@torch.no_grad()
def forecast(model: nn.Module, x: Tensor, size: int = 4096, dropout: bool = False) -> Tensor:
    """Windows [n, length, channel] -> [n, horizon] on the CPU, in evaluation mode; with dropout, only that is on."""
    model.eval()
    if dropout:
        for module in model.modules():
            module.training = isinstance(module, DROPPING)
    device = next(model.parameters()).device
    return torch.cat([model(part.to(device)).cpu() for part in x.split(size)])


def errors(forecasts: Tensor, splits: Splits) -> dict[str, float]:
    """Mean absolute error of forecasts [n, horizon] of the test windows; to be asked for once.

    test: in standard deviations of the training targets; test_unit: in the unit of the target.
    """
    off = (forecasts.double() - splits.test.y.double().reshape(forecasts.shape)).abs().mean(1)
    found = {"test": float(off.mean())}
    if splits.unit_scale is not None:
        found["test_unit"] = float((off * splits.unit_scale.double()).mean())
    return found


def naive_errors(splits: Splits) -> dict[str, dict[str, float]]:
    """`errors` of "persistence" and "seasonal naive"."""
    return {name: errors(forecasts, splits) for name, forecasts in splits.naive.items()}
