"""The long form, `unique_id, ds, y` and covariates: read strictly, whatever is out of place is refused."""

import csv
import difflib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coppice.data.extras import need
from coppice.data.series_columns import check_values, numbers, times
from coppice.data.series_step import Step, infer

Frame = Any  # a pandas.DataFrame; pandas is imported only where it is needed
SINGLE = "series"  # the name of a series in a table without a column of names


@dataclass(frozen=True)
class Run:
    """One series, in order of time. Missing values of `y` [row] and `covariates` [row, covariate] are NaN."""

    name: str
    ds: NDArray[Any]  # datetime64[us] or int64
    y: NDArray[np.float64]
    covariates: NDArray[np.float64]

    def when(self, row: int) -> str:
        """The timestamp of a row as text."""
        return str(self.ds[row]).removesuffix(".000000").replace("T", " ")


@dataclass(frozen=True)
class Columns:
    """Which column is what: `covariates` None takes all that is left, `series` None takes all series."""

    target: str
    covariates: tuple[str, ...] | None = None
    time: str = "ds"
    id: str = "unique_id"
    series: tuple[str, ...] | None = None
    missing: Literal["error", "forward"] = "error"


@dataclass(frozen=True)
class Long:
    """A checked table in the long form: `runs` in order of appearance, all of one step."""

    what: str
    target: str
    covariates: tuple[str, ...]
    runs: tuple[Run, ...]
    step: Step


def read_frame(path: Path, id: str = "unique_id") -> Frame:
    """The rows of a comma-separated file with a header line, as a pandas.DataFrame.

    The column `id`, the names of the series, is text as it stands there: 001 is not 1, and NA is a name.
    FileNotFoundError and ValueError name the file and the way out.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}': check csv in the recipe's table [data].")
    pandas = need("pandas")
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            names = [name.strip() for name in next(csv.reader(text, strict=True), [])]
        if not names:
            raise ValueError(f"'{path.name}' is empty: the first line must name the columns.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:  # pandas would rename the second one without a word
            raise ValueError(f"'{path.name}' names the column '{twice[0]}' more than once: rename one.")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)  # it cuts rows that are too long
            frame = pandas.read_csv(
                path,
                skipinitialspace=True,
                encoding="utf-8-sig",
                index_col=False,
                # as bytes, since of text pandas takes NA and the like for empty even after a converter
                converters={names.index(id): str.encode} if id in names else None,
            )
    except (UnicodeDecodeError, csv.Error, pandas.errors.ParserError, pandas.errors.ParserWarning) as broken:
        raise ValueError(f"'{path.name}' cannot be read as comma-separated UTF-8 text: {broken}.") from broken
    frame.columns = names
    if id in names:
        frame[id] = [name.decode().strip() for name in frame[id]]
    return frame


def long_form(frame: Frame, columns: Columns, what: str, step: Step | None = None) -> Long:
    """Check a table and take its series apart. `what` names the table in messages; `step` when it is known.

    Rows are counted from 1. With missing = "forward" empty cells stay NaN, and rows that lack between two
    others are put in, all empty; without it either is refused. ValueError names the row, the bound and the way
    out.
    """
    names = _names(frame, columns, what)
    if not len(frame):
        raise ValueError(f"{what} has no rows: a series is needed, one row per point of time.")
    values = np.stack(
        [numbers(frame[name], name, what) for name in (columns.target, *names)], axis=1, dtype=np.float64
    )
    for at, name in enumerate((columns.target, *names)):
        check_values(values[:, at], name, columns.missing, what)
    ds = times(frame[columns.time], columns.time, what)
    groups = _groups(frame, columns, what)
    for name, rows in groups.items():
        _check_order(ds[rows], rows, name, columns, what)
    if step is None:
        step = infer(ds[max(groups.values(), key=len)])
    elif (step.kind == "rows") != (ds.dtype.kind != "M"):
        kinds = "dates" if ds.dtype.kind == "M" else "whole numbers"
        raise ValueError(
            f"{what}: '{columns.time}' holds {kinds}, but the step is {step}: use the same kind."
        )
    runs = []
    for name, rows in groups.items():
        run = Run(name, ds[rows], values[rows, 0], values[rows, 1:])
        if columns.missing == "forward":
            run = _with_gaps(run, step)
        _check_step(run, rows, step, columns, what)
        runs.append(run)
    return Long(what, columns.target, names, tuple(runs), step)


def nearest(name: str, known: Sequence[str]) -> str:
    """For a message: the known name that is most like `name`, if any, then all of them."""
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    return (f"the nearest is '{near[0]}'; " if near else "") + f"there are: {listed}"


def _names(frame: Frame, columns: Columns, what: str) -> tuple[str, ...]:
    """The covariates, once every column that is asked for has been found."""
    if not hasattr(frame, "columns"):
        raise ValueError(
            f"{what} is a {type(frame).__name__}, but a pandas.DataFrame in the long form is needed."
        )
    known = [str(name) for name in frame.columns]
    twice = sorted({name for name in known if known.count(name) > 1})
    if twice:
        raise ValueError(f"{what} has the column '{twice[0]}' more than once: rename one.")
    if len(known) == 1 and {";", "\t"} & set(known[0]):
        raise ValueError(f"{what} has one column, '{known[0]}': separate the cells by commas.")
    for option, name in (("target", columns.target), ("time", columns.time)):
        if name not in known:
            hint = " It is the index: use frame.reset_index()." if name in frame.index.names else ""
            raise ValueError(f"{what} has no column {option} = '{name}': {nearest(name, known)}.{hint}")
    if columns.id not in known and columns.id != "unique_id":
        raise ValueError(f"{what} has no column id = '{columns.id}': {nearest(columns.id, known)}.")
    kept = (columns.time, columns.id)
    if columns.target in kept:
        raise ValueError(
            f"target = '{columns.target}' names the column of the times or of the series in {what}: "
            "choose the column of values to forecast."
        )
    if columns.covariates is None:
        return tuple(name for name in known if name not in (columns.target, *kept))
    for at, name in enumerate(columns.covariates):
        if name == columns.target:
            raise ValueError(
                f"covariates names the target '{name}': its own history is channel 0 already; leave it out."
            )
        if name not in known:
            raise ValueError(f"{what} has no column covariates = '{name}': {nearest(name, known)}.")
        if name in kept or name in columns.covariates[:at]:
            raise ValueError(f"covariates names '{name}', which is read already: leave it out.")
    return columns.covariates


def _groups(frame: Frame, columns: Columns, what: str) -> dict[str, NDArray[np.int64]]:
    """The rows of each series, in order of appearance."""
    if columns.id not in frame.columns:
        groups = {SINGLE: np.arange(len(frame))}
    else:
        codes, names = need("pandas").factorize(frame[columns.id])
        blank = [-1, *(k for k, name in enumerate(names) if str(name) == "")]
        empty = np.flatnonzero(np.isin(codes, blank))
        if empty.size:
            row = int(empty[0])
            raise ValueError(
                f"{what}, row {row + 1}: '{columns.id}' is empty: say which series the row is of."
            )
        order = np.argsort(codes, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(codes, minlength=len(names)))[:-1])
        groups = {str(name): part for name, part in zip(names, parts, strict=True)}
    if columns.series is None:
        return groups
    for name in columns.series:
        if name not in groups:
            raise ValueError(f"{what} has no series = '{name}': {nearest(name, list(groups))}.")
    return {name: groups[name] for name in columns.series}


def _check_order(ds: NDArray[Any], rows: NDArray[np.int64], name: str, columns: Columns, what: str) -> None:
    back = np.flatnonzero(np.diff(ds.astype(np.int64)) <= 0)
    if not back.size:
        return
    at = int(back[0]) + 1
    of = "" if name == SINGLE else f" of '{name}'"
    if ds[at] == ds[at - 1]:
        raise ValueError(
            f"{what}, row {rows[at] + 1}: '{columns.time}'{of} is {ds[at]} a second time, as in row "
            f"{rows[at - 1] + 1}: keep one row per time (frame.drop_duplicates), or name the series in "
            f"'{columns.id}'."
        )
    raise ValueError(
        f"{what}, row {rows[at] + 1}: '{columns.time}'{of} is {ds[at]}, before {ds[at - 1]} in row "
        f"{rows[at - 1] + 1}: sort the rows by time (frame.sort_values), or name the series in '{columns.id}'."
    )


def _check_step(run: Run, rows: NDArray[np.int64], step: Step, columns: Columns, what: str) -> None:
    at = step.misfit(run.ds)
    if at is None:
        return
    of = "" if run.name == SINGLE else f" of '{run.name}'"
    row = f", row {rows[at] + 1}" if len(rows) == len(run.ds) else ""
    raise ValueError(
        f"{what}{row}: '{columns.time}'{of} goes from {run.ds[at - 1]} to {run.ds[at]}, but the step is {step}: "
        'put in the rows that lack (missing = "forward" does it for steps of equal size), resample, or number '
        "the rows by whole numbers if they are to count as neighbours."
    )


def _with_gaps(run: Run, step: Step) -> Run:
    """The run with an empty row wherever whole steps lack; as it is where that is not the case."""
    if step.kind == "offset" or len(run.ds) < 2:
        return run
    offsets = run.ds.astype(np.int64) - run.ds[:1].astype(np.int64)
    if step.amount < 1 or (offsets % step.amount).any() or offsets[-1] // step.amount == len(offsets) - 1:
        return run
    at = offsets // step.amount
    if at[-1] > 100 * len(at):  # a wrong year must not fill the memory
        return run
    full = np.arange(at[-1] + 1) * step.amount + run.ds[:1].astype(np.int64)
    y, covariates = np.full(len(full), np.nan), np.full((len(full), run.covariates.shape[1]), np.nan)
    y[at], covariates[at] = run.y, run.covariates
    return Run(run.name, full.astype(run.ds.dtype), y, covariates)
