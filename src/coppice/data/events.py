"""Events of a camera that sees changes only: binned into frames; and N-MNIST, digits filmed by such a camera."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coppice.data.fetch import RemoteFile, fetch
from coppice.data.forms import OneOf, members
from coppice.data.pictures import Pictures
from coppice.data.splits import whole_number
from coppice.data.table_files import read_arrays

SIDE = 34  # pixels of N-MNIST
OVERFLOW = 240  # row of an entry that is no event, but tells that the clock of 2^13 microseconds went round
ROUND = 1 << 13  # microseconds
# recordings of each digit in the original archives, for training and of the test: as many as MNIST has pictures
RECORDINGS = (
    (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
)
FEWER = (1000, 100)  # recordings of all digits in the .npz
ARRAYS = ("x", "y", "p", "dt", "lengths", "labels", "n_train")


class Events(NamedTuple):
    """One recording: times [n] in microseconds, not falling; columns, rows, and polarities (1: brighter) [n]."""

    t: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    p: NDArray[np.int64]


def bin_events(
    t: Any,
    x: Any,
    y: Any,
    p: Any,
    frames: int,
    size: tuple[int, int],
    *,
    by: Literal["time", "count"] = "time",
    binary: bool = False,
) -> Tensor:
    """Events [n] each as frames [frames, 2, height, width] float32: how many of each polarity, 0 first, at each pixel.

    `t` times, which must not fall; `x`, `y` column and row, from 0; `p` polarity, 0 or 1; whole numbers all. `size`
    (height, width). The frames share the time from the first to the last event evenly, or, `by` "count", the events.
    `binary`: 1 where there was an event, else 0. ValueError: other values than these, no event, times that fall.
    """
    columns = [_whole(name, values) for name, values in (("t", t), ("x", x), ("y", y), ("p", p))]
    if by not in ("time", "count"):
        raise ValueError(f"by is {by!r}, but events can be binned by 'time' or 'count'.")
    whole_number("frames", frames, least=1)
    times = columns[0]
    if not len(times) or any(len(column) != len(times) for column in columns):
        raise ValueError(
            f"There are {', '.join(f'{len(c)} {name}' for c, name in zip(columns, 'txyp', strict=True))}, but each event, "
            "one or more, has all four."
        )
    if (np.diff(times) < 0).any():
        late = int(np.flatnonzero(np.diff(times) < 0)[0])
        raise ValueError(
            f"t falls from {times[late]} to {times[late + 1]} after event {late}: sort the events by time."
        )
    for name, values, bound in (("x", columns[1], size[1]), ("y", columns[2], size[0]), ("p", columns[3], 2)):
        if values.min() < 0 or values.max() >= bound:
            raise ValueError(f"{name} is {values.min()} to {values.max()}, but it must be 0 to {bound - 1}.")
    counts = _binned(Events(*columns), frames, size, by)
    return torch.from_numpy((counts > 0 if binary else counts).astype(np.float32))


def decode(content: bytes, name: str) -> Events:
    """The events of a .bin file of N-MNIST: five bytes each.

    Column, row, then a bit of polarity and 23 bits of time in microseconds, highest first. ValueError: no whole
    number of events, or none, or one beyond 34 x 34. Orchard, Jayawant, Cohen & Thakor 2015, "Converting static image
    datasets to spiking neuromorphic datasets using saccades".
    """
    if len(content) % 5:
        raise ValueError(
            f"{name} has {len(content)} bytes, but an event takes five: it is cut or another file, replace it."
        )
    raw = np.frombuffer(content, np.uint8).reshape(-1, 5).astype(np.int64)
    t = ((raw[:, 2] & 0x7F) << 16) | (raw[:, 3] << 8) | raw[:, 4]
    full = raw[:, 1] == OVERFLOW
    t += ROUND * np.cumsum(full)
    events = Events(t[~full], raw[~full, 0], raw[~full, 1], raw[~full, 2] >> 7)
    if not len(events.t):
        raise ValueError(f"{name} has no event: replace it.")
    if max(events.x.max(), events.y.max()) >= SIDE or (np.diff(events.t) < 0).any():
        raise ValueError(
            f"{name} has events beyond {SIDE} x {SIDE} pixels, or times that fall: it is another file, replace it."
        )
    return events


def _form(part: str) -> OneOf:
    return OneOf(
        f"nmnist_events/{part}.zip",
        (),
        "",
        0,
        "download it from https://www.garrickorchard.com/datasets/n-mnist and put it there",
        (f"nmnist_events/{part}.zip", f"nmnist_events/{part}", "nmnist_events/nmnist1100.npz"),
    )


FILES = (_form("Train"), _form("Test"))


def read(
    files: Sequence[RemoteFile], classes: Sequence[int], *, frames: int, size: int, by: str
) -> Iterator[Pictures]:
    """Frames of the recordings of these digits, one digit after another: counts [n, frames, 2, size, size], uint16.

    From the two original archives, unpacked or not, 60000 and 10000 recordings by file name; or from one .npz of 1000
    and 100, with x, y, packed p, dt in microseconds, lengths, labels and n_train. Pixels are joined to larger ones
    where `size` is a divisor of 34. ValueError: broken content, other numbers of recordings, one archive beside the
    .npz, another size; errors of `fetch` pass.
    """
    if SIDE % size:
        raise ValueError(
            f"size is {size}, but 34 x 34 pixels join in whole numbers only: size can be 1, 2, 17, 34."
        )
    paths = [fetch(file) for file in files]
    if len({path.suffix == ".npz" for path in paths}) > 1:
        raise ValueError(
            f"The training recordings would be read from '{paths[0].name}', those of the test from '{paths[1].name}': put "
            f"both archives into '{Path(files[0].name).parent}', or the .npz alone."
        )
    together = _of_arrays(paths[0]) if paths[0].suffix == ".npz" else None
    for digit in classes:
        if together:
            recordings = [[events for label, events in part if label == digit] for part in together]
        else:
            recordings = [_decoded(path, digit, many) for path, many in zip(paths, RECORDINGS, strict=True)]
        yield Pictures(*(_frames(part, frames, size, by) for part in recordings))


def _decoded(path: Path, digit: int, many: Sequence[int]) -> list[Events]:
    found = [decode(content, name) for name, content in members(path, _is_of(digit))]
    if len(found) != many[digit]:
        raise ValueError(
            f"'{path.name}' has {len(found)} recordings of the digit {digit}, but N-MNIST has {many[digit]}: replace it."
        )
    return found


def _frames(recordings: list[Events], frames: int, size: int, by: str) -> NDArray[np.uint16]:
    wide = SIDE // size
    joined = (Events(one.t, one.x // wide, one.y // wide, one.p) for one in recordings)
    return np.stack([_binned(one, frames, (size, size), by) for one in joined]).astype(np.uint16)


def _is_of(digit: int) -> Any:
    return lambda name: name.endswith(".bin") and name.split("/")[-2:-1] == [str(digit)]


def _of_arrays(path: Path) -> tuple[list[tuple[int, Events]], ...]:
    """Digit and events of every recording, for training and of the test."""
    arrays = read_arrays(path, ARRAYS)
    for name, array in arrays.items():
        if array.dtype.kind not in "iu" or array.ndim != (name != "n_train"):
            raise ValueError(
                f"'{path.name}': {name} is {array.dtype} {list(array.shape)}, but must be whole numbers: replace it."
            )
    lengths, labels, train = arrays["lengths"], arrays["labels"], int(arrays["n_train"])
    if (train, len(labels) - train) != FEWER or len(lengths) != len(labels):
        raise ValueError(
            f"'{path.name}' has {len(lengths)} lengths and {len(labels)} labels, {train} of them for training, but there are "
            f"{FEWER[0]} recordings for training and {FEWER[1]} of the test: replace it."
        )
    x, y, dt = (arrays[name].astype(np.int64) for name in ("x", "y", "dt"))
    p = np.unpackbits(arrays["p"].astype(np.uint8))[: len(x)].astype(np.int64)
    if not len(x) == len(y) == len(p) == len(dt) == lengths.sum() or lengths.min() < 1:
        raise ValueError(
            f"'{path.name}' has {len(x)} x, {len(y)} y, {len(p)} p and {len(dt)} dt, but its lengths, 1 or more, must "
            "sum to as many: replace it."
        )
    if min(x.min(), y.min(), dt.min()) < 0 or max(x.max(), y.max()) >= SIDE:
        raise ValueError(
            f"'{path.name}' has events beyond {SIDE} x {SIDE} pixels, or times that fall: replace it."
        )
    ends = np.cumsum(lengths)[:-1]
    columns = zip(*(np.split(column, ends) for column in (dt, x, y, p)), strict=True)
    found = [
        (label, Events(np.cumsum(d), *rest))
        for label, (d, *rest) in zip(labels.tolist(), columns, strict=True)
    ]
    return found[:train], found[train:]


def _binned(events: Events, frames: int, size: tuple[int, int], by: str) -> NDArray[np.int64]:
    height, width = size
    if by == "count":
        frame = np.arange(len(events.t)) * frames // len(events.t)
    else:
        since = events.t - events.t[0]
        frame = since * frames // (since[-1] + 1)
    cell = ((frame * 2 + events.p) * height + events.y) * width + events.x
    return np.bincount(cell, minlength=frames * 2 * height * width).reshape(frames, 2, height, width)


def _whole(name: str, values: Any) -> NDArray[np.int64]:
    array = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, but it must be whole numbers [n].")
    return array.astype(np.int64)
