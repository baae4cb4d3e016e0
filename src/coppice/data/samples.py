"""A person's own samples of one task: from arrays or files, strictly, to what a learner takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coppice.data.scaling import Scaling, fit
from coppice.data.splits import Split
from coppice.data.table_files import REAL, read_arrays, read_columns, read_csv
from coppice.data.tasks import TaskData, cut


class Samples(NamedTuple):
    """Samples of one task, as arrays, tensors or lists.

    x:       vectors [n, feature], sequences [n, length, channel], images [n, channel, height, width] or frames
             [n, step, channel, height, width]
    y:       the class of each, whole numbers or text, [n]
    classes: names of the classes in the order of their numbers, which text then gets as well; None: the numbers, or
             the text itself in alphabetical order
    columns: names of the features of vectors, if they have any
    """

    x: Any
    y: Any
    classes: Sequence[str] | None = None
    columns: Sequence[str] | None = None


def read_samples(path: Path, target: str | None = None) -> Samples:
    """The samples of a file: .npz with x, y and, if wanted, classes; .csv whose column `target` names the class.

    Pickled objects are refused. FileNotFoundError and ValueError name the file, the place in it and the way out.
    """
    path = _existing(path)
    if path.suffix.lower() == ".csv":
        table = read_csv(path, target)
        return Samples(table.x, table.y, columns=table.columns)
    if target is not None:
        raise ValueError(
            f"target '{target}' names a column of a .csv file, but '{path.name}' has its classes in y."
        )
    arrays = read_arrays(path, ("x", "y"), also=("classes",))
    classes = arrays.get("classes")
    if classes is not None and (classes.ndim != 1 or classes.dtype.kind != "U"):
        raise ValueError(
            f"'{path.name}': classes is {classes.dtype} {list(classes.shape)}, but must be text [class]."
        )
    return Samples(arrays["x"], arrays["y"], None if classes is None else tuple(classes.tolist()))


def read_inputs(path: Path, columns: Sequence[str] | None = None) -> NDArray[Any]:
    """The x of a file: the array of an .npz, or these columns of a .csv. Raises what `read_samples` does."""
    path = _existing(path)
    if path.suffix.lower() == ".csv":
        if columns is None:
            raise ValueError(
                f"'{path.name}' is a table, but this was learned from arrays: give an .npz with x."
            )
        return read_columns(path, columns)
    return read_arrays(path, ("x",))["x"]


def reading(samples: Samples) -> str:
    """As what such samples are taken, in words."""
    shape = np.shape(samples.x)[1:]
    if len(shape) == 1:
        return f"vectors of {shape[0]} features"
    if len(shape) == 2:
        pictures = "; grey pictures are [n, 1, height, width]" if shape[0] == shape[1] else ""
        return f"sequences of {shape[0]} steps with {shape[1]} channels{pictures}"
    if len(shape) == 3:
        return f"images of {shape[1]} x {shape[2]} with {shape[0]} channels"
    return f"frames of events {list(shape)}"


def scalable(samples: Samples) -> bool:
    """Whether `task_of` scales such inputs: all but frames, whose zeros mean that nothing happened."""
    return np.ndim(samples.x) < 5


def task_of(name: str, samples: Samples, *, scale: bool, seed: int) -> tuple[TaskData, Scaling | None]:
    """A task without test samples; its validation samples are cut off by `seed`, stratified by class.

    scale: by constants of the training samples, which are returned: see `scaled`
    Raises ValueError for values, shapes and classes that cannot be learned.
    """
    x = numbers(f"x of task '{name}'", samples.x)
    y, names = _classes(name, samples)
    whole = Split(torch.from_numpy(x if scale else _single(x)), torch.from_numpy(y))
    if scale and not whole.x.is_floating_point():
        whole = Split(whole.x.double(), whole.y)
    task = cut(name, whole, whole, seed=seed, classes=names)  # a test part is asked for, but nobody's here
    task = task._replace(test=Split(task.test.x[:0], task.test.y[:0]))
    if not scale:
        return task, None
    scaling = _fit(name, task.train.x.numpy())
    train, validation, test = (
        Split(scaled(part.x.numpy(), scaling), part.y) for part in (task.train, task.validation, task.test)
    )
    return task._replace(train=train, validation=validation, test=test), scaling


def scaled(x: NDArray[Any], scaling: Scaling | None) -> Tensor:
    """float32 [n, ...], each channel of it scaled; as it is where scaling is None. ValueError for whole numbers then."""
    if scaling is None:
        if x.dtype.kind != "f":
            raise ValueError(
                f"x is {x.dtype}, but this task was learned from floats as they are: divide bytes by 255."
            )
        return torch.from_numpy(_single(x))
    if x.ndim == 3:  # sequences have their channels last
        return torch.from_numpy(np.ascontiguousarray(scaling(x.swapaxes(1, 2)).swapaxes(1, 2)))
    return torch.from_numpy(scaling(x))


def numbers(what: str, values: Any) -> NDArray[Any]:
    """An array of real numbers on the CPU. Raises ValueError where it is none, empty or not finite."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    try:
        found = np.asarray(values)
    except ValueError as ragged:
        raise ValueError(f"{what} is no array: {ragged}.") from ragged
    if found.dtype.kind not in REAL:
        raise ValueError(f"{what} is {found.dtype}, but must hold real numbers.")
    if found.ndim < 2 or found.size == 0:
        raise ValueError(
            f"{what} is {list(found.shape)}, but must be samples [n, ...], none of them empty; one sample is x[None]."
        )
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        broken = int(np.flatnonzero(~np.isfinite(found.reshape(len(found), -1)).all(1))[0])
        raise ValueError(f"{what}: sample {broken} is not finite: drop such samples or fill the gaps.")
    return found


def _classes(name: str, samples: Samples) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """Class numbers [n], and names where the labels or the person give them."""
    y = samples.y.detach().cpu().numpy() if isinstance(samples.y, Tensor) else np.asarray(samples.y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    names = None if samples.classes is None else tuple(str(one) for one in samples.classes)
    if names is not None and len(set(names)) < len(names):
        raise ValueError(f"classes of task '{name}' are {', '.join(names)}: give each a name of its own.")
    if y.dtype.kind == "U":
        words, numbered = np.unique(y, return_inverse=True)
        names = tuple(words.tolist()) if names is None else names
        if set(names) != set(words.tolist()):
            raise ValueError(
                f"y of task '{name}' names the classes {', '.join(words.tolist())}, but classes are"
                f" {', '.join(names)}: leave classes out."
            )
        return np.array([names.index(word) for word in words], dtype=np.int64)[numbered], names
    odd = y[~(np.isfinite(y) & (y == np.floor(y)))].tolist() if y.dtype.kind in REAL else ["objects"]
    if odd:
        raise ValueError(
            f"y of task '{name}' holds {odd[0]}, but classes are whole numbers or text: quantities cannot be learned here."
        )
    return y.astype(np.int64), names


def _fit(name: str, x: NDArray[Any]) -> Scaling:
    if x.ndim == 5:
        raise ValueError(
            f"x of task '{name}' is frames {list(x.shape)}, which are not scaled: leave scale out."
        )
    return fit(x.reshape(-1, x.shape[-1]) if x.ndim == 3 else x)


def _single(x: NDArray[Any]) -> NDArray[Any]:
    """Doubles as float32, the network's; integers as they are, for whoever takes them says what to do with them."""
    return x.astype(np.float32) if x.dtype.kind == "f" else x


def _existing(path: Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: check the path.")
    if path.suffix.lower() not in (".npz", ".csv"):
        raise ValueError(f"'{path.name}' is neither an .npz nor a .csv file: write arrays with numpy.savez.")
    return path
