"""MNIST: 70000 handwritten digits in the four original idx files."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coppice.data.fetch import RemoteFile, fetch, origin
from coppice.data.scaling import Scaling
from coppice.data.splits import Source

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
SCALING = Scaling((0.0,), (255.0,))  # by the brightest pixel
UNSIGNED_BYTE = 0x08  # idx element type, third byte of the magic number


def _file(name: str, sha256: str, size: int) -> RemoteFile:
    return RemoteFile(f"mnist/{name}", tuple(mirror + name for mirror in MIRRORS), sha256, size)


# images and labels of the training pool, then of the test
FILES = (
    _file(
        "train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        9912422,
    ),
    _file(
        "train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        28881,
    ),
    _file(
        "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        1648877,
    ),
    _file(
        "t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        4542,
    ),
)


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """Array of bytes with `axes` axes from a gzipped idx file; ValueError on anything out of place.

    Format: two zero bytes, element type, number of axes, the axes as big-endian uint32, then the elements.
    LeCun, Cortes & Burges, "The MNIST database", section on file formats.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as broken:
        raise ValueError(f"{path.name} is not a whole gzip file ({broken}): replace it.") from broken
    head = 4 + 4 * axes
    if len(content) < head:
        raise ValueError(
            f"{path.name} holds {len(content)} bytes, but its idx header alone takes {head}: replace it."
        )
    magic, expected = content[:4], bytes((0, 0, UNSIGNED_BYTE, axes))
    if magic != expected:
        raise ValueError(
            f"{path.name} begins with 0x{magic.hex()}, expected 0x{expected.hex()} "
            f"(idx, unsigned bytes, axes: {axes}): it is another kind of file, replace it."
        )
    shape = struct.unpack(f">{axes}I", content[4:head])
    if len(content) - head != math.prod(shape):
        raise ValueError(
            f"{path.name} promises {' x '.join(map(str, shape))} bytes, but {len(content) - head} follow: replace it."
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _pair(images: Path, labels: Path) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    x, y = read_idx(images, axes=3), read_idx(labels, axes=1)
    if len(x) != len(y):
        raise ValueError(
            f"{images.name} has {len(x)} images, but {labels.name} has {len(y)} labels: replace it."
        )
    if x.shape[1:] != (28, 28):
        raise ValueError(
            f"{images.name} has images of {x.shape[1]} x {x.shape[2]}, expected 28 x 28: replace it."
        )
    if y.max(initial=0) > 9:
        raise ValueError(f"{labels.name} has the label {y.max()}, but the digits are 0 to 9: replace it.")
    return x[:, None], y.astype(np.int64)


def read(files: tuple[RemoteFile, ...] = FILES) -> Source:
    """60000 images [n, 1, 28, 28] as pool and 10000 as test, 10 digits, pixels to be divided by 255.

    Files come through `fetch`, whose errors pass. LeCun, Bottou, Bengio & Haffner 1998.
    """
    x_images, x_labels, t_images, t_labels = (fetch(file) for file in files)
    x, y = _pair(x_images, x_labels)
    x_test, y_test = _pair(t_images, t_labels)
    return Source(
        x=x,
        y=y,
        x_test=x_test,
        y_test=y_test,
        task="classification",
        classes=tuple("0123456789"),
        scaling=SCALING,
        provenance={
            "source": " or ".join(url.rpartition("/")[0] for url in files[0].urls),
            "read_from": origin(),
            "sha256": {file.name: file.sha256 for file in files},
            "test": "its own",
        },
    )
