"""A user's own data: a `.npz` with the arrays x and y, or a `.csv` with a header line."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coppice.data.splits import TEST_SEED, Source, Task, hold_out
from coppice.data.table_files import Table, check_finite, number, read_csv, read_npz

MOST_CLASSES = 50  # more distinct whole numbers than this are taken for a quantity, not for classes
LEAST_POOL = 3  # two training rows, so that there is a spread to divide by, and one for validation


def read(
    path: Path, target: str | None, task: Literal["auto", "classification", "regression"], test: float
) -> Source:
    """Samples of a `.npz` or `.csv` file, unscaled, with a test set that is the same for every run.

    `.npz`: x [n, features] or [n, channel, height, width], y [n] (regression also [n, outputs]), and
    optionally x_test, y_test; no pickled objects. `.csv`: every column but `target` is a numeric feature.
    `task` "auto" means classification when the target is text, or whole numbers with at most 50 distinct
    values; else regression. Without its own test set the share `test` of the rows is held out.
    FileNotFoundError and ValueError name the file, the place in it and the way out.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}': check path in the recipe's table [data].")
    if path.suffix.lower() == ".csv":
        table = read_csv(path, target)
    elif target is None:
        table = read_npz(path)
    else:
        raise ValueError(f"target = '{target}' names a csv column, but '{path.name}' keeps its targets in y.")
    check_finite(table, table.x, "x")
    check_finite(table, table.y, "the target")
    kind = _task(table, task)
    classes = _Classes.of(table) if kind == "classification" else None
    strata = np.zeros(len(table.y), dtype=np.int64) if classes is None else classes.code(table.y)
    y = _amounts(table.y) if classes is None else strata
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    provenance: dict[str, Any] = {
        "source": path.name,
        "read_from": path.name,
        "sha256": {path.name: digest},
        "test": "its own",
    }
    if table.columns is not None:
        provenance |= {"target": target, "columns": list(table.columns)}
    if table.x_test is not None and table.y_test is not None:
        check_finite(table, table.x_test, "x_test")
        check_finite(table, table.y_test, "y_test")
        pool = np.arange(len(y))
        x_test = table.x_test
        y_test = _amounts(table.y_test) if classes is None else classes.code(table.y_test)
    else:
        held, pool = hold_out(strata, test)
        x_test, y_test = table.x[held], y[held]
        provenance["test"] = {"share": test, "seed": TEST_SEED}
    if len(pool) < LEAST_POOL:
        raise ValueError(
            f"'{path.name}' has {len(y)} rows, which leaves {len(pool)} for training and validation, but "
            f"they need {LEAST_POOL} or more: add rows, or lower test = {test}."
        )
    return Source(
        x=table.x[pool],
        y=y[pool],
        x_test=x_test,
        y_test=y_test,
        task=kind,
        classes=None if classes is None else classes.names,
        scaling=None,
        provenance=provenance,
    )


def _task(table: Table, task: Literal["auto", "classification", "regression"]) -> Task:
    """What is to be learned from the target; ValueError when `task` does not fit it or nothing varies."""
    y, file = table.y, table.file
    distinct = len(np.unique(y, axis=0))
    if distinct < 2:
        raise ValueError(f"'{file}': the target is {y[0]} in every row: there is nothing to learn.")
    if y.ndim == 2:
        if task == "classification":
            raise ValueError(
                f"'{file}': y is {list(y.shape)}, but classes are one number or text per row, [n]."
            )
        return "regression"
    if y.dtype.kind == "b":
        return "classification" if task == "auto" else task
    if y.dtype.kind == "U":
        numeric = np.array([number(value) is not None for value in y])
        odd = int(np.flatnonzero(~numeric)[0]) if not numeric.all() else 0
        if task == "regression":
            raise ValueError(
                f"'{file}': the target '{y[odd]}' in {table.place(odd)} is text, regression needs numbers."
            )
        if task == "auto" and numeric.any() and not numeric.all():
            plain = int(np.flatnonzero(numeric)[0])
            raise ValueError(
                f"'{file}': the target is '{y[plain]}' in {table.place(plain)}, a number, but '{y[odd]}' in "
                f'{table.place(odd)}: correct one, or set task = "classification" if all name classes.'
            )
        return "classification"
    if task != "auto":
        return task
    return "classification" if distinct <= MOST_CLASSES and (y == np.floor(y)).all() else "regression"


def _amounts(y: NDArray[Any]) -> NDArray[np.float64]:
    """Regression targets as [n, outputs]: a plain [n] would broadcast against a model's [n, 1]."""
    return y.astype(np.float64).reshape(len(y), -1)


@dataclass(frozen=True)
class _Classes:
    """The classes found in a target, in order of value: numbers by size, text alphabetically."""

    file: str
    values: NDArray[Any]
    names: tuple[str, ...]

    @classmethod
    def of(cls, table: Table) -> "_Classes":
        values = np.unique(table.y)
        whole = values.dtype.kind == "f" and bool((values == np.floor(values)).all())
        return cls(table.file, values, tuple(str(int(value) if whole else value) for value in values))

    def code(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """Class numbers [n]; ValueError for a value that is none of the classes."""
        if (y.dtype.kind == "U") != (self.values.dtype.kind == "U"):
            raise ValueError(f"'{self.file}': y holds {self.values.dtype}, y_test {y.dtype}: use one kind.")
        unknown = np.setdiff1d(y, self.values)
        if unknown.size:
            raise ValueError(
                f"'{self.file}': y_test has the class '{unknown[0]}', which is not in y: the classes are "
                f"{', '.join(self.names)}."
            )
        return np.searchsorted(self.values, y).astype(np.int64)
