"""Tasks of samples by several persons, none of whom is on two sides."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from coppice.data.splits import Split
from coppice.data.tasks import TaskData


def split_by_person(
    name: str,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    who: NDArray[np.str_],
    *,
    test: Sequence[str],
    judges: Sequence[str],
    seed: int,
    classes: tuple[str, ...],
    group: str,
) -> TaskData:
    """The persons in `test` give the test samples; one of `judges`, those of validation; all others learn.

    The judges take turns: seed 0 has the first, seed 1 the second. `who` [n] is the person of each sample, y [n] its
    class. ValueError: a person who gave nothing, or who is both in `test` and in `judges`; a class without a training
    sample.
    """
    twice = set(test) & set(judges)
    if twice:
        raise ValueError(
            f"'{min(twice)}' is both among the test persons and among the judges of '{name}': name each person once."
        )
    judge = judges[seed % len(judges)]
    for person in (*test, judge):
        if person not in who:
            raise ValueError(
                f"There is no sample of person '{person}' in '{name}': the data are not whole, replace them."
            )
    held, judged = np.isin(who, test), who == judge
    learned = ~(held | judged)
    missing = np.flatnonzero(np.bincount(y[learned], minlength=len(classes)) == 0)
    if missing.size:
        raise ValueError(
            f"The class '{classes[missing[0]]}' of '{name}' has no sample of a person who trains: let others judge and be "
            "tested, or replace the data, if they are not whole."
        )

    def part(mine: NDArray[np.bool_]) -> Split:
        return Split(torch.from_numpy(x[mine]), torch.from_numpy(y[mine]))

    return TaskData(name, part(learned), part(judged), part(held), classes, group)
