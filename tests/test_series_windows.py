"""Windows of a series: golden values, a literal twin, and no look into the future for any length and horizon."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from coppice.data.series_frame import Run
from coppice.data.series_windows import (
    TRANSFORMS,
    Constants,
    Form,
    Scale,
    borders,
    fit,
    inputs,
    last,
    parts,
    persistence,
    restored,
    rows_needed,
    seasonal,
    targets,
    trimmed,
    unit,
)

PLAIN = Scale(0.0, 1.0)


def run_of(y, covariates=None, name: str = "A") -> Run:
    y = np.asarray(y, dtype=np.float64)
    extra = np.zeros((len(y), 0)) if covariates is None else np.asarray(covariates, dtype=np.float64)
    return Run(name, np.arange(len(y)), y, extra)


def walk(rows: int, seed: int, gaps: float = 0.0, covariates: int = 1) -> Run:
    rng = np.random.default_rng(seed)
    y = np.exp(rng.normal(size=rows).cumsum() / 10 + 3)
    extra = rng.normal(size=(rows, covariates)) * 5 + 2
    y[1:][rng.random(rows - 1) < gaps] = np.nan
    extra[rng.random(extra.shape) < gaps] = np.nan
    return run_of(y, extra)


# --- by hand


def test_a_window_by_hand_as_level_change_and_log_return():
    run = run_of([1.0, 2.0, 4.0, 8.0, 24.0])
    start = np.array([1])
    level, change, returns = (Form(2, 2, transform) for transform in TRANSFORMS)
    plain = Constants(PLAIN, PLAIN, ())
    assert inputs(run, level, plain, start)[0, :, 0].tolist() == [2, 4]
    assert targets(run, level, plain, start).tolist() == [[8, 24]]
    assert inputs(run, change, plain, start)[0, :, 0].tolist() == [-2, 0]
    assert targets(run, change, plain, start).tolist() == [[4, 20]]
    assert_allclose(inputs(run, returns, plain, start)[0, :, 0], [math.log(2), math.log(2)], rtol=1e-6)
    assert_allclose(targets(run, returns, plain, start), [[math.log(2), math.log(6)]], rtol=1e-6)
    for form, kept in ((level, 4), (change, 0), (returns, 0)):
        assert persistence(run, form, plain, start).tolist() == [[kept, kept]]


def test_the_seasonal_forecast_by_hand():
    run = run_of([1.0, 2.0, 4.0, 8.0, 16.0, 0.0, 0.0, 0.0, 0.0])
    plain, start = Constants(PLAIN, PLAIN, ()), np.array([3])  # rows 3 and 4 are seen, 5, 6, 7 forecast
    level, change = Form(2, 3, "none"), Form(2, 3, "difference")
    assert seasonal(run, level, plain, start, 2).tolist() == [[8, 16, 8]]  # the third is two periods back
    assert seasonal(run, level, plain, start, 1).tolist() == [[16, 16, 16]]
    # period 2: rows 3, 4 from row 2; for row 7 two periods back: row 3 from row 0
    assert seasonal(run, change, plain, start, 2).tolist() == [[4, 12, 7]]


def test_gaps_are_carried_forward_and_neither_train_nor_score():
    nan = np.nan
    run = run_of(
        [1.0, nan, nan, 4.0, 5.0, nan, 7.0, 8.0, 9.0, 10.0], [[nan], [3.0], [nan], [5.0], *[[0.0]] * 6]
    )
    form = Form(2, 1, "none")
    constants = Constants(PLAIN, PLAIN, (Scale(7.0, 1.0),))
    x = inputs(run, form, constants, np.arange(3))
    assert x[:, :, 0].tolist() == [[1, 1], [1, 1], [1, 4]]
    assert x[:, :, 1].tolist() == [[0, -4], [-4, -4], [-4, -2]]  # before the first: the training mean, so 0
    assert [(part + 2).tolist() for part in parts(run, form, 0.2, 0.2)] == [[3, 4], [6, 7], [8, 9]]
    assert parts(run, Form(2, 2, "none"), 0.2, 0.2).train.tolist() == [1]  # rows 3 and 4


def test_a_series_begins_with_its_first_observed_target():
    run = run_of([np.nan, np.nan, 3.0, np.nan], [[1.0], [2.0], [3.0], [4.0]])
    kept = trimmed(run, Form(1, 1, "none"), "t")
    assert (kept.ds.tolist(), kept.covariates[:, 0].tolist()) == ([2, 3], [3, 4])


def test_the_constants_are_of_training_rows_and_by_hand():
    y = np.array([1.0, 3.0, np.nan, 5.0, 100.0, 200.0])
    run = run_of(y, np.stack([np.full(6, 0.1), [2.0, np.nan, 4.0, 6.0, 9.0, 9.0]], axis=1))
    known = fit(run, Form(2, 1, "none"), 4, ("same", "other"), "t")
    assert_allclose(known.target, (3, math.sqrt(8 / 3)))
    assert known.history == known.target
    assert known.covariates[0] == (0.1, 0.0)
    assert_allclose(known.covariates[1], (4, math.sqrt(8 / 3)))
    # carried: 1 3 3 5; changes onto observed rows: 2 and 2 for one step
    with pytest.raises(
        ValueError, match=r"t: the difference of the target of 'A' is the same in all 4 training"
    ):
        fit(run, Form(2, 1, "difference"), 4, ("same", "other"), "t")
    # for two steps also 5 - 3; onto row 3 only, since row 2 was not observed
    two = fit(run_of([1.0, 3.0, np.nan, 6.0, 9e9]), Form(3, 2, "difference"), 4, (), "t")
    assert_allclose(two.target, (0, np.std([2, 3, 3])))
    assert_allclose(two.history, (0, np.sqrt(np.mean(np.square([2, 0, 3, 2, 3])))))
    returns = fit(run_of([1.0, np.e, 1.0, 9e9]), Form(1, 1, "log_return"), 3, (), "t")
    assert_allclose(returns.target, (0, 1))
    assert_allclose(returns.history, (0, 1))


def test_a_constant_covariate_is_zero_whatever_it_becomes_later():
    run = run_of([1.0, 2.0, 4.0, 5.0], [[3.0], [3.0], [3.0], [1e6]])
    form = Form(2, 1, "none")
    x = inputs(run, form, fit(run, form, 3, ("c",), "t"), np.arange(3))
    assert (x[:, :, 1] == 0).all()


def test_what_cannot_be_fitted_is_refused():
    form = Form(2, 1, "none")
    with pytest.raises(
        ValueError, match=r"the target of 'A' is the same in all 3 training rows: there is nothing"
    ):
        fit(run_of([0.1, 0.1, 0.1, 5.0]), form, 3, (), "t")
    with pytest.raises(ValueError, match=r"t: the covariate 'c' of 'A' has no value in the 3 training rows"):
        fit(run_of([1.0, 2, 3, 4], [[np.nan]] * 3 + [[1.0]]), form, 3, ("c",), "t")
    with pytest.raises(
        ValueError, match=r"t: the target of 'A' at 1 is 0.0, but a log-return needs values above 0"
    ):
        trimmed(run_of([1.0, 0.0, 2.0]), Form(2, 1, "log_return"), "t")


# --- the literal twin


def carried(values: list[float], before: float) -> list[float]:
    out, known = [], before
    for value in values:
        known = known if math.isnan(value) else value
        out.append(known)
    return out


def spread(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


def twin(run: Run, form: Form, validation: float, test: float):
    """Splits of one series, row by row: {part: [(first row, x, y)]}, from the description alone."""
    rows = len(run.y)
    held, judged = max(1, round(test * rows)), max(1, round(validation * rows))
    border = rows - held - judged
    seen = [not math.isnan(v) for v in run.y]
    y = carried(run.y.tolist(), math.nan)
    g = [math.log(v) for v in y] if form.transform == "log_return" else y
    if form.transform == "none":
        mean, std = spread([y[t] for t in range(border) if seen[t]])
        history = (mean, std)
    else:
        pairs = [(t, k) for k in range(1, form.horizon + 1) for t in range(border - k) if seen[t + k]]
        mean, std = 0.0, spread([g[t + k] - g[t] for t, k in pairs])[1]
        if form.transform == "log_return":
            history = (0.0, spread([g[t] - g[t - 1] for t in range(1, border)])[1])
        else:
            offsets = [g[t] - g[t - k] for k in range(1, max(2, form.length)) for t in range(k, border)]
            history = (0.0, math.sqrt(sum(o * o for o in offsets) / len(offsets)))
    scales = [
        spread([v for v in run.covariates[:border, c] if not math.isnan(v)])
        for c in range(run.covariates.shape[1])
    ]
    columns = [carried(run.covariates[:, c].tolist(), scales[c][0]) for c in range(len(scales))]
    found: dict[str, list] = {"train": [], "validation": [], "test": []}
    for target in range(form.length + (form.transform == "log_return"), rows - form.horizon + 1):
        ahead = range(target, target + form.horizon)
        if not all(seen[t] for t in ahead):
            continue
        if ahead[-1] < border:
            part = "train"
        elif ahead[0] >= border and ahead[-1] < rows - held:
            part = "validation"
        elif ahead[0] >= rows - held:
            part = "test"
        else:
            continue
        present = target - 1
        x = []
        for t in range(target - form.length, target):
            own = {"none": y[t], "difference": y[t] - y[present], "log_return": g[t] - g[t - 1]}[
                form.transform
            ]
            x.append(
                [
                    (own - history[0]) / history[1],
                    *((columns[c][t] - m) / s for c, (m, s) in enumerate(scales)),
                ]
            )
        base = 0.0 if form.transform == "none" else g[present]
        found[part].append((target - form.length, x, [(g[t] - base - mean) / std for t in ahead]))
    return found


@given(
    rows=st.integers(40, 70),
    length=st.integers(1, 8),
    horizon=st.integers(1, 4),
    transform=st.sampled_from(TRANSFORMS),
    seed=st.integers(0, 10**6),
    gaps=st.sampled_from([0.0, 0.15]),
    covariates=st.integers(0, 2),
)
def test_windows_and_constants_agree_with_the_literal_twin(
    rows, length, horizon, transform, seed, gaps, covariates
) -> None:
    run, form = walk(rows, seed, gaps, covariates), Form(length, horizon, transform)
    expected = twin(run, form, 0.2, 0.25)
    border = borders(rows, 0.2, 0.25)[0]
    constants = fit(run, form, border, ("a", "b")[:covariates], "t")
    for starts, (name, windows) in zip(parts(run, form, 0.2, 0.25), expected.items(), strict=True):
        assert starts.tolist() == [start for start, _, _ in windows], name
        if windows:
            # float32 of values of order one
            assert_allclose(
                inputs(run, form, constants, starts), [x for _, x, _ in windows], atol=2e-5, rtol=1e-5
            )
            assert_allclose(
                targets(run, form, constants, starts), [y for _, _, y in windows], atol=2e-5, rtol=1e-5
            )


# --- for any length and horizon


@given(
    rows=st.integers(5, 120),
    length=st.integers(1, 30),
    horizon=st.integers(1, 10),
    transform=st.sampled_from(TRANSFORMS),
    shares=st.tuples(st.floats(0.01, 0.45), st.floats(0.01, 0.45)),
    gaps=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 10**6),
)
def test_no_row_is_seen_before_its_time_and_none_is_a_target_of_two_parts(
    rows, length, horizon, transform, shares, gaps, seed
) -> None:
    form = Form(length, horizon, transform)
    assume(rows >= rows_needed(form, *shares))
    run = walk(rows, seed, gaps)
    marked = run_of(np.arange(1.0, rows + 1) * (run.y * 0 + 1))  # every observed target is its own row number
    owner: dict[int, str] = {}
    chosen = parts(marked, form, *shares)
    plain = Constants(PLAIN, PLAIN, ())
    for name, starts in chosen._asdict().items():
        if not len(starts):
            assert gaps, f"no {name} window without any gap"
            continue
        level = Form(length, horizon, "none")
        x, y = inputs(marked, level, plain, starts)[:, :, 0], targets(marked, level, plain, starts)
        assert (x.max(axis=1) < y.min(axis=1)).all()
        assert_allclose(y[:, 0] - 1, starts + length)  # nothing carried forward is ever a target
        for row in np.unique(y):
            assert owner.setdefault(int(row), name) == name
    if not gaps and horizon == 1:
        assert sorted(owner) == list(range(length + form.first + 1, rows + 1))
    order = [np.unique(targets(marked, Form(length, horizon, "none"), plain, at)) for at in chosen if len(at)]
    assert all(before.max() < after.min() for before, after in itertools.pairwise(order))


@given(
    length=st.integers(1, 40),
    horizon=st.integers(1, 20),
    transform=st.sampled_from(TRANSFORMS),
    shares=st.tuples(st.floats(0.02, 0.45), st.floats(0.02, 0.45)),
)
def test_the_rows_needed_are_enough_and_one_less_is_not(length, horizon, transform, shares) -> None:
    form = Form(length, horizon, transform)
    least = rows_needed(form, *shares)

    def enough(rows: int) -> bool:
        found = parts(run_of(np.arange(1.0, rows + 1)), form, *shares)
        return len(found.train) >= 2 and min(len(found.validation), len(found.test)) >= 1

    assert enough(least)
    assert not enough(least - 1)


@given(
    transform=st.sampled_from(TRANSFORMS),
    horizon=st.integers(1, 4),
    gaps=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 99),
)
def test_the_inputs_of_a_window_do_not_change_when_the_future_does(transform, horizon, gaps, seed) -> None:
    run, form = walk(80, seed, gaps, 2), Form(5, horizon, transform)
    constants = fit(run, form, 40, ("a", "b"), "t")
    rng = np.random.default_rng(seed)
    for present in (6, 40, int(rng.integers(7, 79 - horizon)), 79 - horizon):
        y, extra = run.y.copy(), run.covariates.copy()
        y[present + 1 :] = rng.permutation(y[present + 1 :]) * 7
        extra[present + 1 :] = np.inf
        changed = Run(run.name, run.ds, y, extra)
        starts = np.arange(form.first, present - 5 + 2)  # up to the window whose present it is
        with np.errstate(invalid="ignore"):
            for rule in (inputs, persistence):
                assert np.array_equal(
                    rule(run, form, constants, starts), rule(changed, form, constants, starts)
                )
        late = starts[starts + 4 >= 14]
        if len(late):
            assert np.array_equal(
                seasonal(run, form, constants, late, 7), seasonal(changed, form, constants, late, 7)
            )


@given(transform=st.sampled_from(TRANSFORMS), seed=st.integers(0, 99))
def test_targets_come_back_in_their_unit(transform, seed) -> None:
    run, form = walk(60, seed), Form(4, 3, transform)
    constants, starts = fit(run, form, 40, ("a",), "t"), np.arange(1, 50)
    presents = last(run, form, starts)
    scaled = targets(run, form, constants, starts).astype(np.float64)
    back = [restored(y, form, constants, p) for y, p in zip(scaled, presents, strict=True)]
    assert_allclose(back, [run.y[s + 4 : s + 7] for s in starts], rtol=1e-5)
    # a small error in the scale of y is that many units: exactly, but for log-returns where it is the derivative
    shifted = [restored(y + 1e-4, form, constants, p) for y, p in zip(scaled, presents, strict=True)]
    growth = np.array(back) / presents[:, None] if transform == "log_return" else 1.0
    factor = unit(form, constants, presents)[:, None]
    assert_allclose((np.array(shifted) - back) / growth, np.repeat(factor * 1e-4, 3, axis=1), rtol=2e-3)
