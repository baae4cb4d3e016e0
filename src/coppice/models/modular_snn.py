"""A spiking network that grows: one module for each task, which reads earlier modules through long-range links.

    I_b = W_b s_{b-1} + sum_k V_b^k s_{b-1}^k        of block b; k runs over the earlier modules it is linked to
    s_b = pool(LIF(BatchNorm(I_b)))                  s_{-1}: the input, which is never linked
    out = mean over time and space of s_{B-1}, read by the head and, through their own links, of s_{B-1}^k

W are local synapses, V long-range ones, without taps in space. Han et al. 2025 (TD-MCL); its layer table is not
public, so the sizes are ours. Time is folded into the batch, and the convolution of an input that stands still is
computed once. With neuron = None it is the network's twin of rectified units, for comparison.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from coppice.models.modular_blocks import ModularPlan, planes
from coppice.models.modular_module import Activity, Links, Spikes, TaskModule

LINK_SCALE = 0.5  # of torch's initial weights: a newborn module hears itself first


class ModularSNN(nn.Module):
    """Modules in the order in which they grew; only the youngest is ever in training mode.

    names: of the tasks, in that order
    """

    def __init__(self, plan: ModularPlan) -> None:
        super().__init__()
        self.plan = plan
        self.names: list[str] = []
        self.grown = nn.ModuleList()

    def grow(self, name: str, shape: Sequence[int], classes: int, width: float = 1.0) -> TaskModule:
        """Add a module for a task, with links to all earlier ones; weights from torch's generator.

        `shape`: of a sample; `width`: share of the full width. Raises ValueError for a name that is taken, fewer than
        two classes, a shape that no module takes.
        """
        if name in self.names:
            raise ValueError(f"there is a task '{name}' already: choose another name.")
        if classes < 2:
            raise ValueError(f"task '{name}' has {classes} classes, but needs at least 2.")
        if len(shape) == 4 and shape[0] != self.plan.steps:
            raise ValueError(
                f"task '{name}' has {shape[0]} frames a sample, but the network takes {self.plan.steps} time steps: bin the"
                " events into as many frames, or set steps."
            )
        module = self._as_ours(self._module(self.plan.at(width), shape, classes))
        self.names.append(name)
        self.grown.append(module)
        self.train(self.training)
        return module

    def sketch(self, shape: Sequence[int], classes: int, width: float = 1.0) -> TaskModule:
        """The module that `grow` would add, without memory for its weights: to count its synapses."""
        with torch.device("meta"):
            return self._module(self.plan.at(width), shape, classes)

    def _module(self, plan: ModularPlan, shape: Sequence[int], classes: int) -> TaskModule:
        module = TaskModule(plan, shape, classes)
        for number in range(len(self.grown)):
            module.link(number, self.module(number), LINK_SCALE)
        return module

    def _as_ours(self, module: TaskModule) -> TaskModule:
        """On the device of what grew before, and of its dtype."""
        first = next(self.parameters(), None)
        return module if first is None else module.to(first.device, first.dtype)

    def structure(self) -> list[dict[str, Any]]:
        """What grew, for JSON: name, shape, classes, widths and links of each module. See `rebuild`."""
        return [
            {
                "name": name,
                "shape": list(module.shape),
                "classes": module.classes,
                "widths": list(module.plan.widths),
                "links": [[block, sources] for block, sources in module.wiring().items()],
            }
            for name, module in zip(self.names, map(self.module, range(len(self.grown))), strict=True)
        ]

    def rebuild(self, structure: Sequence[Mapping[str, Any]]) -> None:
        """Become a network of this structure; the weights are any, to be loaded. What grew before is dropped."""
        first = next(self.parameters(), torch.empty(0))
        self.names, self.grown = [], nn.ModuleList()
        for number, part in enumerate(structure):
            plan = replace(self.plan, widths=tuple(part["widths"]))
            module = self._module(plan, tuple(part["shape"]), part["classes"])
            self.names.append(part["name"])
            self.grown.append(module.to(first.device, first.dtype))
            self.keep_links(number, dict(part["links"]))
        self.train(self.training)

    def keep_links(self, task: str | int, keep: Links) -> None:
        """Drop all links of a task's module but these, and the senses that it then needs no more."""
        number = self.number(task)
        module = self.module(number)
        kept = {f"{block}_{earlier}" for block, modules in keep.items() for earlier in modules}
        for key in [key for key in module.links if key not in kept]:
            del module.links[key]
        needed = {str(earlier) for earlier in self.needed(number)}
        for key in [key for key in module.senses if key not in needed]:
            del module.senses[key]

    def module(self, task: str | int) -> TaskModule:
        return cast(TaskModule, self.grown[self.number(task)])

    def number(self, task: str | int) -> int:
        """Position of a task, given by name or position. Raises ValueError for one that was not learned."""
        if isinstance(task, int) and 0 <= task < len(self.names):
            return task
        if task in self.names:
            return self.names.index(str(task))
        raise ValueError(f"there is no task {task!r}: there are {', '.join(self.names) or 'none yet'}.")

    def needed(self, task: str | int, links: Links | None = None, known: Collection[int] = ()) -> list[int]:
        """The earlier modules that a task reads, and those which these read, in order of growth.

        `known`: modules whose spikes are at hand, so that nothing is needed on their behalf.
        """
        number = self.number(task)
        wiring = self.module(number).wiring() if links is None else links
        wanted = {module for modules in wiring.values() for module in modules}
        for earlier in range(
            number - 1, -1, -1
        ):  # who is read grew before its reader: one pass down finds all
            if earlier in wanted and earlier not in known:
                wanted.update(*self.module(earlier).wiring().values())
        return sorted(wanted)

    def forward(
        self, x: Tensor, task: str | int, links: Links | None = None, heard: Spikes | None = None
    ) -> Tensor:
        """Samples [batch, *shape] -> logits [batch, class] of the task's own head.

        `links`: of those that the task's module has, the ones in use; all by default. `heard`: spikes of earlier
        modules on these samples, where they are known; those modules are not run.
        """
        return self.activity(x, task, links, heard)[self.number(task)].logits

    def activity(
        self, x: Tensor, task: str | int, links: Links | None = None, heard: Spikes | None = None
    ) -> dict[int, Activity]:
        """What every module that runs gives, by number; see `forward`."""
        number = self.number(task)
        module = self.module(number)
        x = planes(x, module.shape)
        found: dict[int, Activity] = {}
        spikes = dict(heard or {})
        for earlier in self.needed(number, links, spikes.keys()):
            if earlier not in spikes:
                sense = self._sense(module, number, earlier)
                mine = x if sense is None else sense(x)
                found[earlier] = self.grown[earlier](mine, spikes, self.module(earlier).wiring())
                spikes[earlier] = found[earlier].spikes
        chosen = module.wiring() if links is None else links
        return found | {number: module(x, spikes, chosen)}

    def _sense(self, module: TaskModule, number: int, earlier: int) -> nn.Module | None:
        if self.module(earlier).input == module.input:
            return None
        if str(earlier) not in module.senses:
            raise RuntimeError(
                f"module {number} needs module {earlier}, whose inputs have another shape, but has no sense for it."
            )
        return module.senses[str(earlier)]

    def train(self, mode: bool = True) -> "ModularSNN":
        """Training mode is the youngest module's alone: the batch norms of the others stay as they are."""
        super().train(False)
        self.training = mode
        if mode and len(self.grown):
            self.grown[-1].train()
        return self
