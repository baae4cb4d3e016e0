"""PackNet: each task prunes what it does not need of the free synapses, keeps the rest for ever, and leaves others room.

Mallya & Lazebnik 2018, PackNet: Adding Multiple Tasks to a Single Network by Iterative Pruning, CVPR. A task trains the free
synapses beside the frozen ones of earlier tasks, prunes by magnitude layer by layer, retrains what is left, and freezes it.
The paper keeps the batch norms of its pretrained network; from scratch there are none, so each task has its own. The
authors' scripts leave the last task unpruned; a learner cannot know that it is the last, so here it prunes too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from coppice.experiments.continual.trunk import Frozen, TrunkLearner
from coppice.methods.td_mcl_school import School
from coppice.parts.selection import lowest

RETRAINING = 0.1  # share of the learning rate to retrain with: 1e-4 after 1e-3 in the authors' scripts


@dataclass(eq=False)
class PackNet(TrunkLearner):
    """Of a layer's synapses, each is free or one task's own.

    first, prune: share of the free synapses that the first task, a later task prunes: 0.5 and 0.75 in the authors' scripts
    retrain:      share of the epochs to retrain in: 10 of 30 there
    """

    first: float = 0.5
    prune: float = 0.75
    retrain: float = 1 / 3

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("first", "prune"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be a share in [0, 1).")
        if not 0 < self.retrain < 1:
            raise ValueError(f"retrain is {self.retrain}, but must be a share between 0 and 1.")
        self.owners: list[Tensor] = []  # 0: free; task number + 1

    def teach(self, school: School) -> None:
        weights, task = self.trunk.shared, school.number
        if not self.owners:
            self.owners = [torch.zeros_like(weight, dtype=torch.int16) for weight in weights]
        epochs = self.schooling.epochs
        first = epochs - round(self.retrain * epochs)
        self._train(school, range(first), 1.0, [owner > 0 for owner in self.owners])
        share = self.prune if task else self.first
        for weight, owner in zip(weights, self.owners, strict=True):
            free = owner == 0
            count = round(share * int(free.sum()))
            doomed = lowest({"": weight.detach().abs()}, {"": free}, count)[""].to(free.device)
            owner[free & ~doomed] = task + 1
            weight.data[doomed] = 0  # from there the next task begins
        self._train(school, range(first, epochs), RETRAINING, [owner != task + 1 for owner in self.owners])

    def _train(self, school: School, epochs: range, share: float, kept: list[Tensor]) -> None:
        self.practise(school, epochs=epochs, share=share, after_step=Frozen(self.trunk.shared, kept).restore)

    def masks(self, task: int) -> list[Tensor]:
        """What this task and earlier ones own."""
        return [(owner > 0) & (owner <= task + 1) for owner in self.owners]

    def stored(self) -> dict[str, int]:
        return {"owners of synapses": sum(owner.numel() * owner.element_size() for owner in self.owners)}
