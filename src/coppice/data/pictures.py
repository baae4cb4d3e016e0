"""Sets of pictures, class by class, made into streams of tasks: so many classes a task, in a drawn order."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from coppice.data.scaling import Scaling
from coppice.data.splits import Source, Split, counts
from coppice.data.tasks import TaskData, even_shares


class Pictures(NamedTuple):
    """All pictures of one class, bytes [n, channel, height, width], or frames: for training, and of the test."""

    train: NDArray[Any]
    test: NDArray[Any]


def by_class(source: Source) -> Callable[[Sequence[int]], Iterator[Pictures]]:
    """A reader, as `split_pictures` takes it, of a set that is there as a whole."""

    def read(classes: Sequence[int]) -> Iterator[Pictures]:
        for number in classes:
            yield Pictures(source.x[source.y == number], source.x_test[source.y_test == number])

    return read


def class_order(many: int, order: int | str | None, seed: int) -> NDArray[np.int64]:
    """The classes 0 .. many - 1 as they are dealt to the tasks.

    `order` "natural": as they are numbered; an int: drawn by that seed; None: drawn by `seed`, the run's own.
    """
    if order == "natural":
        return np.arange(many)
    return np.random.default_rng(seed if order is None else int(order)).permutation(many)


def deal(many: int, tasks: int, classes: int | None) -> int:
    """Classes a task: `classes`, or else `many` shared out evenly. ValueError: they do not suffice, or not divide."""
    if classes is None:
        fits = even_shares(many)
        if tasks not in fits:
            raise ValueError(
                f"tasks is {tasks}, but {many} classes do not divide into as many equal tasks of two classes or more: "
                f"tasks can be {', '.join(map(str, fits))}, or any number with `classes`, those of each task, given."
            )
        return many // tasks
    if tasks * classes > many:
        raise ValueError(
            f"tasks = {tasks} of classes = {classes} take {tasks * classes} classes, but there are {many}: "
            f"tasks can be at most {many // classes}."
        )
    return classes


def shrink(pictures: NDArray[Any], size: int) -> NDArray[np.float32]:
    """[n, channel, height, width] -> [n, channel, size, size] by the mean over equal squares of pixels.

    ValueError: the pictures are no squares, or their side is no multiple of `size`.
    """
    n, channels, height, width = pictures.shape
    if height != width or height % size:
        fits = [str(side) for side in range(1, height + 1) if height % side == 0]
        raise ValueError(
            f"size is {size}, but pictures of {height} x {width} pixels shrink by whole factors only: size can be "
            f"{', '.join(fits)}."
        )
    if size == height:
        return pictures.astype(np.float32)
    factor = height // size
    squares = pictures.reshape(n, channels, size, factor, size, factor)
    return squares.mean(axis=(3, 5), dtype=np.float32)


def prepared(pictures: NDArray[Any], size: int, scaling: Scaling) -> NDArray[np.float32]:
    """Pictures shrunk to `size` pixels, then scaled. See `shrink`."""
    return scaling(shrink(pictures, size))


def split_pictures(
    names: Sequence[str],
    read: Callable[[Sequence[int]], Iterable[Pictures]],
    prepare: Callable[[NDArray[Any]], NDArray[np.float32]],
    *,
    name: str,
    tasks: int,
    classes: int | None,
    order: int | str | None,
    samples: int | None,
    validation: float | int,
    seed: int,
) -> tuple[list[TaskData], str]:
    """`tasks` tasks of `classes` classes each; `prepare` makes samples of pictures.

    `read` gives the pictures of the classes it is asked for, in that order. From the training pictures of a class,
    `validation` (a share of them, or a count) are drawn first and then `samples`, or all others if None, by `seed` and
    the number of the class alone: whatever the order and the other choices, its validation pictures stay the same.
    All test pictures are kept. Also gives the SHA-256 of all pictures read, as bytes: class by class in the order of
    the tasks, each with its training pictures first. ValueError: classes or pictures that do not suffice.
    """
    each = deal(len(names), tasks, classes)
    chosen = class_order(len(names), order, seed)[: tasks * each]
    parts: dict[str, list[NDArray[np.float32]]] = {"train": [], "validation": [], "test": []}
    stream: list[TaskData] = []
    content = hashlib.sha256()
    for place, (number, pictures) in enumerate(zip(chosen.tolist(), read(chosen.tolist()), strict=True)):
        for some in pictures:
            content.update(some.tobytes())
        judged, learned = _draw(names[number], len(pictures.train), samples, validation, (seed, number))
        for part, some in (
            ("train", pictures.train[learned]),
            ("validation", pictures.train[judged]),
            ("test", pictures.test),
        ):
            parts[part].append(prepare(some))
        if place % each == each - 1:
            stream.append(
                TaskData(
                    name=f"{name}-{len(stream) + 1}",
                    **{part: _joined(arrays) for part, arrays in parts.items()},
                    classes=tuple(names[k] for k in chosen[place + 1 - each : place + 1]),
                    group="perception",
                )
            )
            parts = {part: [] for part in parts}
    return stream, content.hexdigest()


def _joined(arrays: list[NDArray[np.float32]]) -> Split:
    y = np.repeat(np.arange(len(arrays)), [len(array) for array in arrays])
    return Split(torch.from_numpy(np.concatenate(arrays)), torch.from_numpy(y))


def _draw(
    name: str, many: int, samples: int | None, validation: float | int, seed: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    learned, judged = counts(many, samples, validation, option="samples", of=f"the class '{name}'")
    drawn = np.random.default_rng(seed).permutation(many)
    return drawn[:judged], drawn[judged : judged + learned]
