"""Local synapses that live and die by kernels: all taps from one input channel to one output channel at once."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from coppice.parts.feedback import kernel_masses
from coppice.parts.masks import Masks


class LocalConv(nn.Conv2d):
    """A convolution whose kernels feedback may inhibit, and which knows what each was worth to its own task.

    inhibition: q in [0, 1] of each kernel, [output, input, 1, 1]
    own:        mass of each kernel when its own task ended, [output, input]; of those that died later too
    """

    inhibition: Tensor
    own: Tensor

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], stride: int = 1) -> None:
        padding = (size[0] // 2, size[1] // 2)
        super().__init__(inputs, outputs, size, stride, padding, bias=False)
        self.register_buffer("inhibition", torch.zeros(outputs, inputs, 1, 1))
        self.register_buffer("own", torch.zeros(outputs, inputs))

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.at_work, None)

    @property
    def at_work(self) -> Tensor:
        """(1 - q) W, [output, input, *tap]."""
        return (1 - self.inhibition) * self.weight

    @property
    def alive(self) -> Tensor:
        """Which kernels live, bool [output, input]; all where none was ever masked."""
        mask = Masks(self).get("weight")
        return torch.ones_like(self.own, dtype=torch.bool) if mask is None else mask[:, :, 0, 0].clone()

    @property
    def q(self) -> Tensor:
        """Inhibition of each kernel, [output, input]: a view that may be written to."""
        return self.inhibition[:, :, 0, 0]

    @property
    def taps(self) -> int:
        """Synapses of one kernel."""
        return self.weight[0, 0].numel()

    def masses(self) -> Tensor:
        """What the loss would change by without each kernel, from the gradient at hand, [output, input]."""
        if self.weight.grad is None:
            raise RuntimeError("there is no gradient: call loss.backward() first.")
        return kernel_masses(self.weight, self.weight.grad)

    def prune(self, doomed: Tensor, optimizer: Optimizer | None = None) -> int:
        """Kill kernels, bool [output, input], for good; returns how many died now."""
        masks = Masks.attach(self)
        return masks.prune({"weight": doomed[..., None, None].expand_as(self.weight)}, optimizer) // self.taps
