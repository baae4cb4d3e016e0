"""From new rows to the model's input, and from its output back to the target's unit and time."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.data import Preparation, Series, Splits, from_frame, load
from coppice.data.series import table
from coppice.data.series_windows import TRANSFORMS


def walks(rows: int = 100, names: tuple[str, ...] = ("A",), seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    days = pd.date_range("2020-01-01", periods=rows, freq="D")
    tables = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": days,
                "y": np.exp(rng.normal(size=rows).cumsum() / 9),
                "c": rng.normal(size=rows),
            }
        )
        for name in names
    ]
    return pd.concat(tables, ignore_index=True)


def prepared(got: Splits) -> Preparation:
    return Preparation.from_record(json.loads(json.dumps(got.provenance["preparation"])))


@given(
    transform=st.sampled_from(TRANSFORMS),
    horizon=st.integers(1, 3),
    gaps=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(max_examples=25)
def test_the_latest_window_is_the_one_that_was_tested_there_and_the_answer_comes_back(
    transform, horizon, gaps, seed
) -> None:
    frame = walks(names=("A", "B"), seed=seed)
    if gaps:
        rng = np.random.default_rng(seed)
        # of A's validation rows, 64 to 79, the targets of some windows must be left
        frame.loc[rng.choice(np.r_[1:70, 75:79], 20, replace=False), "y"] = np.nan
        frame.loc[rng.choice(np.arange(0, 100), 20, replace=False), "c"] = np.nan
    got = from_frame(frame, length=5, horizon=horizon, transform=transform, missing="forward")
    preparation = prepared(got)
    count = len(got.test.y) // 2
    for at in (0, count - 1):
        present = 80 + at  # rows known: the targets of test window `at` begin there
        known = frame[frame.groupby("unique_id").cumcount() < present]
        x, keys = preparation.latest(known)
        assert torch.equal(x, got.test.x[[at, count + at]])
        forecasts = preparation.restore(got.test.y[[at, count + at]], json.loads(json.dumps(keys)))
        truth = frame[frame.groupby("unique_id").cumcount().between(present, present + horizon - 1)]
        assert forecasts["unique_id"].tolist() == truth["unique_id"].tolist()
        assert (forecasts["ds"].to_numpy() == truth["ds"].to_numpy()).all()
        np.testing.assert_allclose(forecasts["y"], truth["y"], rtol=1e-5)
        still = preparation.restore(got.naive["persistence"][[at, count + at]], keys)
        last = known.groupby("unique_id")["y"].last()
        np.testing.assert_allclose(still["y"], np.repeat(last.to_numpy(), horizon), rtol=1e-5)


def test_few_new_rows_are_enough_and_one_less_is_refused():
    for transform, needed in (("none", 5), ("difference", 5), ("log_return", 6)):
        got = from_frame(walks(), length=5, transform=transform)
        new = walks(40, seed=9)
        x, _ = prepared(got).latest(new.tail(needed))
        assert torch.equal(x, prepared(got).latest(new)[0])
        with pytest.raises(
            ValueError, match=rf"has {needed - 1} rows of 'A' .* model sees 5: give {needed} rows or more"
        ):
            prepared(got).latest(new.tail(needed - 1), "'new.csv'")


def test_a_week_of_trading_days_is_no_week_of_days():
    days = pd.date_range("2020-01-01", periods=100, freq="B")
    got = from_frame(walks().assign(ds=days), length=5)
    preparation = prepared(got)
    new = walks(5).assign(ds=pd.date_range("2020-06-01", periods=5, freq="B"))  # Monday to Friday
    _, keys = preparation.latest(new)
    assert preparation.restore(torch.zeros(1, 1), keys)["ds"].tolist() == [pd.Timestamp("2020-06-08")]


def test_whole_numbers_go_on_and_names_may_be_left_out():
    frame = walks().assign(ds=np.arange(0, 300, 3)).drop(columns="unique_id")
    preparation = prepared(from_frame(frame, length=5, horizon=2))
    x, keys = preparation.latest(frame)
    assert keys[0]["ds"] == 297
    found = preparation.restore(torch.zeros(1, 2), keys)
    assert found["ds"].tolist() == [300, 303]
    assert list(found.columns) == ["unique_id", "ds", "y"]
    named = prepared(from_frame(walks(), length=5))
    assert torch.equal(named.latest(walks().drop(columns="unique_id"))[0], named.latest(walks())[0])
    assert torch.equal(preparation.latest(frame.assign(unique_id="any"))[0], x)


def test_columns_that_were_not_used_may_be_there_and_used_ones_may_not_lack():
    preparation = prepared(from_frame(walks(), length=5))
    preparation.latest(walks().assign(remark="new"))
    with pytest.raises(ValueError, match=r"'new.csv' has no column covariates = 'c'"):
        preparation.latest(walks().drop(columns="c"), "'new.csv'")
    without = prepared(from_frame(walks(), length=5, covariates=()))
    assert without.latest(walks().drop(columns="c"))[0].shape == (1, 5, 1)


NEW = walks(20)


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (walks(20, ("Z",)), "the table has the series 'Z', but the model was trained on A, B: its constants"),
        (NEW.drop(columns="unique_id"), "has the series 'series', but the model was trained on A, B"),
        (NEW.assign(y=np.nan), "column 'y' is empty or NaN"),
        (NEW.assign(y=-1.0), "the target of 'A' at 2020-01-01 00:00:00 is -1.0, but a log-return needs"),
        (NEW[::2], "'ds' of 'A' goes from 2020-01-01.* to 2020-01-03.*, but the step is 1 days"),
        (NEW[::-1], "sort the rows"),
        (NEW.assign(ds=range(20)), "'ds' holds whole numbers, but the step is 1 days"),
        (NEW[:0], "the table has no rows"),
    ],
)
def test_new_rows_are_checked_as_the_old_ones_were(frame: Any, complaint: str) -> None:
    preparation = prepared(from_frame(walks(names=("A", "B")), length=5, transform="log_return"))
    with pytest.raises(ValueError, match=complaint):
        preparation.latest(frame)


def test_what_does_not_belong_together_is_refused():
    preparation = prepared(from_frame(walks(), length=5, horizon=2))
    _, keys = preparation.latest(walks())
    for y in (torch.zeros(2), torch.zeros(1, 3), torch.zeros(2, 2)):
        with pytest.raises(ValueError, match=r"y is \[.*\], but 1 keys and the horizon 2 ask for \[1, 2\]"):
            preparation.restore(y, keys)
    for record in ({}, {"columns": {"target": "y"}}, preparation.record() | {"form": {"size": 3}}):
        with pytest.raises(ValueError, match="This is no record of a preparation"):
            Preparation.from_record(record)


def test_the_record_brings_it_back():
    preparation = prepared(from_frame(walks(names=("A", "B")), length=5, transform="difference"))
    assert Preparation.from_record(preparation.record()) == preparation
    assert json.loads(json.dumps(preparation.record())) == preparation.record()


def test_a_named_set_goes_on_from_its_own_rows():
    series = Series("co2", horizon=3)
    preparation = prepared(load(series, 0))
    x, keys = preparation.latest(table(series)[0], "'co2'")
    assert x.shape == (1, 14, 1)
    forecasts = preparation.restore(torch.zeros(1, 3), keys)
    assert forecasts["ds"].dt.strftime("%Y-%m-%d").tolist() == ["2002-01-05", "2002-01-12", "2002-01-19"]
    assert forecasts["co2"].tolist() == [371.5] * 3
