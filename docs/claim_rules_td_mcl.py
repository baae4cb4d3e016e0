"""By which rule do the records decide on a claim about TD-MCL? Used by claims_td_mcl.py.

An effect is supported when its 95 % interval over the seeds lies on the claimed side.
"""

import statistics as means
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from sources import Record

from coppice.experiments.accuracy_matrix import AccuracyMatrix
from coppice.experiments.figures_continual import dynamics
from coppice.experiments.statistics import Interval, interval, mean

OURS = "td-mcl"
SPARE = 1.0  # points that count as no loss
Part = Mapping[str, Any]


class Missing(Exception):
    """The records cannot decide: what is not there."""


class Finding(NamedTuple):
    """What was found, and whether it is what was claimed."""

    words: str
    holds: bool


@dataclass(frozen=True)
class Study:
    """Records of the reduced CIFAR-100 study, of the six orders, and of the measures by which kernels are ranked."""

    records: Sequence[Record]
    orders: Sequence[Record]
    worths: Sequence[Record] = ()

    def parts(self, arm: str) -> dict[int, Part]:
        found = {r["seed"]: r["result"]["parts"][arm] for r in self.records if arm in r["result"]["parts"]}
        if len(found) < 2:
            raise Missing(f"fewer than two seeds of '{arm}'")
        return found

    def ours(self) -> list[Part]:
        return list(self.parts(OURS).values())

    def points(self, arm: str, other: str, measure: Callable[[Part], float]) -> Interval:
        """One arm less another on the same seeds, in points."""
        one, two = self.parts(arm), self.parts(other)
        both = [100 * (measure(one[seed]) - measure(two[seed])) for seed in sorted(one.keys() & two.keys())]
        if len(both) < 2:
            raise Missing(f"fewer than two seeds have both '{arm}' and '{other}'")
        return interval(both)

    def of(self, arm: str, measure: Callable[[Part], float]) -> Interval:
        return interval([measure(part) for part in self.parts(arm).values()])


def accuracy(part: Part) -> float:
    return float(part["test"])


def rows(part: Part) -> Sequence[Sequence[float]]:
    found: Sequence[Sequence[float]] = part["accuracy"]["rows"]
    return found


def old_tasks(part: Part) -> float:
    """Mean accuracy on all tasks but the last, at the end."""
    return means.mean(rows(part)[-1][:-1])


def new_tasks(part: Part) -> float:
    """Mean accuracy on each task but the first, when it was just learned."""
    return means.mean(row[-1] for row in rows(part)[1:])


def bwt(part: Part) -> float:
    return 100 * AccuracyMatrix.from_record(dict(part["accuracy"])).bwt()


def operations(part: Part) -> float:
    return means.mean(found["synaptic_operations"] for found in part["costs"].values())


def fewer_connections(study: Study) -> Finding:
    gap = study.points(OURS, "all links", accuracy)
    share = [a["synapses"][-1] / b["synapses"][-1] for a, b in both(study, OURS, "all links")]
    words = f"{gap.text()} points against the progressive net with {100 * max(share):.0f} % of its synapses"
    return Finding(words, gap.low >= -SPARE and max(share) <= 0.6)


def both(study: Study, arm: str, other: str) -> list[tuple[Part, Part]]:
    one, two = study.parts(arm), study.parts(other)
    return [(one[seed], two[seed]) for seed in sorted(one.keys() & two.keys())]


def by_order(study: Study) -> dict[str, dict[int, Record]]:
    found: dict[str, dict[int, Record]] = {}
    for record in study.orders:
        found.setdefault(", ".join(record["recipe"]["data"]["tasks"]), {})[record["seed"]] = record["result"]
    if len(found) < 2:
        raise Missing("no records of the orders")
    return found


def best_order(study: Study) -> Finding:
    orders = by_order(study)
    first, *others = orders
    gaps = {}
    for name in others:
        shared = sorted(orders[first].keys() & orders[name].keys())
        gaps[name] = interval(
            [100 * (final(orders[first][seed]) - final(orders[name][seed])) for seed in shared]
        )
    better = sum(gap.low > 0 for gap in gaps.values())
    words = f"'{first}' is better than {better} of {len(gaps)} other orders; closest to it: "
    closest = min(gaps, key=lambda name: gaps[name].mean)
    return Finding(f"{words}{closest}, {gaps[closest].text()} points", better == len(gaps))


def final(result: Record) -> float:
    return float(result["final"]["test"])


def steadier(study: Study) -> Finding:
    last = {arm: [100 * rows(p)[-1][-1] for p in study.parts(arm).values()] for arm in (OURS, "direct")}
    gap = study.points(OURS, "direct", lambda part: rows(part)[-1][-1])
    spread = {arm: means.stdev(found) for arm, found in last.items()}
    words = f"last task {gap.text()} points against direct; spread over seeds {spread[OURS]:.1f} and {spread['direct']:.1f}"
    return Finding(words, gap.low > 0 and spread[OURS] < spread["direct"])


def feedback_knows(study: Study) -> Finding:
    ranked = Study(study.worths, ())
    arms = ("blind random", "blind magnitude", "worth magnitude", "worth own", "worth feedback")
    gaps = {arm: ranked.points("worth gated", arm, old_tasks) for arm in arms}
    words = "; ".join(f"{arm.removeprefix('worth ')} {gap.text()}" for arm, gap in gaps.items())
    return Finding(
        f"old tasks at equal sparsity, points, gated against: {words}",
        all(gap.low > 0 for gap in gaps.values()),
    )


def without_freezing(study: Study) -> Finding:
    found = {
        mode: study.of(arm, bwt)
        for mode, arm in (
            ("isolated", OURS),
            ("inhibited", "old weights inhibited"),
            ("full", "old weights full"),
        )
    }
    words = "; ".join(f"{mode} {value.text()}" for mode, value in found.items())
    return Finding(f"BWT: {words}", all(value.low >= -SPARE for value in found.values()))


def strengths(task: Mapping[str, Any]) -> list[float]:
    """Mean |V| of the kept links, epoch by epoch since they were chosen."""
    kept = task["curve"][-1]["link_synapses"]
    return [e["link_mass"] / kept for e in task["curve"] if kept and e["link_synapses"] == kept]


def links_strengthen(study: Study) -> Finding:
    linked = [strengths(task) for part in study.ours() for task in part["tasks"][1:]]
    rising = sum(found[-1] > found[0] for found in linked if found)
    gap = study.points(OURS, "no links", accuracy)
    words = f"mean strength rises after the choice in {rising} of {len(linked)} tasks; {gap.text()} points against no links"
    return Finding(words, rising == len(linked) and gap.low > 0)


def never_larger(study: Study) -> Finding:
    strict = study.parts("td-mcl strict").values()
    grew = sum(max(part["synapses"]) > part["synapses"][0] for part in strict)
    cost = study.points("td-mcl strict", OURS, accuracy)
    free = means.mean(part["synapses"][-1] / part["synapses"][0] for part in study.ours())
    words = f"strict: larger after a later task in {grew} of {len(strict)} runs, at {cost.text()} points; else {free:.1f} times as large"
    return Finding(words, grew == 0)


def forgets_little(study: Study) -> Finding:
    ours, theirs = study.of(OURS, bwt), study.of("finetune", bwt)
    words = f"BWT {ours.text()}, of fine-tuning {theirs.text()}; no sample is stored and no term added, which tests audit"
    return Finding(words, ours.low > theirs.high)


def old_modules_shrink(study: Study) -> Finding:
    curves = [
        [epoch["kernels"].get(name, 0) for task in part["tasks"][number + 1 :] for epoch in task["curve"]]
        for part in study.ours()
        for number, name in enumerate(task["task"] for task in part["tasks"][:-1])
    ]
    grew = sum(any(b > a for a, b in pairwise(curve)) for curve in curves)
    shrank = sum(curve[-1] < curve[0] for curve in curves)
    return Finding(
        f"of {len(curves)} old modules {shrank} ended smaller and {grew} ever grew",
        grew == 0 and shrank == len(curves),
    )


def cheaper(study: Study) -> Finding:
    shares = interval([operations(a) / operations(b) for a, b in both(study, OURS, "all links")])
    words = f"{shares.mean:.2f} [{shares.low:.2f}, {shares.high:.2f}] of the synaptic operations of the progressive net"
    return Finding(words, shares.high < 1)


def across_functions(study: Study) -> Finding:
    first = next(iter(by_order(study).values()))
    found = interval(
        [100 * AccuracyMatrix.from_record(result["accuracy"]).bwt() for result in first.values()]
    )
    return Finding(f"perception, motor, interaction: BWT {found.text()}", found.low >= -SPARE)


def learns_more(study: Study) -> Finding:
    gaps = {arm: study.points(OURS, arm, new_tasks) for arm in ("direct", "direct wide", "warm-start")}
    words = "; ".join(f"{arm} {gap.text()}" for arm, gap in gaps.items())
    return Finding(f"new tasks, points, against: {words}", all(gap.low > 0 for gap in gaps.values()))


def kept_while_shrinking(study: Study) -> Finding:
    kept = study.of(OURS, bwt)
    born, own = (
        mean([100 * part[key] for part in study.ours()]).value
        for key in ("dead_since_birth", "dead_since_own_task")
    )
    words = f"BWT {kept.text()} with {born:.0f} % of the old kernels dead, {own:.0f} % since their own task"
    return Finding(words, kept.low >= -SPARE and born >= 30)


def rise_then_fall(study: Study) -> Finding:
    runs = [dynamics(part["tasks"]) for part in study.ours()]
    peaks = 0
    for run in runs:
        local = [young + old for young, old in zip(run["young"], run["old"], strict=True)]
        peaks += local[0] < max(local) > local[-1]
    masses = [[sum(m["link_mass"] for m in t["modules"].values()) for t in p["tasks"]] for p in study.ours()]
    rising = sum(all(b > a for a, b in pairwise(mass)) for mass in masses)
    words = f"local kernels rise, then fall in {peaks} of {len(runs)} runs; mass of links grows with each task in {rising}"
    return Finding(words, peaks == rising == len(runs))


def sparse_work(study: Study) -> Finding:
    shares = [f["synaptic_operations"] / f["dense"] for p in study.ours() for f in p["costs"].values()]
    words = f"an answer takes {100 * means.mean(shares):.0f} % of the operations of the same modules dense and without spikes"
    return Finding(words, max(shares) < 1)
