"""What do spiking neurons cost? Against the memory they must touch, against others, and against ReLU in a network.

    python benchmarks/spikes.py [--quick] [--json FILE]

CPU seconds as ratios inside one process, one thread, variants in turns, as in benchmarks/masks.py. Forward and
backward together. The floor is a copy (read the current, write the spikes: 8 bytes a neuron and step) and a triad
(read gradient and current, write gradient: 12) into memory that is there already. Others take part where installed:
`pip install snntorch loguru` and `pip install --no-deps spikingjelly`. All must give the same spikes.
"""

import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from masks import Ratio, command, machine, race, ratio, write
from torch import Tensor, nn

from coppice.parts.spikes import LIF, Atan, Spiking, lif
from coppice.parts.spikes_compiled import compiling

NEURON = LIF(tau=2.0, threshold=0.5, surrogate=Atan(2.0))  # what all others know, too
BATCH = 64
CLASSES = 10
Layer = Callable[[Tensor], Tensor]  # [T, batch, n] currents -> spikes


def ours(compiled: bool) -> Layer:
    def layer(current: Tensor) -> Tensor:
        with compiling(compiled):
            return lif(current, NEURON)[0]

    return layer


def unrolled(current: Tensor) -> Tensor:
    """What one writes by hand, `unbind` and not x[t]."""
    u, spikes = torch.zeros_like(current[0]), []
    for now in current.unbind(0):
        h = u + (now - u) / NEURON.tau
        s = Fire.apply(h - NEURON.threshold)
        u = h * (1 - s.detach())
        spikes.append(s)
    return torch.stack(spikes)


class Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, distance):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(distance)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad * NEURON.surrogate.gradient(ctx.saved_tensors[0])


def spikingjelly() -> Layer:
    from spikingjelly.activation_based import functional, neuron, surrogate

    node = neuron.LIFNode(
        NEURON.tau,
        v_threshold=NEURON.threshold,
        surrogate_function=surrogate.ATan(),
        detach_reset=True,
        step_mode="m",
    )

    def layer(current: Tensor) -> Tensor:
        functional.reset_net(node)
        spikes: Tensor = node(current)
        return spikes

    return layer


def snntorch() -> Layer:
    import snntorch
    from snntorch import surrogate

    slope = surrogate.atan(2.0)
    node = snntorch.Leaky(
        1 - 1 / NEURON.tau, threshold=NEURON.threshold, spike_grad=slope, reset_mechanism="zero"
    )

    def layer(current: Tensor) -> Tensor:
        membrane, spikes = torch.zeros_like(current[0]), []
        for now in (current / NEURON.tau).unbind(0):
            spike, membrane = node(now, membrane)
            spikes.append(spike)
        return torch.stack(spikes)

    return layer


PEERS = {"SpikingJelly": spikingjelly, "snnTorch": snntorch}


def installed() -> dict[str, Layer]:
    return {name: make() for name, make in PEERS.items() if importlib.util.find_spec(name.lower())}


def layers(rounds: int, sizes: list[tuple[int, int]]) -> list[Ratio]:
    """One layer, forward and backward."""
    rows: list[Ratio] = []
    variants = {"compiled": ours(True), "plain": ours(False), "unrolled by hand": unrolled, **installed()}
    for steps, width in sizes:
        size = f"T {steps}, {BATCH} x {width}"
        torch.manual_seed(0)
        current = torch.randn(steps, BATCH, width, requires_grad=True)
        seed, scratch = torch.randn_like(current), torch.empty_like(current)
        expected = variants["plain"](current)
        start = time.process_time()
        torch.autograd.grad(variants["compiled"](current), current, seed)
        print(
            f"\nLIF forward + backward, {size}: first call compiled {time.process_time() - start:.1f} s CPU"
        )
        for name, layer in variants.items():
            if not torch.equal(layer(current), expected):
                raise RuntimeError(f"{name} spikes otherwise at {size}: not the same job.")

        def floor(current: Tensor = current, seed: Tensor = seed, out: Tensor = scratch) -> None:
            with torch.no_grad():
                out.copy_(current)
                torch.add(seed, current, alpha=2.0, out=out)

        def step(layer: Layer, current: Tensor = current, seed: Tensor = seed) -> None:
            torch.autograd.grad(layer(current), current, seed)

        seconds = race(
            {"floor": floor} | {name: lambda f=layer: step(f) for name, layer in variants.items()}, rounds
        )
        for name in variants:
            goal = 5.0 if name == "compiled" else None
            rows.append(ratio(f"{size}: {name} / floor", seconds[name], seconds["floor"], goal))
        for name in list(variants)[2:]:
            goal = 0.25 if name in PEERS else None
            rows.append(ratio(f"{size}: compiled / {name}", seconds["compiled"], seconds[name], goal))
            rows.append(ratio(f"{size}: plain / {name}", seconds["plain"], seconds[name], None))
    return rows


class Network(nn.Module):
    """(convolution, activation, pooling) x 3 and a read-out averaged over time; the image at every step."""

    def __init__(self, activation: Callable[[], nn.Module], steps: int) -> None:
        super().__init__()
        widths, self.steps = (3, 32, 64, 128), steps
        parts: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            parts += [nn.Conv2d(fan_in, fan_out, 3, padding=1), activation(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*parts, nn.Flatten(), nn.Linear(widths[-1] * 16, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.body(images.repeat(self.steps, 1, 1, 1))
        return out.unflatten(0, (self.steps, len(images))).mean(0)


def networks(rounds: int, batch: int) -> list[Ratio]:
    """A whole step of SGD, with spikes and with ReLU in their place."""
    rows: list[Ratio] = []
    for steps in (4, 8):
        print(f"\nTraining step, convolutions 32-64-128 on 3 x 32 x 32, batch {batch}, T {steps}")
        images, labels = torch.rand(batch, 3, 32, 32), torch.randint(0, CLASSES, (batch,))

        def training(
            activation: Callable[[], nn.Module],
            compiled: bool,
            steps: int = steps,
            images: Tensor = images,
            labels: Tensor = labels,
        ) -> Callable[[], None]:
            torch.manual_seed(0)
            model = Network(activation, steps)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

            def step() -> None:
                optimizer.zero_grad()
                with compiling(compiled):
                    nn.functional.cross_entropy(model(images), labels).backward()
                optimizer.step()

            return step

        def spiking(steps: int = steps) -> nn.Module:
            return Spiking(NEURON, steps)

        seconds = race(
            {
                "compiled": training(spiking, True),
                "plain": training(spiking, False),
                "ReLU": training(nn.ReLU, False),
            },
            rounds,
        )
        rows.append(
            ratio(f"network, T {steps}: compiled LIF / ReLU", seconds["compiled"], seconds["ReLU"], 1.10)
        )
        rows.append(ratio(f"network, T {steps}: plain LIF / ReLU", seconds["plain"], seconds["ReLU"], None))
    return rows


@contextmanager
def nothing_compiled_before() -> Iterator[None]:
    """So that the first calls cost what they cost a user's first time."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        yield


def main() -> None:
    options = command(__doc__).parse_args()
    torch.set_num_threads(1)
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    rounds = 6 if options.quick else 30
    sizes = [(steps, width) for width in (512, 4096) for steps in (4, 8, 16)] + [(4, 65536)]
    with nothing_compiled_before():
        rows = layers(rounds, sizes[:2] if options.quick else sizes)
        rows += networks(rounds, 8 if options.quick else BATCH)
    if options.json:
        write(options.json, rounds, rows)


if __name__ == "__main__":
    main()
