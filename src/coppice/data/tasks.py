"""Streams of tasks for continual learning, made of any (x, y): split by class, or with permuted pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coppice.data.splits import Split, Splits, counts, draw, share_or_count, whole_number


class TaskData(NamedTuple):
    """One task: three disjoint sets of samples, y [n] int64 from 0 within the task, and the names of its classes.

    `group` is the developmental function the task belongs to (perception, motor, interaction), if any.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    group: str = ""

    @property
    def chance(self) -> float:
        """Test accuracy of always answering the most common class of the training samples; 1 / classes if even."""
        common = torch.bincount(self.train.y, minlength=len(self.classes)).argmax()
        return float((self.test.y == common).double().mean())


def cut(
    name: str,
    train: Split,
    test: Split,
    *,
    validation: float | int = 0.15,
    seed: int = 0,
    episodes: NDArray[np.int64] | None = None,
    classes: Sequence[str] | None = None,
    group: str = "",
) -> TaskData:
    """A task of training and test samples; its validation samples are cut from the training ones by `seed`.

    Labels are any whole numbers; the sorted labels of the training samples become 0, 1, ..., named by `classes`
    (their numbers if None). `validation` is a share or a count of samples, drawn stratified by class. With
    `episodes` [n], which episode (subject, writer, ...) each training sample is of, it is a share or a count of
    episodes, and no episode is on both sides. The test samples stay as they are, in their order.
    ValueError: x not finite floats, y not whole numbers [n], sizes that differ or do not suffice, a test class that
    training lacks.
    """
    whole_number("seed", seed, least=0)
    _check_samples("train", train)
    _check_samples("test", test)
    if train.x.shape[1:] != test.x.shape[1:]:
        raise ValueError(
            f"A training sample of '{name}' has shape {list(train.x.shape[1:])}, but a test sample "
            f"{list(test.x.shape[1:])}: give both the same shape."
        )
    labels, y = np.unique(train.y.numpy(), return_inverse=True)
    strange = sorted(set(test.y.tolist()) - set(labels.tolist()))
    if strange:
        raise ValueError(
            f"Class {strange[0]} is in the test samples of '{name}', but in no training sample: leave it out of the test, "
            "or give training samples of it."
        )
    names = tuple(str(label) for label in labels) if classes is None else tuple(classes)
    if len(names) != len(labels):
        raise ValueError(
            f"{len(names)} names are given for the {len(labels)} classes of '{name}': name each class that has samples."
        )
    judged, learned = _validation(name, y.astype(np.int64), validation, seed, episodes)
    missing = np.flatnonzero(np.bincount(y[learned], minlength=len(names)) == 0)
    if missing.size:
        raise ValueError(
            f"The class '{names[missing[0]]}' of '{name}' has no training sample left after the cut: "
            f"lower validation = {validation}."
        )
    y_train = torch.from_numpy(y.astype(np.int64))
    y_test = torch.from_numpy(np.searchsorted(labels, test.y.numpy()).astype(np.int64))
    return TaskData(
        name=name,
        train=Split(train.x[learned], y_train[learned]),
        validation=Split(train.x[judged], y_train[judged]),
        test=Split(test.x, y_test),
        classes=names,
        group=group,
    )


def of_splits(name: str, splits: Splits, group: str = "") -> TaskData:
    """The task of a loaded data set (`coppice.data.load`), as it was split. ValueError: it has no classes."""
    if splits.task != "classification" or splits.classes is None:
        raise ValueError(
            f"'{name}' is a {splits.task}, but a task of a stream must have classes: choose other data."
        )
    return TaskData(name, splits.train, splits.validation, splits.test, splits.classes, group)


def fewer(task: TaskData, samples: int, seed: int = 0) -> TaskData:
    """The same task with `samples` training samples of each class, drawn by `seed`. ValueError: a class has less."""
    whole_number("samples", samples, least=1)
    y = task.train.y.numpy()
    many = np.bincount(y, minlength=len(task.classes))
    if many.min() < samples:
        raise ValueError(
            f"samples is {samples}, but class '{task.classes[many.argmin()]}' of '{task.name}' has {many.min()} training "
            "samples: that is the most."
        )
    drawn = np.random.default_rng(seed).permutation(len(y))
    kept = np.sort(np.concatenate([drawn[y[drawn] == k][:samples] for k in range(len(many))]))
    return task._replace(train=Split(task.train.x[kept], task.train.y[kept]))


def even_shares(many: int) -> list[int]:
    """Into how many tasks `many` classes divide, each with as many classes, two or more."""
    return [tasks for tasks in range(1, many // 2 + 1) if many % tasks == 0]


def split_by_class(whole: TaskData, tasks: int, order: int | None = None) -> list[TaskData]:
    """`tasks` tasks of equally many classes each, their samples as `whole` has divided them.

    The classes come in their natural order, or in one drawn by the seed `order`; within a task they are numbered
    from 0 in that order. ValueError: the classes do not divide, or a task would have a single class or no samples.
    """
    whole_number("tasks", tasks, least=1)
    many = len(whole.classes)
    fits = even_shares(many)
    if tasks not in fits:
        raise ValueError(
            f"The {many} classes of '{whole.name}' do not divide into {tasks} equal tasks of two classes or more: "
            f"tasks can be {', '.join(map(str, fits)) or 'none'}."
        )
    if order is not None:
        whole_number("order", order, least=0)
    chosen = np.arange(many) if order is None else np.random.default_rng(order).permutation(many)
    return [_of_classes(whole, k + 1, part) for k, part in enumerate(np.split(chosen, tasks))]


def permuted(whole: TaskData, tasks: int, seed: int = 0) -> list[TaskData]:
    """`tasks` tasks with the same samples, each with its own fixed order of the positions; the first unpermuted.

    Positions are the features of x [n, feature], the pixels of [n, channel, height, width] (all channels alike), the
    time steps of [n, length, channel]. Task k is the same whatever the number of tasks. After Goodfellow et al.
    2013, "An empirical investigation of catastrophic forgetting".
    """
    whole_number("tasks", tasks, least=1)
    whole_number("seed", seed, least=0)
    shape = whole.train.x.shape
    if len(shape) > 4:
        raise ValueError(
            f"x of '{whole.name}' is {list(shape)}, but only two to four dimensions can be permuted."
        )
    positions = shape[2] * shape[3] if len(shape) == 4 else shape[1]
    if positions < 2:
        raise ValueError(
            f"The samples of '{whole.name}' have {positions} position: there is nothing to permute."
        )
    stream = []
    for k in range(tasks):
        order = torch.arange(positions)
        if k:
            order = torch.from_numpy(np.random.default_rng((seed, k)).permutation(positions))
        train, validation, test = (
            Split(_permute(x, order), y) for x, y in (whole.train, whole.validation, whole.test)
        )
        name = f"{whole.name}-{k + 1}"
        stream.append(whole._replace(name=name, train=train, validation=validation, test=test))
    return stream


def _validation(
    name: str, y: NDArray[np.int64], validation: float | int, seed: int, episodes: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    share_or_count("validation", validation)
    if episodes is None:
        return draw(y, counts(len(y), None, validation)[1], rng)
    if episodes.shape != y.shape:
        raise ValueError(
            f"episodes has shape {list(episodes.shape)}, but '{name}' has {len(y)} training samples: say of each which "
            "episode it is of."
        )
    kinds = np.unique(episodes)
    judged, _ = draw(np.zeros(len(kinds), dtype=np.int64), counts(len(kinds), None, validation)[1], rng)
    within = np.isin(episodes, kinds[judged])
    return np.flatnonzero(within), np.flatnonzero(~within)


def _check_samples(part: str, samples: Split) -> None:
    x, y = samples
    if y.dim() != 1 or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"{part}: y is {y.dtype} {list(y.shape)}, but it must be whole class numbers [n].")
    if x.dim() < 2 or len(x) != len(y) or not len(y):
        raise ValueError(
            f"{part}: x is {list(x.shape)} and y {list(y.shape)}, but they must have the same number of samples, "
            "one or more, and x two dimensions or more."
        )
    if not x.is_floating_point():
        raise ValueError(f"{part}: x is {x.dtype}, but it must be floating; divide bytes by 255.")
    if not torch.isfinite(x).all():
        broken = int((~torch.isfinite(x)).flatten(1).any(1).nonzero()[0])
        raise ValueError(f"{part}: x of sample {broken} is not finite: drop such samples or fill the gaps.")


def _of_classes(whole: TaskData, number: int, chosen: NDArray[np.int64]) -> TaskData:
    place = torch.full((len(whole.classes),), -1)
    place[torch.from_numpy(chosen)] = torch.arange(len(chosen))
    name = f"{whole.name}-{number}"

    def part(title: str, samples: Split) -> Split:
        mine = place[samples.y] >= 0
        if not mine.any():
            raise ValueError(f"'{name}' would have no {title} sample: give more, or make fewer tasks.")
        return Split(samples.x[mine], place[samples.y[mine]])

    return TaskData(
        name=name,
        train=part("training", whole.train),
        validation=part("validation", whole.validation),
        test=part("test", whole.test),
        classes=tuple(whole.classes[number] for number in chosen),
        group=whole.group,
    )


def _permute(x: Tensor, order: Tensor) -> Tensor:
    return x.flatten(2)[:, :, order].reshape(x.shape) if x.dim() == 4 else x[:, order]
