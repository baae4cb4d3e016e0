"""Training, validation and test windows of one or several series, with all that a forecast is judged by."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from coppice.data.series_frame import Columns, Long, Run
from coppice.data.series_leaks import assert_no_future
from coppice.data.series_preparation import Preparation
from coppice.data.series_windows import (
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


@dataclass(frozen=True)
class Shares:
    """Shares of the rows of each series that validate and, last in time, test."""

    validation: float
    test: float


def windows(
    long: Long,
    columns: Columns,
    form: Form,
    shares: Shares,
    period: int | None,
    origin: dict[str, Any],
) -> Splits:
    """Training, validation and test windows of all series in a table, those of one series after the other.

    Each series is cut in order of time by the rows to forecast: a window belongs to the part that holds all its
    target rows, and windows across a border to none; inputs may look back over a border. Each series is scaled by
    constants of its own training rows. Windows whose target was not observed are left out. x [n, length, channel],
    channel 0 the target's own history; y [n, horizon]. `period` None: by the step of the times. ValueError names
    what does not fit. UserWarning when one series still trains at a time that another is tested on.
    """
    made = [_cut(trimmed(run, form, long.what), form, shares, long) for run in long.runs]
    _warn_of_shared_time(made, long.what)
    period = _period(period, long, min(one.borders[1] for one in made), form)
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


def _cut(run: Run, form: Form, shares: Shares, long: Long) -> _Cut:
    least = rows_needed(form, shares.validation, shares.test)
    if len(run.y) < least:
        raise ValueError(
            f"{long.what}: '{run.name}' has {len(run.y)} rows from the first observed target on, but length "
            f"{form.length}, horizon {form.horizon}, validation {shares.validation} and test {shares.test} need "
            f"{least}: give more rows, or lower length or horizon."
        )
    first, second = borders(len(run.y), shares.validation, shares.test)
    assert_no_future(run, long.covariates, first, form.length + form.horizon, long.what)
    constants = fit(run, form, first, long.covariates, long.what)
    chosen = parts(run, form, shares.validation, shares.test)
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


def _period(asked: int | None, long: Long, before: int, form: Form) -> int:
    """Rows of a season; `before` rows lie before the first test row."""
    most = before - form.horizon
    if asked is not None and asked > most:
        raise ValueError(
            f"period is {asked}, but the test of {long.what} begins after {before} rows, so {most} is the most."
        )
    usual = long.step.season()
    return asked or (usual if usual <= most else 1)
