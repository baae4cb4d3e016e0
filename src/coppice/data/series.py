"""Series to forecast: the table [data] of a recipe, or a table of the user's, made into windows without a leak."""

import hashlib
import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from coppice.data.series_frame import Columns, Frame, Long, Run, long_form, nearest, read_frame
from coppice.data.series_leaks import assert_no_future
from coppice.data.series_preparation import Preparation
from coppice.data.series_sets import SERIES, Choice
from coppice.data.series_windows import (
    TRANSFORMS,
    Constants,
    Form,
    Parts,
    borders,
    fit,
    inputs,
    last,
    parts,
    persistence,
    rows_needed,
    seasonal,
    targets,
    trimmed,
    unit,
)
from coppice.data.splits import Split, Splits

OWN = ("missing", "time", "id")  # options that only a table of the user's needs


@dataclass(frozen=True)
class Series:
    """What to forecast: the table [data] of a recipe. ValueError on a value that cannot be meant.

    `name`: one of SERIES; or `csv`: the path of a table in the long form `unique_id, ds, y`, and then `name` is not
    read. `target`: the column to forecast ("y", or the set's usual one). `covariates`: the columns known up to the
    present; None takes all others, () none. `series`: which series; None takes all, and of "sp500-stocks" five.
    `length`: rows the model sees. `horizon`: rows it forecasts. `transform`: as what the target is forecast: its
    level standardised ("none"), its change from the present ("difference") or its log-return ("log_return");
    "auto": as is usual for the set, "none" for a csv. `period`: rows of the seasonal forecast; None: the set's, or
    by the step of the times. `validation`, `test`: shares of the rows of each series, test last in time.
    `aggregate`: sums of "household-power". `missing`, `time`, `id`: of a csv: what to do with empty cells ("error",
    or "forward": carry the last value on), the columns of times and of the series' names.
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
            if value is None and option == "period":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{option} is {value!r}, but it must be a whole number of rows, 1 or more.")
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
            value = getattr(self, option)
            if isinstance(value, bool) or not isinstance(value, float) or not 0 < value < 1:
                raise ValueError(
                    f"{option} is {value!r}, but it must be a share above 0 and below 1; 0.2 means 20 %."
                )
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation = {self.validation} and test = {self.test} leave no rows to train on: together they "
                "must stay below 1."
            )
        for option in ("covariates", "series"):
            value = getattr(self, option)
            if isinstance(value, str) or (option == "series" and value == ()):
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
        target = self.target or ("y" if own else SERIES[self.name].target)
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
    frame = read_frame(path)
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
    return windows(frame, series, {**origin, "seed": int(seed)}, f"'{origin['name']}'")


def from_frame(frame: Frame, **options: Any) -> Splits:
    """Windows of a pandas.DataFrame in the long form; `options` are those of `Series`, without name and csv."""
    series = Series(csv="a DataFrame", **options)
    content = (
        repr([str(name) for name in frame.columns]) + frame.to_csv(index=False)
        if hasattr(frame, "to_csv")
        else ""
    )
    origin = {
        "name": "DataFrame",
        "licence": "the user's own data",
        "source": "a pandas.DataFrame",
        "read_from": "memory",
        "sha256": {"the table as csv": hashlib.sha256(content.encode()).hexdigest()},
        "seed": 0,
    }
    return windows(frame, series, origin, "the DataFrame")


def windows(frame: Frame, series: Series, origin: dict[str, Any], what: str) -> Splits:
    """Training, validation and test windows of all series in a table, those of one series after the other.

    Each series is cut in order of time by the rows to forecast: a window belongs to the part that holds all its
    target rows, and windows across a border to none; inputs may look back over a border. Each series is scaled by
    constants of its own training rows. Windows whose target was not observed are left out. x [n, length, channel],
    channel 0 the target's own history; y [n, horizon]. ValueError names what does not fit. UserWarning when one
    series still trains at a time that another is tested on.
    """
    columns = series.columns()
    long = long_form(frame, columns, what)
    usual = "none" if series.csv is not None else SERIES[series.name].transform
    form = Form(series.length, series.horizon, usual if series.transform == "auto" else series.transform)
    made = [_part(trimmed(run, form, what), form, series, long) for run in long.runs]
    _warn_of_shared_time(made, what)
    period = _period(series, long, min(one.borders[1] for one in made), form)
    preparation = Preparation(
        replace(columns, covariates=long.covariates, series=None),
        form,
        long.step,
        {one.run.name: one.constants for one in made},
    )

    def split(part: str) -> Split:
        starts = [getattr(one.parts, part) for one in made]
        pairs = list(zip(made, starts, strict=True))
        x = np.concatenate([inputs(one.run, form, one.constants, at) for one, at in pairs])
        y = np.concatenate([targets(one.run, form, one.constants, at) for one, at in pairs])
        return Split(torch.from_numpy(x), torch.from_numpy(y))

    train, validation, test = (split(part) for part in Parts._fields)
    tests = [(one.run, form, one.constants, one.parts.test) for one in made]
    units = [unit(form, known, last(run, form, at)) for run, _, known, at in tests]
    return Splits(
        train=train,
        validation=validation,
        test=test,
        task="forecast",
        outputs=form.horizon,
        classes=None,
        provenance={
            **origin,
            "task": "forecast",
            "classes": None,
            "target": long.target,
            "covariates": list(long.covariates),
            "transform": form.transform,
            "period": period,
            "counts": {
                "rows": sum(len(one.run.y) for one in made),
                "unobserved": sum(int(np.isnan(one.run.y).sum()) for one in made),
                "train": len(train.y),
                "validation": len(validation.y),
                "test": len(test.y),
            },
            "begins": {
                one.run.name: {
                    "train": one.run.when(0),
                    "validation": one.run.when(one.borders[0]),
                    "test": one.run.when(one.borders[1]),
                    "end": one.run.when(-1),
                }
                for one in made
            },
            "preparation": preparation.record(),
        },
        naive={
            "persistence": torch.from_numpy(np.concatenate([persistence(*test) for test in tests])),
            "seasonal naive": torch.from_numpy(np.concatenate([seasonal(*test, period) for test in tests])),
        },
        unit_scale=torch.from_numpy(np.concatenate(units).astype(np.float32)),
    )


@dataclass(frozen=True)
class _Cut:
    """One series with its borders, constants and windows."""

    run: Run
    borders: tuple[int, int]
    constants: Constants
    parts: Parts


def _part(run: Run, form: Form, series: Series, long: Long) -> _Cut:
    least = rows_needed(form, series.validation, series.test)
    if len(run.y) < least:
        raise ValueError(
            f"{long.what}: '{run.name}' has {len(run.y)} rows from the first observed target on, but length "
            f"{form.length}, horizon {form.horizon}, validation {series.validation} and test {series.test} need "
            f"{least}: give more rows, or lower length or horizon."
        )
    first, second = borders(len(run.y), series.validation, series.test)
    assert_no_future(run, long.covariates, first, form.length + form.horizon, long.what)
    constants = fit(run, form, first, long.covariates, long.what)
    chosen = parts(run, form, series.validation, series.test)
    for name, starts in zip(Parts._fields, chosen, strict=True):
        if not len(starts):
            raise ValueError(
                f"{long.what}: '{run.name}' has no {name} window whose {form.horizon} targets were all observed: "
                "give more rows, lower horizon, or leave the series out."
            )
    return _Cut(run, (first, second), constants, chosen)


def _warn_of_shared_time(made: list[_Cut], what: str) -> None:
    late = max(made, key=lambda one: one.run.ds[one.borders[0] - 1])
    early = min(made, key=lambda one: one.run.ds[one.borders[1]])
    if late.run.ds[late.borders[0] - 1] >= early.run.ds[early.borders[1]]:
        warnings.warn(
            f"{what}: '{late.run.name}' trains until {late.run.when(late.borders[0] - 1)}, but '{early.run.name}' "
            f"is tested from {early.run.when(early.borders[1])} on: what moves both is learned before it is "
            "tested. Choose series that span the same time, or forecast them one by one.",
            UserWarning,
            stacklevel=4,
        )


def _period(series: Series, long: Long, before: int, form: Form) -> int:
    """Rows of a season; `before` rows lie before the first test row."""
    most = before - form.horizon
    if series.period is not None:
        if series.period > most:
            raise ValueError(
                f"period is {series.period}, but the test begins after {before} rows, so {most} is the most."
            )
        return series.period
    if series.csv is None:
        known = 24 if series.aggregate == "hour" else SERIES[series.name].period
    else:
        known = long.step.season()
    return known if known <= most else 1
