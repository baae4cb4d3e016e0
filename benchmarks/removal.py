"""Cutting neurons out for real: what an event costs and what every step after it saves.

    python benchmarks/removal.py [--quick] [--json FILE]

One process, one thread; variants take turns round by round, medians with quartiles of per-round ratios to a training
step of the same network whole: 784-1000-1000-10, batch 128, and an LSTM forecaster with 128 hidden units, input 8,
length 48, batch 64; Adam.
"""

import copy
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from masks import command
from torch import nn

from coppice.experiments.record import versions
from coppice.models.recurrent import RecurrentForecaster
from coppice.parts.masks import Masks
from coppice.parts.neurons import populations
from coppice.parts.scores import balanced
from coppice.parts.surgery import compact, keep_neurons
from coppice.parts.units import units

BATCH = 128
GOAL = 0.55  # of a whole LSTM's training step, with half of the units left


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10)
    )


def stepper(share: float) -> Callable[[], None]:
    """A training step of the network of which only this share of neurons is left, cut while it was training."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.rand(BATCH, 784), torch.randint(0, 10, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    step()
    if share < 1:
        cut(model, optimizer, share)
        step()
    return step


def lstm_stepper(share: float) -> Callable[[], None]:
    """A training step of an LSTM of which this share of hidden units is left: pruned, compacted, still guarded."""
    torch.manual_seed(0)
    model = RecurrentForecaster(channels=8, horizon=1, hidden=128)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)  # as the guard sets it: both alike
    x, y = torch.randn(64, 48, 8), torch.randn(64, 1)

    def step() -> None:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()

    step()
    if share < 1:
        masks = Masks.attach(model)
        masks.guard(optimizer)
        for group in units(model):
            weakest = group.strength(model).argsort()[: round((1 - share) * group.width(model))]
            doomed = torch.zeros(group.width(model), dtype=torch.bool).index_fill_(0, weakest, True)
            masks.prune(group.synapses(model, doomed), optimizer)
        compact(model, optimizer)
        step()
    return step


def cut(model: nn.Module, optimizer: torch.optim.Optimizer, share: float) -> None:
    """Rank every population and keep the most important share of it, with the moments."""
    for population in populations(model):
        keep = round(population.width(model) * share)
        kept = balanced(model, population).topk(keep).indices.sort().values
        keep_neurons(model, population, kept, optimizer)


def event(share: float) -> Callable[[], float]:
    """Seconds of one removal event, tracing and ranking included, on a fresh copy each time."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    F.cross_entropy(model(torch.rand(BATCH, 784)), torch.randint(0, 10, (BATCH,))).backward()
    optimizer.step()

    def once() -> float:
        twin, other = copy.deepcopy((model, optimizer))
        start = time.process_time()
        cut(twin, other, share)
        return time.process_time() - start

    return once


def seconds(step: Callable[[], None]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def main() -> None:
    options = command(__doc__).parse_args()
    torch.set_num_threads(1)

    steps = {f"training step, {share:.0%} of the neurons left": stepper(share) for share in (0.8, 0.5, 0.2)}
    runs: dict[str, Callable[[], float]] = {name: lambda s=s: seconds(s) for name, s in steps.items()}  # type: ignore[misc]
    runs["removal event, a fifth of the neurons"] = event(0.8)
    runs["removal event, half of the neurons"] = event(0.5)
    half = lstm_stepper(0.5)
    lstm = "LSTM training step, 50% of the units left"
    runs[lstm] = lambda: statistics.median(seconds(half) for _ in range(3))
    dense, dense_lstm = stepper(1.0), lstm_stepper(1.0)
    goals = {lstm: GOAL}
    ratios: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(5 if options.quick else 60):
        order = names[turn % len(names) :] + names[: turn % len(names)]
        base = statistics.median(seconds(dense) for _ in range(3))
        for name in order:
            whole = statistics.median(seconds(dense_lstm) for _ in range(3)) if name == lstm else base
            ratios[name].append(runs[name]() / whole)

    print("ratio to a training step of the whole network: median [quartiles]")
    table = []
    for name, values in ratios.items():
        low, middle, high = statistics.quantiles(values, n=4)
        table.append({"row": name, "ratio": middle, "lower": low, "upper": high, "goal": goals.get(name)})
        goal = f"  (goal: at most {goals[name]})" if name in goals else ""
        print(f"  {name:45s} {middle:6.3f} [{low:.3f}, {high:.3f}]{goal}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps({"versions": versions(), "threads": 1, "ratios": table}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
