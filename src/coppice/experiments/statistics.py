"""Is one method better than another, and by how much? Paired over seeds, ranked over tasks. Pure.

scipy, statsmodels and scikit-posthocs do the mathematics; here stand what is compared with what, and when to refuse.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from coppice.data.extras import need

LEVEL = 0.05
LEAST_PAIRS = 6  # with five, the two-sided signed rank test cannot fall under 0.0625 whatever the data
LEAST_BLOCKS = 5  # with fewer, Friedman's chi-square is no approximation of anything


class Mean(NamedTuple):
    """A mean over so many runs, with the half width of its 95 % interval; None for a single value."""

    value: float
    half: float | None
    runs: int

    def text(self, digits: int) -> str:
        half = "" if self.half is None else f" ± {self.half:,.{digits}f}"
        return f"{self.value:,.{digits}f}{half}"


class Interval(NamedTuple):
    """A mean and its 95 % t-interval."""

    mean: float
    low: float
    high: float
    runs: int

    def text(self, digits: int = 1) -> str:
        return f"{self.mean:+,.{digits}f} [{self.low:+,.{digits}f}, {self.high:+,.{digits}f}]"


@dataclass(frozen=True)
class Comparison:
    """A method against a reference on the same seeds, by their relative differences; under 0 the method errs less."""

    percent: Interval
    wins: int  # seeds on which the method errs less
    losses: int
    p: float | None  # Wilcoxon signed rank, two-sided; None under LEAST_PAIRS seeds
    dz: float
    rank_biserial: float

    @property
    def runs(self) -> int:
        return self.percent.runs


@dataclass(frozen=True)
class Ranking:
    """Friedman's test over blocks, and Nemenyi's for each pair of methods; rank 1 is the lowest error."""

    mean_ranks: dict[str, float]  # best first
    blocks: int
    chi_square: float
    p: float
    critical_difference: float  # mean ranks further apart than this differ at the level 0.05
    pairwise: dict[str, dict[str, float]]  # Nemenyi's p


def mean(values: Sequence[float]) -> Mean:
    """Mean and half width of the 95 % t-interval:  t(0.975, n - 1) s / sqrt(n)."""
    count = len(values)
    centre = math.fsum(values) / count
    if count < 2:
        return Mean(centre, None, count)
    spread = math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (count - 1))
    t = float(need("scipy.stats", "stats").t.ppf(0.975, count - 1))
    return Mean(centre, t * spread / math.sqrt(count), count)


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % t-interval. Raises ValueError for fewer than two values."""
    if len(values) < 2:
        raise ValueError(f"an interval needs at least 2 values, but there are {len(values)}: run more seeds.")
    centre, half, runs = mean(_finite(values))
    assert half is not None
    return Interval(centre, centre - half, centre + half, runs)


def relative_differences(errors: Mapping[int, float], reference: Mapping[int, float]) -> list[float]:
    """100 (error - reference) / reference in percent, seed by seed in order; under 0 the method errs less.

    Raises ValueError when the seeds differ, or an error of the reference is not above 0.
    """
    if set(errors) != set(reference):
        alone = ", ".join(str(seed) for seed in sorted(set(errors) ^ set(reference)))
        raise ValueError(
            f"a paired comparison needs the same seeds on both sides, but only one side has seed {alone}: "
            "run the missing seeds, or compare on those that both have."
        )
    for seed, value in sorted(reference.items()):
        if not value > 0:
            raise ValueError(
                f"seed {seed}: the reference's error is {value}, but must be above 0 for a relative difference; "
                "compare absolute errors instead."
            )
    return _finite([100 * (errors[seed] - value) / value for seed, value in sorted(reference.items())])


def compare(errors: Mapping[int, float], reference: Mapping[int, float]) -> Comparison:
    """Two methods by their errors at each seed. Raises ValueError for unequal seeds or fewer than two."""
    differences = relative_differences(errors, reference)
    return Comparison(
        percent=interval(differences),
        wins=sum(d < 0 for d in differences),
        losses=sum(d > 0 for d in differences),
        p=wilcoxon(differences) if len(differences) >= LEAST_PAIRS else None,
        dz=cohens_dz(differences),
        rank_biserial=rank_biserial(differences),
    )


def wilcoxon(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed rank test; pairs without a difference are left out, and p is 1 without any.

    Raises ValueError for fewer than LEAST_PAIRS pairs: no data could be significant then.
    """
    if len(differences) < LEAST_PAIRS:
        raise ValueError(
            f"the signed rank test needs at least {LEAST_PAIRS} pairs to be able to reach p < {LEVEL}, but there are "
            f"{len(differences)}: run more seeds."
        )
    if not any(_finite(differences)):
        return 1.0
    return float(need("scipy.stats", "stats").wilcoxon(differences, zero_method="wilcox").pvalue)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p of every comparison of one family, by its name. Raises ValueError for a p outside [0, 1]."""
    for name, value in p.items():
        if not 0 <= value <= 1:
            raise ValueError(f"p of '{name}' is {value}, but must be in [0, 1].")
    if not p:
        return {}
    adjusted = need("statsmodels.stats.multitest", "stats").multipletests(list(p.values()), method="holm")[1]
    return {name: float(value) for name, value in zip(p, adjusted, strict=True)}


def cohens_dz(differences: Sequence[float]) -> float:
    """Mean over standard deviation of paired differences; infinite when all are the same and not 0.

    Raises ValueError for fewer than two pairs.
    """
    if len(differences) < 2:
        raise ValueError(f"Cohen's dz needs at least 2 pairs, but there are {len(differences)}.")
    centre, spread = math.fsum(_finite(differences)) / len(differences), statistics.stdev(differences)
    if spread == 0:
        return math.copysign(math.inf, centre) if centre else 0.0
    return centre / spread


def rank_biserial(differences: Sequence[float]) -> float:
    """Matched-pairs rank-biserial correlation in [-1, 1]:  (W+ - W-) / (W+ + W-), pairs without a difference left out.

    -1 when every seed errs less, 0 when the ranks balance. Raises ValueError without pairs.   Kerby 2014
    """
    if not differences:
        raise ValueError("the rank-biserial correlation needs at least 1 pair, but there is none.")
    apart = [d for d in _finite(differences) if d]
    if not apart:
        return 0.0
    ranks = need("scipy.stats", "stats").rankdata([abs(d) for d in apart])
    signed = math.fsum(math.copysign(rank, d) for rank, d in zip(ranks, apart, strict=True))
    return signed / math.fsum(ranks)


def rank(errors: Mapping[Any, Mapping[str, float]]) -> Ranking:
    """Friedman's test over blocks that each hold one error of every method; lower is better, ties share their rank.

    A block is a task, its error a mean over seeds. Seeds as blocks would be pseudo-replicates: they share data and
    model, and would make any difference significant. Raises ValueError for fewer than three methods, fewer than
    LEAST_BLOCKS blocks, or a block with other methods than the first.   Demsar 2006
    """
    if len(errors) < LEAST_BLOCKS:
        raise ValueError(
            f"Friedman's test needs at least {LEAST_BLOCKS} blocks, but there are {len(errors)}: run more cells."
        )
    methods = list(next(iter(errors.values())))
    if len(methods) < 3:
        raise ValueError(f"Friedman's test needs at least 3 methods, but there are {len(methods)}.")
    for block, row in errors.items():
        if set(row) != set(methods):
            apart = ", ".join(sorted(set(row) ^ set(methods)))
            raise ValueError(f"block {block}: {apart} is not in every block; rank methods that all have.")
        _finite(list(row.values()))
    stats = need("scipy.stats", "stats")
    table = [[row[method] for method in methods] for row in errors.values()]
    blocks, count = len(table), len(methods)
    ranks = [sum(column) / blocks for column in zip(*(stats.rankdata(row) for row in table), strict=True)]
    if all(len(set(row)) == 1 for row in table):
        chi_square, p = 0.0, 1.0
    else:
        chi_square, p = (float(x) for x in stats.friedmanchisquare(*zip(*table, strict=True)))
    pairwise = need("scikit_posthocs", "stats").posthoc_nemenyi_friedman(need("numpy").array(table))
    q = float(stats.studentized_range.ppf(1 - LEVEL, count, math.inf)) / math.sqrt(2)
    order = sorted(range(count), key=lambda i: ranks[i])
    return Ranking(
        mean_ranks={methods[i]: float(ranks[i]) for i in order},
        blocks=blocks,
        chi_square=chi_square,
        p=p,
        critical_difference=q * math.sqrt(count * (count + 1) / (6 * blocks)),
        pairwise={methods[i]: {methods[j]: float(pairwise.iloc[i, j]) for j in order} for i in order},
    )


def _finite(values: Sequence[float]) -> list[float]:
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number to compare: a run failed, or its error is missing.")
    return list(values)
