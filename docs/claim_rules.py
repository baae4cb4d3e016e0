"""By which rule do the records decide on a claim, for one form of the method? Used by claims.py.

An effect is reproduced when its 95 % interval lies on the claimed side of 0 and reaches the claimed size.
"""

import json
import statistics as means
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from forecasting_study import LENGTH, Missing, Study

from coppice.experiments import report_forecasting as report
from coppice.experiments import statistics
from coppice.experiments.report_forecasting import Cell
from coppice.experiments.statistics import LEVEL, Interval
from coppice.methods.synaptic_pruning import PRESETS, SynapticPruning
from coppice.parts.schedules import SCHEDULES

PAPER, OURS = "vos2025", "pruned 0.7"
FORMS = {PAPER: PRESETS["vos2025"], OURS: SynapticPruning(0.7)}
MEMORY = 1.10  # of the dense network's peak: what we call stable


class Finding(NamedTuple):
    """What we found for one form of the method, and whether it is what was claimed."""

    words: str
    holds: bool


Judge = Callable[[Study, str], Finding]


def reaches(found: Interval, claimed: float) -> Finding:
    """An improvement by so many percent (below 0): the interval lies under 0 and reaches the claimed size."""
    if found.low > 0:
        why = ", worse"
    elif found.high >= 0:
        why = ", too uncertain to tell" if found.low <= claimed else ", no difference shown"
    else:
        why = "" if found.low <= claimed else ", better, but by less"
    return Finding(f"{found.text()} %{why}", found.high < 0 and found.low <= claimed)


def mean_error(model: str, claimed: float, *references: str) -> Judge:
    def judge(study: Study, form: str) -> Finding:
        found = {name: reaches(study.mean_change(model, form, name), claimed) for name in references}
        words = "; ".join(f"against {name}: {finding.words}" for name, finding in found.items())
        return Finding(words, all(finding.holds for finding in found.values()))

    return judge


def one_error(data: Callable[[Study], str], model: str, claimed: float) -> Judge:
    return lambda study, form: reaches(study.change(data(study), model, form, "dense"), claimed)


def up_to(
    claimed: float, data: Callable[[Study], Sequence[str]], models: Sequence[str] | None = None
) -> Judge:
    """The best of several cells, against no regularisation or dropout."""

    def judge(study: Study, form: str) -> Finding:
        changes = {
            f"{name}, {model}, against {reference}": study.change(name, model, form, reference)
            for name in data(study)
            for model in models or study.models
            for reference in ("dense", "dropout 0.3")
        }
        best = min(changes, key=lambda key: changes[key].mean)
        finding = reaches(changes[best], claimed)
        return Finding(f"best of {len(changes)}: {best}: {finding.words}", finding.holds)

    return judge


def better_on(model: str, reference: str, least: float) -> Judge:
    """Better, shown by the interval, on more than this share of the data sets; on all where it is 1."""

    def judge(study: Study, form: str) -> Finding:
        changes = {name: study.change(name, model, form, reference) for name in study.data}
        better = sum(change.high < 0 for change in changes.values())
        words = "; ".join(f"{name} {change.text()}" for name, change in changes.items())
        holds = better == len(changes) if least == 1 else better / len(changes) > least
        return Finding(f"better on {better} of {len(changes)}, % ({words})", holds)

    return judge


def best_rank(study: Study, form: str) -> Finding:
    four = ("dense", "dropout 0.3", "MC dropout", form)
    table = {Cell(d, m, LENGTH): study.at(d, m) for d in study.data for m in study.models}
    blocks, _ = report.blocks(table)
    if any(set(four) - row.keys() for row in blocks.values()):
        raise Missing(f"cells without {' or '.join(set(four) - next(iter(blocks.values())).keys())}")
    found = statistics.rank({cell: {name: row[name] for name in four} for cell, row in blocks.items()})
    ranks = ", ".join(f"{name} {rank:.2f}" for name, rank in found.mean_ranks.items())
    words = f"{found.blocks} cells: {ranks}; Friedman p {report.p_text(found.p)}"
    return Finding(words, next(iter(found.mean_ranks)) == form and found.p < 0.01)


def mostly_in_finance(study: Study, form: str) -> Finding:
    p, percent = {}, {}
    for data in study.data:
        for model in study.models:
            found = report.against(study.at(data, model), form)
            if found is None or found.p is None:
                raise Missing(f"{data}, {model}: fewer than {statistics.LEAST_PAIRS} seeds")
            p[f"{data} {model}"], percent[f"{data} {model}"] = found.p, found.percent
    holm = statistics.holm(p)
    shown = {key: holm[key] < LEVEL and percent[key].mean < 0 for key in p}
    inside = [shown[key] for key in shown if key.split()[0] in study.finance]
    outside = [shown[key] for key in shown if key.split()[0] not in study.finance]
    words = f"better than dense (Holm p < {LEVEL}) in {sum(inside)} of {len(inside)} finance cells, {sum(outside)} of {len(outside)} others"
    return Finding(words, sum(inside) > 0 and means.mean(inside) > means.mean(outside))


def overhead(study: Study, model: str, form: str, length: int = LENGTH) -> dict[int, float]:
    """Training time over the dense one's, less 1, in percent: by seed, averaged over the data sets."""
    by_seed: dict[int, list[float]] = {}
    for data in study.data:
        for seed, ratio in report.time_ratios(study.at(data, model, length), form).items():
            by_seed.setdefault(seed, []).append(100 * (ratio - 1))
    return {seed: means.mean(found) for seed, found in by_seed.items() if len(found) == len(study.data)}


def cheap(model: str, claimed: float) -> Judge:
    """At most so many percent more training time: the interval reaches down to it, and is no wider to either side."""

    def judge(study: Study, form: str) -> Finding:
        found = list(overhead(study, model, form).values())
        if len(found) < 2:
            raise Missing(f"{model}: no training times on every data set")
        took = statistics.interval(found)
        vague = took.high - took.mean > claimed
        words = f"{took.text()} %{', too uncertain to tell' if vague else ''}"
        return Finding(words, took.low <= claimed and not vague)

    return judge


def cheaper_when_longer(study: Study, form: str) -> Finding:
    """The overhead of training at length 30 is less than at 7, in the interval of all models and seeds."""
    differences: list[float] = []
    for model in study.models:
        short, long = (overhead(study, model, form, length) for length in (7, 30))
        differences += [long[seed] - short[seed] for seed in short if seed in long]
    found = statistics.interval(differences)
    return Finding(f"length 30 minus length 7, points: {found.text()}", found.high < 0)


def stable_memory(study: Study, form: str) -> Finding:
    if not study.benchmark.is_file():
        raise Missing("the benchmark has no record")
    if form == PAPER:
        raise Missing("measured for our form only")
    rows = json.loads(study.benchmark.read_text())["ratios"]
    peaks = [r["ratio"] for r in rows if "memory" in r["row"] and r["goal"] is not None]
    if not peaks:
        raise Missing("the benchmark measured no memory")
    words = f"peak {min(peaks):.2f} to {max(peaks):.2f} of the dense one's in {len(peaks)} settings"
    return Finding(words, max(peaks) <= MEMORY)


def permanent(study: Study, form: str) -> Finding:
    curves = [[sparsity for _, sparsity in part["curve"]] for _, part in study.parts(form)]
    fell = sum(any(b < a for a, b in pairwise(curve)) for curve in curves)
    return Finding(f"sparsity fell in {fell} of {len(curves)} runs", fell == 0)


def one_threshold(study: Study, form: str) -> Finding:
    """The asked share of all is dead, and not the same share of every tensor."""
    target = FORMS[form].final_sparsity
    parts = [part for _, part in study.parts(form)]
    exact = sum(abs(part["sparsity"] - target) < 1e-3 for part in parts)
    spans = [max(part["layers"].values()) - min(part["layers"].values()) for part in parts]
    words = f"{target:.0%} dead in {exact} of {len(parts)} runs; the tensors of one differ by {100 * means.median(spans):.0f} points (median)"
    return Finding(words, exact == len(parts) and min(spans) > 0)


def cubic_curve(study: Study, form: str) -> Finding:
    """Every recorded sparsity lies on the form's cubic, no more than one epoch late."""
    s, off = FORMS[form], 0
    parts = [part for _, part in study.parts(form)]
    for part in parts:
        last = part["curve"][-1][0]
        epoch = 1 / len(part["curve"])

        def asked(share: float) -> float:
            if share < s.start - 1e-9:
                return 0.0
            p = min(1.0, max(0.0, (share - s.start) / (s.end - s.start)))
            return s.initial_sparsity + (s.final_sparsity - s.initial_sparsity) * SCHEDULES[s.schedule](p)

        off += any(
            not asked(t / last - epoch) - 2e-3 <= dead <= asked(t / last + epoch / 10) + 2e-3
            for t, dead in part["curve"]
        )
    return Finding(f"{s.schedule.replace('_', ' ')}: off the curve in {off} of {len(parts)} runs", off == 0)


def warmed_up(study: Study, form: str) -> Finding:
    """Nothing is dead before the start."""
    curves = [[(0, 0.0), *part["curve"]] for _, part in study.parts(form)]
    jump = max(b - a for curve in curves for (_, a), (_, b) in pairwise(curve))
    words = f"the greatest jump within one epoch is {100 * jump:.0f} points"
    early = [dead for c in curves for step, dead in c[1:] if step < FORMS[form].start * c[-1][0]]
    if not early:
        raise Missing(f"recorded once an epoch, which is not before the start; {words}")
    return Finding(f"{sum(dead > 0 for dead in early)} early deaths; {words}", not any(early))


def one_phase(study: Study, form: str) -> Finding:
    pairs = [
        (part["epochs"], r["result"]["parts"].get("dense", {}).get("epochs")) for r, part in study.parts(form)
    ]
    equal = sum(ours == theirs for ours, theirs in pairs)
    return Finding(
        f"as many epochs as dense in {equal} of {len(pairs)} runs, none after the pruning alone",
        equal == len(pairs),
    )


def covered(study: Study, form: str) -> Finding:
    """Every planned cell has records of this form."""
    planned = {(data, model) for data in study.data for model in study.models}
    there = planned & {Cell.of(record)[:2] for record, _ in study.parts(form)}
    words = f"{len(there)} of {len(planned)} pairs of model and data set have records"
    return Finding(words, there == planned)


def really_smaller(study: Study, form: str) -> Finding:
    """Fewer parameters are computed with than in the dense network. Ours offers the structured mode."""
    form = "neurons 0.5" if form == OURS else form
    shares = [
        part["parameters"] / r["result"]["parts"]["dense"]["parameters"]
        for r, part in study.parts(form)
        if "dense" in r["result"]["parts"]
    ]
    if not shares:
        raise Missing("no pairs with dense")
    return Finding(
        f"`{form}` computes with {means.mean(shares):.0%} of the dense parameters", max(shares) < 1
    )
