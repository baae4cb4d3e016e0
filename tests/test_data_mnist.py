"""MNIST: idx files read strictly, found in COPPICE_DATA or the cache."""

import gzip
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from coppice.data import SETS, Data, load, mnist, status
from coppice.data.fetch import RemoteFile
from coppice.data.mnist import read_idx


def idx(array: np.ndarray, kind: int = 8, axes: int | None = None, cut: int = 0) -> bytes:
    head = bytes((0, 0, kind, array.ndim if axes is None else axes))
    body = head + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.astype(np.uint8).tobytes()
    return gzip.compress(body[: len(body) - cut], mtime=0)  # the same bytes, and test names, at any time


@pytest.fixture
def little_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Four small idx files in COPPICE_DATA, and the catalogue told of their checksums."""
    rng = np.random.default_rng(0)
    arrays, files = {}, []
    for file in mnist.FILES:
        count = 60 if "train" in file.name else 20
        shape = (count, 28, 28) if "images" in file.name else (count,)
        array = rng.integers(0, 256, shape) if "images" in file.name else np.arange(count) % 10
        content = idx(array)
        arrays[file.name.split("-idx")[0].removeprefix("mnist/")] = array
        (tmp_path / "mnist").mkdir(exist_ok=True)
        (tmp_path / file.name).write_bytes(content)
        files.append(RemoteFile(file.name, file.urls, hashlib.sha256(content).hexdigest(), len(content)))
    monkeypatch.setenv("COPPICE_DATA", str(tmp_path))
    monkeypatch.setitem(SETS, "mnist", replace(SETS["mnist"], files=tuple(files)))
    return arrays


def test_mnist_is_read_from_its_four_files(little_mnist: dict[str, np.ndarray], tmp_path: Path) -> None:
    got = load(Data("mnist", validation=10), seed=0)
    assert torch.equal(got.test.x, torch.tensor(little_mnist["t10k-images"][:, None]).float() / 255)
    assert got.test.y.tolist() == little_mnist["t10k-labels"].tolist()
    pool = {
        bytes(image.astype(np.uint8)): label
        for image, label in zip(little_mnist["train-images"], little_mnist["train-labels"], strict=True)
    }
    for part in (got.train, got.validation):
        for x, y in zip(part.x, part.y, strict=True):
            assert pool.pop(bytes((x[0] * 255).round().to(torch.uint8).numpy())) == y
    assert not pool
    assert got.provenance["read_from"] == "COPPICE_DATA"
    assert got.provenance["sha256"] == {file.name: file.sha256 for file in SETS["mnist"].files}
    assert got.provenance["source"].startswith("https://")
    assert str(tmp_path) not in json.dumps(got.provenance)


@pytest.mark.usefixtures("little_mnist")
def test_status_tells_where_the_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status("digits") == "embedded"
    assert status("mnist") == "in COPPICE_DATA"
    monkeypatch.delenv("COPPICE_DATA")
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path / "elsewhere"))
    assert status("mnist") == "not downloaded"
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path))
    assert status("mnist") == "cached"
    (tmp_path / mnist.FILES[3].name).write_bytes(b"spoilt")
    assert status("mnist") == "not downloaded"
    with pytest.raises(ValueError, match="'file' is not a data set: the sets are digits, mnist"):
        status("file")


LABELS = np.arange(5)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"no gzip", "labels.gz is not a whole gzip file"),
        (idx(LABELS)[:-9], "labels.gz is not a whole gzip file"),
        (gzip.compress(b"\0\0\x08", mtime=0), "holds 3 bytes, but its idx header alone takes 8: replace it"),
        (
            idx(LABELS, kind=9),
            r"begins with 0x00000901, expected 0x00000801 .* another kind of file, replace it",
        ),
        (idx(LABELS, axes=3), r"begins with 0x00000803, expected 0x00000801"),
        (idx(LABELS, cut=1), "promises 5 bytes, but 4 follow: replace it"),
        (gzip.compress(gzip.decompress(idx(LABELS)) + b"!", mtime=0), "promises 5 bytes, but 6 follow"),
    ],
    ids=["no gzip", "cut gzip", "header cut", "kind", "axes", "too short", "too long"],
)
def test_idx_files_are_read_strictly(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        read_idx(path, axes=1)


def test_idx_axes_are_big_endian(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 300).reshape(2, 3, 300) % 256
    (tmp_path / "cube.gz").write_bytes(idx(array))
    assert read_idx(tmp_path / "cube.gz", axes=3).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("images", "labels", "complaint"),
    [
        (np.zeros((5, 28, 28)), np.arange(4), "has 5 images, but labels.gz has 4 labels: replace it"),
        (np.zeros((5, 27, 28)), np.arange(5), "has images of 27 x 28, expected 28 x 28: replace it"),
        (np.zeros((5, 28, 28)), np.arange(5) + 6, "has the label 10, but the digits are 0 to 9: replace it"),
    ],
)
def test_images_and_labels_must_fit(
    images: np.ndarray, labels: np.ndarray, complaint: str, tmp_path: Path
) -> None:
    paths = tmp_path / "images.gz", tmp_path / "labels.gz"
    for path, array in zip(paths, (images, labels), strict=True):
        path.write_bytes(idx(array))
    with pytest.raises(ValueError, match=complaint):
        mnist._pair(*paths)


@pytest.mark.skipif(not os.environ.get("COPPICE_DATA"), reason="COPPICE_DATA has the original files")
def test_the_original_mnist():
    got = load(Data("mnist", train=2000, validation=300), seed=0)
    assert (len(got.train.y), len(got.validation.y), len(got.test.y)) == (2000, 300, 10000)
    # the first ten test labels, and their frequencies, as published
    assert got.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert got.test.y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (got.test.x.min(), got.test.x.max()) == (0, 1)
    assert abs(got.test.x.mean() - 0.1325) < 1e-4  # of the test images; training images have 0.1307
