"""Back-propagation as in Zhao et al. 2017: three layers of sigmoids, one sample at a time, no momentum.

    h = sigmoid(W1 x + b1)   o = sigmoid(W2 h + b2)     error 1/2 sum_k (o_k - t_k)^2, t one-hot
    d2 = (o - t) o (1 - o)   d1 = (W2' d2) h (1 - h)    W -= rate d input'

Written out by hand: through autograd each sample would cost three times as much.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batches = Iterable[tuple[Tensor, Tensor]]


def online_backprop(model: nn.Module, batches: Batches, rate: float) -> int:
    """Learn each sample in turn; returns the operations spent.

    The model is Flatten, Linear, Sigmoid, Linear, Sigmoid; it is changed in place. Raises ValueError for another.
    """
    w1, b1, w2, b2 = _parameters(model)
    return 6 * _learn(w1, b1, w2, b2, 1, batches, rate) * (w1.numel() + w2.numel())


def online_backprop_together(models: Sequence[nn.Module], batches: Batches, rate: float) -> None:
    """`online_backprop` of several networks on the same samples; same result, less time than one after another.

    Their hidden neurons stand side by side in one matrix, and their output weights are its blocks.
    """
    parts = [_parameters(model) for model in models]
    w1, b1 = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
    w2, b2 = torch.block_diag(*(p[2] for p in parts)), torch.cat([p[3] for p in parts])
    apart = torch.block_diag(*(torch.ones_like(p[2]) for p in parts))
    _learn(w1, b1, w2, b2, len(models), batches, rate, apart)
    hidden = outputs = 0
    for own_w1, own_b1, own_w2, own_b2 in parts:
        rows, columns = slice(outputs, outputs + len(own_b2)), slice(hidden, hidden + len(own_b1))
        own_w1.copy_(w1[columns])
        own_b1.copy_(b1[columns])
        own_w2.copy_(w2[rows, columns])
        own_b2.copy_(b2[rows])
        hidden, outputs = columns.stop, rows.stop


def _learn(
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    nets: int,
    batches: Batches,
    rate: float,
    apart: Tensor | None = None,
) -> int:
    """The loop; `apart`, 1 or 0 like w2, keeps the outputs of one network from the neurons of another."""
    samples = 0
    with torch.inference_mode():
        for x, y in batches:
            targets = F.one_hot(y, len(b2) // nets).to(w1.dtype).repeat(1, nets)
            for pixels, target in zip(x.flatten(1).unbind(), targets.unbind(), strict=True):
                h = torch.addmv(b1, w1, pixels).sigmoid_()
                o = torch.addmv(b2, w2, h).sigmoid_()
                d2 = (o - target) * o * (1 - o)
                d1 = torch.mv(w2.t(), d2) * h * (1 - h)
                w2.addr_(d2, h, alpha=-rate)
                if apart is not None:
                    w2.mul_(apart)
                w1.addr_(d1, pixels, alpha=-rate)
                b2.sub_(d2, alpha=rate)
                b1.sub_(d1, alpha=rate)
            samples += len(y)
    return samples


def _parameters(model: nn.Module) -> list[Tensor]:
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
    return [parameter.detach() for parameter in model.parameters()]
