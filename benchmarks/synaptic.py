"""What does synaptic pruning cost while a network trains? Against dense training and against others doing the same job.

    python benchmarks/synaptic.py [--quick] [--json FILE]

Times: ratios inside one process, one thread, variants in turns, as in benchmarks/masks.py. The time of an event is
absolute and moves with the machine; torch.kthvalue on the same weights stands beside it as a yardstick.
Memory: the peak of a process of its own for each variant.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from masks import Ratio, command, machine, race, ratio, write
from rivals import PerWeightLoop, Rival, TorchPrune, Weight
from torch import Tensor, nn

from coppice.methods.synaptic_pruning import prune_synapses

INPUTS, BATCH = 8, 64
BATCHES = 20  # of an epoch; events fall into every one of them
EVERY = 10
WARM = 3  # epochs that `race` runs unseen
SIZES = {10**5: 154, 10**6: 496, 10**7: 1577}  # hidden units for so many weights


class Forecaster(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(INPUTS, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.recurrent(x)[0][:, -1])
        return out

    def weights(self) -> list[Weight]:
        return [(self.recurrent, "weight_ih_l0"), (self.recurrent, "weight_hh_l0"), (self.head, "weight")]


def begin(
    kind: str, hidden: int, steps: int, final: float, every: int = EVERY
) -> tuple[Forecaster, torch.optim.Adam, object]:
    """A network, its optimizer and, but for the dense, what prunes it: cubic from 0 to `final` over all the steps."""
    torch.manual_seed(0)
    model = Forecaster(hidden)
    optimizer = torch.optim.Adam(model.parameters(), fused=True if kind == "dense, fused" else None)
    if kind == "ours":
        options = {"start": 0.0, "end": 1.0, "every": every, "quiet": True}
        return model, optimizer, prune_synapses(model, optimizer, steps, final, **options)
    rivals: dict[str, type[Rival]] = {"torch.nn.utils.prune": TorchPrune, "per-weight loop": PerWeightLoop}
    pruner = rivals[kind](model.weights(), optimizer, steps, final, every) if kind in rivals else None
    return model, optimizer, pruner


def epochs(kind: str, hidden: int, length: int, rounds: int, final: float) -> Callable[[], None]:
    """One epoch after the other of a whole training, of which the last step reaches the final sparsity."""
    steps = (rounds + WARM) * BATCHES
    model, optimizer, pruner = begin(kind, hidden, steps, final)
    x, y = torch.randn(BATCHES, BATCH, length, INPUTS), torch.randn(BATCHES, BATCH, 1)
    done = 0

    def epoch() -> None:
        nonlocal done
        for inputs, targets in zip(x, y, strict=True):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs), targets).backward()
            optimizer.step()
        done += BATCHES
        if done == steps:  # the same job, or the comparison means nothing
            check(model, pruner, final)

    return epoch


def check(model: Forecaster, pruner: object, final: float) -> None:
    weights = torch.cat([getattr(module, name).detach().flatten() for module, name in model.weights()])
    size, zeros = len(weights), int((weights == 0).sum())
    if (
        abs(zeros - (round(final * size) if pruner else 0)) > 2
    ):  # the published loop rounds down and falls one short
        raise RuntimeError(f"{type(pruner).__name__} left {zeros} of {size} weights dead, not {final:.0%}.")


def training(rounds: int) -> list[Ratio]:
    """Epochs with pruning at work against dense epochs."""
    print(
        f"\nTraining epoch, LSTM {INPUTS} -> hidden -> 1, batch {BATCH}, 0 -> 70 %, an event every {EVERY} steps"
    )
    rows = []
    for hidden in (64, 128):
        for length in (14, 48):
            kinds = ("ours", "dense", "dense, fused")
            seconds = race({kind: epochs(kind, hidden, length, rounds, 0.7) for kind in kinds}, rounds)
            row = f"hidden {hidden}, length {length}: pruned / dense"
            rows.append(ratio(row, seconds["ours"], seconds["dense"], 1.03))
            rows.append(ratio(f"{row} with fused Adam", seconds["ours"], seconds["dense, fused"], None))
    return rows


def same_job(rounds: int) -> list[Ratio]:
    """The whole training by others; every one must end with the same number of dead."""
    rows = []
    kinds = ("ours", "torch.nn.utils.prune", "per-weight loop", "dense")
    for hidden, length, final in ((64, 14, 0.7), (64, 14, 0.8), (128, 48, 0.8)):
        print(f"\nThe same job by others: epoch, hidden {hidden}, length {length}, 0 -> {final:.0%}")
        seconds = race({kind: epochs(kind, hidden, length, rounds, final) for kind in kinds}, rounds)
        for kind in kinds[:3]:
            row = f"hidden {hidden}, length {length}, to {final:.0%}: {kind} / dense"
            rows.append(ratio(row, seconds[kind], seconds["dense"], None))
        for kind in kinds[1:3]:
            row = f"hidden {hidden}, length {length}, to {final:.0%}: ours / {kind}"
            rows.append(ratio(row, seconds["ours"], seconds[kind], None))
    return rows


def event(kind: str, hidden: int, events: int) -> Callable[[], None]:
    """One event after the other, of weights that do not change in between, with moments to be forgotten."""
    model, optimizer, pruner = begin(kind, hidden, 10**6, 0.8)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    done = 0

    def one() -> None:
        nonlocal done
        done += 1
        share = 0.8 * (1 - (1 - min(1.0, done / events)) ** 3)
        if isinstance(pruner, Rival):
            pruner.reach(share)
        else:
            pruner.body.reach(share, done)  # type: ignore[attr-defined]

    return one


def events(rounds: int, sizes: list[int]) -> list[Ratio]:
    """The event alone, from the first to the last of a training; milliseconds per million weights, and ratios."""
    print("\nOne mask event, 0 -> 80 %")
    rows = []
    for size in sizes:
        count = 10 if size == 10**7 else rounds
        hidden, steps = SIZES[size], count + WARM
        values = torch.cat([getattr(m, n).detach().flatten() for m, n in Forecaster(hidden).weights()]).abs()
        variants: dict[str, Callable[[], object]] = {
            "ours": event("ours", hidden, steps),
            "kthvalue": lambda v=values: torch.kthvalue(v, len(v) // 2),
        }
        if size < 10**7:  # its container keeps a mask of every event: minutes and gigabytes
            variants["torch.nn.utils.prune"] = event("torch.nn.utils.prune", hidden, steps)
        if size == 10**5:
            variants["per-weight loop"] = event("per-weight loop", hidden, steps)
        seconds = race(variants, count)
        milliseconds = [s * 1e3 * 1e6 / len(values) for s in seconds["ours"]]
        low, middle, high = statistics.quantiles(milliseconds, n=4)
        row = f"1e{len(str(size)) - 1} weights: ms per million weights"
        print(f"  {row:<58} {middle:6.2f} [{low:.2f}, {high:.2f}]   goal <= 10")
        rows.append({"row": row, "ratio": middle, "lower": low, "upper": high, "goal": 10.0})
        for kind in [kind for kind in variants if kind != "ours"]:
            row = f"1e{len(str(size)) - 1} weights: event of ours / {kind}"
            rows.append(ratio(row, seconds["ours"], seconds[kind], None))
    return rows


def memory(repeats: int) -> list[Ratio]:
    """Peak memory of training, each variant in processes of its own; whole, and without what importing torch took."""
    print("\nPeak memory of training with 20 events, against dense")
    rows: list[Ratio] = []
    for hidden, length in ((64, 14), (128, 48), (496, 48), (1577, 14)):
        peaks: dict[str, list[tuple[int, int]]] = {"ours": [], "dense": [], "torch.nn.utils.prune": []}
        for _ in range(repeats):
            for kind, found in peaks.items():
                command = [sys.executable, __file__, "--peak", kind, str(hidden), str(length)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                whole, added = map(int, done.stdout.split())
                found.append((whole, added))
        for kind in ("ours", "torch.nn.utils.prune"):
            for part, name in enumerate(("whole process", "added by the training")):
                shares = [a[part] / b[part] for a, b in zip(peaks[kind], peaks["dense"], strict=True)]
                dense = statistics.median(b[part] for b in peaks["dense"]) / 2**20
                goal = 1.10 if kind == "ours" else None
                row = f"peak memory, hidden {hidden}, length {length}, {name} ({dense:.0f} MiB dense): {kind} / dense"
                middle = statistics.median(shares)
                verdict = "" if goal is None else f"   goal <= {goal:.2f}"
                print(f"  {row:<58} {middle:6.3f} [{min(shares):.3f}, {max(shares):.3f}]{verdict}")
                rows.append(
                    {"row": row, "ratio": middle, "lower": min(shares), "upper": max(shares), "goal": goal}
                )
    return rows


def peak(kind: str, hidden: int, length: int) -> None:
    """Print the peak of this process in bytes, and what training added to it."""
    train(kind, 8, 4)  # what torch loads at first use is no matter of the network's
    before = resident("VmRSS")
    train(kind, hidden, length)
    print(resident("VmHWM"), resident("VmHWM") - before)


def train(kind: str, hidden: int, length: int) -> None:
    steps = 20
    model, optimizer, _pruner = begin(kind, hidden, steps, 0.7, every=1)
    x, y = torch.randn(BATCH, length, INPUTS), torch.randn(BATCH, 1)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def resident(which: str) -> int:
    """Bytes, now or at the peak. Not ru_maxrss, into which the peak of the parent process is carried over."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(which)).split()[1])


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--peak", nargs=3, metavar=("KIND", "HIDDEN", "LENGTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        kind, hidden, length = options.peak
        return peak(kind, int(hidden), int(length))
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    rounds, sizes = (6, [10**5, 10**6]) if options.quick else (30, [*SIZES])
    rows = (
        training(rounds) + same_job(rounds // 2) + events(rounds, sizes) + memory(1 if options.quick else 2)
    )
    if options.json:
        write(options.json, rounds, rows)


if __name__ == "__main__":
    main()
