"""One module of a growing spiking network: its blocks, its head, and its links to modules that grew before."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from coppice.models.modular_blocks import Block, Field, Local, ModularPlan, field_of, resampled
from coppice.parts.masks import SUFFIX

Links = Mapping[int, Iterable[int]]  # block -> the earlier modules it reads; block B is the read-out
Spikes = Mapping[int, Sequence[Tensor]]  # module -> the spikes of every block, as in its `Activity`


class Activity(NamedTuple):
    """What a module gives: the spikes of every block, [steps * batch, channel, height, width], and logits [batch, class]."""

    spikes: list[Tensor]
    logits: Tensor


class TaskModule(nn.Module):
    """What grew for one task: blocks, a head, and links to earlier modules.

    shape: of a sample, as `planes` takes it
    links: "BLOCK_MODULE" -> long-range synapses from block BLOCK - 1 of an earlier module into block BLOCK
    senses: "MODULE" -> how an input of this task reaches an earlier module that grew for inputs of another shape
    total:  living synapses of the whole network when this task had been learned; 0 before
    """

    total: Tensor

    def __init__(self, plan: ModularPlan, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.plan, self.shape, self.classes = plan, tuple(shape), classes
        before = self.input = field_of(self.shape)
        blocks = []
        for number, channels in enumerate(plan.widths):
            blocks.append(Block(plan, before, channels, last=number == len(plan.widths) - 1))
            before = blocks[-1].after
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(plan.widths[-1], classes)
        self.links = nn.ModuleDict()
        self.senses = nn.ModuleDict()
        self.register_buffer("total", torch.tensor(0))

    def block(self, number: int) -> Block:
        return cast(Block, self.blocks[number])

    def wiring(self) -> dict[int, list[int]]:
        """Block -> the earlier modules it is linked to."""
        found: dict[int, list[int]] = {}
        for key in self.links:
            block, module = map(int, key.split("_"))
            found.setdefault(block, []).append(module)
        return {block: sorted(found[block]) for block in sorted(found)}

    def locals(self) -> list[Local]:
        """Its local synapses but the first ones, which read the input, in order."""
        found = [
            Local(f"blocks.{number}.{name}", layer, number, read)
            for number in range(len(self.blocks))
            for name, layer, read in self.block(number).locals()
        ]
        return found[1:]

    def synapses_from(self, block: int, earlier: int) -> Tensor:
        """Long-range weights from an earlier module into a block or, block B, into the read-out: [reader, source, ...]"""
        return cast(Tensor, self.links[f"{block}_{earlier}"].weight)

    @torch.no_grad()
    def inherit(self, earlier: "TaskModule") -> list[int]:
        """Take over synapses and norms of the blocks of an earlier module that have the same shapes; their numbers.

        The dead of the earlier module are born as zeros, but alive.
        """
        taken = []
        for number in range(len(self.blocks)):
            mine, theirs = (_substance(module.block(number)) for module in (self, earlier))
            if {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in theirs.items()}:
                for name, value in mine.items():
                    value.copy_(theirs[name])
                taken.append(number)
        return taken

    def link(self, number: int, earlier: "TaskModule", scale: float) -> None:
        """Grow all links to an earlier module, with `scale` times torch's own initial weights."""
        for block in range(1, len(self.blocks) + 1):
            source = earlier.block(block - 1).after.channels
            if block < len(self.blocks):
                link: nn.Conv2d | nn.Linear = nn.Conv2d(
                    source, self.block(block).first.local.out_channels, 1, bias=False
                )
            else:
                link = nn.Linear(source, self.classes, bias=False)
            with torch.no_grad():
                link.weight.mul_(scale)
            self.links[f"{block}_{number}"] = link
        if self.input != earlier.input:
            self.senses[str(number)] = Sense(self.input, earlier.input)

    def forward(self, x: Tensor, heard: Spikes, links: Links) -> Activity:
        """Input planes -> what the module gives. `heard`: of earlier modules on the same samples; `links`: in use."""
        still = x.dim() == 4
        spikes, found = x if still else x.flatten(0, 1), list[Tensor]()
        for number, block in enumerate(self.blocks):
            spikes = block(spikes, self._linked(number, heard, links), still and number == 0)
            found.append(spikes)
        logits = self.head(self._rate(spikes))
        for module in links.get(len(self.blocks), ()):
            logits = logits + self.links[f"{len(self.blocks)}_{module}"](self._rate(heard[module][-1]))
        return Activity(found, logits)

    def _rate(self, spikes: Tensor) -> Tensor:
        """Mean over places and time, [batch, channel]."""
        return spikes.mean((2, 3)).unflatten(0, (self.plan.steps, -1)).mean(0)

    def _linked(self, number: int, heard: Spikes, links: Links) -> Tensor | None:
        total: Tensor | None = None
        for module in links.get(number, ()):
            before: Field = self.block(number).before
            source = heard[module][number - 1]
            current: Tensor = self.links[f"{number}_{module}"](resampled(source, before.height, before.width))
            total = current if total is None else total + current
        return total


def _substance(block: Block) -> dict[str, Tensor]:
    """What a block computes with; not which of it is dead, inhibited or of what worth, nor what is made up for."""
    left_out = (SUFFIX, ".inhibition", ".own", ".expected", ".tonic")
    return {name: value for name, value in block.state_dict().items() if not name.endswith(left_out)}


class Sense(nn.Module):
    """How an input of one task reaches a module that grew for inputs of another shape; learned by the new task.

    Between two of several places: resampled in space, then 1 x 1. To or from a vector: all to all.
    """

    def __init__(self, here: Field, there: Field) -> None:
        super().__init__()
        self.there = there
        self.flat = here.height * here.width == 1 or there.height * there.width == 1
        self.map: nn.Module = (
            nn.Linear(here.channels * here.height * here.width, there.channels * there.height * there.width)
            if self.flat
            else nn.Conv2d(here.channels, there.channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        frames = x.flatten(0, -4)
        if self.flat:
            mapped = self.map(frames.flatten(1)).unflatten(1, tuple(self.there))
        else:
            mapped = self.map(resampled(frames, self.there.height, self.there.width))
        return mapped.unflatten(0, x.shape[:-3])
