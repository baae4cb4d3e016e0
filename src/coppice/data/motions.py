"""Motor tasks of real movements: what a wrist does, and which digit a pen writes."""

import hashlib
import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from coppice.data.fetch import RemoteFile, fetch
from coppice.data.forms import OneOf, check, members
from coppice.data.persons import split_by_person
from coppice.data.splits import Split
from coppice.data.table_files import read_arrays
from coppice.data.tasks import TaskData, cut

# the seven of 14 primitives that ten persons did; of the others there are one to five persons
PRIMITIVES = (
    "Climb_stairs",
    "Drink_glass",
    "Getup_bed",
    "Pour_water",
    "Sitdown_chair",
    "Standup_chair",
    "Walk",
)
WINDOW = 64  # steps of a sample, two seconds
WINDOWS = 4  # samples of a recording, at most
# all did every primitive; f1, of whom a third of these recordings are, always trains
WRIST_TEST = ("f3", "m1", "m4")
WRIST_JUDGES = ("f2", "m2", "m3")
RECORDING = re.compile(r"(?:^|/)([A-Z][a-z]+_?[a-z]*)/Accelerometer-[^/]*-([fm]\d+)\.txt$")

WRIST = OneOf(
    "motor_hmp/HMP_Dataset.zip",
    (),
    "4cab3df8ac1d538c931e0450dce894a66f3fbd6e4782e9d412f5172dbdef8429",
    0,
    "download it from https://archive.ics.uci.edu/dataset/283 and put it, packed or not, there",
    ("motor_hmp/HMP_Dataset.zip", "motor_hmp/HMP_Dataset", "motor_hmp/hmp.npz"),
)
PEN = tuple(
    OneOf(
        f"motor_pendigits/pendigits.{part}",
        (),
        digest,
        0,
        "download it from https://archive.ics.uci.edu/dataset/81 and put it, unpacked, there",
        (f"motor_pendigits/pendigits.{part}", f"motor_pendigits/pendigits.{part}.gz"),
    )
    for part, digest in (
        ("tra", "cbc52923bac9f4b90a33acb326ca5fe2147eee4ab0ad272cc6bf195f58aefbc9"),
        ("tes", "413f3ee29a04b3066a7cc109860e0cf0ce5c538f3bbc86e5ec304212055eb627"),
    )
)


def read_wrist(file: RemoteFile) -> tuple[list[tuple[str, str, NDArray[np.uint8]]], str]:
    """Recordings of the seven primitives by name: primitive, person, [step, axis] in 0..63; and their SHA-256.

    The digest is over the file name from the primitive's folder on, and the bytes, of one after another. ValueError: broken
    content; RuntimeError: other content; errors of `fetch` pass.
    """
    path = fetch(file)
    if path.suffix == ".npz":
        named = _of_arrays(path)
    else:
        named = [
            (name, _steps(name, content))
            for name, content in members(path, lambda name: RECORDING.search(name) is not None)
        ]
    found, content = [], hashlib.sha256()
    for name, steps in sorted(named, key=_short):
        match = RECORDING.search(name)
        if match and match[1] in PRIMITIVES:
            content.update(_short((name, steps)).encode() + steps.tobytes())
            found.append((match[1], match[2], steps))
    check(file, content.hexdigest())
    return found, content.hexdigest()


def wrist(file: RemoteFile, seed: int) -> tuple[TaskData, str]:
    """Tell seven movements apart by a wrist's acceleration: x [n, 64, 3] in g, 32 steps a second; and the digest.

    Of each recording up to four windows of 64 steps, evenly spaced from its first to its last. Split by person: f3, m1
    and m4 are the test, one of f2, m2, m3, by `seed`, the validation. Bruno, Mastrogiovanni, Sgorbissa, Vernazza &
    Zaccaria 2013, "Analysis of human behavior recognition algorithms based on acceleration data".
    """
    recordings, digest = read_wrist(file)
    x, y, who = [], [], []
    for primitive, person, steps in recordings:
        count = min(WINDOWS, len(steps) // WINDOW)
        for start in np.linspace(0, len(steps) - WINDOW, count).astype(int):
            x.append(-1.5 + steps[start : start + WINDOW].astype(np.float32) * (3 / 63))
            y.append(PRIMITIVES.index(primitive))
            who.append(person)
    task = split_by_person(
        "wrist",
        np.stack(x).astype(np.float32),
        np.array(y, dtype=np.int64),
        np.array(who),
        test=WRIST_TEST,
        judges=WRIST_JUDGES,
        seed=seed,
        classes=PRIMITIVES,
        group="motor",
    )
    return task, digest


def read_pen(file: RemoteFile) -> tuple[Split, str]:
    """Paths [n, 8, 2] of a pen, from -1 to 1, and digits [n]; SHA-256 of the 17 numbers of each line, as bytes.

    ValueError: broken content; RuntimeError: other content; errors of `fetch` pass.
    """
    path = fetch(file)
    try:
        rows = np.loadtxt(path, delimiter=",", dtype=np.int64, ndmin=2)
    except (OSError, EOFError, ValueError) as broken:
        raise ValueError(f"{path.name} is no table of whole numbers ({broken}): replace it.") from broken
    if rows.shape[1:] != (17,) or rows.min() < 0 or rows[:, :16].max() > 100 or rows[:, 16].max() > 9:
        raise ValueError(
            f"{path.name} must have lines of 16 coordinates, 0 to 100, and a digit, but has others: replace it."
        )
    digest = hashlib.sha256(rows.astype(np.uint8).tobytes()).hexdigest()
    check(file, digest)
    x = (rows[:, :16].reshape(-1, 8, 2) / 50 - 1).astype(np.float32)
    return Split(torch.from_numpy(x), torch.from_numpy(rows[:, 16])), digest


def pen(files: tuple[RemoteFile, ...], seed: int) -> tuple[TaskData, list[str]]:
    """Tell which digit is written, by eight points of the pen's path: x [n, 8, 2], the points' x and y; and the digests.

    The test is the original one, of 14 writers who are none of the 30 of the training samples. Which of the 30 wrote a
    sample is not known, so validation is drawn from all. Alpaydin & Alimoglu 1998, UCI "Pen-Based Recognition of
    Handwritten Digits".
    """
    (train, one), (test, other) = (read_pen(file) for file in files)
    return cut("pen", train, test, seed=seed, group="motor"), [one, other]


def _of_arrays(path: Path) -> list[tuple[str, NDArray[np.uint8]]]:
    """Name and steps of every recording of an .npz of data [step, 3], lengths and names."""
    data, lengths, names = read_arrays(path, ("data", "lengths", "names")).values()
    whole = lengths.dtype.kind in "iu" and lengths.ndim == 1 and (lengths > 0).all()
    if data.dtype != np.uint8 or data.shape[1:] != (3,) or not whole or lengths.sum() != len(data):
        raise ValueError(
            f"'{path.name}' has data {data.dtype} {list(data.shape)} and lengths {lengths.dtype} {list(lengths.shape)}, but "
            "data must be bytes [step, 3], and lengths, 1 or more, sum to as many steps: replace it."
        )
    if names.dtype.kind != "U" or names.shape != lengths.shape:
        raise ValueError(f"'{path.name}' has no name for each of its {len(lengths)} recordings: replace it.")
    return list(zip(names.tolist(), np.split(data, np.cumsum(lengths)[:-1]), strict=True))


def _short(named: tuple[str, NDArray[np.uint8]]) -> str:
    """A recording's name from the primitive's folder on, whatever folders that is in."""
    return "/".join(named[0].split("/")[-2:])


def _steps(name: str, content: bytes) -> NDArray[np.uint8]:
    try:
        steps = np.array(content.split(), dtype=np.int64).reshape(-1, 3)
    except ValueError as broken:
        raise ValueError(
            f"{name} is no table of three whole numbers a line ({broken}): replace it."
        ) from broken
    if not len(steps) or steps.min() < 0 or steps.max() > 63:
        raise ValueError(f"{name} must have numbers from 0 to 63 only, but has others or none: replace it.")
    return steps.astype(np.uint8)
