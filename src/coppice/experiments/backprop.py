"""Back-propagation as in Zhao et al. 2017: three layers of sigmoids, one sample at a time, no momentum.

Written out by hand: through autograd each sample would cost three times as much.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def online_backprop(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], rate: float) -> int:
    """Learn each sample in turn from the error 1/2 sum_k (o_k - t_k)^2, t one-hot; returns the operations spent.

    h = sigmoid(W1 x + b1)   o = sigmoid(W2 h + b2)
    d2 = (o - t) o (1 - o)   d1 = (W2' d2) h (1 - h)   W -= rate d input'

    The model is Flatten, Linear, Sigmoid, Linear, Sigmoid; it is changed in place. Raises ValueError for another.
    """
    layers = list(model.children())
    kinds = [type(layer) for layer in layers]
    if kinds != [nn.Flatten, nn.Linear, nn.Sigmoid, nn.Linear, nn.Sigmoid]:
        raise ValueError(
            "online_backprop trains Flatten, Linear, Sigmoid, Linear, Sigmoid, but the model is "
            f"{', '.join(kind.__name__ for kind in kinds)}. Set model.hidden to one layer, model.activation and "
            "model.output to 'sigmoid'; or choose another training.optimizer."
        )
    if any(layer.bias is None for layer in layers if isinstance(layer, nn.Linear)):
        raise ValueError(
            "online_backprop trains biases, but a Linear of the model has none: build it with bias=True."
        )
    w1, b1, w2, b2 = (p.detach() for p in model.parameters())
    samples = 0
    with torch.inference_mode():
        for x, y in batches:
            targets = F.one_hot(y, len(b2)).to(w1.dtype)
            for pixels, target in zip(x.flatten(1).unbind(), targets.unbind(), strict=True):
                h = torch.addmv(b1, w1, pixels).sigmoid_()
                o = torch.addmv(b2, w2, h).sigmoid_()
                d2 = (o - target) * o * (1 - o)
                d1 = torch.mv(w2.t(), d2) * h * (1 - h)
                w2.addr_(d2, h, alpha=-rate)
                w1.addr_(d1, pixels, alpha=-rate)
                b2.sub_(d2, alpha=rate)
                b1.sub_(d1, alpha=rate)
            samples += len(y)
    return 3 * 2 * samples * (w1.numel() + w2.numel())
