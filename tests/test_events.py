"""Events binned into frames; N-MNIST in its original form and in one file."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.data import events
from coppice.data.events import RECORDINGS, bin_events, decode
from coppice.data.streams import Stream, load_stream
from coppice.models.modular_blocks import ModularPlan
from coppice.models.modular_snn import ModularSNN


def test_frames_by_hand() -> None:
    t, x, y, p = [5, 6, 7, 8, 14], [0, 1, 1, 1, 2], [0, 1, 1, 1, 0], [1, 0, 0, 1, 1]
    by_time = bin_events(t, x, y, p, 2, (2, 3))  # 5..14 are ten microseconds: the second frame begins at 10
    assert by_time.tolist() == [
        [[[0, 0, 0], [0, 2, 0]], [[1, 0, 0], [0, 1, 0]]],
        [[[0, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 0]]],
    ]
    by_count = bin_events(t, x, y, p, 2, (2, 3), by="count")  # three and two
    assert by_count.sum((1, 2, 3)).tolist() == [3, 2]
    assert by_count[1].tolist() == [[[0, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 1, 0]]]
    once = bin_events(t, x, y, p, 2, (2, 3), binary=True)
    assert torch.equal(once, (by_time > 0).float())
    assert by_time.dtype == once.dtype == torch.float32


def test_events_of_one_moment_are_in_the_first_frame() -> None:
    frames = bin_events([7, 7], [0, 0], [0, 0], [0, 1], 3, (1, 1))
    assert frames.flatten(1).tolist() == [[1, 1], [0, 0], [0, 0]]


def slow_bins(t: list[int], x: list[int], y: list[int], p: list[int], frames: int, by: str) -> np.ndarray:
    made = np.zeros((frames, 2, 3, 4))
    for number, (now, column, row, polarity) in enumerate(zip(t, x, y, p, strict=True)):
        for k in range(frames):
            if by == "count":
                inside = k * len(t) <= number * frames < (k + 1) * len(t)
            else:
                span = t[-1] - t[0] + 1
                inside = k * span <= (now - t[0]) * frames < (k + 1) * span
            made[k, polarity, row, column] += inside
    return made


@settings(max_examples=40)
@given(
    recording=st.lists(
        st.tuples(st.integers(0, 400_000), st.integers(0, 3), st.integers(0, 2), st.integers(0, 1)),
        min_size=1,
        max_size=30,
    ).map(sorted),
    frames=st.integers(1, 6),
    by=st.sampled_from(["time", "count"]),
)
def test_every_event_is_in_one_frame(recording: Any, frames: int, by: Any) -> None:
    t, x, y, p = (list(column) for column in zip(*recording, strict=True))
    got = bin_events(t, x, y, p, frames, (3, 4), by=by)
    assert np.array_equal(got.numpy(), slow_bins(t, x, y, p, frames, by))
    assert got.sum() == len(t)


GOOD: dict[str, Any] = {"t": [0, 1], "x": [0, 1], "y": [0, 1], "p": [0, 1], "frames": 1, "size": (2, 2)}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"t": [0.0, 1.0]}, r"t is float64 \[2\], but it must be whole numbers"),
        ({"x": [[0, 1]]}, r"x is int64 \[1, 2\]"),
        ({"t": [0]}, "There are 1 t, 2 x, 2 y, 2 p"),
        ({key: np.zeros(0, int) for key in "txyp"}, "There are 0 t"),
        ({"t": [3, 2]}, "t falls from 3 to 2 after event 0: sort"),
        ({"x": [0, 2]}, "x is 0 to 2, but it must be 0 to 1"),
        ({"y": [-1, 0]}, "y is -1 to 0"),
        ({"p": [-1, 1]}, "p is -1 to 1, but it must be 0 to 1"),
        ({"frames": 0}, "frames is 0"),
        ({"frames": True}, "frames is True"),
        ({"by": "number"}, "by is 'number'"),
    ],
)
def test_what_are_no_events_is_refused(change: dict[str, Any], complaint: str) -> None:
    assert bin_events(**GOOD).shape == (1, 2, 2, 2)
    with pytest.raises(ValueError, match=complaint):
        bin_events(**{**GOOD, **change})


def encode(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> bytes:
    raw = np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], axis=1)
    return raw.astype(np.uint8).tobytes()


def test_an_event_takes_five_bytes() -> None:
    got = decode(bytes([33, 2, 0x80 | 1, 2, 3, 0, 4, 0x7F, 0, 0]), "a.bin")
    assert got.t.tolist() == [65536 + 512 + 3, 0x7F0000]
    assert (got.x.tolist(), got.y.tolist(), got.p.tolist()) == ([33, 0], [2, 4], [1, 0])


def test_a_clock_that_goes_round_is_wound_on() -> None:
    content = bytes([0, 0, 0, 0, 9, 0, 240, 0, 0, 0, 1, 1, 0, 0, 5])
    assert decode(content, "a.bin").t.tolist() == [9, 8192 + 5]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"1234", "4 bytes, but an event takes five"),
        (b"", "has no event"),
        (bytes([0, 240, 0, 0, 0]), "has no event"),
        (bytes([34, 0, 0, 0, 0]), "beyond 34 x 34"),
        (bytes([0, 0, 0, 0, 9, 0, 0, 0, 0, 8]), "times that fall"),
    ],
)
def test_event_files_are_read_strictly(content: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        decode(content, "a.bin")


def recordings(part: str) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    """A digit's recordings: it lights up as many pixels as its own number and the recording's say."""
    rng = np.random.default_rng(len(part))
    for digit in range(10):
        for _ in range(5 if part == "Train" else 2):
            n = 20 + digit
            yield (
                digit,
                (np.sort(rng.integers(0, 60_000, n)), *rng.integers(0, 34, (2, n)), rng.integers(0, 2, n)),
            )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COPPICE_DATA", str(tmp_path))
    monkeypatch.setattr(events, "RECORDINGS", ((5,) * 10, (2,) * 10))
    monkeypatch.setattr(events, "FEWER", (50, 20))
    for part in ("Train", "Test"):
        for number, (digit, columns) in enumerate(recordings(part)):
            place = tmp_path / "nmnist_events" / part / str(digit)
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:05d}.bin").write_bytes(encode(*columns))
    return tmp_path


def test_nmnist_is_split_two_digits_at_a_time(folder: Path) -> None:
    made = load_stream(Stream("split-nmnist", order="natural", frames=3, validation=1), 0)
    assert [task.classes for task in made.tasks] == [
        ("0", "1"),
        ("2", "3"),
        ("4", "5"),
        ("6", "7"),
        ("8", "9"),
    ]
    task = made.tasks[2]
    assert [len(part.y) for part in (task.train, task.validation, task.test)] == [8, 2, 4]
    for part in (task.train, task.validation, task.test):
        assert part.x.shape[1:] == (3, 2, 34, 34)
        assert torch.equal(part.x.sum((1, 2, 3, 4)).long(), 24 + part.y)
    everything = [bytes(x.numpy()) for part in (task.train, task.validation, task.test) for x in part.x]
    assert len(set(everything)) == 14
    other = Stream("split-nmnist", order="natural", frames=3, validation=1).load(1)[2]
    assert torch.equal(other.test.x, task.test.x)
    assert not torch.equal(other.train.x, task.train.x)


def test_frames_can_be_of_fewer_pixels_and_of_zeros_and_ones(folder: Path) -> None:
    stream = Stream("split-nmnist", order="natural", validation=1, size=2, bins="count")
    task = stream.load(0)[0]
    assert task.train.x.shape[1:] == (4, 2, 2, 2)
    assert task.train.x.sum((2, 3, 4))[task.train.y == 0].tolist() == [[5, 5, 5, 5]] * 4
    once = Stream("split-nmnist", order="natural", validation=1, size=2, bins="count", binary=True).load(0)[0]
    assert torch.equal(once.train.x, (task.train.x > 0).float())
    with pytest.raises(ValueError, match="size is 16, but 34 x 34 pixels"):
        Stream("split-nmnist", size=16).load(0)
    with pytest.raises(ValueError, match="bins is 'number'"):
        Stream("split-nmnist", bins="number")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="binary is 2"):
        Stream("split-nmnist", binary=2)  # type: ignore[arg-type]


def test_one_file_of_all_recordings_gives_the_same(folder: Path) -> None:
    want = load_stream(Stream("split-nmnist", validation=1), 0)
    assert want.provenance.pop("forms") == ["Train", "Test"]
    for path in (folder / "nmnist_events").rglob("*.bin"):
        path.unlink()
    for path in sorted((folder / "nmnist_events").rglob("*/*"), reverse=True):
        path.rmdir()  # the two empty folders stay
    together(folder)
    got = load_stream(Stream("split-nmnist", validation=1), 0)
    assert got.provenance.pop("forms") == ["nmnist1100.npz"] * 2
    assert got.provenance == want.provenance
    for one, other in zip(got.tasks, want.tasks, strict=True):
        assert torch.equal(one.train.x, other.train.x)
        assert torch.equal(one.test.y, other.test.y)


def together(folder: Path, **changes: Any) -> None:
    """Write the one file of all recordings, with some of its arrays changed; None leaves one out."""
    train, test = list(recordings("Train")), list(recordings("Test"))
    t, x, y, p = zip(*(columns for _, columns in train + test), strict=True)
    arrays: dict[str, Any] = {
        "x": np.concatenate(x).astype(np.uint8),
        "y": np.concatenate(y).astype(np.uint8),
        "p": np.packbits(np.concatenate(p).astype(bool)),
        "dt": np.concatenate([np.diff(one, prepend=0) for one in t]).astype(np.uint16),
        "lengths": np.array([len(one) for one in t]),
        "labels": np.array([digit for digit, _ in train + test]),
        "n_train": len(train),
        **changes,
    }
    there = {name: array for name, array in arrays.items() if array is not None}
    np.savez(folder / "nmnist_events" / "nmnist1100.npz", **there)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COPPICE_DATA", str(tmp_path))
    monkeypatch.setattr(events, "FEWER", (50, 20))
    (tmp_path / "nmnist_events").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"dt": None}, r"'nmnist1100\.npz' has no array 'dt', it has: x, y, p, lengths"),
        ({"x": np.zeros(1700)}, r"'nmnist1100\.npz': x is float64 \[1700\], but must be whole numbers"),
        ({"n_train": [50]}, r"n_train is int64 \[1\], but must be whole numbers"),
        ({"lengths": np.full(70, 9)}, r"'nmnist1100\.npz' has .* lengths, 1 or more, must sum to as many"),
        (
            {"n_train": 49},
            "70 labels, 49 of them for training, but there are 50 recordings for training and 20",
        ),
        ({"lengths": np.full(69, 9)}, "has 69 lengths and 70 labels"),
        ({"x": np.full(1715, 34)}, "events beyond 34 x 34 pixels"),
    ],
)
def test_one_file_of_all_recordings_is_read_strictly(
    changes: dict[str, Any], complaint: str, empty: Path
) -> None:
    together(empty, **changes)
    with pytest.raises(ValueError, match=complaint):
        Stream("split-nmnist", validation=1).load(0)
    (empty / "nmnist_events" / "nmnist1100.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"'nmnist1100\.npz' is not an \.npz file"):
        Stream("split-nmnist", validation=1).load(0)


def test_recordings_that_lack_are_noticed(folder: Path) -> None:
    next((folder / "nmnist_events" / "Train" / "3").iterdir()).unlink()
    with pytest.raises(
        ValueError, match="'Train' has 4 recordings of the digit 3, but N-MNIST has 5: replace it"
    ):
        Stream("split-nmnist", validation=1).load(0)
    assert [sum(part) for part in RECORDINGS] == [60_000, 10_000]


def test_forms_are_not_mixed_and_a_folder_at_the_top_is_none(folder: Path) -> None:
    together(folder)
    (folder / "nmnist_events" / "Test").rename(folder / "Test")
    with pytest.raises(
        ValueError,
        match=r"training recordings would be read from 'Train', those of the test from 'nmnist1100\.npz': put both",
    ):
        Stream("split-nmnist", validation=1).load(0)


def test_a_spiking_network_takes_frames_for_its_time_steps(folder: Path) -> None:
    task = Stream("split-nmnist", validation=1, frames=2).load(0)[0]
    network = ModularSNN(ModularPlan(steps=2, widths=(2, 2)))
    network.grow(task.name, tuple(task.train.x.shape[1:]), len(task.classes))
    assert network(task.train.x, task.name).shape == (8, 2)


def test_where_to_get_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPPICE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"garrickorchard\.com/datasets/n-mnist"):
        Stream("split-nmnist").load(0)


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(os.environ.get("COPPICE_DATA") or "absent") / "nmnist_events").exists(),
    reason="COPPICE_DATA has no recordings",
)
def test_real_recordings_have_three_saccades() -> None:
    """The camera makes three movements of 100 ms each: no recording is much shorter or longer."""
    together = events._of_arrays(events.fetch(events.FILES[0]))
    assert [len(part) for part in together] == [1000, 100]
    for _, one in together[1]:
        assert 250_000 < one.t[-1] < 350_000
        assert one.x.max() < 34
