"""Series: the recipe's table, the user's own tables, and that nothing of the future reaches the model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.data import SERIES, Preparation, Series, Splits, from_frame, load
from coppice.data.series_frame import read_frame
from coppice.data.series_windows import TRANSFORMS


def walks(rows: int = 100, names: tuple[str, ...] = ("A",), seed: int = 0, **columns: Any) -> pd.DataFrame:
    """Series of random walks above 0, of different sizes, with a covariate `c`."""
    rng = np.random.default_rng(seed)
    tables = []
    for k, name in enumerate(names):
        y = np.exp(rng.normal(size=rows).cumsum() / 10) * 10.0**k
        days = pd.date_range("2020-01-01", periods=rows, freq="D")
        tables.append(
            pd.DataFrame({"unique_id": name, "ds": days, "y": y, "c": rng.normal(size=rows), **columns})
        )
    return pd.concat(tables, ignore_index=True)


def tensors(got: Splits, *parts: str) -> list[torch.Tensor]:
    return [tensor for part in parts for tensor in getattr(got, part)]


# --- the recipe's table


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            {"name": "sp50"},
            "name is 'sp50', but the nearest is 'sp500'; there are: co2, air-quality.* or set csv",
        ),
        ({"name": "zz"}, "name is 'zz', but there are: co2"),
        ({"length": 0}, "length is 0, but it must be a whole number, 1 or more"),
        ({"length": 7.0}, "length is 7.0"),
        ({"horizon": True}, "horizon is True"),
        ({"horizon": -1}, "horizon is -1"),
        ({"period": 0}, "period is 0"),
        (
            {"transform": "log"},
            "transform is 'log', but it must be one of auto, none, difference, log_return",
        ),
        ({"validation": 0}, "validation is 0, but it must be a share above 0 and below 1; 0.2 means 20 %"),
        ({"test": 1.0}, "test is 1.0"),
        ({"test": float("nan")}, "test is nan"),
        ({"validation": 0.5, "test": 0.5}, "validation = 0.5 and test = 0.5 leave no rows to train on"),
        ({"series": "AAPL"}, r"series is 'AAPL', but it must be a list of names, such as \['AAPL'\]"),
        ({"series": ()}, r"series is \(\), but it must be a list"),
        ({"series": []}, r"series is \[\], but it must be a list"),
        ({"covariates": "c"}, "covariates is 'c', but it must be a list"),
        ({"missing": "forward"}, "missing = 'forward' has no meaning for 'co2': it is read only with csv"),
        ({"time": "t"}, "time = 't' has no meaning for 'co2'"),
        ({"id": "t"}, "id = 't' has no meaning for 'co2'"),
        ({"csv": "a.csv", "missing": "drop"}, "missing is 'drop', but it must be one of error, forward"),
        ({"aggregate": "week"}, "aggregate is 'week', but it must be one of day, hour"),
        ({"aggregate": "hour"}, "aggregate = 'hour' has a meaning for 'household-power' alone"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Series(**options)


def test_lists_as_a_recipe_has_them_become_tuples():
    assert Series(series=["A"], covariates=[]) == Series(series=("A",), covariates=())


def test_every_set_has_a_target_a_period_and_a_transform_that_is_known():
    assert len(SERIES) == 6
    for known in SERIES.values():
        assert known.transform in TRANSFORMS
        assert known.period >= 1
        assert known.homepage.startswith("https://")
        assert Series(known.name).columns().target == known.target


# --- what is made of a table


def test_one_series_by_hand():
    frame = pd.DataFrame({"ds": range(20), "y": np.arange(20.0) ** 2})
    got = from_frame(frame, length=3, validation=0.15, test=0.2)
    # 13 rows train, 3 validate, 4 test; the first three rows are never a target
    assert [len(part.y) for part in (got.train, got.validation, got.test)] == [10, 3, 4]
    squares = np.arange(13.0) ** 2
    mean, std = squares.mean(), squares.std()
    assert got.provenance["preparation"]["series"]["series"]["target"] == [mean, std]
    np.testing.assert_allclose(got.test.x[0, :, 0] * std + mean, [169, 196, 225], rtol=1e-5)
    np.testing.assert_allclose(got.test.y[:, 0] * std + mean, [256, 289, 324, 361], rtol=1e-5)
    np.testing.assert_allclose(got.naive["persistence"][:, 0] * std + mean, [225, 256, 289, 324], rtol=1e-5)
    np.testing.assert_allclose(got.unit_scale, [std] * 4)
    assert (got.task, got.outputs, got.classes, got.provenance["period"]) == ("forecast", 1, None, 1)
    assert got.provenance["counts"] == {"rows": 20, "unobserved": 0, "train": 10, "validation": 3, "test": 4}
    assert got.provenance["begins"]["series"] == {"train": "0", "validation": "13", "test": "16", "end": "19"}


def test_several_series_are_pooled_and_each_is_scaled_by_itself():
    frame = walks(names=("A", "B"))
    got = from_frame(frame, length=5, horizon=2)
    for name, half in (("A", 0), ("B", 1)):
        alone = from_frame(frame[frame["unique_id"] == name], length=5, horizon=2)
        for part in ("train", "validation", "test"):
            for pooled, single in zip(getattr(got, part), getattr(alone, part), strict=True):
                assert torch.equal(pooled.chunk(2)[half], single)
        for rule in ("persistence", "seasonal naive"):
            assert torch.equal(got.naive[rule].chunk(2)[half], alone.naive[rule])
        assert torch.equal(got.unit_scale.chunk(2)[half], alone.unit_scale)
    chosen = from_frame(frame, length=5, horizon=2, series=("B",))
    assert torch.equal(chosen.train.x, alone.train.x)
    assert got.unit_scale[0] * 3 < got.unit_scale[-1]


def test_the_split_does_not_move_with_length_or_transform():
    frame = walks(200)
    ends = []
    for length in (1, 14, 30):
        for transform in TRANSFORMS:
            got = from_frame(frame, length=length, transform=transform)
            assert len(got.test.y) == 40
            assert len(got.validation.y) == 32
            ends.append(got.provenance["begins"])
    assert all(end == ends[0] for end in ends)
    assert len({tuple(from_frame(frame, length=n).test.y[:, 0].tolist()) for n in (1, 14, 30)}) == 1


def test_persistence_is_zero_change_where_changes_are_forecast():
    for transform in ("difference", "log_return"):
        got = from_frame(walks(), transform=transform, horizon=3)
        assert (got.naive["persistence"] == 0).all()
        assert got.naive["persistence"].shape == got.test.y.shape


def test_the_period_is_of_the_step_unless_it_is_said():
    assert from_frame(walks()).provenance["period"] == 7
    hourly = walks().assign(ds=pd.date_range("2020-01-01", periods=100, freq="h"))
    assert from_frame(hourly).provenance["period"] == 24
    assert from_frame(walks(), period=3).provenance["period"] == 3
    weekly = walks(40).assign(ds=pd.date_range("2020-01-01", periods=40, freq="7D"))
    assert from_frame(weekly).provenance["period"] == 1  # there is no year before the test
    assert from_frame(walks(), period=79).provenance["period"] == 79
    with pytest.raises(
        ValueError, match="period is 80, but the test of the DataFrame begins after 80 rows, so 79 is"
    ):
        from_frame(walks(), period=80)


def test_rows_without_an_observed_target_neither_train_nor_score():
    frame = walks()
    hidden = [30, 31, 70, 90]
    frame.loc[hidden, "y"] = np.nan
    frame.loc[5, "c"] = np.nan
    got = from_frame(frame, length=4, missing="forward")
    assert [len(part.y) for part in (got.train, got.validation, got.test)] == [64 - 4 - 2, 16 - 1, 20 - 1]
    assert got.provenance["counts"]["unobserved"] == 4
    for part in (got.train, got.validation, got.test):
        assert torch.isfinite(part.x).all()


def test_a_csv_is_loaded_like_the_frame_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    frame = (
        walks(names=("A", "B"))
        .round({"y": 6, "c": 6})
        .rename(columns={"ds": "day", "unique_id": "who", "y": "sold"})
    )
    frame.to_csv(path, index=False)
    options: dict[str, Any] = {
        "target": "sold",
        "time": "day",
        "id": "who",
        "length": 7,
        "transform": "log_return",
    }
    got, same = load(Series(csv=str(path), **options), np.int64(5)), from_frame(frame, **options)
    parts = ("train", "validation", "test")
    for one, other in zip(tensors(got, *parts), tensors(same, *parts), strict=True):
        assert torch.equal(one, other)
    record = json.loads(json.dumps(got.provenance))
    assert record == got.provenance
    assert str(tmp_path) not in json.dumps(record)
    assert (record["name"], record["read_from"], record["seed"]) == ("mine.csv", "mine.csv", 5)
    assert list(record["sha256"]) == ["mine.csv"]
    fewer = from_frame(frame[frame["who"] == "A"], **options)
    assert same.provenance["sha256"] != fewer.provenance["sha256"]


def test_whole_numbers_of_numpy_are_as_good() -> None:
    got = from_frame(walks(), length=np.int64(5), horizon=np.int32(2), period=np.int64(3))
    assert json.loads(json.dumps(got.provenance))["preparation"]["form"]["length"] == 5


def test_a_csv_of_mixed_names_answers_to_each_of_them_later(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    rows = "".join(f"{name},{day},{day % 3}\n" for name in ("001", "A1") for day in range(30))
    path.write_text("shop,ds,y\n" + rows)
    got = load(Series(csv=str(path), id="shop", length=3), 0)
    preparation = Preparation.from_record(got.provenance["preparation"])
    path.write_text("shop,ds,y\n" + "".join(f"001,{day},{day % 3}\n" for day in range(30)))
    assert [key["shop"] for key in preparation.latest(read_frame(path, "shop"))[1]] == ["001"]


def test_the_seed_changes_nothing_but_its_own_mention():
    one, other = load(Series("co2"), 0), load(Series("co2"), 1)
    parts = ("train", "validation", "test")
    assert all(torch.equal(a, b) for a, b in zip(tensors(one, *parts), tensors(other, *parts), strict=True))
    assert {**one.provenance, "seed": 1} == other.provenance


# --- no leak


@given(
    transform=st.sampled_from(TRANSFORMS),
    horizon=st.integers(1, 3),
    after=st.integers(64, 96),
    gaps=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(max_examples=40)
def test_shuffling_the_future_leaves_every_forecast_up_to_the_present_as_it_was(
    transform, horizon, after, gaps, seed
) -> None:
    frame = walks(seed=seed)
    rng = np.random.default_rng(seed)
    if gaps:
        frame.loc[rng.choice(np.arange(1, 100), 10, replace=False), "y"] = np.nan
    shuffled = frame.copy()
    for column in ("y", "c"):  # gaps stay where they are: which targets are scored is no input
        future = frame.loc[after:, column].to_numpy(copy=True)
        seen = ~np.isnan(future)
        future[seen] = rng.permutation(future[seen]) * rng.uniform(2, 9)
        shuffled.loc[after:, column] = future
    options: dict[str, Any] = {"length": 6, "horizon": horizon, "transform": transform, "missing": "forward"}
    one, other = from_frame(frame, **options), from_frame(shuffled, **options)
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(12, 8), torch.nn.Tanh(), torch.nn.Linear(8, horizon)
    )
    observed = frame["y"].notna().to_numpy()
    compared = 0
    for part, begin, end in (("train", 0, 64), ("validation", 64, 80), ("test", 80, 100)):
        first = max(begin, 6 + (transform == "log_return"))
        rows = [row for row in range(first, end - horizon + 1) if observed[row : row + horizon].all()]
        count = sum(
            row <= after for row in rows
        )  # the present is the row before, and the future begins at `after`
        a, b = getattr(one, part), getattr(other, part)
        assert len(a.x) == len(rows)
        assert torch.equal(a.x[:count], b.x[:count])
        assert torch.equal(model(a.x[:count]), model(b.x[:count]))
        past = sum(row + horizon <= after for row in rows)
        assert torch.equal(a.y[:past], b.y[:past])
        if part == "test":
            assert not torch.equal(a.y, b.y)
            assert torch.equal(one.unit_scale[:count], other.unit_scale[:count])
            for rule in one.naive:
                assert torch.equal(one.naive[rule][:count], other.naive[rule][:count])
        compared += count
    assert compared > 30


@given(transform=st.sampled_from(TRANSFORMS), seed=st.integers(0, 999), rows=st.integers(1, 36))
@settings(max_examples=40)
def test_what_comes_after_the_training_rows_changes_no_training_tensor_and_no_constant(
    transform, seed, rows
) -> None:
    frame = walks(names=("A", "B"), seed=seed)
    changed = frame.copy()
    rng = np.random.default_rng(seed)
    late = changed.groupby("unique_id").cumcount() >= 100 - rows
    changed.loc[late, "y"] = rng.uniform(1, 1e6, late.sum())
    changed.loc[late, "c"] = np.nan
    options: dict[str, Any] = {"length": 6, "transform": transform, "missing": "forward"}
    one, other = from_frame(frame, **options), from_frame(changed, **options)
    assert one.provenance["preparation"] == other.provenance["preparation"]
    kept = ("train", "validation") if rows <= 20 else ("train",)
    for a, b in zip(tensors(one, *kept), tensors(other, *kept), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.test.y, other.test.y)


def test_columns_that_know_the_future_are_refused_up_to_the_reach_of_a_window():
    frame = walks()
    for lead in (1, 7):
        frame["late"] = frame["y"].shift(-lead).ffill() * 3 + 1
        with pytest.raises(
            ValueError, match=rf"the covariate 'late' of 'A' is the target {lead} rows? later"
        ):
            from_frame(frame, length=6, horizon=1)
        assert from_frame(frame, length=6, horizon=1, covariates=("c",)).train.x.shape[2] == 2
    frame["late"] = frame["y"]
    with pytest.raises(ValueError, match=r"the DataFrame: the covariate 'late' of 'A' is the target itself"):
        from_frame(frame)
    frame["late"] = frame["y"].shift(3).bfill()
    assert from_frame(frame).train.x.shape[2] == 3  # the past is welcome


def test_series_that_share_time_across_a_border_are_warned_of():
    late = walks(100).assign(unique_id="B", ds=pd.date_range("2020-02-15", periods=100, freq="D"))
    with pytest.warns(
        UserWarning, match=r"'B' trains until 2020-04-18 .*, but 'A' is tested from 2020-03-21 .* on"
    ):
        from_frame(pd.concat([walks(), late], ignore_index=True))


# --- where it is refused


def test_too_short_a_series_says_how_many_rows_it_needs():
    with pytest.raises(
        ValueError, match=r"'A' has 20 rows .* length 14, horizon 1, .* need 25: give more rows, or"
    ):
        from_frame(walks(20))
    assert len(from_frame(walks(25)).train.y) == 2
    with pytest.raises(ValueError, match="has 24 rows"):
        from_frame(walks(24))


def test_a_part_without_an_observed_target_is_refused():
    frame = walks()
    frame.loc[80:, "y"] = np.nan
    with pytest.raises(
        ValueError, match=r"'A' has no test window whose 1 targets were all observed: give more rows"
    ):
        from_frame(frame, missing="forward")


def test_a_price_of_nothing_has_no_logarithm():
    frame = walks()
    frame.loc[50, "y"] = -1.5
    with pytest.raises(
        ValueError, match=r"the target of 'A' at 2020-02-20 00:00:00 is -1.5, but a log-return needs"
    ):
        from_frame(frame, transform="log_return")


@pytest.mark.parametrize(
    ("change", "options", "complaint"),
    [
        ({"y": np.nan}, {}, r"row 1, column 'y' is empty or NaN, as are 100 of 100 rows"),
        ({"y": 0.1}, {}, "the target of 'A' is the same in all 64 training rows: there is nothing to learn"),
        (
            {"y": np.arange(100.0)},
            {"transform": "difference"},
            "the difference of the target of 'A' is the same",
        ),
        ({}, {"target": "yy"}, "the DataFrame has no column target = 'yy': the nearest is 'y'"),
        ({}, {"target": ""}, "the DataFrame has no column target = ''"),
        ({}, {"series": ("B",)}, "the DataFrame has no series = 'B': .*there are: A"),
        (
            {"c": [np.nan] * 70 + [1.0] * 30},
            {"missing": "forward"},
            "covariate 'c' of 'A' has no value in the 64",
        ),
    ],
)
def test_a_table_that_cannot_be_forecast_is_refused(change, options, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        from_frame(walks().assign(**change), **options)


def test_rows_in_the_wrong_order_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"row 2: 'ds' of 'A' is 2020-04-08.*, before 2020-04-09.* in row 1: sort"
    ):
        from_frame(walks()[::-1])
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load(Series(csv=str(tmp_path / "absent.csv")), 0)
    table = tmp_path / "own.csv"
    table.write_text("ds,y\n1,\n2,3\n")
    with pytest.raises(ValueError, match=r"'own.csv', row 1, column 'y' is empty or NaN, as are 1 of 2 rows"):
        load(replace(Series(csv=str(table))), 0)
