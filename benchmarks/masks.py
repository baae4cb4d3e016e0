"""What do masks and the global threshold cost? Ratios inside one process, one thread.

Variants take turns round by round, in rotating order, and each round gives one ratio to the baseline of that
same round: a busy machine slows both. Printed: median [lower, upper quartile], the goal where there is one.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import torch
from torch import Tensor, nn

from coppice.parts.masks import Masks
from coppice.parts.selection import kth_smallest, weakest

SPARSITY = 0.8
BATCH = 128
Ratio = dict[str, float | str | None]


def race(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each variant in each round, in the order of rounds; the first rounds warm up, unseen."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for number in range(-3, rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.process_time()
            variants[name]()
            if number >= 0:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(row: str, seconds: list[float], baseline: list[float], goal: float | None) -> Ratio:
    """One line of the report, printed and returned."""
    lower, middle, upper = statistics.quantiles((a / b for a, b in zip(seconds, baseline, strict=True)), n=4)
    verdict = (
        "" if goal is None else f"   goal <= {goal:.2f}: {'reached' if middle <= goal else 'NOT reached'}"
    )
    print(f"  {row:<58} {middle:6.3f} [{lower:.3f}, {upper:.3f}]{verdict}")
    return {"row": row, "ratio": middle, "lower": lower, "upper": upper, "goal": goal}


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10)
    )


def training_step(
    make: Callable[..., torch.optim.Optimizer], masked: bool, **options: object
) -> Callable[[], None]:
    """One step of training, of a dense network or of one with a guard and 80 % of its synapses dead."""
    model = mlp()
    optimizer = make(model.parameters(), **options)
    if masked:
        masks = Masks.attach(model)
        masks.guard(optimizer)
        scores = {name: model.get_parameter(name).detach().abs() for name in masks}
        masks.prune(weakest(scores, masks, SPARSITY), optimizer)
    x, y = torch.randn(BATCH, 784), torch.randint(0, 10, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def steps(rounds: int) -> list[Ratio]:
    """Training steps with masks against dense ones. Two or three networks a race: more would share the cache."""
    print(f"\nTraining step, MLP 784-1000-1000-10, batch {BATCH}, {SPARSITY:.0%} dead")
    adam, sgd = torch.optim.Adam, torch.optim.SGD
    races = [
        ("Adam with masks / Adam dense", (adam, {}), (adam, {}), 1.10),
        ("SGD momentum with masks / dense", (sgd, {"momentum": 0.9}), (sgd, {"momentum": 0.9}), 1.10),
        ("fused Adam with masks / Adam dense", (adam, {"fused": True}), (adam, {}), 1.02),
        ("fused Adam with masks / fused Adam dense", (adam, {"fused": True}), (adam, {"fused": True}), None),
        (
            "fused SGD momentum with masks / fused dense",
            (sgd, {"momentum": 0.9, "fused": True}),
            (sgd, {"momentum": 0.9, "fused": True}),
            None,
        ),
    ]
    rows = []
    for row, (make, options), (make_dense, options_dense), goal in races:
        seconds = race(
            {
                "masks": training_step(make, True, lr=1e-4, **options),
                "dense": training_step(make_dense, False, lr=1e-4, **options_dense),
            },
            rounds,
        )
        rows.append(ratio(row, seconds["masks"], seconds["dense"], goal))
    return rows


def thresholds(rounds: int, sizes: list[int]) -> list[Ratio]:
    """The exact k-th smallest score and the whole selection against torch.kthvalue on the same values."""
    print("\nGlobal threshold, against torch.kthvalue")
    rows = []
    for size in sizes:
        torch.manual_seed(0)
        scores = torch.randn(size).abs()
        zeros = scores * (torch.rand(size) > SPARSITY)
        piles: dict[str, tuple[Tensor, float, float | None]] = {
            "distinct": (scores, 0.5, 0.35),
            "80 % zeros, above them": (zeros, 0.9, 0.35),
            "80 % zeros, among them": (zeros, 0.4, 0.35),
            "100 values": (torch.randint(0, 100, (size,)).float(), 0.5, 0.35),
        }
        for pile, (values, share, goal) in piles.items():
            k, everyone, living = int(share * size), torch.ones(size, dtype=torch.bool), values > 0
            seconds = race(
                {
                    "kthvalue": lambda v=values, k=k: torch.kthvalue(v, k),
                    "ours": lambda v=values, k=k: kth_smallest(v, k),
                    "weakest": lambda v=values, a=everyone, s=share: weakest({"w": v}, {"w": a}, s),
                    "survivors": lambda v=values, a=living, s=share: weakest({"w": v}, {"w": a}, s),
                },
                max(6, rounds // 2) if size < 10**7 else 6,
            )
            row = f"1e{len(str(size)) - 1}, {pile}"
            rows.append(ratio(f"kth_smallest, {row}", seconds["ours"], seconds["kthvalue"], goal))
            rows.append(ratio(f"weakest of all, {row}", seconds["weakest"], seconds["kthvalue"], None))
            if pile == "80 % zeros, above them":  # permanent masks: the zeros are dead and not ranked again
                rows.append(
                    ratio(f"weakest of the living, {row}", seconds["survivors"], seconds["kthvalue"], None)
                )
    return rows


def memory() -> list[Ratio]:
    """Bytes of masks as a share of the weights they cover, after attaching and after 50 prunings."""
    print("\nMemory of masks, as a share of the float32 weights")
    rows = []
    model = mlp()
    masks = Masks.attach(model)
    weights = sum(model.get_parameter(name).nbytes for name in masks)
    plain = sum(parameter.nbytes for parameter in model.parameters())
    for events in (0, 50):
        for event in range(events):
            scores = {name: model.get_parameter(name).detach().abs() for name in masks}
            masks.prune(weakest(scores, masks, SPARSITY * (event + 1) / events))
        held = sum(tensor.nbytes for tensor in model.state_dict().values()) - plain
        print(f"  after {events:>2} prunings {held / weights:.3f}   goal <= 0.25")
        rows.append({"row": f"memory after {events} prunings", "ratio": held / weights, "goal": 0.25})
    return rows


def machine() -> dict[str, str | int]:
    """What the numbers depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def write(file: Path, rounds: int, rows: list[Ratio]) -> None:
    """The ratios and the machine they are of, for the tables of the documents."""
    file.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "rounds": rounds, "ratios": rows}
    file.write_text(json.dumps(report, indent=1) + "\n")


def command(about: str | None) -> argparse.ArgumentParser:
    """What every benchmark can be told."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, small sizes: to see that it runs")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the ratios and the machine here"
    )
    return parser


def main() -> None:
    options = command(__doc__).parse_args()
    torch.set_num_threads(1)
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    rounds, sizes = (20, [10**5, 10**6]) if options.quick else (100, [10**5, 10**6, 10**7])
    rows = steps(rounds) + thresholds(rounds, sizes) + memory()
    if options.json:
        write(options.json, rounds, rows)


if __name__ == "__main__":
    main()
