"""Hand signs of the ten digits, in grey."""

import hashlib
import io
import re

import numpy as np
import torch
from numpy.typing import NDArray

from coppice.data.extras import need
from coppice.data.fetch import RemoteFile, fetch
from coppice.data.forms import OneOf, members
from coppice.data.pictures import shrink
from coppice.data.splits import Split, hold_out
from coppice.data.table_files import read_arrays
from coppice.data.tasks import TaskData, cut

SIDE = 64  # pixels as read
SIZE = 16  # pixels of a sample
COUNT = 2062  # pictures, as published
TEST_SHARE = 0.25
PICTURE = re.compile(r"(?:^|/)Dataset/(\d)/[^/]+\.JPG$", re.IGNORECASE)

FILE = OneOf(
    "interaction_sign_digits/Sign-Language-Digits-Dataset.zip",
    (),
    "",
    0,
    "download the repository https://github.com/ardamavi/Sign-Language-Digits-Dataset as .zip and put it there",
    (
        "interaction_sign_digits/Sign-Language-Digits-Dataset.zip",
        "interaction_sign_digits/Sign-Language-Digits-Dataset-master.zip",  # as a browser saves it
        "interaction_sign_digits/Sign-Language-Digits-Dataset",
        "interaction_sign_digits/sign_digits_64.npz",
    ),
)


def read(file: RemoteFile) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey pictures [n, 1, 64, 64] and their digits [n], from the original pictures or from an .npz of X and y.

    The two differ in last digits, since pictures of 100 x 100 pixels can be made smaller in many ways. ValueError: broken
    content, or others than 2062 pictures; errors of `fetch` pass.
    """
    path = fetch(file)
    if path.suffix == ".npz":
        x, y = read_arrays(path, ("X", "y")).values()
    else:
        named = members(path, lambda name: PICTURE.search(name) is not None)
        x = np.stack([_grey(name, content) for name, content in named])
        y = np.array([int(match[1]) for name, _ in named if (match := PICTURE.search(name))])
    shapes = x.dtype == np.uint8 and x.shape == (*y.shape, SIDE, SIDE) and y.ndim == 1
    if not shapes or y.dtype.kind not in "iu" or y.min(initial=0) < 0 or y.max(initial=0) > 9:
        raise ValueError(
            f"{path.name} must have grey pictures of {SIDE} x {SIDE} and their digits, but has others: replace it."
        )
    if len(y) != COUNT:
        raise ValueError(f"{path.name} has {len(y)} pictures, but the set has {COUNT}: replace it.")
    return x[:, None], y.astype(np.int64)


def signs(file: RemoteFile, seed: int) -> tuple[TaskData, str]:
    """Tell ten digits shown by hand apart: x [n, 1, 16, 16], from 0 to 1; and the SHA-256 of the pictures, then digits.

    A quarter, stratified and the same for every seed, is the test: who shows a sign is not known, so the same hand may
    be on two sides. Mavi 2020, "A new dataset and proposed convolutional neural network architecture for
    classification of American sign language digits".
    """
    pixels, y = read(file)
    digest = hashlib.sha256(pixels.tobytes() + y.astype(np.uint8).tobytes()).hexdigest()
    x, held = torch.from_numpy(shrink(pixels, SIZE) / 255), torch.from_numpy(y)
    test, pool = hold_out(y, TEST_SHARE)
    task = cut(
        "signs", Split(x[pool], held[pool]), Split(x[test], held[test]), seed=seed, group="interaction"
    )
    return task, digest


def _grey(name: str, content: bytes) -> NDArray[np.uint8]:
    picture = need("PIL.Image")
    try:
        with picture.open(io.BytesIO(content)) as opened:
            return np.asarray(opened.convert("L").resize((SIDE, SIDE), picture.Resampling.BOX))
    except OSError as broken:
        raise ValueError(f"{name} cannot be read as a picture ({broken}): replace it.") from broken
