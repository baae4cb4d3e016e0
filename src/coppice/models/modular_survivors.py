"""Who in a growing spiking network is needed: channels that somebody reads and that are not silent for ever.

All begin as needed; who is silent or read by nobody who is left goes, until nobody does. Two of a residual unit that only
read each other keep each other: that costs time, and no spike.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coppice.models.modular_blocks import Unit
from coppice.models.modular_snn import ModularSNN


class Survivors:
    """Channels that some tasks need. By (module, block): bool of channels; by (module, block, pair): of those inside a residual unit.

    asked: the tasks; needed: the earlier modules of each that are left
    depth: blocks that are left, by module; a module without any is not in it
    """

    def __init__(self, network: ModularSNN, asked: list[int]) -> None:
        self.network, self.asked = network, asked
        self.needed = {number: network.needed(number) for number in asked}
        self._living: dict[int, Tensor] = {}  # by identity of a unit or link: kernels that are not zero
        self._firing: dict[int, Tensor] = {}  # by that of a unit: channels that fire of themselves
        self.modules = sorted({*asked, *(k for needed in self.needed.values() for k in needed)})
        self.wiring = {m: network.module(m).wiring() for m in self.modules}
        self.blocks = len(network.plan.widths)
        anchors: set[tuple[int, ...]] = set()  # no convolution has no channels: here the first one stays
        while empty := self._settle(anchors):
            anchors |= empty
        self.needed = {m: [k for k in needed if k in self.depth] for m, needed in self.needed.items()}

    def _settle(self, anchors: set[tuple[int, ...]]) -> set[tuple[int, ...]]:
        """Find who is left, beginning with all; where nobody is left though a later block is needed."""
        self.channels: dict[tuple[int, ...], Tensor] = {}
        self.middle: dict[tuple[int, ...], Tensor] = {}
        for m in self.modules:
            for b in range(self.blocks):
                block = self.network.module(m).block(b)
                self.channels[m, b] = torch.ones(block.after.channels, dtype=torch.bool)
                for r in range(len(block.residual)):
                    self.middle[m, b, r] = torch.ones(block.after.channels, dtype=torch.bool)
        while self._sweep(anchors):
            pass
        depths = {m: self._depth(m) for m in self.modules}
        self.depth = {m: depth for m, depth in depths.items() if depth}
        everyone = {**self.channels, **self.middle}
        return {
            key for key, alive in everyone.items() if key[1] < self.depth.get(key[0], 0) and not alive.any()
        }

    def _sweep(self, anchors: set[tuple[int, ...]]) -> bool:
        """Take out who is silent or not read; whether anybody was."""
        before = self._count()
        for (m, b), alive in self.channels.items():
            alive &= self._read(m, b) & ~self._silent_block(m, b)
            alive[0] |= (m, b) in anchors
            for r in range(len(self.network.module(m).block(b).residual)):
                inner, (first, second) = self.middle[m, b, r], self.pair(m, b, r)
                inner &= self._read_of(second, alive) & ~self._silent(first, alive)
                inner[0] |= (m, b, r) in anchors
        return self._count() < before

    def _count(self) -> int:
        return sum(int(alive.sum()) for alive in (*self.channels.values(), *self.middle.values()))

    def _read(self, m: int, b: int) -> Tensor:
        """Channels that somebody reads who is left."""
        network = self.network
        block = network.module(m).block(b)
        found = torch.zeros(block.after.channels, dtype=torch.bool)
        if b + 1 < self.blocks:
            following = network.module(m).block(b + 1).first
            found |= self._read_of(following, self.channels[m, b + 1])
        elif m in self.asked:
            found |= self._read_of(network.module(m).head.weight)
        for r in range(len(block.residual)):
            found |= self._read_of(self.pair(m, b, r)[0], self.middle[m, b, r])
        for later in self.modules:
            if m not in self.wiring[later].get(b + 1, []):
                continue
            link = network.module(later).synapses_from(b + 1, m)
            if b + 1 < self.blocks:
                found |= self._read_of(link, self.channels[later, b + 1])
            elif later in self.asked:
                found |= self._read_of(link)
        return found

    def _silent_block(self, m: int, b: int) -> Tensor:
        module = self.network.module(m)
        block = module.block(b)
        inputs = self.channels[m, b - 1] if b else None
        linked = torch.zeros(block.after.channels, dtype=torch.bool)
        for earlier in self.wiring[m].get(b, []):
            linked |= self._reached(module.synapses_from(b, earlier), self.channels[earlier, b - 1])
        silent = self._silent(block.first, inputs) & ~linked
        if not block.spiking:  # rectified, residual units add to a channel; spikes they only take away
            for r in range(len(block.residual)):
                silent &= self._silent(self.pair(m, b, r)[1], self.middle[m, b, r])
        return silent

    def _silent(self, unit: Unit, inputs: Tensor | None) -> Tensor:
        """Channels that no living synapse of the unit reaches and that do not fire of themselves; links left out."""
        if id(unit) not in self._firing:
            norm = unit.norm
            constant = unit.local.made_up.detach().repeat(unit.steps, 1)[..., None, None]
            current = F.batch_norm(
                constant, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps
            )
            self._firing[id(unit)] = unit.neurons(current).flatten(2).any(2).any(0).cpu()
        return ~self._reached(unit, inputs) & ~self._firing[id(unit)]

    def _kernels(self, synapses: Unit | Tensor) -> Tensor:
        if id(synapses) not in self._living:
            weight = synapses if isinstance(synapses, Tensor) else synapses.local.at_work
            alive = weight.detach() != 0
            self._living[id(synapses)] = (alive.flatten(2).any(2) if alive.dim() > 2 else alive).cpu()
        return self._living[id(synapses)]

    def _read_of(self, synapses: Unit | Tensor, outputs: Tensor | None = None) -> Tensor:
        """The inputs that some of those outputs, or any, read."""
        kernels = self._kernels(synapses)
        return (kernels if outputs is None else kernels[outputs]).any(0)

    def _reached(self, synapses: Unit | Tensor, inputs: Tensor | None) -> Tensor:
        """The outputs that some of those inputs, or any, reach."""
        kernels = self._kernels(synapses)
        return (kernels if inputs is None else kernels[:, inputs]).any(1)

    def pair(self, m: int, b: int, r: int) -> tuple[Unit, Unit]:
        """The two units of a residual one."""
        units = cast(nn.Sequential, self.network.module(m).block(b).residual[r])
        return cast(Unit, units[0]), cast(Unit, units[1])

    def _depth(self, m: int) -> int:
        """Blocks of a module that are needed."""
        if m in self.asked:
            return self.blocks
        return max((b + 1 for b in range(self.blocks) if self.channels[m, b].any()), default=0)

    def order(self, m: int, b: int) -> Tensor:
        """Channels left, those first that the next block's local synapses read: it can leave out the others unmoved."""
        alive = self.channels[m, b]
        read = alive & self.reads(m, b)
        return torch.cat([read.nonzero().flatten(), (alive & ~read).nonzero().flatten()])

    def reads(self, m: int, b: int) -> Tensor:
        """Channels of a block that the next one's local synapses read, one at least."""
        if b + 1 >= self.depth[m]:
            return torch.zeros_like(self.channels[m, b])
        following = self.network.module(m).block(b + 1).first
        read = self.channels[m, b] & self._read_of(following, self.channels[m, b + 1])
        if not read.any():
            read[self.channels[m, b].nonzero()[0]] = True
        return read

    def links(self, m: int, b: int) -> list[int]:
        """Earlier modules that a block reads, of those that are left."""
        found = self.wiring[m].get(b, [])
        return [k for k in found if self.depth.get(k, 0) >= b]
