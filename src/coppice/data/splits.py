"""What a data set becomes: training, validation and test samples, drawn reproducibly."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from coppice.data.scaling import Scaling

Task = Literal["classification", "regression", "forecast"]
TEST_SEED = 0  # the test set must not move with the seed of a run


class Split(NamedTuple):
    """Samples: `x` [n, features], [n, channel, height, width] or, of a series, [n, length, channel]; float32.

    `y` is [n] int64 class numbers, or [n, output] float32 for regression, [n, horizon] for a forecast.
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Splits:
    """Three disjoint sets of samples and where they come from.

    `outputs` is the number of classes or of regression targets; `classes` their names (None for regression).
    `provenance` can be written as JSON and holds the source, checksums, counts, seeds and scaling constants.
    Of a forecast, `naive` holds the test forecasts of the rules any model must beat, [n, horizon] in the scale
    of y, and `unit_scale` [n] the factor by which an error of each test forecast becomes one in the target's
    unit.
    """

    train: Split
    validation: Split
    test: Split
    task: Task
    outputs: int
    classes: tuple[str, ...] | None
    provenance: dict[str, Any]
    naive: dict[str, Tensor] = field(default_factory=dict)
    unit_scale: Tensor | None = None


@dataclass(frozen=True)
class Source:
    """A data set as read: the training pool and the test samples, unscaled.

    `y` is [n] int64, or [n, output] float64 for regression. `scaling` is None when the constants are to be
    taken from the training rows.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]
    task: Task
    classes: tuple[str, ...] | None
    scaling: Scaling | None
    provenance: dict[str, Any]


def whole_number(name: str, value: Any, least: int) -> None:
    """ValueError unless `value` is a whole number, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} is {value!r}, but it must be a whole number, {least} or more.")


def share(name: str, value: Any, otherwise: str = "") -> None:
    """ValueError unless `value` is a float above 0 and below 1; `otherwise` says what else it could be."""
    if not isinstance(value, float) or not 0 < value < 1:
        raise ValueError(
            f"{name} is {value!r}, but it must be a share above 0 and below 1{otherwise}; 0.2 means 20 %."
        )


def share_or_count(name: str, value: Any) -> None:
    """ValueError unless `value` is a float above 0 and below 1, or a whole number, 1 or more."""
    if isinstance(value, float):
        share(name, value, " or a count such as 300")
    else:
        whole_number(name, value, least=1)


def quotas(sizes: Sequence[int], count: int) -> list[int]:
    """How many of `count` each class gives, in proportion to its size: exact total, within one of its share.

    The largest remainders are rounded up, equal ones in order of class. Integer arithmetic throughout.
    """
    total = sum(sizes)
    shares = [divmod(size * count, total) for size in sizes]
    given = [whole for whole, _ in shares]
    largest = sorted(range(len(sizes)), key=lambda k: -shares[k][1])
    for k in largest[: count - sum(given)]:
        given[k] += 1
    return given


def draw(
    strata: NDArray[np.int64], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw `count` of the samples, stratified: (drawn, left), positions in random order.

    `strata` [n] holds the class of each sample; all zeros for a plain draw. ValueError: more than n wanted.
    """
    if not 0 <= count <= len(strata):
        raise ValueError(f"{count} samples are wanted, but 0 to {len(strata)} can be drawn: ask for fewer.")
    order = rng.permutation(len(strata))
    kinds, sizes = np.unique(strata, return_counts=True)
    drawn = np.zeros(len(strata), dtype=bool)
    for kind, quota in zip(kinds, quotas(sizes.tolist(), count), strict=True):
        drawn[np.flatnonzero(strata[order] == kind)[:quota]] = True
    return order[drawn], order[~drawn]


def hold_out(strata: NDArray[np.int64], share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The fixed test set: (test, pool), positions in the order of the data, the same for every run.

    At least one sample is held out. `share` in (0, 1).
    """
    count = max(1, round(share * len(strata)))
    test, pool = draw(strata, count, np.random.default_rng(TEST_SEED))
    return np.sort(test), np.sort(pool)


def counts(
    pool: int,
    train: int | None,
    validation: float | int,
    *,
    option: str = "train",
    of: str = "the training pool",
) -> tuple[int, int]:
    """Numbers of (training, validation) samples out of `pool`; ValueError when the pool is too small.

    A float `validation` is a share of the pool (at least one sample), an int is a count. In the message `option` names
    `train`, and `of` whose the samples are.
    """
    judged = max(1, round(validation * pool)) if isinstance(validation, float) else int(validation)
    learned = pool - judged if train is None else int(train)
    if learned < 1 or learned + judged > pool:
        if pool < 2:
            bound = "two samples are the least"
        elif judged < pool:
            bound = f"{option} = {pool - judged} is the most"
        else:
            bound = f"lower validation to {pool - 1} samples or fewer"
        raise ValueError(
            f"{option} = {'all the rest' if train is None else train} and validation = {validation} "
            f"({judged} samples) do not fit into the {pool} samples of {of}: {bound}."
        )
    return learned, judged
