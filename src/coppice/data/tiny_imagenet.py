"""Tiny-ImageNet: 200 kinds of things in colour pictures of 64 x 64, from the original archive; 30 of them from a smaller one."""

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coppice.data.extras import need
from coppice.data.fetch import RemoteFile, fetch
from coppice.data.forms import DAMAGE, OneOf, members
from coppice.data.pictures import Pictures
from coppice.data.scaling import Scaling

SIDE = 64  # pixels
ALL, FEW = 200, 30  # classes of the archive, and of the mini stream
EACH = {"train": 500, "val": 50}  # pictures of a class
# mean and standard deviation of each channel, as commonly used, in bytes
SCALING = Scaling((255 * 0.4802, 255 * 0.4481, 255 * 0.3975), (255 * 0.2770, 255 * 0.2691, 255 * 0.2821))
# part, class or "images", file name
PICTURE = re.compile(r"(?:^|/)(train|val)/(n\d{8}|images)/(?:images/)?([^/]+\.JPEG)$")
Index = dict[str, dict[str, list[str]]]  # class -> "train" or "val" -> places in the archive
Content = Callable[[str], bytes]

FILE = OneOf(
    "tiny_imagenet/tiny-imagenet-200.zip",
    ("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
    "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
    248100043,
    forms=("tiny_imagenet/tiny30.tar.xz", "tiny_imagenet30/tiny30.tar.xz"),
)


def read(file: RemoteFile, many: int) -> tuple[list[str], Callable[[Sequence[int]], Iterator[Pictures]]]:
    """The names (WordNet numbers) of `many` of the 200 classes, evenly spaced in their order, and how to read them.

    The reader gives bytes [n, 3, 64, 64] by file name: 500 of training and the 50 of validation, which are the test here,
    for the original test has no labels. Only pictures of classes that are asked for are decoded. The smaller archive has
    train/<class>/ and val/<class>/ of 30 classes. ValueError: broken content; FileNotFoundError: the smaller archive does
    not suffice; errors of `fetch` pass. Le & Yang 2015, "Tiny ImageNet visual recognition challenge".
    """
    path = fetch(file)
    original = zipfile.is_zipfile(path)
    try:
        opened = _original(path) if original else _smaller(path)
    except (*DAMAGE, KeyError, IndexError, UnicodeDecodeError) as broken:
        raise ValueError(
            f"'{path.name}' in '{path.parent}' is not Tiny-ImageNet ({broken}): replace it."
        ) from broken
    index, content = opened
    names = sorted(index)
    if original and len(names) != ALL:
        raise ValueError(f"'{path.name}' has {len(names)} classes, but Tiny-ImageNet has {ALL}: replace it.")
    if many > len(names):
        raise FileNotFoundError(
            f"'{path.name}' has {len(names)} classes, but {many} are wanted: put '{file.name}' "
            f"(from {' or '.join(file.urls)}) into the data folder, or take the stream split-tiny-imagenet-mini."
        )
    names = [names[k * len(names) // many] for k in range(many)]

    def pictures(classes: Sequence[int]) -> Iterator[Pictures]:
        for number in classes:
            places = index[names[number]]
            yield Pictures(
                *(_decoded(names[number], part, places[part], content) for part in ("train", "val"))
            )

    return names, pictures


def _original(path: Path) -> tuple[Index, Content]:
    archive = zipfile.ZipFile(path)  # stays open while the pictures are read, one after another
    top = "tiny-imagenet-200"
    notes = archive.read(f"{top}/val/val_annotations.txt").decode().splitlines()
    classes = {line.split("\t")[0]: line.split("\t")[1] for line in notes}
    return _index(archive.namelist(), classes), archive.read


def _smaller(path: Path) -> tuple[Index, Content]:
    held = dict(members(path, lambda name: PICTURE.search(name) is not None))
    return _index(held, {}), held.__getitem__


def _index(places: Iterable[str], classes: Mapping[str, str]) -> Index:
    """Where the pictures of each class are; `classes` tells those of pictures that lie together."""
    index: Index = defaultdict(lambda: {"train": [], "val": []})
    for place in sorted(places):
        found = PICTURE.search(place)
        if found:
            index[classes[found[3]] if found[2] == "images" else found[2]][found[1]].append(place)
    return index


def _decoded(name: str, part: str, places: Sequence[str], content: Content) -> NDArray[np.uint8]:
    picture = need("PIL.Image")
    if len(places) != EACH[part]:
        raise ValueError(
            f"The class {name} has {len(places)} pictures in '{part}', but {EACH[part]} in Tiny-ImageNet: replace the archive."
        )
    arrays = []
    for place in places:
        try:
            with picture.open(io.BytesIO(content(place))) as opened:
                arrays.append(np.asarray(opened.convert("RGB")))  # a few hundred are grey
        except (OSError, *DAMAGE) as broken:
            raise ValueError(
                f"{place} cannot be read as a picture ({broken}): replace the archive."
            ) from broken
        if arrays[-1].shape != (SIDE, SIDE, 3):
            raise ValueError(f"{place} is no picture of {SIDE} x {SIDE}: replace the archive.")
    return np.ascontiguousarray(np.stack(arrays).transpose(0, 3, 1, 2))
