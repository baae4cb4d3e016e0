"""The table [data] of a recipe, and the one way to load samples."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from coppice.data import digits, mnist, table
from coppice.data.data_sets import SETS, TASK_SETS
from coppice.data.fetch import here, origin
from coppice.data.scaling import Scaling, fit
from coppice.data.series import Series, load_series
from coppice.data.series_files import TextFile
from coppice.data.series_sets import SERIES
from coppice.data.splits import Source, Split, Splits, counts, draw, share, share_or_count, whole_number


@dataclass(frozen=True)
class Data:
    """What to learn from: the table [data] of a recipe. ValueError on a value that cannot be meant.

    name:       "digits", "mnist" or "file"
    path:       of a "file": .npz with the arrays x and y, or .csv
    target:     of a .csv file: the column to learn
    task:       of a "file", if it is not to be guessed
    train:      training samples, drawn from the pool; None: all that validation leaves
    validation: a share (float) or a count (int) of the pool
    test:       of a "file": the share that is held out
    classes:    keep only the first k classes
    """

    name: str = "digits"
    path: str | None = None
    target: str | None = None
    task: Literal["auto", "classification", "regression"] = "auto"
    train: int | None = None
    validation: float | int = 0.15
    test: float = 0.2
    classes: int | None = None

    def __post_init__(self) -> None:
        streamed = {entry.name for entry in TASK_SETS}
        names = (*(name for name in SETS if name not in SERIES and name not in streamed), "file")
        if self.name in SERIES:
            raise ValueError(
                f"name is '{self.name}', a series to forecast: load it by Series(name='{self.name}')."
            )
        if self.name in streamed:
            raise ValueError(
                f"name is '{self.name}', which is learned task by task: load it by a stream, such as those of `coppice list`."
            )
        if self.name not in names:
            near = difflib.get_close_matches(str(self.name), names, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"name is '{self.name}', but the data sets are {', '.join(names)}.{hint}")
        tasks = ("auto", "classification", "regression")
        if self.task not in tasks:
            raise ValueError(f"task is '{self.task}', but it must be one of {', '.join(tasks)}.")
        for option, least in (("train", 1), ("classes", 2)):
            if getattr(self, option) is not None:
                whole_number(option, getattr(self, option), least)
        share_or_count("validation", self.validation)
        share("test", self.test)
        self._check_path()

    def _check_path(self) -> None:
        if self.name == "file":
            if self.path is None or Path(self.path).suffix.lower() not in (".npz", ".csv"):
                raise ValueError(
                    f'path is {self.path!r}, but name = "file" needs the path of a .npz or .csv file.'
                )
            return
        for option in ("path", "target", "task", "test"):
            value = getattr(self, option)
            if value != Data.__dataclass_fields__[option].default:
                raise ValueError(
                    f"{option} = {value!r} has no meaning for '{self.name}': it is read only with "
                    'name = "file"; leave it out.'
                )


def load(data: Data | Series, seed: int) -> Splits:
    """Read a data set and make disjoint training, validation and test samples of it.

    A `Series` becomes windows cut in order of time, the same for every seed: see `coppice.data.series.windows`.
    From the pool of `Data`, training and validation samples are drawn with `seed`. Classification is drawn
    stratified: first validation, which therefore does not depend on `train`, then training. The test set is the
    same for every seed. A file's features, and regression targets, are standardised with constants of the
    training rows, kept in `provenance`. ValueError: counts or classes that the data cannot give; errors of the
    readers pass.
    """
    return load_series(data, seed) if isinstance(data, Series) else _drawn(data, seed)


def _drawn(data: Data, seed: int) -> Splits:
    source = _read(data)
    classes = source.classes
    x, y, x_test, y_test = source.x, source.y, source.x_test, source.y_test
    if data.classes is not None:
        if classes is None or data.classes > len(classes):
            has = "has no classes" if classes is None else f"has {len(classes)} classes"
            raise ValueError(
                f"classes is {data.classes}, but '{_label(data)}' {has}: lower it or leave it out."
            )
        classes = classes[: data.classes]
        keep, keep_test = y < data.classes, y_test < data.classes
        x, y, x_test, y_test = x[keep], y[keep], x_test[keep_test], y_test[keep_test]
        if not len(y_test):
            raise ValueError(f"None of the first {data.classes} classes is in the test set: raise classes.")
    learned, judged = counts(len(y), data.train, data.validation)
    rng = np.random.default_rng(seed)
    strata = np.zeros(len(y), dtype=np.int64) if classes is None else y
    validation, rest = draw(strata, judged, rng)
    chosen, _ = draw(strata[rest], learned, rng)
    train = rest[chosen]
    if classes is not None:
        _check_every_class(y, train, classes)
    features = source.scaling or fit(x[train])
    target = _fit_target(y[train]) if classes is None else None

    def split(x: NDArray[Any], y: NDArray[Any]) -> Split:
        answers = y if target is None else target(y)
        return Split(torch.from_numpy(features(x)), torch.from_numpy(answers))

    return Splits(
        train=split(x[train], y[train]),
        validation=split(x[validation], y[validation]),
        test=split(x_test, y_test),
        task=source.task,
        outputs=y.shape[1] if classes is None else len(classes),
        classes=classes,
        provenance={
            "name": data.name,
            "licence": SETS[data.name].licence if data.name in SETS else "the user's own file",
            **source.provenance,
            "task": source.task,
            "classes": None if classes is None else list(classes),
            "seed": int(seed),
            "counts": {"pool": len(y), "train": learned, "validation": judged, "test": len(y_test)},
            "scaling": {"features": features.record(), "target": None if target is None else target.record()},
        },
    )


def status(name: str) -> Literal["embedded", "cached", "in COPPICE_DATA", "not downloaded"]:
    """Where the files of a named set are; ValueError for an unknown name.

    A file whose checksum does not fit counts as absent. Of other forms the content is checked when it is read.
    """
    if name not in SETS:
        raise ValueError(f"'{name}' is not a data set: the sets are {', '.join(SETS)}.")
    files = SETS[name].files
    if not files:
        return "embedded"
    try:
        present = all(here(file) for file in files)
    except ModuleNotFoundError:  # only pooch knows the cache folder; a list of the sets must not need it
        present = False
    if not present:
        return "not downloaded"
    if any(isinstance(file, TextFile) and file.packaged() for file in files):
        return "embedded"
    return "cached" if origin() == "cache" else "in COPPICE_DATA"


def _read(data: Data) -> Source:
    if data.name == "digits":
        return digits.read()
    if data.name == "mnist":
        return mnist.read(SETS["mnist"].files)
    return table.read(Path(data.path or "").expanduser(), data.target, data.task, data.test)


def _label(data: Data) -> str:
    return Path(data.path).name if data.path else data.name


def _check_every_class(y: NDArray[Any], train: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    learned = np.bincount(y[train], minlength=len(classes))
    if not learned.all():
        missing = int(np.flatnonzero(learned == 0)[0])
        raise ValueError(
            f"The class '{classes[missing]}' has no sample among the {len(train)} drawn for training "
            f"({int((y == missing).sum())} of {len(y)} in the pool): raise train, lower validation, or leave "
            "the class out."
        )


def _fit_target(y: NDArray[Any]) -> Scaling:
    constant = np.flatnonzero(y.min(axis=0) == y.max(axis=0))
    if constant.size:
        raise ValueError(
            f"The regression target (output {constant[0]}) is {y[0, constant[0]]} in all {len(y)} training "
            "rows: there is nothing to learn; draw more rows, or choose another target."
        )
    return fit(y)
