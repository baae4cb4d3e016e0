"""Read `.csv` and `.npz` files into arrays, strictly: whatever is out of place is refused with its place."""

import csv
import difflib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coppice.data.forms import DAMAGE

REAL = "biuf"  # numpy's kinds of real numbers


@dataclass(frozen=True)
class Table:
    """Arrays as found in a file. `x` [n, feature] or [n, channel, height, width]; `y` numbers or text.

    `columns` names the features of a csv file, `lines` the line of each of its rows.
    """

    file: str
    x: NDArray[Any]
    y: NDArray[Any]
    x_test: NDArray[Any] | None = None
    y_test: NDArray[Any] | None = None
    columns: tuple[str, ...] | None = None
    lines: tuple[int, ...] | None = None

    def place(self, row: int) -> str:
        """Where row `row` (from 0) stands, for a message: the line of a csv file, counted from 1."""
        return f"row {row} (the first is 0)" if self.lines is None else f"line {self.lines[row]}"


def check_finite(table: Table, values: NDArray[Any], what: str) -> None:
    """ValueError when numbers are NaN or infinite: how many rows, and the first."""
    if values.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if bad.size:
            where = table.place(int(bad[0]))
            raise ValueError(
                f"'{table.file}': {what} has NaN or infinite values in {bad.size} of {len(values)} rows, "
                f"first in {where}: fill or drop them."
            )


def number(cell: str) -> float | None:
    """The number a csv cell spells, None when it spells none (Python's 1_000 is none)."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def read_csv(path: Path, target: str | None) -> Table:
    """Rows of a comma-separated file with a header line; blank lines are skipped.

    `y` is float64 when every target cell is a number, else stripped text. ValueError names line and column.
    """
    names, rows = _header_and_rows(path)
    at = _target_column(path.name, names, target)
    _check_rows(path.name, names, rows)
    for line, row in rows:
        if not row[at]:
            raise ValueError(f"'{path.name}', line {line}: the target '{target}' is empty; drop the row.")
    features = [k for k in range(len(names)) if k != at]
    x = np.array([[_feature(path.name, line, names[k], row[k]) for k in features] for line, row in rows])
    answers = [row[at] for _, row in rows]
    numbers = [number(answer) for answer in answers]
    return Table(
        file=path.name,
        x=x,
        y=np.array(answers) if None in numbers else np.array(numbers, dtype=np.float64),
        columns=tuple(names[k] for k in features),
        lines=tuple(line for line, _ in rows),
    )


def read_columns(path: Path, columns: Sequence[str]) -> NDArray[np.float64]:
    """These columns of a comma-separated file, [n, column] in this order; others are passed over.

    ValueError names line and column.
    """
    names, rows = _header_and_rows(path)
    _refuse_twice(path.name, names)
    for column in columns:
        if column not in names:
            raise ValueError(f"'{path.name}' has no column '{column}'; the columns are: {', '.join(names)}.")
    _check_rows(path.name, names, rows)
    places = [names.index(column) for column in columns]
    return np.array([[_feature(path.name, line, names[k], row[k]) for k in places] for line, row in rows])


Rows = list[tuple[int, list[str]]]  # number of the line, and its cells


def _header_and_rows(path: Path) -> tuple[list[str], Rows]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as broken:
        raise ValueError(f"'{path.name}' cannot be read as comma-separated UTF-8 text: {broken}.") from broken
    if not rows:
        raise ValueError(f"'{path.name}' is empty: the first line must name the columns.")
    return rows[0][1], rows[1:]


def _check_rows(file: str, names: Sequence[str], rows: Rows) -> None:
    if not rows:
        raise ValueError(f"'{file}' has a header line but no rows.")
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(
                f"'{file}', line {line} has {len(row)} cells, but the header names {len(names)} columns."
            )


def _refuse_twice(file: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"'{file}' names the column '{twice[0]}' more than once: rename one.")


def _target_column(file: str, names: Sequence[str], target: str | None) -> int:
    listed = f"the columns are: {', '.join(names)}"
    _refuse_twice(file, names)
    if len(names) < 2:
        hint = " (separate the cells by commas)" if {";", "\t"} & set(names[0]) else ""
        raise ValueError(
            f"'{file}' has one column, '{names[0]}', but a target and a feature are needed{hint}."
        )
    if target is None:
        raise ValueError(f"Which column of '{file}' is to be learned? Set target; {listed}.")
    if target not in names:
        near = difflib.get_close_matches(target, names, n=1, cutoff=0.4)
        hint = f"; the nearest is '{near[0]}'" if near else ""
        raise ValueError(f"'{file}' has no column target = '{target}'{hint}; {listed}.")
    return names.index(target)


def _feature(file: str, line: int, column: str, cell: str) -> float:
    value = number(cell)
    if value is None:
        found = f"'{cell}' is not a number" if cell else "the cell is empty"
        raise ValueError(
            f"'{file}', line {line}, column '{column}': {found}; features must be numeric, "
            "so encode the column as numbers or drop it."
        )
    return value


def read_npz(path: Path) -> Table:
    """The arrays x, y and, both or neither, x_test, y_test; y [n, 1] becomes [n].

    Pickled objects are refused, since they can run code. ValueError names the array and what is wrong.
    """
    arrays = read_arrays(path, ("x", "y"), also=("x_test", "y_test"))
    x, y, x_test, y_test = arrays["x"], arrays["y"], arrays.get("x_test"), arrays.get("y_test")
    y = _checked_target(path.name, x, y, "")
    if x_test is None and y_test is None:
        return Table(path.name, x, y)
    if x_test is None or y_test is None:
        raise ValueError(f"'{path.name}' has only one of x_test and y_test: give both or neither.")
    y_test = _checked_target(path.name, x_test, y_test, "_test")
    for name, pool, test in (("x", x, x_test), ("y", y, y_test)):
        if pool.shape[1:] != test.shape[1:]:
            raise ValueError(
                f"'{path.name}': {name} is {list(pool.shape)} but {name}_test is {list(test.shape)}: "
                "all but the first number must agree."
            )
    return Table(path.name, x, y, x_test, y_test)


def read_arrays(path: Path, wanted: Sequence[str], also: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """The wanted arrays of a .npz file by name, and of `also` those that are there; others are passed over.

    Those whose names begin with x hold real numbers, the others numbers or text. ValueError names the file and the
    array, also one that lacks.
    """
    content = io.BytesIO(path.read_bytes())  # what the disk or missing rights raise is no damage, and passes
    if not zipfile.is_zipfile(content):
        raise ValueError(f"'{path.name}' is not an .npz file, or is cut off: write it with numpy.savez.")
    content.seek(0)
    try:
        with np.load(content, allow_pickle=False) as members:
            for name in wanted:
                if name not in members.files:
                    listed = ", ".join(members.files) or "none"
                    raise ValueError(
                        f"'{path.name}' has no array '{name}', it has: {listed}; save them under these names."
                    )
            return _members(members, path.name, [*wanted, *(name for name in also if name in members.files)])
    except DAMAGE as broken:
        raise ValueError(f"'{path.name}' is damaged ({broken}): write it again with numpy.savez.") from broken


def _members(members: Any, file: str, wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for name in wanted:
        try:
            arrays[name] = array = members[name]
        except ValueError as refused:
            raise ValueError(
                f"'{file}': the array '{name}' cannot be read ({refused}). Pickled objects are refused, "
                "since they can run code: save plain arrays of numbers (or text for y)."
            ) from refused
        allowed = REAL if name.startswith("x") else REAL + "U"
        if not isinstance(array, np.ndarray) or array.dtype.kind not in allowed:
            raise ValueError(f"'{file}': the array '{name}' must hold real numbers (or text for y).")
    return arrays


def _checked_target(file: str, x: NDArray[Any], y: NDArray[Any], suffix: str) -> NDArray[Any]:
    if x.ndim not in (2, 4) or not x.size:
        raise ValueError(
            f"'{file}': x{suffix} is {list(x.shape)}, expected [n, features] or [n, channel, height, width], "
            f"nowhere 0: {'grey pictures get a channel by x[:, None].' if x.ndim == 3 else 'reshape it.'}"
        )
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim > 1 + (y.dtype.kind != "U") or not y.shape or not y.size:
        raise ValueError(
            f"'{file}': y{suffix} is {list(y.shape)}, expected [n], or [n, outputs] for regression."
        )
    if len(x) != len(y):
        raise ValueError(
            f"'{file}': x{suffix} has {len(x)} rows, but y{suffix} has {len(y)}: they must agree."
        )
    return y
