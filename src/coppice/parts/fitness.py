"""How fit is a network of this size?  Zhao et al. 2017, Eq. 2-7, and fitnesses that mend them. Pure; float64 sums.

A step of the search cuts neurons (weights then: w_p), retrains (weights then: w_r) and is judged by

    A    score on validation data, higher is better                          Eq. 2 when it is an accuracy
    p    |w_r - w_p| over the kept synapses, biases left out                  Eq. 3
    S    H / (max_i |p_i log2 p_i| * N),  H = -sum_i p_i log2 p_i             Eq. 4, 5: stability
    E    sum_l n_l mean|W_l| / sum_l n_l, n_l = inputs of layer l             Eq. 6: mean weight, averaged over its
                                                                              free indices; n and m for three layers
    rho  sum |w_r - w_p| / sum |w_p|                                          ours: relative change, free of scale
    F    fitness of these                                                     Eq. 7
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Score(NamedTuple):
    """A validation score, higher = better, with its standard error and the number of samples behind it."""

    value: float
    error: float | None = None
    samples: int | None = None

    @classmethod
    def of(cls, given: "Score | Tensor | float") -> "Score":
        """From a Score, a plain number, or one score a sample, [sample]: their mean, with error sd / sqrt(n).

        Of right or wrong answers, 1 or 0 a sample, that is accuracy a with error sqrt(a (1 - a) / n).
        """
        if isinstance(given, Score):
            score = given
        elif isinstance(given, Tensor) and given.ndim == 1 and given.numel() > 0:
            values = given.detach().double().cpu()
            error = float(values.var(unbiased=False).div(values.numel()).sqrt())
            score = cls(float(values.mean()), error, values.numel())
        elif isinstance(given, Tensor) and given.numel() != 1:
            raise ValueError(
                f"the score has shape {list(given.shape)}: return one number, or one number a sample, [sample]."
            )
        else:
            score = cls(float(given))
        if not math.isfinite(score.value):
            raise ValueError(
                f"the validation score is {score.value}: training has diverged or the score function divides by zero. "
                "Lower the learning rate, or return a finite number."
            )
        if score.error is not None and not 0 <= score.error < math.inf:
            raise ValueError(
                f"the score's standard error is {score.error}, but must be a number, at least 0."
            )
        return score


@dataclass(frozen=True)
class Step:
    """One network on the path of sizes: how large, how good, how changed."""

    index: int
    widths: tuple[int, ...]  # neurons in each population
    parameters: int
    flops: int | None  # of a forward pass over the example, when one was given
    score: float  # A
    error: float | None  # standard error of A
    stability: float | None = None  # S; None before the first cut, when nothing was retrained
    mean_weight: float | None = None  # E
    change: float | None = None  # rho
    overflow: float | None = None  # share of synapses with p > 1, whose term in Eq. 4 is negative
    fitness: float | None = None  # F

    @property
    def neurons(self) -> int:
        """All neurons that could be cut."""
        return sum(self.widths)


def stability(pruned: Sequence[Tensor], retrained: Sequence[Tensor]) -> tuple[float, float]:
    """S of Eq. 3-5, and the share of p above 1.

    0 log 0 counts as 0, and a network that did not move at all has S = 0. Raises ValueError on weights that are NaN. Where p > 1 the term is negative:
    that, not instability, is what makes the published curve fall again.
    """
    entropy, largest, count, above = 0.0, 0.0, 0, 0
    for before, after in zip(pruned, retrained, strict=True):
        p = (after.double() - before.double()).abs()
        terms = -torch.special.xlogy(p, p) / math.log(2)
        entropy += float(terms.sum())
        largest = max(largest, float(terms.abs().max()))
        count += p.numel()
        above += int((p > 1).sum())
    if not math.isfinite(entropy):
        raise ValueError(
            "the retrained weights are not all finite: training has diverged. Lower the learning rate."
        )
    return (entropy / (largest * count) if largest > 0 else 0.0), above / count


def mean_weight(weights: Sequence[Tensor]) -> float:
    """E of Eq. 6 for layers [target, source, ...]: mean |weight| of each, weighted by the layer's inputs.

    Eq. 6 sums over one index of w_ij and w_jk and divides by n + m; the free index is averaged over.
    """
    inputs = [w[0].numel() for w in weights]
    return sum(n * float(w.double().abs().mean()) for n, w in zip(inputs, weights, strict=True)) / sum(inputs)


def relative_change(pruned: Sequence[Tensor], retrained: Sequence[Tensor]) -> float:
    """rho = sum |w_r - w_p| / sum |w_p|: how far retraining moved the weights, whatever their scale."""
    moved = sum(float((a.double() - b.double()).abs().sum()) for b, a in zip(pruned, retrained, strict=True))
    size = sum(float(b.double().abs().sum()) for b in pruned)
    return moved / size if size > 0 else 0.0


class Fitness(Protocol):
    """One number for a step; None where it is not defined."""

    def __call__(self, step: Step) -> float | None: ...


@dataclass(frozen=True)
class PublishedFitness:
    """F = alpha A + beta S + gamma E.   Zhao et al. 2017, Eq. 7; A is an accuracy in [0, 1].

    It rewards collapse: E keeps growing while the network shrinks. gamma = 0 redraws Fig. 4A.
    """

    alpha: float = 1 / 3
    beta: float = 1 / 3
    gamma: float = 1 / 3

    def __call__(self, step: Step) -> float | None:
        if not 0 <= step.score <= 1:
            raise ValueError(
                f"the published fitness adds an accuracy in [0, 1] to S and E, but the score is {step.score:.4g}. "
                "Use AccuracyStability, or a stop rule on the score alone, such as OneStandardError."
            )
        if step.stability is None or step.mean_weight is None:
            return None
        return self.alpha * step.score + self.beta * step.stability + self.gamma * step.mean_weight


@dataclass(frozen=True)
class AccuracyStability:
    """F = A + weight * (1 - rho): the stability that the paper wanted, without its scale. Any score."""

    weight: float = 1.0

    def __call__(self, step: Step) -> float | None:
        return None if step.change is None else step.score + self.weight * (1 - step.change)


FITNESSES: dict[str, type[PublishedFitness] | type[AccuracyStability]] = {
    "published": PublishedFitness,
    "accuracy_stability": AccuracyStability,
}
