"""Covariates that know the future are refused, whatever their unit and however they were filled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coppice.data.series_frame import Run
from coppice.data.series_leaks import assert_no_future


def run_of(y: np.ndarray, *covariates: np.ndarray) -> Run:
    return Run("A", np.arange(len(y)), y, np.stack(covariates, axis=1))


def walk(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=rows).cumsum()


def lead(y: np.ndarray, rows: int) -> np.ndarray:
    """The target `rows` later, its end filled with the mean, as the released code of the paper does."""
    return np.concatenate([y[rows:], np.full(rows, y.mean())])


@given(
    rows=st.integers(0, 30),
    scale=st.sampled_from([1.0, -3.0, 1e-6, 1e6]),
    shift=st.sampled_from([0.0, 1e3]),
    gaps=st.booleans(),
    seed=st.integers(0, 999),
)
def test_a_lead_is_found_in_any_unit_and_with_gaps(rows, scale, shift, gaps, seed) -> None:
    y = walk(200, seed)
    ahead = lead(y, rows) * scale + shift
    if gaps:
        y[np.random.default_rng(seed).random(200) < 0.2] = np.nan
        ahead[np.random.default_rng(seed + 1).random(200) < 0.2] = np.nan
    says = (
        "is the target itself"
        if rows == 0
        else f"is the target {rows} rows? later, so it gives the answer away"
    )
    with pytest.raises(ValueError, match=rf"t: the covariate 'late' of 'A' {says}"):
        assert_no_future(run_of(y, walk(200, seed + 7), ahead), ("fine", "late"), 200, 30, "t")


@given(rows=st.integers(1, 30), seed=st.integers(0, 999))
def test_the_past_and_what_is_merely_alike_pass(rows, seed) -> None:
    y = walk(200, seed)
    past = np.concatenate([np.full(rows, y[0]), y[:-rows]])
    noisy = y + np.random.default_rng(seed).normal(size=200) * 0.02
    assert_no_future(
        run_of(y, past, noisy, np.arange(200.0), np.ones(200)), ("a", "b", "c", "d"), 200, 20, "t"
    )


def test_only_training_rows_and_the_reach_are_looked_at():
    y = walk(200)
    ahead = lead(y, 5)
    assert_no_future(run_of(y, ahead), ("a",), 200, 4, "t")
    late = np.concatenate([walk(100, 3), ahead[100:]])
    assert_no_future(run_of(y, late), ("a",), 100, 10, "t")
    with pytest.raises(
        ValueError, match=r"5 rows later, so it gives the answer away \(checked up to 10 rows\)"
    ):
        assert_no_future(run_of(y, ahead), ("a",), 100, 10, "t")


def test_straight_lines_and_few_rows_say_nothing():
    line = np.arange(50.0)
    assert_no_future(run_of(line, line + 1), ("clock",), 50, 10, "t")
    assert_no_future(run_of(line * 0.1, line * 0.1 + 3), ("clock",), 50, 10, "t")
    y = walk(8)
    assert_no_future(run_of(y, y), ("a",), 8, 3, "t")
