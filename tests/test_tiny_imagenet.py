"""Tiny-ImageNet: the original archive in little, and the smaller one of 30 classes."""

import hashlib
import io
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from coppice.data import SETS, tiny_imagenet
from coppice.data.streams import Stream, load_stream

Image = pytest.importorskip("PIL.Image")
NAMES = [f"n{k:08d}" for k in range(200)]
TRAIN, VAL = 3, 1  # pictures of a class


def jpeg(red: int, green: int, grey: bool = False) -> bytes:
    pixels = np.full((64, 64, 3), (red, green, 128), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if grey else pixels).save(content, "JPEG", quality=100, subsampling=0)
    return content.getvalue()


def picture(number: int, which: int) -> bytes:
    return jpeg(number, 60 * which + 5, grey=number == 0)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both forms, each in a data folder of its own."""
    folder = tmp_path_factory.mktemp("tiny")
    made = {(number, which): picture(number, which) for number in range(200) for which in range(TRAIN + VAL)}
    (folder / "original" / "tiny_imagenet").mkdir(parents=True)
    (folder / "smaller" / "tiny_imagenet").mkdir(parents=True)
    with zipfile.ZipFile(folder / "original" / tiny_imagenet.FILE.name, "w") as archive:
        notes = []
        for place, number in enumerate(np.random.default_rng(0).permutation(200).tolist()):
            archive.writestr(f"tiny-imagenet-200/val/images/val_{place}.JPEG", made[number, TRAIN])
            notes.append(f"val_{place}.JPEG\t{NAMES[number]}\t0\t0\t63\t63\n")
            archive.writestr(f"tiny-imagenet-200/test/images/test_{place}.JPEG", b"not looked at")
            for which in reversed(range(TRAIN)):
                name = f"tiny-imagenet-200/train/{NAMES[number]}/images/{NAMES[number]}_{which}.JPEG"
                archive.writestr(name, made[number, which])
        archive.writestr("tiny-imagenet-200/val/val_annotations.txt", "".join(notes))
    with tarfile.open(folder / "smaller" / "tiny_imagenet" / "tiny30.tar.xz", "w:xz", preset=0) as small:
        for k in range(30):
            number = k * 200 // 30
            for which in range(TRAIN + VAL):
                part, name = (
                    ("train", f"{NAMES[number]}_{which}") if which < TRAIN else ("val", f"val_{number}")
                )
                member = tarfile.TarInfo(f"{part}/{NAMES[number]}/{name}.JPEG")
                member.size = len(made[number, which])
                small.addfile(member, io.BytesIO(made[number, which]))
    return folder


def use(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Read from this data folder, whatever the archive's checksum, as many pictures as are made here."""
    patch.setenv("COPPICE_DATA", str(folder))
    patch.setattr(tiny_imagenet, "EACH", {"train": TRAIN, "val": VAL})
    file, path = tiny_imagenet.FILE, folder / tiny_imagenet.FILE.name
    if path.exists():
        content = path.read_bytes()
        file = replace(file, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    patch.setitem(SETS, "tiny-imagenet", replace(SETS["tiny-imagenet"], files=(file,)))


def marks(x: torch.Tensor) -> list[list[int]]:
    """(class, which) of pictures, by their red and green."""
    mean, std = (
        torch.tensor(values[:2]) for values in (tiny_imagenet.SCALING.mean, tiny_imagenet.SCALING.std)
    )
    red, green = (x[:, :2].mean((2, 3)) * std + mean).round().long().T
    return torch.stack([red, torch.where(red == 0, 0, (green - 5 + 2) // 60)], dim=1).tolist()


def test_the_original_archive_is_split_twenty_classes_at_a_time(
    archives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(archives / "original", monkeypatch)
    tasks = Stream("split-tiny-imagenet", validation=1, size=1).load(0)
    assert len(tasks) == 10
    assert sorted(name for task in tasks for name in task.classes) == NAMES
    for task in tasks:
        assert [len(part.y) for part in (task.train, task.validation, task.test)] == [40, 20, 20]
        for part, whiches in ((task.train, {0, 1, 2}), (task.validation, {0, 1, 2}), (task.test, {TRAIN})):
            assert part.x.shape[1:] == (3, 1, 1)
            found = marks(part.x)
            # a JPEG may miss a colour by one
            numbers = torch.tensor([NAMES.index(task.classes[k]) for k in part.y])
            assert (torch.tensor(found)[:, 0] - numbers).abs().max() <= 1
            assert {which for number, which in found if number > 1} <= whiches
    other = Stream("split-tiny-imagenet", validation=1, size=1, order=0).load(1)
    assert all(torch.equal(one.test.x, two.test.x) for one, two in zip(tasks, other, strict=True))


def test_the_mini_stream_is_the_same_from_either_archive(
    archives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream("split-tiny-imagenet-mini", samples=2, validation=1, size=4)
    use(archives / "original", monkeypatch)
    want = load_stream(stream, 2)
    use(archives / "smaller", monkeypatch)
    got = load_stream(stream, 2)
    assert got.provenance.pop("forms") == ["tiny30.tar.xz"]
    assert want.provenance.pop("forms") == ["tiny-imagenet-200.zip"]
    assert got.provenance == want.provenance
    assert [len(task.classes) for task in got.tasks] == [3] * 10
    assert sorted(name for task in got.tasks for name in task.classes) == [
        NAMES[k * 200 // 30] for k in range(30)
    ]
    for one, other in zip(got.tasks, want.tasks, strict=True):
        assert torch.equal(one.train.x, other.train.x)
        assert torch.equal(one.validation.x, other.validation.x)
        assert torch.equal(one.test.x, other.test.x)
    with pytest.raises(FileNotFoundError, match=r"'tiny30\.tar\.xz' has 30 classes, but 200 are wanted"):
        Stream("split-tiny-imagenet").load(0)


def test_without_an_archive_it_is_said_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path, monkeypatch)
    with pytest.raises(FileNotFoundError, match=r"cs231n\.stanford\.edu"):
        Stream("split-tiny-imagenet-mini").load(0)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"a.txt": b""}, "is not Tiny-ImageNet"),
        ({"tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\n"}, "is not Tiny-ImageNet"),
        (
            {
                "tiny-imagenet-200/val/val_annotations.txt": b"",
                "tiny-imagenet-200/val/images/val_0.JPEG": b"",
            },
            "is not Tiny-ImageNet",
        ),
        (
            {
                "tiny-imagenet-200/val/val_annotations.txt": b"",
                f"tiny-imagenet-200/train/{NAMES[0]}/images/0.JPEG": b"",
            },
            "has 1 classes, but Tiny-ImageNet has 200",
        ),
    ],
    ids=["no notes", "cut notes", "no class", "few classes"],
)
def test_another_archive_is_refused(
    files: dict[str, bytes], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny_imagenet").mkdir()
    with zipfile.ZipFile(tmp_path / tiny_imagenet.FILE.name, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    use(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=complaint):
        Stream("split-tiny-imagenet").load(0)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"no picture", "cannot be read as a picture"), (None, "no picture of 64 x 64")],
)
def test_broken_pictures_are_refused(
    content: bytes | None, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is None:
        small = io.BytesIO()
        Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(small, "JPEG")
        content = small.getvalue()
    (tmp_path / "tiny_imagenet").mkdir()
    with tarfile.open(tmp_path / "tiny_imagenet" / "tiny30.tar.xz", "w:xz", preset=0) as archive:
        for k in range(30):
            member = tarfile.TarInfo(f"train/{NAMES[k]}/a.JPEG")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    use(tmp_path, monkeypatch)
    with pytest.raises(
        ValueError, match=r"n000000\d\d has 1 pictures in 'train', but 3 in Tiny-ImageNet: replace"
    ):
        Stream("split-tiny-imagenet-mini").load(0)
    monkeypatch.setattr(tiny_imagenet, "EACH", {"train": 1, "val": 0})
    with pytest.raises(ValueError, match=complaint):
        Stream("split-tiny-imagenet-mini").load(0)


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(os.environ.get("COPPICE_DATA") or "absent") / "tiny_imagenet30").exists(),
    reason="COPPICE_DATA has no pictures",
)
def test_the_real_pictures_are_about_as_bright_as_the_scaling_says() -> None:
    tasks = Stream("split-tiny-imagenet-mini").load(0)
    assert [len(task.train.y) for task in tasks] == [600] * 10
    assert [len(task.test.y) for task in tasks] == [150] * 10
    everything = torch.cat([task.train.x for task in tasks])
    assert everything.mean((0, 2, 3)).abs().max() < 0.1
    assert 0.8 < everything.std() < 1.1  # less than 1: pixels were joined
