"""Cut the dead out of a growing spiking network for real: the same spikes from less, on disk and on the CPU.

What goes, until nothing more does:

- modules and last blocks that no task asked for reads, and the heads of other tasks
- channels that nobody living reads: no local kernel, link or head
- channels that are silent for ever: no living synapse reaches them, and what the norm makes of the current that is made
  up for never fires. One that fires of itself stays: at the border of a picture it is no constant to those that read it.
- dead kernels, on disk; inhibition becomes part of the weights, what is made up for part of the norm

Kernels that died here and there are zeros for the processor still. Gathering inputs, sparse products over unfolded
patches and groups of outputs that share inputs were all slower than the dense convolution at densities from 0.05 up,
so only whole inputs and outputs are left out; see benchmarks/modular.py. Removal leaves out zeros alone, so the sums
are the same in exact arithmetic; torch may add float32 in another order, as it does for another batch size.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from coppice.models.modular_compact import CompactBlock, CompactModule, CompactSNN, CompactUnit
from coppice.models.modular_snn import ModularSNN
from coppice.models.modular_survivors import Survivors
from coppice.parts.masks import Masks


@torch.no_grad()
def export(network: ModularSNN, tasks: Sequence[str | int] | None = None) -> CompactSNN:
    """A network for inference that gives these tasks' spikes and logits, all by default; `network` stays as it is.

    Spikes are those of the network in evaluation mode, of the channels that are left. Raises ValueError for an unknown
    task or none, and RuntimeError where dead synapses are not zero.
    """
    Masks(network).check()
    if isinstance(tasks, str):
        raise ValueError(f"tasks is {tasks!r}, but must be a list: [{tasks!r}].")
    asked = range(len(network.names)) if tasks is None else sorted({network.number(task) for task in tasks})
    if not asked:
        raise ValueError("there is no task to export: learn one, or name one.")
    left = Survivors(network, list(asked))
    compact = CompactSNN(_structure(left)).to(next(network.parameters()))
    for number in left.depth:
        _fill(compact.module(number), left, number)
    return compact


def _structure(left: Survivors) -> dict[str, Any]:
    """See `CompactSNN.structure`."""
    network, neuron = left.network, left.network.plan.neuron
    return {
        "steps": network.plan.steps,
        "neuron": None
        if neuron is None
        else {"tau": neuron.tau, "threshold": neuron.threshold, "reset": neuron.reset},
        "tasks": [[network.names[m], m] for m in left.asked],
        "needed": [[m, needed] for m, needed in left.needed.items()],
        "modules": [_part(left, m) for m in left.depth],
    }


def _part(left: Survivors, m: int) -> dict[str, Any]:
    module = left.network.module(m)
    blocks = []
    for b in range(left.depth[m]):
        block = module.block(b)
        blocks.append(
            {
                "kept": left.order(m, b).tolist(),
                "reads": int(left.reads(m, b - 1).sum()) if b else block.before.channels,
                "size": list(block.first.local.kernel_size),
                "before": list(block.before[1:]),
                "pool": list(block.pool),
                "middle": [int(left.middle[m, b, r].sum()) for r in range(len(block.residual))],
                "links": [[str(k), len(left.order(k, b - 1))] for k in left.links(m, b)],
            }
        )
    asked = m in left.asked
    last = left.blocks - 1
    readout = left.links(m, left.blocks) if asked else []
    senses = [k for k in left.needed.get(m, []) if str(k) in module.senses]
    return {
        "number": m,
        "shape": list(module.shape),
        "blocks": blocks,
        "classes": module.classes if asked else 0,
        "readout": [[str(k), len(left.order(k, last))] for k in readout],
        "senses": [[str(k), list(module.input), list(left.network.module(k).input)] for k in senses],
    }


def _fill(compact: CompactModule, left: Survivors, m: int) -> None:
    """Copy what is left of a module."""
    module = left.network.module(m)
    for b in range(len(compact.blocks)):
        block, old, order = compact.block(b), module.block(b), left.order(m, b)
        before = left.order(m, b - 1) if b else torch.arange(old.before.channels)
        block.first.take(old.first, before[: block.first.local.in_channels], order)
        _fill_residual(block, left, m, b, order)
        for key, link in block.links.items():
            columns = left.order(int(key), b - 1)
            cast(nn.Conv2d, link).weight.copy_(module.synapses_from(b, int(key))[order][:, columns])
    if compact.head is not None:
        compact.head.weight.copy_(module.head.weight[:, left.order(m, left.blocks - 1)])
        compact.head.bias.copy_(module.head.bias)
    for key, link in compact.readout.items():
        columns = left.order(int(key), left.blocks - 1)
        cast(nn.Linear, link).weight.copy_(module.synapses_from(left.blocks, int(key))[:, columns])
    for key, sense in compact.senses.items():
        sense.load_state_dict(module.senses[key].state_dict())


def _fill_residual(block: CompactBlock, left: Survivors, m: int, b: int, order: Tensor) -> None:
    for r, pair in enumerate(block.residual):
        middle = left.middle[m, b, r].nonzero().flatten()
        units, (first, second) = cast(nn.Sequential, pair), left.pair(m, b, r)
        cast(CompactUnit, units[0]).take(first, order, middle)
        cast(CompactUnit, units[1]).take(second, middle, order)
