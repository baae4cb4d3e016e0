"""One column of a table: numbers or times, with the row of whatever is neither."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coppice.data.extras import need


def numbers(column: Any, name: str, what: str) -> NDArray[np.float64]:
    """A column as float64; empty cells are NaN. ValueError on anything that is no number."""
    pandas = need("pandas")
    if column.dtype.kind in "biuf":
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    dates = column.dtype.kind in "mM"
    values = column if dates else pandas.to_numeric(column, errors="coerce")
    wrong = np.flatnonzero(column.notna() & (dates | values.isna()))
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(
            f"{what}, row {row + 1}, column '{name}': '{column.iloc[row]}' is not a number. Target and covariates "
            "must be numeric: correct the cell, drop the column, or list the columns to use in covariates."
        )
    return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))


def check_values(values: NDArray[np.float64], name: str, missing: str, what: str) -> None:
    """ValueError on infinite values, on empty ones unless `missing` is "forward", and on a wholly empty column."""
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        row = int(infinite[0])
        raise ValueError(
            f"{what}, row {row + 1}, column '{name}' is {values[row]}, one of {infinite.size} infinite values: "
            "correct it, or leave the cell empty."
        )
    empty = np.flatnonzero(np.isnan(values))
    if empty.size and missing == "error":
        raise ValueError(
            f"{what}, row {int(empty[0]) + 1}, column '{name}' is empty or NaN, as are {empty.size} of "
            f'{len(values)} rows: fill them, or set missing = "forward", which carries the last value on as an '
            "input and neither trains nor scores on rows without a target."
        )
    if empty.size == len(values):
        raise ValueError(f"{what}: the column '{name}' is empty in all {len(values)} rows: leave it out.")


def times(column: Any, name: str, what: str) -> NDArray[Any]:
    """Timestamps as datetime64[us] (UTC where a zone is given) or int64."""
    pandas = need("pandas")
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0])
        raise ValueError(
            f"{what}, row {row + 1}: '{name}' is empty, but every row needs its time: drop the row."
        )
    if column.dtype.kind in "iu":
        return np.asarray(column.to_numpy(dtype=np.int64))
    if column.dtype.kind == "M":
        times = column
    elif column.dtype.kind in "biufmc" or isinstance(column.dtype, pandas.PeriodDtype):
        raise ValueError(
            f"{what}: '{name}' holds {column.dtype}, but times are whole numbers or dates: convert it with "
            "pandas.to_datetime or to int."
        )
    else:
        times = pandas.to_datetime(column, format="ISO8601", utc=True, errors="coerce")
        if times.isna().any():
            row = int(np.flatnonzero(times.isna())[0])
            raise ValueError(
                f"{what}, row {row + 1}: '{name}' is '{column.iloc[row]}', which is no date that can be read one "
                "way only: write 2004-03-10 or 2004-03-10 18:00:00, or number the rows."
            )
    if getattr(times.dtype, "tz", None) is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    return np.asarray(times.to_numpy()).astype("datetime64[us]")
