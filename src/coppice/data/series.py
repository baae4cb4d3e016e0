"""Series to forecast: the table [data] of a recipe, or a table of the user's, made into windows without a leak."""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from coppice.data.series_frame import Columns, Frame, Long, long_form, nearest, read_frame
from coppice.data.series_sets import SERIES, Choice
from coppice.data.series_splits import Shares, windows
from coppice.data.series_windows import TRANSFORMS, Form
from coppice.data.splits import Splits, share, whole_number

OWN = ("missing", "time", "id")  # options that only a table of the user's needs


@dataclass(frozen=True)
class Series:
    """What to forecast: the table [data] of a recipe. ValueError on a value that cannot be meant.

    name:       one of SERIES; not read where there is a csv
    csv:        path of a table of your own, in the long form `unique_id, ds, y`
    target:     the column to forecast; "y", or the set's usual one
    covariates: the columns known up to the present; None: all others, (): none
    series:     which series; None: all, and of "sp500-stocks" five
    length:     rows the model sees
    horizon:    rows it forecasts
    transform:  as what the target is forecast: its level standardised ("none"), its change from the present
                ("difference") or its log-return ("log_return"); "auto": as is usual for the set, "none" for a csv
    period:     rows of the seasonal forecast; None: the set's, or by the step of the times
    validation: share of the rows of each series, before the test
    test:       share of the rows of each series, last in time
    aggregate:  sums of "household-power"
    missing:    of a csv, what to do with empty cells: "error", or "forward": carry the last value on
    time, id:   of a csv, the columns of times and of the series' names
    """

    name: str = "co2"
    csv: str | None = None
    target: str | None = None
    covariates: tuple[str, ...] | None = None
    series: tuple[str, ...] | None = None
    length: int = 14
    horizon: int = 1
    transform: Literal["auto", "none", "difference", "log_return"] = "auto"
    period: int | None = None
    validation: float = 0.16
    test: float = 0.2
    aggregate: Literal["day", "hour"] = "day"
    missing: Literal["error", "forward"] = "error"
    time: str = "ds"
    id: str = "unique_id"

    def __post_init__(self) -> None:
        if self.csv is None and self.name not in SERIES:
            raise ValueError(
                f"name is '{self.name}', but {nearest(self.name, list(SERIES))}; or set csv to a table of your own."
            )
        for option in ("length", "horizon", "period"):
            value = getattr(self, option)
            if value is not None or option != "period":
                whole_number(option, value, least=1)
                object.__setattr__(self, option, int(value))  # numpy's would be no JSON in the provenance
        for option, allowed in (
            ("transform", ("auto", *TRANSFORMS)),
            ("aggregate", ("day", "hour")),
            ("missing", ("error", "forward")),
        ):
            if getattr(self, option) not in allowed:
                raise ValueError(
                    f"{option} is {getattr(self, option)!r}, but it must be one of {', '.join(allowed)}."
                )
        for option in ("validation", "test"):
            share(option, getattr(self, option))
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation = {self.validation} and test = {self.test} leave no rows to train on: together they "
                "must stay below 1."
            )
        for option in ("covariates", "series"):
            value = getattr(self, option)
            if isinstance(value, str) or (option == "series" and value is not None and not value):
                raise ValueError(
                    f"{option} is {value!r}, but it must be a list of names, such as ['{value or 'A'}']."
                )
            if value is not None:
                object.__setattr__(self, option, tuple(value))
        self._check_meaning()

    def _check_meaning(self) -> None:
        defaults = {field.name: field.default for field in fields(self)}
        for option in OWN if self.csv is None else ():
            if getattr(self, option) != defaults[option]:
                raise ValueError(
                    f"{option} = {getattr(self, option)!r} has no meaning for '{self.name}': it is read only with "
                    "csv; leave it out."
                )
        if self.aggregate != "day" and (self.csv is not None or self.name != "household-power"):
            raise ValueError(
                f"aggregate = {self.aggregate!r} has a meaning for 'household-power' alone; leave it out."
            )

    def columns(self) -> Columns:
        """Which column is what; gaps of a named set are carried forward."""
        own = self.csv is not None
        usual = "y" if own else SERIES[self.name].target
        target = usual if self.target is None else self.target
        return Columns(
            target, self.covariates, self.time, self.id, self.series, self.missing if own else "forward"
        )


def table(series: Series) -> tuple[Frame, dict[str, Any]]:
    """The rows of a named set or of a csv in the long form, unchecked, and where they come from."""
    if series.csv is None:
        known = SERIES[series.name]
        frame, origin = known.read(Choice(series.series, series.aggregate))
        return frame, {"name": series.name, "licence": known.licence, **origin}
    path = Path(series.csv).expanduser()
    frame = read_frame(path, series.id)
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return frame, {
        "name": path.name,
        "licence": "the user's own file",
        "source": path.name,
        "read_from": path.name,
        "sha256": {path.name: digest},
    }


def load_series(series: Series, seed: int = 0) -> Splits:
    """Windows of a named set or of a csv; see `windows`. Nothing is drawn: `seed` is only kept in the provenance."""
    frame, origin = table(series)
    long = long_form(frame, series.columns(), f"'{origin['name']}'")
    return _windows(long, series, {**origin, "seed": int(seed)})


def from_frame(frame: Frame, **options: Any) -> Splits:
    """Windows of a pandas.DataFrame in the long form; `options` are those of `Series`, without name and csv."""
    series = Series(csv="a DataFrame", **options)
    long = long_form(frame, series.columns(), "the DataFrame")
    content = hashlib.sha256()
    for run in long.runs:
        content.update(run.name.encode())
        for values in (run.ds, run.y, run.covariates):
            content.update(np.ascontiguousarray(values).tobytes())
    origin = {
        "name": "DataFrame",
        "licence": "the user's own data",
        "source": "a pandas.DataFrame",
        "read_from": "memory",
        "sha256": {"name, times, target and covariates of each series": content.hexdigest()},
        "seed": 0,
    }
    return _windows(long, series, origin)


def _windows(long: Long, series: Series, origin: dict[str, Any]) -> Splits:
    usual, period = "none", series.period
    if series.csv is None:
        usual = SERIES[series.name].transform
        period = period or (24 if series.aggregate == "hour" else SERIES[series.name].period)
    form = Form(series.length, series.horizon, usual if series.transform == "auto" else series.transform)
    return windows(long, series.columns(), form, Shares(series.validation, series.test), period, origin)
