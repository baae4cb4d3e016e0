"""CIFAR-100: 60000 colour pictures of 100 classes, from the original archive or from one sheet of pictures a class."""

import io
import pickle
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coppice.data.extras import need
from coppice.data.fetch import RemoteFile, data_folder, fetch
from coppice.data.pictures import Pictures
from coppice.data.scaling import Scaling

SIDE = 32  # pixels
EACH = {"train": 500, "test": 100}  # pictures of a class
_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
    shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """
CLASSES = tuple(_NAMES.split())
# mean and standard deviation of each channel of the 50000 training pictures, in bytes; the same for every task
SCALING = Scaling(
    (255 * 0.50707516, 255 * 0.48654887, 255 * 0.44091784),
    (255 * 0.26733429, 255 * 0.25643846, 255 * 0.27615047),
)

# what a broken pickle, or one of something else, raises
MISSHAPEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)


@dataclass(frozen=True)
class Archive(RemoteFile):
    """The original archive; where it is not, sheets of pictures serve as well.

    Sheets: `cifar100/train/<class>.webp` and `cifar100/test/<class>.webp` in the data folder, all 200 of them,
    lossless, tiles of 32 x 32 row by row in the order of the original file names.
    """

    def elsewhere(self) -> Path | None:
        if (data_folder() / self.name).is_file():
            return None  # the original itself, which `fetch` checks
        folder = data_folder() / "cifar100"
        sheets = [_sheet(folder, part, name) for part in EACH for name in CLASSES]
        lacking = [sheet for sheet in sheets if not sheet.is_file()]
        if not lacking:
            return folder
        if len(lacking) < len(sheets):
            raise FileNotFoundError(
                f"'{lacking[0].name}' is not in '{lacking[0].parent}', but other sheets of CIFAR-100 are: put all "
                f"{len(sheets)} there, or '{self.name}' (from {' or '.join(self.urls)}) into the data folder."
            )
        return None


def _sheet(folder: Path, part: str, name: str) -> Path:
    return folder / part / f"{name}.webp"


FILE = Archive(
    "cifar100/cifar-100-python.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    169001437,
)


def read(file: RemoteFile, classes: Sequence[int]) -> Iterator[Pictures]:
    """Pictures of these classes, one class after another, bytes [n, 3, 32, 32] in the order of their file names.

    500 of training and 100 of test each. Both forms give the same arrays. Of sheets, only those of the classes are
    opened, and their pictures counted. Errors of `fetch` pass; ValueError: broken content. Krizhevsky 2009, "Learning multiple layers of
    features from tiny images".
    """
    path = fetch(file)
    if path.is_dir():
        for number in classes:
            yield Pictures(*(_counted(_sheet(path, part, CLASSES[number]), EACH[part]) for part in EACH))
        return
    train, test = (read_batch(path, part) for part in EACH)
    for number in classes:
        yield Pictures(train[number], test[number])


def _counted(path: Path, many: int) -> NDArray[np.uint8]:
    pictures = tiles(path)
    if len(pictures) != many:
        raise ValueError(
            f"'{path.name}' in '{path.parent.name}' has {len(pictures)} pictures, but the class has {many} there: replace it."
        )
    return pictures


def tiles(path: Path) -> NDArray[np.uint8]:
    """The pictures [n, 3, 32, 32] of a sheet, row by row. ValueError: it is none."""
    picture = need("PIL.Image")
    try:
        with picture.open(path) as opened:
            sheet = np.asarray(opened.convert("RGB"))
    except OSError as broken:
        raise ValueError(f"{path.name} cannot be read as a picture ({broken}): replace it.") from broken
    height, width, _ = sheet.shape
    if height % SIDE or width % SIDE:
        raise ValueError(
            f"{path.name} is {width} x {height} pixels, but tiles of {SIDE} x {SIDE} fill a sheet: replace it."
        )
    rows = sheet.reshape(height // SIDE, SIDE, width // SIDE, SIDE, 3)
    return np.ascontiguousarray(rows.transpose(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE))


class _Unpickler(pickle.Unpickler):
    """Builds dictionaries, lists, text, numbers and arrays of bytes; a pickle that asks for more is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return _byte_type
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.zeros(0).__reduce__()[0]  # wherever this numpy keeps it
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data set needs")


def _byte_type(code: str, *flags: Any) -> "np.dtype[Any]":
    if code != "u1":
        raise pickle.UnpicklingError(f"it holds an array of type {code!r}, but pictures are bytes")
    return np.dtype("u1")


def read_batch(path: Path, part: str) -> list[NDArray[np.uint8]]:
    """The pictures [n, 3, 32, 32] of each of the 100 classes, by file name, from "train" or "test" of the archive.

    Nothing of the pickle is run but what makes arrays of bytes. ValueError: it is another file, or asks for more.
    """
    member = f"cifar-100-python/{part}"
    try:
        with tarfile.open(path) as archive:
            opened = archive.extractfile(member)
            content = opened.read() if opened else b""
        # latin1: written by Python 2, whose text is bytes
        batch = _Unpickler(io.BytesIO(content), encoding="latin1").load()
        pixels, labels, names = (batch[key] for key in ("data", "fine_labels", "filenames"))
        x, y = np.asarray(pixels), np.asarray(labels)
    except (tarfile.TarError, OSError, EOFError, pickle.UnpicklingError, *MISSHAPEN) as broken:
        raise ValueError(
            f"{path.name}: '{member}' is not what CIFAR-100 has there ({broken}): replace it."
        ) from broken
    if x.dtype != np.uint8 or x.shape != (len(names), 3 * SIDE * SIDE) or y.shape != (len(names),):
        raise ValueError(
            f"{path.name}: '{member}' has {len(names)} names, pictures {list(x.shape)} and labels {list(y.shape)}, but "
            f"each picture has a name, a label and {3 * SIDE * SIDE} bytes: replace it."
        )
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= len(CLASSES):
        raise ValueError(f"{path.name}: '{member}' has labels outside 0 to {len(CLASSES) - 1}: replace it.")
    order = sorted(range(len(names)), key=names.__getitem__)
    x, y = x[order].reshape(-1, 3, SIDE, SIDE), y[order]
    return [x[y == number] for number in range(len(CLASSES))]
