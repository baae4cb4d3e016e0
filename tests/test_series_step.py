"""The step of a series: found, checked, carried on."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coppice.data.series_step import Step, infer


def dates(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[us]")


def span(start: str, periods: int, freq: str) -> np.ndarray:
    return pd.date_range(start, periods=periods, freq=freq).to_numpy().astype("datetime64[us]")


CASES: list[tuple[str, Any, list[Any], int]] = [
    ("hourly", span("2004-03-10 18:00", 30, "h"), list(dates("2004-03-12", "2004-03-12 01:00")), 24),
    ("daily", span("2013-04-29", 30, "D"), list(dates("2013-05-29", "2013-05-30")), 7),
    ("weekly", span("2001-12-01", 5, "7D"), list(dates("2002-01-05", "2002-01-12")), 52),
    ("trading days", span("2015-12-01", 23, "B"), list(dates("2016-01-01", "2016-01-04")), 5),
    ("month starts", span("2015-11-01", 14, "MS"), list(dates("2017-01-01", "2017-02-01")), 12),
    ("month ends", span("2015-11-01", 14, "ME"), list(dates("2017-01-31", "2017-02-28")), 12),
    ("quarters", span("2015-01-01", 6, "QS"), list(dates("2016-07-01", "2016-10-01")), 4),
    ("minutes", span("2015-01-01", 9, "15min"), list(dates("2015-01-01 02:15", "2015-01-01 02:30")), 96),
    ("whole numbers", np.arange(5, 50, 5), [50, 55], 1),
]


@pytest.mark.parametrize(
    ("ds", "after", "season"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_step_is_found_and_carried_on(ds: np.ndarray, after: list[Any], season: int) -> None:
    step = infer(ds)
    assert step.misfit(ds) is None
    assert step.after(ds[-1], 2).tolist() == np.array(after).tolist()
    assert step.season() == season
    assert Step(**json.loads(json.dumps(step.record()))) == step
    key = int(ds[-1]) if step.kind == "rows" else str(ds[-1])  # as a record keeps it
    assert step.after(key, 2).tolist() == np.array(after).tolist()


def test_holidays_are_no_gap_between_trading_days_but_a_month_is():
    days = span("2015-12-01", 40, "B")
    holed = np.delete(days, [18, 23])
    assert infer(holed) == Step("offset", offset="B")
    long = np.delete(days, range(20, 33))
    assert infer(long).kind == "time"
    assert Step("offset", offset="B").misfit(long) == 20
    assert Step("offset", offset="B").misfit(span("2015-12-01", 6, "D")) == 4  # a Saturday


def test_days_with_weekends_are_days_and_hours_of_weekdays_are_irregular():
    assert infer(np.delete(span("2015-12-01", 30, "D"), 7)) == Step("time", 86_400_000_000)
    hours = np.array(
        [day + np.timedelta64(h, "h") for day in span("2015-12-01", 6, "B") for h in range(9, 17)]
    )
    assert infer(hours) == Step("time", 3_600_000_000)
    assert infer(hours).misfit(hours) == 8


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 10**9))
def test_the_first_row_out_of_step_is_found(gaps: list[int], start: int) -> None:
    step = Step("rows", 7)
    wrong = [k + 1 for k, gap in enumerate(gaps) if gap != 7]
    assert step.misfit(start + np.cumsum([0, *gaps])) == (wrong[0] if wrong else None)


def test_one_row_has_no_step_to_miss():
    assert infer(dates("2020-01-01")) == Step("time", 1)
    assert Step("time", 5).misfit(dates("2020-01-01")) is None
