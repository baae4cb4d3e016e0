"""Spiking networks of modules, exported against masked and dense: time, bytes and spikes; and learning beside old modules.

    python benchmarks/modular.py [--quick] [--json FILE]

CPU seconds as ratios inside one process, one thread, variants in turns, as in benchmarks/masks.py. Masks: three modules
that learned three tasks of pmi-mini for a few epochs with TD-MCL; and networks without schooling whose kernels, and a
quarter of whose channels, died at random. "Dense" is the same network before anything died, "masked" as TD-MCL leaves it.
(Over the 250 lines: three benchmarks of one network, which share how it is made.)
"""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from masks import Ratio, command, machine, race, ratio, write
from torch import Tensor

from coppice.methods.td_mcl import learn
from coppice.methods.td_mcl_options import TDMCL, Schooling
from coppice.models.modular_blocks import ModularPlan
from coppice.models.modular_compact import CompactSNN
from coppice.models.modular_export import export
from coppice.models.modular_module import Activity
from coppice.models.modular_snn import ModularSNN
from coppice.parts.blueprint import save_model

STEPS = 4
CLASSES = 10
CONVOLUTIONS = ((16, 32), (32, 16), (64, 16), (256, 8))  # channels in and out, and pixels a side
DENSITIES = (0.05, 0.2, 0.5)


def sparse_convolutions(rounds: int, quick: bool) -> list[Ratio]:
    """Other ways to leave out dead kernels, against torch's convolution of the same spikes with zeros in the weight."""
    rows: list[Ratio] = []
    print("\nA 3 x 3 convolution of spikes / the dense one, channels first")
    for channels, side in CONVOLUTIONS[2:3] if quick else CONVOLUTIONS:
        batch = max(8, int(5e7 / (channels**2 * 9 * side**2)))
        torch.manual_seed(0)
        x = (torch.rand(batch, channels, side, side) < 0.2).float()
        weight, half = torch.randn(channels, channels, 3, 3), channels // 2
        last = x.contiguous(memory_format=torch.channels_last)
        chosen = [torch.randperm(channels)[:half].sort().values for _ in range(2)]
        groups = [
            weight[part][:, inputs]
            for part, inputs in zip((slice(half), slice(half, None)), chosen, strict=True)
        ]
        variants: dict[str, Callable[[], Tensor]] = {
            "dense": lambda x=x, w=weight: F.conv2d(x, w, padding=1),
            "channels last": lambda x=last, w=weight: F.conv2d(x, w, padding=1),
            "half of the inputs, gathered": lambda x=x, i=chosen[0], w=weight[:, chosen[0]]: F.conv2d(
                x.index_select(1, i), w, padding=1
            ),
            "first half of the inputs, channels last": lambda x=last, w=weight[:, :half]: F.conv2d(
                x[:, : w.shape[1]], w, padding=1
            ),
            "two groups of outputs, half of the inputs each": lambda x=x, i=chosen, w=groups: torch.cat(
                [F.conv2d(x.index_select(1, i), w, padding=1) for i, w in zip(i, w, strict=True)], 1
            ),
        }
        for density in DENSITIES:
            masked = weight * (torch.rand(channels, channels, 1, 1) < density)
            sparse = masked.flatten(1).to_sparse_csr()
            variants[f"CSR on patches, density {density}"] = lambda x=x, w=sparse: unfolded(x, w)
        seconds = race(variants, rounds)
        for name in list(variants)[1:]:
            rows.append(
                ratio(f"{channels} on {side} x {side}: {name}", seconds[name], seconds["dense"], None)
            )
    return rows


def unfolded(x: Tensor, weight: Tensor) -> Tensor:
    patches = F.unfold(x, 3, padding=1)
    return weight @ patches.transpose(0, 1).flatten(1)


def grown(widths: tuple[int, ...], side: int) -> ModularSNN:
    """Three modules, each linked to two earlier ones at most; norms as after some schooling, so that all blocks fire."""
    torch.manual_seed(0)
    network = ModularSNN(ModularPlan(widths=widths, steps=STEPS))
    for number in range(3):
        network.grow(f"task {number}", (3, side, side), CLASSES)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.05)
    return network.eval()


@torch.no_grad()
def died(network: ModularSNN, density: float) -> ModularSNN:
    """Each local kernel lives with this chance; a quarter of the channels of all blocks but the last is read by nobody."""
    cut, chance = copy.deepcopy(network), torch.Generator().manual_seed(0)
    for number in range(len(cut.names)):
        locals_ = cut.module(number).locals()
        for local in locals_:
            alive = torch.rand(local.layer.own.shape, generator=chance) < density
            alive[:, : alive.shape[1] // 4] = False
            local.layer.prune(~alive)
        for later in range(number + 1, len(cut.names)):
            for block in range(1, len(cut.plan.widths)):
                link = cut.module(later).synapses_from(block, number)
                link[:, : link.shape[1] // 4] = 0
    return cut


def schooled(epochs: int) -> tuple[ModularSNN, list[Tensor]]:
    """Three tasks learned; and test samples of each."""
    from coppice.data.pmi_mini import pmi_mini

    tasks = pmi_mini(0, ("digits-1", "digits-2", "scenes"))
    network = ModularSNN(ModularPlan(widths=(16, 32, 64), steps=STEPS))
    for task in tasks:
        learn(network, task, TDMCL(), Schooling(epochs=epochs))
    network.eval()
    return network, [task.test[0] for task in tasks]


def forward(network: ModularSNN | CompactSNN, x: Tensor, task: int) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.no_grad():
            logits: Tensor = network(x, task)
            return logits

    return run


def inference(rounds: int, quick: bool) -> list[Ratio]:
    rows: list[Ratio] = []
    sizes = [((16, 32, 64), 16)] if quick else [((16, 32, 64), 16), ((32, 64, 128), 32), ((64, 128, 256), 16)]
    for widths, side in sizes:
        dense = grown(widths, side)
        print(f"\nThe third task of three, widths {widths}, 3 x {side} x {side}, T {STEPS}")
        for density in (1.0, 0.5) if quick else (1.0, 0.5, 0.2):
            masked = died(dense, density) if density < 1 else dense
            compact = export(masked)
            for batch in (1, 32):
                x = torch.randn(batch, 3, side, side)
                run = {"dense": dense, "masked": masked, "exported": compact}
                seconds = race({name: forward(net, x, 2) for name, net in run.items()}, rounds)
                row = f"{widths[0]} to {widths[-1]}, batch {batch}, density {density}"
                rows.append(ratio(f"{row}: exported / masked", seconds["exported"], seconds["masked"], None))
                rows.append(ratio(f"{row}: exported / dense", seconds["exported"], seconds["dense"], None))
            rows += flips(f"{widths[0]} to {widths[-1]}, density {density}", masked, compact, x, 2)
            rows += stored(f"{widths[0]} to {widths[-1]}, density {density}", dense, masked, compact)
    return rows


def learned(rounds: int, epochs: int) -> list[Ratio]:
    network, samples = schooled(epochs)
    compact = export(network)
    left = {n: [len(b.kept) for b in map(compact.module(n).block, range(3))] for n in compact.numbers}
    print(f"\nThree tasks of pmi-mini learned, {epochs} epochs each; channels left: {left}")
    rows: list[Ratio] = []
    for task, x in enumerate(samples):
        seconds = race({"masked": forward(network, x, task), "exported": forward(compact, x, task)}, rounds)
        rows.append(
            ratio(f"learned, task {task}: exported / masked", seconds["exported"], seconds["masked"], None)
        )
        rows += flips(f"learned, task {task}", network, compact, x, task)
        alone = export(network, [task])
        seconds = race({"masked": forward(network, x, task), "exported": forward(alone, x, task)}, rounds)
        rows.append(
            ratio(
                f"learned, task {task} exported alone / masked", seconds["exported"], seconds["masked"], None
            )
        )
    return rows + stored("learned", None, network, compact)


@torch.no_grad()
def flips(row: str, network: ModularSNN, compact: CompactSNN, x: Tensor, task: int) -> list[Ratio]:
    """Share of spikes that differ. Beside it, of the masked network's own spikes in float32 and in float64."""
    whole, exact = network.activity(x, task), copy.deepcopy(network).double().activity(x.double(), task)
    different = own = total = 0
    for number, activity in compact.activity(x, task).items():
        for b, spikes in enumerate(activity.spikes):
            theirs = whole[number].spikes[b][:, list(compact.module(number).block(b).kept)]
            different += int((spikes != theirs).sum())
            own += int((whole[number].spikes[b] != exact[number].spikes[b]).sum())
            total += spikes.numel()
    print(f"  {row}: of {total} spikes {different} differ; from float64 the masked network's own: {own}")
    return [
        {"row": f"{row}: share of spikes that differ", "ratio": different / total, "goal": 0.0},
        {"row": f"{row}: the masked network's own, from float64", "ratio": own / total, "goal": None},
    ]


def stored(row: str, dense: ModularSNN | None, masked: ModularSNN, compact: CompactSNN) -> list[Ratio]:
    rows: list[Ratio] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.safetensors"
        compact.save(file)
        ours = file.stat().st_size
        for name, network in (("dense", dense), ("masked, packed", masked)):
            if network is not None:
                save_model(network, file)
                size = file.stat().st_size
                print(f"  {row}: {ours} bytes exported / {size} {name}: {ours / size:.3f}")
                rows.append({"row": f"{row}: bytes exported / {name}", "ratio": ours / size, "goal": None})
    return rows


def training(rounds: int, quick: bool) -> list[Ratio]:
    """A step of the third module while the old ones only speak, whole or exported; and of a module of half the width."""
    widths, side = ((16, 32, 64), 16) if quick else ((32, 64, 128), 16)
    print(f"\nTraining step of a third module, widths {widths}, 3 x {side} x {side}, batch 50, T {STEPS}")
    dense = grown(widths, side)
    x, y = torch.randn(50, 3, side, side), torch.randint(0, CLASSES, (50,))

    def step(network: ModularSNN, links: dict[int, list[int]], width: float = 1.0) -> Callable[[], None]:
        network = copy.deepcopy(network)
        if width < 1:
            network.rebuild(network.structure()[:2])
            network.grow("narrow", (3, side, side), CLASSES, width)
        network.keep_links(2, links)
        network.train().requires_grad_(False)
        network.module(2).requires_grad_(True)
        optimizer = torch.optim.SGD(network.module(2).parameters(), 1e-4, 0.9)

        def run() -> None:
            optimizer.zero_grad()
            F.cross_entropy(network(x, 2), y).backward()
            optimizer.step()

        return run

    def beside_exported(network: ModularSNN, links: dict[int, list[int]]) -> Callable[[], None]:
        network = copy.deepcopy(network)
        network.keep_links(2, links)
        compact = export(network, [2])
        network.train().requires_grad_(False)
        module = network.module(2).requires_grad_(True)
        optimizer = torch.optim.SGD(module.parameters(), 1e-4, 0.9)

        def run() -> None:
            spoken: dict[int, Activity] = {}
            with torch.no_grad():
                for k in compact.numbers[:-1]:
                    spoken[k] = compact.module(k)(x, spoken)
            heard = {k: whole(network, compact, k, activity) for k, activity in spoken.items()}
            optimizer.zero_grad()
            F.cross_entropy(module(x, heard, links).logits, y).backward()
            optimizer.step()

        return run

    every, two = {1: [0, 1], 2: [0, 1], 3: [0, 1]}, {1: [0], 2: [0], 3: [0]}
    masked = died(dense, 0.5)
    seconds = race(
        {
            "dense": step(dense, every),
            "masked": step(masked, every),
            "exported": beside_exported(masked, every),
            "fewer links": step(masked, two),
            "fewer links, exported": beside_exported(masked, two),
            "half as wide": step(masked, every, 0.5),
        },
        rounds,
    )
    return [
        ratio(f"training step: {name} / dense", seconds[name], seconds["dense"], None)
        for name in list(seconds)[1:]
    ]


def whole(network: ModularSNN, compact: CompactSNN, number: int, activity: Activity) -> list[Tensor]:
    """The spikes of every block, with silence in place of the channels that were cut out, which nobody reads."""
    spikes = []
    for b, found in enumerate(activity.spikes):
        every = found.new_zeros(len(found), network.module(number).block(b).after.channels, *found.shape[2:])
        every[:, list(compact.module(number).block(b).kept)] = found
        spikes.append(every)
    return spikes


def main() -> None:
    options = command(__doc__).parse_args()
    torch.set_num_threads(1)
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    rounds = 5 if options.quick else 30
    rows = sparse_convolutions(rounds, options.quick) + inference(rounds, options.quick)
    rows += learned(rounds, 1 if options.quick else 4) + training(rounds, options.quick)
    if options.json:
        write(options.json, rounds, rows)


if __name__ == "__main__":
    main()
