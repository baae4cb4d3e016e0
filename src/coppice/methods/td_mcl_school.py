"""School: in which samples, order and at which rates a task is learned, and who learns. All chance is drawn here."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coppice.methods.td_mcl_inhibition import old_layers
from coppice.methods.td_mcl_network import Learnable, Network
from coppice.methods.td_mcl_options import TDMCL, Schooling
from coppice.parts.masks import Guard, Masks

HELD_OUT = 10  # one of so many training samples judges links and calls for old kernels
OLD_RATE = 0.1  # of the learning rate, for old weights where they learn
WEIGHTS, HOLDING, ORDER, DRAWS, LOTS = range(5)  # what chance is asked for, each from a generator of its own


class School:
    """One task's schooling. Chance follows from seed, task number and epoch, so there is none of it to store.

    learned, held: samples to learn from, and the others of the training samples, which are never learned from
    optimizer:     of those who learn now, while somebody does
    """

    def __init__(self, schooling: Schooling, task: Learnable, seed: int, number: int) -> None:
        self.schooling, self.seed, self.number = schooling, seed, number
        x, y = task.train
        if len(x) < 4 or len(x) != len(y) or not 0 <= int(y.min()) <= int(y.max()) < len(task.classes):
            raise ValueError(
                f"task '{task.name}' has {len(x)} training samples and {len(y)} labels for {len(task.classes)} classes, but"
                " needs 4 samples or more, as many labels, and these from 0 to the number of classes less 1."
            )
        counts = torch.bincount(y, minlength=len(task.classes))
        if not counts.all():  # its mean, by which tasks are told apart, would be none
            raise ValueError(
                f"class '{task.classes[int(counts.argmin())]}' of task '{task.name}' has no training sample: give some, or leave"
                " it out of classes and number the others anew."
            )
        if x.dtype != torch.float32:
            raise ValueError(
                f"training samples of task '{task.name}' are {x.dtype}, but must be float32: x.float()."
            )
        if not torch.isfinite(x).all():  # a neuron would take it for silence, and go on
            raise ValueError(
                f"training samples of task '{task.name}' are not finite: drop such samples or fill the gaps."
            )
        order = torch.randperm(len(x), generator=self.chance(HOLDING)).to(x.device)
        held = max(1, len(x) // HELD_OUT)
        self.held = (x[order[:held]], y[order[:held]])
        self.learned = (x[order[held:]], y[order[held:]])
        self.optimizer: torch.optim.SGD | None = None
        self.guard: Guard | None = None

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The learned samples in this epoch's order; see `parts`."""
        x, y = self.learned
        for part in self.parts(epoch):
            yield x[part], y[part]

    def parts(self, epoch: int) -> tuple[Tensor, ...]:
        """Which of the learned samples make each batch of this epoch; of nearly one size: none is too small for its norm."""
        x, _ = self.learned
        order = torch.randperm(len(x), generator=self.chance(ORDER, epoch)).to(x.device)
        return order.tensor_split(math.ceil(len(order) / self.schooling.batch))

    def held_batch(self, number: int) -> tuple[Tensor, Tensor]:
        """A batch of the held-out samples, by turns."""
        x, y = (part.split(self.schooling.batch) for part in self.held)
        return x[number % len(x)], y[number % len(y)]

    def chance(self, purpose: int, epoch: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed_of(purpose, epoch))

    def seed_of(self, purpose: int, epoch: int = 0) -> int:
        words = np.random.SeedSequence((self.seed, self.number, purpose, epoch)).generate_state(1, np.uint64)
        return int(words[0] >> np.uint64(1))

    def employ(self, network: Network, model: nn.Module, method: TDMCL) -> None:
        """An optimizer for those who learn now; who learned before keeps its momentum.

        The youngest module learns; of the old ones local weights only, if any, without momentum and decay: those would
        move weights that no gradient reaches.
        """
        before = {} if self.optimizer is None else dict(self.optimizer.state)
        self.dismiss()
        schooling, module = self.schooling, network.module(self.number)
        model.requires_grad_(False)
        module.requires_grad_(True)
        links = list(module.links.parameters())
        others = [p for p in module.parameters() if all(p is not link for link in links)]
        old: Sequence[Tensor] = ()
        if method.old_weights != "isolated":
            old = [layer.weight.requires_grad_(True) for _, _, layer in old_layers(network, self.number)]
        still = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
        groups: list[dict[str, Any]] = [{"params": others, "kind": "new"}]
        groups += [{"params": links, "kind": "links"}] if links else []
        groups += [{"params": list(old), "kind": "old", **still}] if old else []
        self.optimizer = torch.optim.SGD(
            groups,
            schooling.learning_rate,
            schooling.momentum,
            weight_decay=schooling.weight_decay,
            nesterov=True,
        )
        for parameter in (*others, *links):
            # zeros are what torch begins with, but its fused step fails where some have none yet: links not yet drawn
            fresh = {"momentum_buffer": torch.zeros_like(parameter)}
            self.optimizer.state[parameter] = before.get(parameter, fresh)
        if module.locals():
            self.guard = Masks(model).guard(self.optimizer)

    def dismiss(self) -> None:
        """Nobody learns any more."""
        if self.guard is not None:
            self.guard.remove()
        self.guard = self.optimizer = None

    def set_rates(self, epoch: int, strengthen: float) -> None:
        """From the learning rate to 0 as a cosine; `strengthen`: of long-range links, a factor."""
        rate = self.schooling.learning_rate * (1 + math.cos(math.pi * epoch / self.schooling.epochs)) / 2
        factors = {"new": 1.0, "links": strengthen, "old": OLD_RATE}
        for group in self.working.param_groups:
            group["lr"] = rate * factors[group["kind"]]

    @property
    def working(self) -> torch.optim.SGD:
        if self.optimizer is None:
            raise RuntimeError("nobody learns: call employ() first.")
        return self.optimizer
