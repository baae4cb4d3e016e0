"""Tables of docs/methods/bdnn_sp.md, and of the method's results in the README. Used by tables.py."""

import dataclasses
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from scipy import stats
from sources import Record, records

from coppice.experiments.backprop import online_backprop
from coppice.experiments.statistics import interval
from coppice.experiments.studies.alternatives import picked
from coppice.experiments.studies.needed_width import needed
from coppice.methods.bdnn_sp import Search
from coppice.parts import fitness, scores
from coppice.parts.fitness import AccuracyStability, PublishedFitness, Score, Step
from coppice.parts.stopping import OneStandardError, Peak

SAMPLES = (600, 1200, 2400, 4800, 9600, 19200)
CLASSES = (10, 5)


def path_of(run: Record) -> list[Step]:
    return [Step(**{**step, "widths": tuple(step["widths"])}) for step in run["result"]["path"]]


def task(samples: int, classes: int) -> str:
    return f"train={samples},classes={classes}"


# --- choosing from a stored path ----------------------------------------------------------------------------


def with_fitness(path: list[Step], fitness: Callable[[Step], float | None]) -> list[Step]:
    return [dataclasses.replace(s, fitness=None if s.stability is None else fitness(s)) for s in path]


RULES: dict[str, Callable[[list[Step]], int]] = {
    "one standard error (ours)": lambda p: OneStandardError().choose(p).step,
    "published F, at least 20 neurons": lambda p: Peak(20).choose(with_fitness(p, PublishedFitness())).step,
    "published F, no floor": lambda p: Peak(1).choose(with_fitness(p, PublishedFitness())).step,
    "A + S": lambda p: Peak(1).choose(with_fitness(p, PublishedFitness(0.5, 0.5, 0.0))).step,
    "A + 1 - rho": lambda p: Peak(1).choose(with_fitness(p, AccuracyStability())).step,
}


def chosen(rule: str, samples: int, classes: int) -> tuple[float, float, float, float]:
    """Neurons (mean, sd), validation accuracy there, and how far that is under the best of the path; over seeds."""
    sizes, scores, losses = [], [], []
    for run in records("zhao2017-fig3", task(samples, classes)):
        path = path_of(run)
        step = path[RULES[rule](path)]
        sizes.append(step.neurons)
        scores.append(step.score)
        losses.append(max(s.score for s in path) - step.score)
    spread = statistics.stdev(sizes) if len(sizes) > 1 else 0.0
    return statistics.mean(sizes), spread, statistics.mean(scores), statistics.mean(losses)


def needs(samples: int, classes: int) -> int:
    runs = records("zhao2017-needed-width", task(samples, classes))
    return needed([run["result"]["parts"]["widths"] for run in runs])


# --- where each equation stands ------------------------------------------------------------------------------

EQUATIONS: tuple[tuple[str, str, Any], ...] = (
    ("Algorithm 1", "calculate, prune, retrain, judge, repeat", Search.advance),
    ("Algorithm 1, steps 1-4", "one iteration", Search._shrink),
    ("Eq. 1", "I_j, the sum of all absolute weights into and out of a neuron", scores.total),
    ("", "the balanced form", scores.balanced),
    ("Eq. 2", "A = right / all, with its standard error", Score.of),
    ("Eq. 3, 4, 5", "p, H(p), S", fitness.stability),
    ("Eq. 6", "E", fitness.mean_weight),
    ("", "rho, relative change", fitness.relative_change),
    ("Eq. 7", "F = alpha A + beta S + gamma E", PublishedFitness.__call__),
    ('"reaches the peak"', "greatest F", Peak.choose),
    ("", "one standard error", OneStandardError.choose),
    ('"BP"', "back-propagation, one sample at a time", online_backprop),
)


# --- tables -------------------------------------------------------------------------------------------------


def fig3_table() -> Iterator[str]:
    shown = (880, 527, 316, 190, 100, 53, 25, 15, 8, 5)
    yield "| | samples | " + " | ".join(f"N ~ {n}" for n in shown) + " |"
    yield "|---|---|" + "---|" * len(shown)
    for letter, key in (("A", "score"), ("S", "stability"), ("E", "mean_weight"), ("F", "fitness")):
        for samples in SAMPLES:
            curve = mean_curve(samples, 10, key)
            cells = []
            for n in shown:
                size = min(curve, key=lambda s: abs(s - n))
                cells.append(f"{curve[size]:.3f}")
            yield f"| {letter} | {samples:,} | " + " | ".join(cells) + " |"


def mean_curve(samples: int, classes: int, key: str) -> dict[int, float]:
    """Mean over seeds of one quantity against the number of neurons."""
    values: dict[int, list[float]] = {}
    for run in records("zhao2017-fig3", task(samples, classes)):
        for step in run["result"]["path"][1:]:
            values.setdefault(sum(step["widths"]), []).append(step[key])
    return {size: statistics.mean(found) for size, found in sorted(values.items(), reverse=True)}


def fig4a_table() -> Iterator[str]:
    tasks = [(s, c) for c in CLASSES for s in SAMPLES]
    yield (
        "| hidden neurons | "
        + " | ".join(f"{s:,}, {c} cl." for s, c in tasks)
        + " | Spearman | median ratio |"
    )
    yield "|---|" + "---|" * (len(tasks) + 2)
    yardstick = [needs(*t) for t in tasks]
    yield "| **direct training needs** | " + " | ".join(str(n) for n in yardstick) + " | | |"
    for rule in RULES:
        found = [chosen(rule, *t) for t in tasks]
        sizes = [f[0] for f in found]
        rank, ratio = agreement(sizes, yardstick)
        cells = " | ".join(f"{mean:.0f} ± {sd:.0f}" for mean, sd, _, _ in found)
        yield f"| {rule} | {cells} | {rank:.2f} | {ratio:.2f} |"
        yield f"| accuracy lost there, points | {' | '.join(f'{100 * f[3]:.1f}' for f in found)} | | |"


def agreement(sizes: list[float], yardstick: list[int]) -> tuple[float, float]:
    """Spearman's rank correlation, and the median ratio, of found to needed sizes."""
    rank = float(stats.spearmanr(sizes, yardstick).statistic)
    return rank, statistics.median(s / n for s, n in zip(sizes, yardstick, strict=True))


NETS = ("un-pruned", "pruned 100", "randomly pruned 100", "fresh 100", "pruned 30")
RATES = (0.05, 0.1, 0.2, 0.4, 1.0)


def fig4bc_table() -> Iterator[str]:
    yield "| test error, % | " + " | ".join(f"rate {rate:g}" for rate in RATES) + " |"
    yield "|---|" + "---|" * len(RATES)
    for count, label in (("19200", "19,200 new samples"), ("1200", "1,200 new samples, 5 passes")):
        errors = {rate: transfer_errors(rate, count) for rate in RATES}
        for net in NETS:
            cells = [spread(list(errors[rate][net].values()), errors[rate]["seeds"]) for rate in RATES]
            yield f"| {label}: {net} | " + " | ".join(cells) + " |"
        for other in ("pruned 100", "fresh 100"):
            cells = []
            for rate in RATES:
                mine, its = errors[rate]["un-pruned"], errors[rate][other]
                both = [mine[seed] - its[seed] for seed in mine if seed in its]
                cells.append(interval(both).text(2) if len(both) > 1 else "")
            yield f"| *un-pruned minus {other}, paired [95 %]* | " + " | ".join(cells) + " |"


def transfer_errors(rate: float, count: str) -> dict[str, dict[int, float]]:
    """By network and seed, the test error in % of those that had reached 88.72 % before; "seeds" are all."""
    runs = records("zhao2017-fig4bc", f"learning_rate={rate}")
    table: dict[str, dict[int, float]] = {"seeds": {run["seed"]: 0.0 for run in runs}}
    for net in NETS:
        parts = {run["seed"]: run["result"]["parts"][net] for run in runs}
        table[net] = {
            seed: 100 * part["curves"][count]["test_error"] for seed, part in parts.items() if part["reached"]
        }
    return table


def spread(values: list[float], seeds: dict[int, float]) -> str:
    if len(values) < 2:
        return f"88.72 % reached by {len(values)} of {len(seeds)}"
    few = "" if len(values) == len(seeds) else f" ({len(values)} of {len(seeds)} seeds reached 88.72 %)"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}{few}"


def compared(recipe: str) -> dict[str, list[dict[str, Any]]]:
    """For each alternative, one entry a seed: test, parameters, CPU seconds in all, training operations."""
    table: dict[str, list[dict[str, Any]]] = {}
    for run in records(recipe):
        parts, clock = run["result"]["parts"], run["timing"]["parts"]

        def spent(prefix: str, clock: dict[str, dict[str, float]] = clock) -> float:
            return sum(c["cpu_seconds"] for name, c in clock.items() if name.startswith(prefix))

        rows = {"BDNN-sp": {**parts["search"], "cpu": spent("search")}}
        for prefix in dict.fromkeys(name.split("/")[0] for name in parts if "/" in name):
            rows[prefix] = {**picked(parts, prefix), "cpu": spent(prefix)}
        for name in ("one-shot, same epochs", "unpruned, same epochs"):
            rows[name] = {**parts[name], "cpu": spent(name)}
        for name, row in rows.items():
            table.setdefault(name, []).append(row)
    return table


TITLES = {
    "BDNN-sp": "**BDNN-sp**, one run",
    "grid 40 epochs": "grid of 6 widths, 40 epochs each, best by validation",
    "grid 20 epochs": "grid of 6 widths, 20 epochs each, best by validation",
    "scratch, same epochs": "the found size from scratch, same epochs, 3 learning rates",
    "one-shot, same epochs": "one-shot magnitude pruning to the found size (Torch-Pruning), same epochs",
    "unpruned, same epochs": "the un-pruned network, same epochs",
}


def alternatives_table(recipe: str) -> Iterator[str]:
    table = compared(recipe)
    ours = table["BDNN-sp"]
    yield "| | parameters | test accuracy, % | BDNN-sp minus this, points, paired [95 %] | CPU time, BDNN-sp = 1 |"
    yield "|---|---|---|---|---|"
    for name, title in TITLES.items():
        rows = table[name]
        tests = [100 * row["test"] for row in rows]
        size = statistics.mean(row["parameters"] for row in rows)
        time = statistics.mean(a["cpu"] / b["cpu"] for a, b in zip(rows, ours, strict=True))
        difference = (
            ""
            if name == "BDNN-sp"
            else interval([100 * o["test"] - t for o, t in zip(ours, tests, strict=True)]).text(2)
        )
        yield (
            f"| {title} | {size:,.0f} | {statistics.mean(tests):.2f} ± {statistics.stdev(tests):.2f} "
            f"| {difference} | {time:.2f} |"
        )


def readme_table() -> Iterator[str]:
    yield "| data | too large | found | test accuracy of the large one, trained as long | of the found one | latency, large = 1 | CPU time, grid search = 1 |"
    yield "|---|---|---|---|---|---|---|"
    for data in ("digits", "mnist"):
        runs, table = records(f"bdnn-{data}"), compared(f"alternatives-{data}")
        before = runs[0]["result"]["initial"]["parameters"]
        after = statistics.mean(run["result"]["parameters"] for run in runs)
        large = [100 * row["test"] for row in table["unpruned, same epochs"]]
        found = [100 * row["test"] for row in table["BDNN-sp"]]
        pairs = zip(table["BDNN-sp"], table["grid 40 epochs"], strict=True)
        time = statistics.mean(ours["cpu"] / grid["cpu"] for ours, grid in pairs)
        latency = statistics.median(
            run["timing"]["latency"]["final"] / run["timing"]["latency"]["initial"] for run in runs
        )
        yield (
            f"| {data} ({len(runs)} seeds) | {before:,} parameters | **{after:,.0f}** parameters "
            f"({before / after:.0f} x smaller) | {statistics.mean(large):.2f} % | **{statistics.mean(found):.2f} %** "
            f"({interval([f - u for f, u in zip(found, large, strict=True)]).text(2)}) | {latency:.2f} | {time:.2f} |"
        )
