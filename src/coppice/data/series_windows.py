"""From a series to windows: what the model sees, what it forecasts, and the constants of the training rows.

A window is `length` rows of input, then `horizon` rows to forecast; its last input row is the present. The target is
forecast as its level ("none"), or as its change, or log-return, from the present ("difference", "log_return").
Channel 0 of the input is the target's history: its level, its offset from the present, or its one-step log-returns.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from coppice.data.series_frame import Run

Transform = Literal["none", "difference", "log_return"]
TRANSFORMS: tuple[str, ...] = get_args(Transform)


@dataclass(frozen=True)
class Form:
    """The form of a window: rows seen, rows forecast, and as what the target is forecast."""

    length: int
    horizon: int
    transform: str

    @property
    def first(self) -> int:
        """The first row a window may start at: the first price has no return."""
        return 1 if self.transform == "log_return" else 0


class Scale(NamedTuple):
    """Maps v to (v - mean) / std, and to 0 where std is 0: the constants of a column that never changed."""

    mean: float
    std: float

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray((values - self.mean) / self.std if self.std else np.zeros_like(values))


@dataclass(frozen=True)
class Constants:
    """What the training rows of one series say: scales of forecast, channel 0 and covariates.

    The mean of a covariate also stands in for its values before the first one observed.
    """

    target: Scale
    history: Scale
    covariates: tuple[Scale, ...]


class Parts(NamedTuple):
    """First rows of the windows whose target rows lie in training, validation and test."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def trimmed(run: Run, form: Form, what: str) -> Run:
    """The run from its first observed target on; ValueError where a logarithm is asked of a value that has none."""
    observed = ~np.isnan(run.y)
    start = int(observed.argmax())
    bad = np.flatnonzero(run.y <= 0) if form.transform == "log_return" else np.array([])
    if bad.size:
        raise ValueError(
            f"{what}: the target of '{run.name}' at {run.when(bad[0])} is {run.y[bad[0]]}, but a log-return needs "
            'values above 0: correct it, or set transform = "difference".'
        )
    return Run(run.name, run.ds[start:], run.y[start:], run.covariates[start:])


def borders(rows: int, validation: float, test: float) -> tuple[int, int]:
    """First rows of validation and of test, in order of time: the last rows test, those before validate."""
    judged = max(1, round(validation * rows))
    held = max(1, round(test * rows))
    return rows - judged - held, rows - held


def rows_needed(form: Form, validation: float, test: float) -> int:
    """The least rows that give two training windows and one each to validate and to test."""
    least = form.first + form.length + 2 * form.horizon + 2
    for rows in range(least, 10**7):
        first, second = borders(rows, validation, test)
        if (
            first >= form.first + form.length + form.horizon + 1
            and min(second - first, rows - second) >= form.horizon
        ):
            return rows
    raise ValueError(f"length {form.length} and horizon {form.horizon} leave nothing to train on.")


def parts(run: Run, form: Form, validation: float, test: float) -> Parts:
    """Which windows are whose: those with all target rows in one part, and every target observed."""
    first, second = borders(len(run.y), validation, test)
    starts = np.arange(form.first, len(run.y) - form.length - form.horizon + 1)
    observed = ~np.isnan(run.y)
    whole = sliding_window_view(observed, form.horizon)[starts + form.length].all(axis=1)
    begin, end = starts + form.length, starts + form.length + form.horizon
    return Parts(
        starts[whole & (end <= first)],
        starts[whole & (begin >= first) & (end <= second)],
        starts[whole & (begin >= second)],
    )


def fit(run: Run, form: Form, rows: int, names: tuple[str, ...], what: str) -> Constants:
    """Constants of the first `rows` rows. ValueError when the target does not vary in them."""
    covariates = []
    for name, column in zip(names, run.covariates[:rows].T, strict=True):
        seen = column[~np.isnan(column)]
        if not seen.size:
            raise ValueError(
                f"{what}: the covariate '{name}' of '{run.name}' has no value in the {rows} training rows: "
                "leave it out of covariates."
            )
        covariates.append(_scale(seen))
    observed = run.y[:rows]
    values = _quantity(_carried(observed), form)
    if form.transform == "none":
        target = history = _scale(observed[~np.isnan(observed)])
    else:
        # without a mean: no change stays 0, which is what persistence forecasts
        seen = ~np.isnan(observed)
        changes = [(values[k:] - values[:-k])[seen[k:]] for k in range(1, form.horizon + 1)]
        target = Scale(0.0, _scale(np.concatenate(changes)).std)
        if form.transform == "difference":
            spans = [values[k:] - values[:-k] for k in range(1, max(2, min(form.length, rows)))]
            history = Scale(0.0, float(np.sqrt(np.mean(np.concatenate(spans) ** 2))))
        else:
            history = Scale(0.0, _scale(np.diff(values)).std)
    if not target.std:
        kind = "target" if form.transform == "none" else f"{form.transform} of the target"
        raise ValueError(
            f"{what}: the {kind} of '{run.name}' is the same in all {rows} training rows: there is nothing to "
            "learn; choose another target or transform, or leave the series out."
        )
    return Constants(target, history, tuple(covariates))


def inputs(run: Run, form: Form, constants: Constants, starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """[window, length, channel]; gaps hold the last value before them."""
    values = _quantity(_carried(run.y), form)
    x = np.empty((len(starts), form.length, 1 + len(constants.covariates)), np.float32)
    if form.transform == "difference":
        seen = sliding_window_view(values, form.length)[starts]
        x[:, :, 0] = constants.history(seen - seen[:, -1:])
    else:
        if form.transform == "log_return":
            values = np.diff(values, prepend=values[:1])
        x[:, :, 0] = sliding_window_view(constants.history(values).astype(np.float32), form.length)[starts]
    for k, scale in enumerate(constants.covariates):
        column = scale(_carried(run.covariates[:, k], before=scale.mean)).astype(np.float32)
        x[:, :, 1 + k] = sliding_window_view(column, form.length)[starts]
    return x


def targets(run: Run, form: Form, constants: Constants, starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """[window, horizon]"""
    values = _quantity(_carried(run.y), form)
    ahead = sliding_window_view(values, form.horizon)[starts + form.length]
    return constants.target(ahead - _base(values, form, starts)).astype(np.float32)


def persistence(run: Run, form: Form, constants: Constants, starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """The last value goes on: [window, horizon]."""
    values = _quantity(_carried(run.y), form)
    last = values[starts + form.length - 1, None]
    kept = constants.target(last - _base(values, form, starts))
    return np.repeat(kept, form.horizon, axis=1).astype(np.float32)


def seasonal(
    run: Run, form: Form, constants: Constants, starts: NDArray[np.int64], period: int
) -> NDArray[np.float32]:
    """What was forecast for is as it was one period, or as few as are known, before: [window, horizon].

    Of a level that is the level; of a change, the change over the same rows of the earlier period.
    """
    values = _quantity(_carried(run.y), form)
    present = starts[:, None] + form.length - 1
    ahead = np.arange(1, form.horizon + 1)
    back = period * -(-ahead // period)
    base = 0.0 if form.transform == "none" else values[present - back]
    return constants.target(values[present + ahead - back] - base).astype(np.float32)


def last(run: Run, form: Form, starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The target at the present of each window, in its unit."""
    return _carried(run.y)[starts + form.length - 1]


def restored(y: NDArray[Any], form: Form, constants: Constants, present: float) -> NDArray[np.float64]:
    """Forecasts [horizon] in the target's unit; `present` is the last value known."""
    change = y * constants.target.std + constants.target.mean
    if form.transform == "none":
        return np.asarray(change)
    return np.asarray(present + change if form.transform == "difference" else present * np.exp(change))


def unit(form: Form, constants: Constants, present: NDArray[np.float64]) -> NDArray[np.float64]:
    """What one scaled unit is in the target's unit, per window; of a log-return, for small changes."""
    return constants.target.std * (present if form.transform == "log_return" else np.ones_like(present))


def _quantity(values: NDArray[np.float64], form: Form) -> NDArray[np.float64]:
    return np.log(values) if form.transform == "log_return" else values


def _base(values: NDArray[np.float64], form: Form, starts: NDArray[np.int64]) -> Any:
    return 0.0 if form.transform == "none" else values[starts + form.length - 1, None]


def _carried(values: NDArray[np.float64], before: float = np.nan) -> NDArray[np.float64]:
    """Gaps hold the last value before them, `before` where there is none."""
    known = ~np.isnan(values)
    if known.all():
        return values
    at = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.where(at < 0, before, values[at])


def _scale(values: NDArray[np.float64]) -> Scale:
    # not std == 0: equal decimals such as 0.1 leave a rounding residue that would be blown up to noise
    if not values.size or values.min() == values.max():
        return Scale(float(values[0]) if values.size else 0.0, 0.0)
    return Scale(float(values.mean()), float(values.std()))
