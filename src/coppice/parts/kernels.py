"""Local synapses that live and die by kernels: all taps from one input channel to one output channel at once.

    current = conv(x, (1 - q) W) + tonic + sum over inputs and taps of q W E[x]

Homeostasis: a neuron that loses a kernel keeps the mean of what it got through it, as a current of its own, so that its
rate stays where it was and only what varied is lost. In pruning without retraining this is known as mean replacement (Evci
et al. 2018) and bias correction (Nagel et al. 2019, arXiv 1906.04721).
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from coppice.parts.feedback import kernel_masses
from coppice.parts.masks import Masks


class LocalConv(nn.Conv2d):
    """A convolution whose kernels feedback may inhibit, and which knows what each was worth to its own task.

    inhibition: q in [0, 1] of each kernel, [output, input, 1, 1]
    own:        mass of each kernel when its own task ended, [output, input]; of those that died later too
    expected:   E[x], the mean input at each tap when its own task ended, [input, *tap]; 0: nothing is made up for
    tonic:      current that stands in for the dead, [output]
    """

    inhibition: Tensor
    own: Tensor
    expected: Tensor
    tonic: Tensor

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], stride: int = 1) -> None:
        padding = (size[0] // 2, size[1] // 2)
        super().__init__(inputs, outputs, size, stride, padding, bias=False)
        self.register_buffer("inhibition", torch.zeros(outputs, inputs, 1, 1))
        self.register_buffer("own", torch.zeros(outputs, inputs))
        self.register_buffer("expected", torch.zeros(inputs, *size))
        self.register_buffer("tonic", torch.zeros(outputs))

    def forward(self, input: Tensor) -> Tensor:
        # in training the norm behind takes any constant away
        return self._conv_forward(input, self.at_work, None if self.training else self.made_up)

    @property
    def at_work(self) -> Tensor:
        """(1 - q) W, [output, input, *tap]."""
        return (1 - self.inhibition) * self.weight

    @property
    def made_up(self) -> Tensor:
        """The current that stands in for what the dead and the inhibited gave in the mean, [output]."""
        return self.tonic + ((self.weight - self.at_work) * self.expected).sum((1, 2, 3))

    @torch.no_grad()
    def expect(self, mean: Tensor) -> None:
        """Keep what to make up for later, from the mean of its inputs over samples and time, [input, height, width]."""
        size, padding, stride = (cast(Any, pair) for pair in (self.kernel_size, self.padding, self.stride))
        patches = F.unfold(mean[None], size, padding=padding, stride=stride)
        self.expected.copy_(patches[0].mean(1).view_as(self.expected))

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
        with torch.no_grad():
            self.tonic += (self.weight * doomed[..., None, None] * self.expected).sum((1, 2, 3))
        masks = Masks.attach(self)
        return masks.prune({"weight": doomed[..., None, None].expand_as(self.weight)}, optimizer) // self.taps
