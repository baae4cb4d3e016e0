"""GPM: a task may change a layer only in directions in which no input of earlier tasks has anything to say.

    R: inputs of a layer, a column for each place;  M: orthonormal columns, the core of all R so far
    gradient <- gradient - gradient M M^T
    after a task: M gets the leading singular vectors of R - M M^T R, as few as let M hold a share `threshold` of |R|^2

Saha, Garg, Roy 2021, Gradient Projection Memory for Continual Learning, ICLR, eqs. 5 to 9. The inputs here are what a
convolution sees at each place and time step. Heads and batch norms belong to each task; the paper shares norms, frozen after
the first task, and lets each batch normalise itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from coppice.experiments.continual.lesson import local_layers, losses_of, practise
from coppice.experiments.continual.trunk import TrunkLearner
from coppice.methods.td_mcl_school import DRAWS, School
from coppice.parts.kernels import LocalConv


@dataclass(eq=False)
class GPM(TrunkLearner):
    """threshold, rise: share of the inputs' energy that M holds after the first task, and what each later one adds
    samples:         of a task, at most, whose inputs are looked at
    Defaults: the paper's for split CIFAR-100.
    """

    threshold: float = 0.97
    rise: float = 0.003
    samples: int = 125

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}, but must be a share in (0, 1].")
        if not 0 <= self.rise <= 1:
            raise ValueError(f"rise is {self.rise}, but must be a share in [0, 1].")
        if not isinstance(self.samples, int) or isinstance(self.samples, bool) or self.samples < 1:
            raise ValueError(f"samples is {self.samples!r}, but must be a whole number, 1 or more.")
        self.bases: list[Tensor] = []  # M of each layer, float64 [input * taps, rank]

    def teach(self, school: School) -> None:
        weights, task = self.trunk.shared, school.number
        if not self.bases:
            self.bases = [w.new_zeros(w[0].numel(), 0, dtype=torch.float64) for w in weights]
        bases = [basis.to(weight) for basis, weight in zip(self.bases, weights, strict=True)]
        self.trunk.train()
        practise(
            self.schooling,
            [
                {
                    "params": weights,
                    "weight_decay": 0.0,
                },  # decay, too, only where it harms nobody: see project
                {"params": self.trunk.private(task)},
            ],
            losses_of(school, lambda x: self.trunk(x, task)),
            before_step=lambda _rate: project(weights, bases, self.schooling.weight_decay),
        )
        self.trunk.eval()
        x = school.learned[0]
        x = x[torch.randperm(len(x), generator=school.chance(DRAWS))[: self.samples].to(x.device)]
        threshold = min(1.0, self.threshold + task * self.rise)
        energies = self._energies(x, task)
        self.bases = [extended(m, r, threshold) for m, r in zip(self.bases, energies, strict=True)]

    @torch.no_grad()
    def _energies(self, x: Tensor, task: int) -> list[Tensor]:
        """R R^T of each layer, float64: all that singular vectors and values need, whatever the number of columns."""
        layers = list(local_layers(self.trunk.branch(task)).values())
        found = [
            torch.zeros(layer.weight[0].numel(), layer.weight[0].numel()).to(x).double() for layer in layers
        ]
        hooks = [
            layer.register_forward_pre_hook(partial(_gather, r))
            for layer, r in zip(layers, found, strict=True)
        ]
        try:
            for part in x.split(self.schooling.batch):
                self.trunk(part, task)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def stored(self) -> dict[str, int]:
        return {"bases": sum(basis.numel() * basis.element_size() for basis in self.bases)}


@torch.no_grad()
def project(weights: Sequence[nn.Parameter], bases: Sequence[Tensor], decay: float) -> None:
    """Gradients and decay, of weights [output, input, ...], onto the complement of the bases [input * taps, rank]."""
    for weight, basis in zip(weights, bases, strict=True):
        if weight.grad is not None:
            wanted = (weight.grad + decay * weight).flatten(1)
            weight.grad.copy_((wanted - (wanted @ basis) @ basis.T).view_as(weight))


def extended(basis: Tensor, energy: Tensor, threshold: float) -> Tensor:
    """The basis and as few more columns as let it hold `threshold` of the energy R R^T; eqs. 5 to 9."""
    total = energy.trace()
    aside = torch.eye(len(energy)).to(energy) - basis @ basis.T
    left = aside @ energy @ aside
    held, rest = total - left.trace(), len(energy) - basis.shape[1]
    if held >= threshold * total or not rest:
        return basis
    # singular values of R - M M^T R, squared, rising; M itself, which holds none of it, is pushed below the others
    values, vectors = torch.linalg.eigh((left + left.T) / 2 - total * (basis @ basis.T))
    reached = held + values.flip(0)[:rest].cumsum(0)
    count = min(int((reached < threshold * total).sum()) + 1, rest)
    return torch.cat([basis, vectors.flip(1)[:, :count]], 1)


def _gather(energy: Tensor, layer: LocalConv, args: tuple[Any, ...]) -> None:
    kernel, padding = layer.kernel_size, (int(layer.padding[0]), int(layer.padding[1]))
    columns = unfold(args[0], kernel, padding=padding, stride=layer.stride).transpose(0, 1).flatten(1)
    energy += (columns @ columns.T).double()
