"""The long form: what is read, and every door at which a table is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from coppice.data.series_frame import Columns, Long, long_form, read_frame
from coppice.data.series_step import Step

DAYS = pd.date_range("2020-01-01", periods=6, freq="D")
NAN = np.nan


def table(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"ds": DAYS, "y": np.arange(6.0), **columns})


def read(frame: Any, step: Step | None = None, **options: Any) -> Long:
    return long_form(frame, Columns(**{"target": "y", **options}), "t", step)


# --- what is read


def test_one_series_needs_no_name_and_other_columns_are_covariates():
    long = read(table(heat=np.arange(6), open=[True, False] * 3))
    assert long.covariates == ("heat", "open")
    (run,) = long.runs
    assert run.y.tolist() == [0, 1, 2, 3, 4, 5]
    assert run.covariates[:2].tolist() == [[0, 1], [1, 0]]
    assert run.ds.dtype == "datetime64[us]"
    assert (run.when(0), long.step) == ("2020-01-01 00:00:00", Step("time", 86_400_000_000))


@pytest.mark.parametrize("order", ["by series", "by time"])
def test_several_series_are_taken_apart_in_order_of_appearance(order: str) -> None:
    frame = pd.concat([table(unique_id=name, c=k) for k, name in enumerate(["B", "A"])], ignore_index=True)
    frame.loc[frame["unique_id"] == "A", "y"] += 100
    frame = frame if order == "by series" else frame.sort_values("ds", kind="stable")
    runs = read(frame).runs
    assert [run.name for run in runs] == ["B", "A"]
    assert runs[1].y.tolist() == [100, 101, 102, 103, 104, 105]
    assert runs[1].covariates[:, 0].tolist() == [1] * 6
    assert [run.name for run in read(frame, series=("A",)).runs] == ["A"]


@pytest.mark.parametrize(
    ("ds", "expected"),
    [
        (["2020-01-01", "2020-01-02", "2020-01-03"], "2020-01-02"),
        (["2020-01-01 10:00", "2020-01-01T11:00", "2020-01-01 12:00:00"], "2020-01-01T11:00"),
        (["2020-01-01 10:00+02:00", "2020-01-01 11:00+02:00", "2020-01-01 12:00+02:00"], "2020-01-01T09:00"),
        (pd.date_range("2020-01-01", periods=3, freq="h", tz="Europe/Paris"), "2020-01-01T00:00"),
        ([pd.Timestamp(2020, 1, day).date() for day in (1, 2, 3)], "2020-01-02"),
        (np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="datetime64[s]"), "2020-01-02"),
    ],
)
def test_dates_of_many_kinds_are_read(ds: Any, expected: str) -> None:
    assert read(pd.DataFrame({"ds": ds, "y": 1.0})).runs[0].ds[1] == np.datetime64(expected, "us")


def test_whole_numbers_and_other_names_serve_as_times():
    frame = pd.DataFrame({"week": [3, 5, 7], "who": [1, 1, 1], "sold": ["1", " 2", "3e0"]})
    long = read(frame, target="sold", time="week", id="who")
    assert (long.step, long.covariates, long.runs[0].name) == (Step("rows", 2), (), "1")
    assert long.runs[0].y.tolist() == [1, 2, 3]


def test_empty_cells_and_absent_rows_are_gaps_when_they_are_allowed():
    frame = table(c=[1.0, NAN, 3, 4, 5, 6])
    frame.loc[3, "y"] = NAN
    run = read(frame.drop(index=[1]), missing="forward").runs[0]
    assert run.ds.tolist() == list(DAYS.to_pydatetime())
    np.testing.assert_equal(run.y, [0, NAN, 2, NAN, 4, 5])
    np.testing.assert_equal(run.covariates[:, 0], [1, NAN, 3, 4, 5, 6])


def test_only_the_covariates_asked_for_are_looked_at():
    frame = table(word="x", c=1.0)
    assert read(frame, covariates=("c",)).covariates == ("c",)
    assert read(frame, covariates=()).runs[0].covariates.shape == (6, 0)


def test_a_csv_is_read_with_blanks_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("\ufeffunique_id, ds,y\nA,2020-01-01,0.1\n\nA, 2020-01-02,0.30000000000000004\n", "utf-8")
    frame = read_frame(path)
    assert list(frame.columns) == ["unique_id", "ds", "y"]
    np.testing.assert_allclose(read(frame).runs[0].y, [0.1, 0.3], rtol=1e-15)


@pytest.mark.parametrize("header", ["unique_id,ds,y", "shop ,ds,y"])
def test_names_of_series_are_text_as_it_stands(header: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(header + "\n001,1,1\n 002 ,1,2\nNA,1,3\n1.0,1,4\n" + '"a,é",1,5\n', "utf-8")
    name = header.partition(",")[0].strip()
    runs = read(read_frame(path, name), id=name).runs
    assert [run.name for run in runs] == ["001", "002", "NA", "1.0", "a,é"]
    assert [float(run.y[0]) for run in runs] == [1, 2, 3, 4, 5]
    assert [run.name for run in read(read_frame(path, name), id=name, series=("001",)).runs] == ["001"]


# --- where it is refused


def changed(column: str, row: int, value: Any, **columns: Any) -> pd.DataFrame:
    frame = table(**columns)
    if isinstance(value, str):
        frame[column] = frame[column].astype(object)
    frame.loc[row, column] = value
    return frame


TWO = pd.concat([table(unique_id="A"), table(unique_id="B")], ignore_index=True)


@pytest.mark.parametrize(
    ("frame", "options", "complaint"),
    [
        ([[1, 2]], {}, "t is a list, but a pandas.DataFrame in the long form is needed"),
        (table()[:0], {}, "t has no rows: a series is needed"),
        (
            changed("y", 2, NAN),
            {},
            r"t, row 3, column 'y' is empty or NaN, as are 1 of 6 rows: .*missing = \"forward\"",
        ),
        (changed("c", 4, NAN, c=1.0), {}, "t, row 5, column 'c' is empty or NaN"),
        (
            changed("y", 2, np.inf),
            {"missing": "forward"},
            "t, row 3, column 'y' is inf, one of 1 infinite values",
        ),
        (changed("c", 2, -np.inf, c=1.0), {}, "row 3, column 'c' is -inf"),
        (table().assign(y=NAN), {"missing": "forward"}, "the column 'y' is empty in all 6 rows"),
        (changed("y", 1, "much"), {}, "t, row 2, column 'y': 'much' is not a number"),
        (
            table(word="x"),
            {},
            "row 1, column 'word': 'x' is not a number.*list the columns to use in covariates",
        ),
        (table(other=DAYS), {}, "row 1, column 'other': '2020-01-01 00:00:00' is not a number"),
        (table(), {"target": "z"}, "t has no column target = 'z': there are: ds, y"),
        (
            table(price=1.0),
            {"target": "prize"},
            "no column target = 'prize': the nearest is 'price'; there are",
        ),
        (table(), {"time": "date"}, "t has no column time = 'date'"),
        (
            table().set_index("ds"),
            {},
            r"no column time = 'ds': there are: y. It is the index: use frame.reset_index",
        ),
        (table(), {"id": "who"}, "t has no column id = 'who'"),
        (table(), {"target": "ds"}, "target = 'ds' names the column of the times or of the series"),
        (table(c=1.0), {"covariates": ("d",)}, "t has no column covariates = 'd'"),
        (
            table(),
            {"covariates": ("y",)},
            "covariates names the target 'y': its own history is channel 0 already",
        ),
        (table(), {"covariates": ("ds",)}, "covariates names 'ds', which is read already"),
        (table(c=1.0), {"covariates": ("c", "c")}, "covariates names 'c', which is read already"),
        (table(), {"series": ("A",)}, "t has no series = 'A': there are: series"),
        (TWO, {"series": ("A", "C")}, "t has no series = 'C': there are: A, B"),
        (pd.concat([table(), table()[["y"]]], axis=1), {}, "t has the column 'y' more than once: rename one"),
        (
            table().iloc[[0, 1, 1, 2]],
            {},
            "t, row 3: 'ds' is 2020-01-02T.* a second time, as in row 2: keep one row",
        ),
        (
            TWO.drop(columns="unique_id"),
            {},
            "row 7: 'ds' is 2020-01-01.*before 2020-01-06.* in row 6: sort the rows",
        ),
        (
            table().iloc[[0, 2, 1, 3]],
            {},
            "t, row 3: 'ds' is 2020-01-02.*, before 2020-01-03.* in row 2: sort the rows",
        ),
        (TWO.iloc[[0, 6, 7, 7, 1]], {}, "t, row 4: 'ds' of 'B' is 2020-01-02.* a second time, as in row 3"),
        (
            table().drop(index=3),
            {},
            r"row 4: 'ds' goes from 2020-01-03.* to 2020-01-05.*, but the step is 1 days 00:00:00",
        ),
        (changed("unique_id", 2, None, unique_id="A"), {}, "row 3: 'unique_id' is empty: say which series"),
        (changed("unique_id", 2, "", unique_id="A"), {}, "row 3: 'unique_id' is empty: say which series"),
        (changed("ds", 2, pd.NaT), {}, "t, row 3: 'ds' is empty, but every row needs its time"),
        (
            table().assign(ds="10/03/2004"),
            {},
            "t, row 1: 'ds' is '10/03/2004', which is no date that can be read one",
        ),
        (
            table().assign(ds=np.arange(6) / 2),
            {},
            "t: 'ds' holds float64, but times are whole numbers or dates",
        ),
        (
            table().assign(ds=DAYS.to_period("D")),
            {},
            r"t: 'ds' holds period\[D\], but times are whole numbers or dates",
        ),
        (table().assign(ds=[1, 2, 3, 5, 6, 7]), {}, "row 4: 'ds' goes from 3 to 5, but the step is 1"),
    ],
)
def test_a_table_is_refused_with_its_place(frame: Any, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read(frame, **options)


def test_gaps_that_are_no_whole_steps_are_refused_even_when_gaps_are_allowed():
    frame = table()
    frame.loc[5, "ds"] += pd.Timedelta(hours=3)
    with pytest.raises(ValueError, match=r"goes from 2020-01-05.* to 2020-01-06T03.*number the rows"):
        read(frame, missing="forward")


def test_a_wrong_year_does_not_fill_the_memory():
    frame = table()
    frame.loc[5, "ds"] = pd.Timestamp("9999-01-01")
    with pytest.raises(ValueError, match=r"row 6: 'ds' goes from 2020-01-05.* to 9999-01-01"):
        read(frame, missing="forward")


def test_series_of_different_steps_are_refused():
    other = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=4, freq="h"), "y": 1.0, "unique_id": "B"})
    with pytest.raises(ValueError, match=r"row 8: 'ds' of 'B' goes from .* to .*, but the step is 1 days"):
        read(pd.concat([table(unique_id="A"), other], ignore_index=True))


def test_a_known_step_is_kept_to():
    with pytest.raises(ValueError, match="t: 'ds' holds dates, but the step is 1: use the same kind"):
        read(table(), Step("rows", 1))
    with pytest.raises(ValueError, match="t: 'ds' holds whole numbers, but the step is 0 days 01:00:00"):
        read(table().assign(ds=np.arange(6)), Step("time", 3_600_000_000))
    with pytest.raises(
        ValueError, match=r"row 2: 'ds' goes from 2020-01-01.*, but the step is 0 days 01:00:00"
    ):
        read(table(), Step("time", 3_600_000_000))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "'mine.csv' is empty: the first line must name the columns"),
        ("ds,y\n", "t has no rows"),
        ("ds,y,y\n1,2,3\n", "'mine.csv' names the column 'y' more than once"),
        ("ds;y\n1;2\n", "t has one column, 'ds;y': separate the cells by commas"),
        ("ds,y\n1,2,3\n", "cannot be read as comma-separated UTF-8 text"),
        ("ds,y\n1,2\n2\n", "t, row 2, column 'y' is empty"),
        ('ds,y\n1,"2\n', "cannot be read as comma-separated UTF-8 text"),
        ("ds,y\n1,a\n2,2\n", "t, row 1, column 'y': 'a' is not a number"),
        ("unique_id,ds,y\nA,1,1\n ,1,2\n", "t, row 2: 'unique_id' is empty: say which series"),
        ("ds,y,unique_id\n1,1,A\n1,2\n", "t, row 2: 'unique_id' is empty"),
    ],
)
def test_a_csv_is_refused_with_its_place(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read(read_frame(path))


def test_a_missing_file_and_another_encoding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file '.*absent.csv': check csv in the recipe"):
        read_frame(tmp_path / "absent.csv")
    path = tmp_path / "latin.csv"
    path.write_text("ds,y,caf\xe9\n1,2,3\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"'latin.csv' cannot be read as comma-separated UTF-8 text"):
        read_frame(path)
