"""A growing spiking network with the dead cut out: for inference only, made by `modular_export.export`.

It runs channels last, in which torch's convolutions and pooling on the CPU are faster; nothing here can be trained.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coppice.models.modular_blocks import Field, Unit, field_of, planes, resampled
from coppice.models.modular_module import Activity, Sense
from coppice.parts import storage
from coppice.parts.masks import SUFFIX
from coppice.parts.packing import pack, read_model, without_masks
from coppice.parts.spikes import LIF, Spiking, lif

KIND = "modular-snn, exported"
LOCAL = ".local.weight"


class Neurons(Spiking):
    """Neurons that may also be given the current of one step, where it is that of every step."""

    def forward(self, current: Tensor, still: bool = False) -> Tensor:
        if not still:
            return super().forward(current)
        return lif(current.expand(self.steps, *current.shape), self.neuron)[0].flatten(0, 1)


class CompactUnit(nn.Module):
    """Local synapses as they are at work, norm and neurons. It reads the first channels of what it is given."""

    def __init__(
        self, inputs: int, outputs: int, size: Sequence[int], neuron: LIF | None, steps: int
    ) -> None:
        super().__init__()
        height, width = size
        padding = (height // 2, width // 2)
        self.local = nn.Conv2d(inputs, outputs, (height, width), padding=padding, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.neurons = None if neuron is None else Neurons(neuron, steps)

    @torch.no_grad()
    def take(self, unit: Unit, inputs: Tensor, outputs: Tensor) -> None:
        """Become this unit, of these channels."""
        self.local.weight.copy_(unit.local.at_work[outputs][:, inputs])
        self.norm.eps = unit.norm.eps
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(self.norm, name).copy_(getattr(unit.norm, name)[outputs])
        cast(Tensor, self.norm.running_mean).sub_(unit.local.made_up[outputs])  # a current is a lower mean

    def forward(self, x: Tensor, linked: Tensor | None = None, still: bool = False) -> Tensor:
        current = self.local(x[:, : self.local.in_channels])
        current = self.norm(current if linked is None else current.add_(linked))
        return F.relu(current) if self.neurons is None else cast(Tensor, self.neurons(current, still))


class CompactBlock(nn.Module):
    """As `modular_blocks.Block`, of the channels that are left."""

    def __init__(self, part: Mapping[str, Any], inputs: int, neuron: LIF | None, steps: int) -> None:
        super().__init__()
        channels, size = len(part["kept"]), part["size"]
        self.kept: tuple[int, ...] = tuple(part["kept"])
        self.before, self.pool = Field(inputs, *part["before"]), tuple(part["pool"])
        self.first = CompactUnit(part["reads"], channels, size, neuron, steps)
        self.residual = nn.ModuleList(
            nn.Sequential(
                CompactUnit(channels, middle, size, neuron, steps),
                CompactUnit(middle, channels, size, neuron, steps),
            )
            for middle in part["middle"]
        )
        self.links = nn.ModuleDict(
            {key: nn.Conv2d(sources, channels, 1, bias=False) for key, sources in part["links"]}
        )

    def forward(self, x: Tensor, linked: Tensor | None, still: bool) -> Tensor:
        spikes: Tensor = self.first(x, linked, still)
        for unit in self.residual:
            computed = unit(spikes)
            spikes = spikes + computed if self.first.neurons is None else spikes * (1 - computed)
        return F.max_pool2d(spikes, self.pool) if self.pool != (1, 1) else spikes


class CompactModule(nn.Module):
    """As `modular_module.TaskModule`, of what is left; without a head where its own task was not asked for."""

    def __init__(self, part: Mapping[str, Any], steps: int, neuron: LIF | None) -> None:
        super().__init__()
        self.steps, self.shape = steps, tuple(part["shape"])
        self.input = field_of(self.shape)
        channels, blocks = self.input.channels, []
        for block in part["blocks"]:
            blocks.append(CompactBlock(block, channels, neuron, steps))
            channels = len(block["kept"])
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(channels, part["classes"]) if part["classes"] else None
        self.readout = nn.ModuleDict(
            {key: nn.Linear(sources, part["classes"], bias=False) for key, sources in part["readout"]}
        )
        self.senses = nn.ModuleDict(
            {key: Sense(Field(*here), Field(*there)) for key, here, there in part["senses"]}
        )

    def forward(self, x: Tensor, heard: Mapping[int, Activity]) -> Activity:
        """Input planes -> what the module gives; logits are empty, [0], without a head."""
        still = x.dim() == 4
        spikes = (x if still else x.flatten(0, 1)).contiguous(memory_format=torch.channels_last)
        found: list[Tensor] = []
        for number, block in enumerate(map(self.block, range(len(self.blocks)))):
            linked: Tensor | None = None
            for key, link in block.links.items():
                source = heard[int(key)].spikes[number - 1]
                current = link(resampled(source, block.before.height, block.before.width))
                linked = current if linked is None else linked.add_(current)
            spikes = block(spikes, linked, still and number == 0)
            found.append(spikes)
        if self.head is None:
            return Activity(found, spikes.new_empty(0))
        logits = self.head(self._rate(spikes))
        for key, link in self.readout.items():
            logits = logits + link(self._rate(heard[int(key)].spikes[-1]))
        return Activity(found, logits)

    def block(self, number: int) -> CompactBlock:
        return cast(CompactBlock, self.blocks[number])

    def _rate(self, spikes: Tensor) -> Tensor:
        return spikes.mean((2, 3)).unflatten(0, (self.steps, -1)).mean(0)


class CompactSNN(nn.Module):
    """What some tasks need of a ModularSNN. Made by `export` or `load`; `forward` computes no gradients.

    structure: what it is built of, JSON values
    names:     of the tasks it can be asked for
    numbers:   of the modules left, as the ModularSNN numbered them
    """

    def __init__(self, structure: Mapping[str, Any]) -> None:
        super().__init__()
        self.structure = dict(structure)
        neuron = None if structure["neuron"] is None else LIF(**structure["neuron"])
        self._numbers: dict[str, int] = dict(structure["tasks"])
        self._needed: dict[int, list[int]] = {number: list(needed) for number, needed in structure["needed"]}
        steps: int = structure["steps"]
        with torch.random.fork_rng(
            devices=[]
        ):  # initial weights are thrown away, and should move no generator
            parts = {str(p["number"]): CompactModule(p, steps, neuron) for p in structure["modules"]}
        self.grown = nn.ModuleDict(parts)
        self.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
        self.eval()

    @property
    def names(self) -> list[str]:
        return list(self._numbers)

    @property
    def numbers(self) -> list[int]:
        return [int(key) for key in self.grown]

    def module(self, number: int) -> CompactModule:
        return cast(CompactModule, self.grown[str(number)])

    @torch.no_grad()
    def forward(self, x: Tensor, task: str | int) -> Tensor:
        """Samples [batch, *shape] -> logits [batch, class]. `task`: a name, or the number in the network exported.

        Raises ValueError for a task that was not exported or samples of another shape.
        """
        return self.activity(x, task)[self._number(task)].logits

    @torch.no_grad()
    def activity(self, x: Tensor, task: str | int) -> dict[int, Activity]:
        """What every module at work gives, by number, of the channels that its blocks' `kept` names, in that order."""
        number = self._number(task)
        module = self.module(number)
        x = planes(x, module.shape)
        heard: dict[int, Activity] = {}
        for earlier in self._needed[number]:
            mine = module.senses[str(earlier)](x) if str(earlier) in module.senses else x
            heard[earlier] = self.module(earlier)(mine, heard)
        return heard | {number: module(x, heard)}

    def train(self, mode: bool = True) -> "CompactSNN":
        """Raises RuntimeError for mode True: what was cut out cannot learn."""
        if mode:
            raise RuntimeError(
                "an exported network cannot be trained: train the ModularSNN, and export it again."
            )
        return super().train(False)

    def save(self, path: str | Path) -> None:
        """One safetensors file without pickle: of local synapses one bit each and the values of the living."""
        state = self.state_dict()
        alive = {name + SUFFIX: state[name].contiguous() != 0 for name in state if name.endswith(LOCAL)}
        tables = pack(state | alive)
        weights = {name: value for name, value in tables["weights"].items() if name not in alive}
        notes = {"kind": KIND, "structure": self.structure}
        storage.write(Path(path), {**tables, "plan": None, "weights": weights, "notes": notes})

    @classmethod
    def load(cls, path: str | Path) -> "CompactSNN":
        """The network that `save` stored, on the CPU. Raises ValueError for another file, and what `storage.read` does."""
        stored = read_model(path)
        notes, state = stored.get("notes", {}), without_masks(stored["weights"])
        if notes.get("kind") != KIND:
            raise ValueError(
                f"{path} holds no exported spiking network: export(network).save(path) writes one."
            )
        network = cls(notes["structure"])
        network.to(next(value.dtype for value in state.values() if value.is_floating_point()))
        network.load_state_dict(state)
        return network

    def _number(self, task: str | int) -> int:
        number = self._numbers.get(task) if isinstance(task, str) else task
        if number not in self._numbers.values():
            raise ValueError(f"task {task!r} was not exported: there are {', '.join(self.names)}.")
        return cast(int, number)
