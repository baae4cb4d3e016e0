"""The named series: small files in the originals' form, and the originals where COPPICE_DATA has them."""

import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from coppice.data import SERIES, Series, Splits, load, series_power, series_sets, status
from coppice.data.series import table
from coppice.data.series_files import TextFile
from coppice.data.series_power import COLUMNS, hours_of, summed


def put(patch: pytest.MonkeyPatch, folder: Path, place: Any, name: str, text: str) -> None:
    """`text` as the content of one of the originals, and the set told of its checksum."""
    file: TextFile = getattr(place, name)
    path = folder / file.name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode())
    digest = hashlib.sha256(text.encode()).hexdigest()
    patch.setattr(place, name, replace(file, sha256=digest, size=len(text), package=None))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COPPICE_DATA", str(tmp_path))
    return tmp_path


# --- in the originals' form


def test_the_index_is_turned_to_the_order_of_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["1950-01-05,3,8,2,4,6,9", "1950-01-04,3,4,2,3,0,9", "1950-01-03,3,4,4,2,2,9"]
    text = "date,open,high,low,close,volume,adj_close\n" + "\n".join(rows) + "\n"
    put(monkeypatch, folder, series_sets, "SP500", text)
    frame, origin = table(Series("sp500"))
    assert frame["ds"].dt.strftime("%d").tolist() == ["03", "04", "05"]
    assert frame["close"].tolist() == [2, 3, 4]
    np.testing.assert_allclose(frame["range"], np.log([1, 2, 4]))
    np.testing.assert_allclose(frame["volume"], [np.nan, np.log(1 / 3), np.log(7)])
    assert set(frame["unique_id"]) == {"sp500"}
    assert origin["read_from"] == "COPPICE_DATA"


def test_stocks_are_chosen_by_ticker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"2013-02-{day:02},1,2,1,{day},5,{name}" for name in ("AAPL", "IBM", "ZTS") for day in (8, 11)]
    put(
        monkeypatch, folder, series_sets, "STOCKS", "date,open,high,low,close,volume,Name\n" + "\n".join(rows)
    )
    frame, _ = table(Series("sp500-stocks", series=("ZTS", "IBM")))
    assert frame["unique_id"].tolist() == ["IBM", "IBM", "ZTS", "ZTS"]
    np.testing.assert_allclose(
        frame["volume"], [np.nan, 0, np.nan, 0]
    )  # no change from one stock to the next
    with pytest.raises(ValueError, match=r"'sp500-stocks' has no series = 'ZTX': the nearest is 'ZTS'"):
        table(Series("sp500-stocks", series=("ZTX",)))


def test_bitcoin_days_end_with_their_last_second(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(f"1,Bitcoin,BTC,2013-04-{29 + k} 23:59:59,4,2,3,{100 + k},0.0,9\n" for k in range(2))
    text = "SNo,Name,Symbol,Date,High,Low,Open,Close,Volume,Marketcap\n" + rows
    put(monkeypatch, folder, series_sets, "BITCOIN", text)
    frame, _ = table(Series("bitcoin"))
    assert frame["ds"].tolist() == [pd.Timestamp("2013-04-29"), pd.Timestamp("2013-04-30")]
    assert frame["close"].tolist() == [100, 101]
    assert frame["volume"].iloc[1] == 0  # of no volume, in the first months


AIR_HEAD = (
    "Date;Time;CO(GT);PT08.S1(CO);NMHC(GT);C6H6(GT);PT08.S2(NMHC);NOx(GT);PT08.S3(NOx);NO2(GT);PT08.S4(NO2);"
    "PT08.S5(O3);T;RH;AH;;\r\n"
)


def air_file(rows: int, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    lines = []
    for moment in pd.date_range("2004-03-10 18:00", periods=rows, freq="h"):
        cells = [
            "-200" if rng.random() < 0.1 else f"{v:.1f}".replace(".", ",") for v in rng.normal(size=13) + 5
        ]
        lines.append(f"{moment:%d/%m/%Y;%H:%M:%S};" + ";".join(cells) + ";;\r\n")
    return AIR_HEAD + "".join(lines) + ";" * 16 + "\r\n"


def test_air_quality_knows_its_commas_and_its_missing_values(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = "10/03/2004;18:00:00;2,6;1360;150;11,9;1046;-200;1056;-200,0;1692;1268;13,6;48,9;0,7578;;\r\n"
    put(monkeypatch, folder, series_sets, "AIR", AIR_HEAD + row + ";" * 16 + "\r\n")
    frame, _ = table(Series("air-quality"))
    assert len(frame) == 1
    assert frame["ds"].tolist() == [pd.Timestamp("2004-03-10 18:00")]
    assert frame["CO(GT)"].tolist() == [2.6]
    assert frame[["NOx(GT)", "NO2(GT)"]].isna().all(axis=None)
    assert "NMHC(GT)" not in frame


def test_another_sensor_may_be_the_target(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, folder, series_sets, "AIR", air_file(120))
    got = load(Series("air-quality", target="T", covariates=("RH",), length=5), 0)
    assert got.train.x.shape[1:] == (5, 2)
    assert got.provenance["target"] == "T"
    assert got.provenance["period"] == 24
    assert got.provenance["counts"]["unobserved"] > 0


def minutes(days: float, start: str = "2006-12-16 17:24") -> pd.DataFrame:
    times = pd.date_range(start, periods=int(days * 1440), freq="min")
    frame = pd.DataFrame({"Date": times.strftime("%d/%m/%Y"), "Time": times.strftime("%H:%M:%S")})
    rng = np.random.default_rng(0)
    return frame.assign(**{name: rng.random(len(times)) for name in COLUMNS})


def test_minutes_become_hours_and_hours_days_by_the_sum() -> None:
    frame = minutes(3, "2007-01-01")
    power = frame["Global_active_power"].to_numpy()
    hours = hours_of(frame)
    np.testing.assert_allclose(hours["Global_active_power"], power.reshape(-1, 60).sum(axis=1))
    days = summed(hours, "day")
    np.testing.assert_allclose(days["Global_active_power"], power.reshape(3, -1).sum(axis=1) / 60)  # kWh
    np.testing.assert_allclose(days["Voltage"], frame["Voltage"].to_numpy().reshape(3, -1).mean(axis=1))
    np.testing.assert_allclose(
        days["Sub_metering_1"], frame["Sub_metering_1"].to_numpy().reshape(3, -1).sum(axis=1)
    )
    hourly = summed(hours, "hour")
    np.testing.assert_allclose(hourly["Global_active_power"], power.reshape(-1, 60).mean(axis=1))
    np.testing.assert_allclose(hourly["Voltage"], frame["Voltage"].to_numpy().reshape(-1, 60).mean(axis=1))


def test_a_sum_of_nine_tenths_is_scaled_up_and_of_less_is_missing() -> None:
    frame = minutes(2, "2007-01-01")
    names = list(COLUMNS)
    frame.loc[0:5, names] = np.nan  # 54 of 60 minutes are left
    frame.loc[60:66, names] = np.nan  # 53
    hours = hours_of(frame)["Voltage"]
    np.testing.assert_allclose(hours.iloc[0], frame["Voltage"][6:60].mean() * 60)
    assert np.isnan(hours.iloc[1])
    days = summed(hours_of(frame), "day")["Voltage"]
    np.testing.assert_allclose(days.iloc[0], np.nanmean(hours.iloc[:24]) / 60)
    frame.loc[60:240, names] = np.nan  # three hours are gone
    assert np.isnan(summed(hours_of(frame), "day")["Voltage"].iloc[0])
    assert not np.isnan(summed(hours_of(frame), "day")["Voltage"].iloc[1])


def test_the_original_minutes_serve_as_well_and_partial_ends_are_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = minutes(20.3)
    frame.loc[100:120, list(COLUMNS)] = np.nan
    (folder / "household_power").mkdir()
    path = folder / series_power.MINUTES.name
    frame.to_csv(path, sep=";", na_rep="?", index=False)
    with pytest.raises(
        RuntimeError, match=r"is not the original: rows 29232, expected 2075259: download https://"
    ):
        table(Series("household-power"))
    for name, value in (
        ("MINUTE_ROWS", len(frame)),
        ("LAST_MINUTE", f"{frame['Date'].iloc[-1]} {frame['Time'].iloc[-1]}"),
        ("EMPTY_MINUTES", 21),
    ):
        monkeypatch.setattr(series_power, name, value)
    days, origin = table(Series("household-power"))
    assert (days["ds"].iloc[0], days["ds"].iloc[-1]) == (
        pd.Timestamp("2006-12-17"),
        pd.Timestamp("2007-01-05"),
    )
    assert "its SHA-256 is not known" in origin["checked"]
    hours, _ = table(Series("household-power", aggregate="hour"))
    assert hours["ds"].iloc[0] == pd.Timestamp("2006-12-16 18:00")
    got = load(Series("household-power", aggregate="hour"), 0)
    assert (got.provenance["period"], got.provenance["covariates"]) == (24, list(COLUMNS[1:]))
    frame.rename(columns={"Voltage": "Volts"}).to_csv(path, sep=";", na_rep="?", index=False)
    with pytest.raises(
        RuntimeError, match=r"has the columns .*'Volts'.*, expected .*'Voltage'.*: download https"
    ):
        table(Series("household-power"))


def test_hourly_totals_are_preferred_and_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = hours_of(minutes(20.3)).rename_axis("datetime").reset_index()
    put(monkeypatch, folder, series_power, "HOURS", hours.to_csv(index=False))
    (folder / series_power.MINUTES.name).write_text("never opened")
    frame, origin = table(Series("household-power"))
    assert len(frame) == 20
    assert origin["checked"] == "SHA-256 of the content"


# --- embedded


def test_co2_comes_with_a_package() -> None:
    started = time.process_time()
    got = load(Series("co2"), seed=3)
    assert time.process_time() - started < 2
    assert status("co2") == "embedded"
    assert got.task == "forecast"
    assert got.provenance["counts"] == {
        "rows": 2284,
        "unobserved": 59,
        "train": 1395,
        "validation": 365,
        "test": 457,
    }
    assert got.provenance["begins"]["co2"]["train"] == "1958-03-29 00:00:00"
    assert (got.provenance["transform"], got.provenance["period"], got.provenance["seed"]) == (
        "difference",
        52,
        3,
    )
    assert got.provenance["read_from"] == "embedded"
    assert (got.naive["persistence"] == 0).all()
    error = (got.naive["persistence"] - got.test.y).abs() * got.unit_scale[:, None]
    assert abs(error.mean() - 0.4046) < 1e-3  # ppm in a week, recomputed below from the values themselves
    ppm = table(Series("co2"))[0]["co2"]
    steps = (ppm - ppm.ffill().shift()).iloc[-457:].abs()
    assert abs(error.mean() - steps.mean()) < 1e-4


# --- the originals


def original(name: str, **options: Any) -> Splits:
    folder = os.environ.get("COPPICE_DATA")
    if not folder or status(name) == "not downloaded":
        pytest.skip(
            f"COPPICE_DATA has no original of {name}, which nobody may hand on: it is fetched by hand"
        )
    started = time.process_time()
    got = load(Series(name, **options), 0)
    assert time.process_time() - started < (5 if name == "sp500-stocks" else 2)
    return got


@pytest.mark.parametrize(
    ("name", "rows", "unobserved", "channels", "unit_error", "period"),
    [
        ("air-quality", 9357, 1683, 12, 0.5165, 24),
        ("household-power", 1440, 0, 7, 4.6078, 7),
        ("bitcoin", 2991, 0, 3, 655.25, 7),
        ("sp500", 16607, 0, 3, 10.074, 5),
        ("sp500-stocks", 5 * 1259, 0, 3, 0.8627, 5),
    ],
)
def test_the_originals(name, rows, unobserved, channels, unit_error, period) -> None:
    got = original(name)
    assert (got.provenance["counts"]["rows"], got.provenance["counts"]["unobserved"]) == (rows, unobserved)
    assert got.train.x.shape[1:] == (14, channels)
    assert got.provenance["period"] == period
    for part in (got.train, got.validation, got.test):
        assert torch.isfinite(part.x).all()
        assert torch.isfinite(part.y).all()
        assert part.x.dtype == part.y.dtype == torch.float32
    error = (got.naive["persistence"] - got.test.y).abs() * got.unit_scale[:, None]
    assert abs(error.mean() / unit_error - 1) < 1e-3  # as measured once; mg/m3, kWh, US dollars, points
    assert len(got.provenance["sha256"]) >= 1
    assert got.provenance["licence"] == SERIES[name].licence


def test_the_hours_of_the_original_are_as_many_as_the_set_says() -> None:
    original("household-power", aggregate="hour")
    frame, _ = table(Series("household-power", aggregate="hour"))
    assert f"{len(frame)} hours" in SERIES["household-power"].what


def test_the_minutes_of_the_original_sum_to_the_hours_handed_around() -> None:
    folder = Path(os.environ.get("COPPICE_DATA") or "absent")
    sample = folder / "household_power" / "minute_sample_2007-07-01_02.txt.gz"
    if not sample.is_file():
        pytest.skip("COPPICE_DATA has no sample of the minutes, which are fetched by hand as the original is")
    two_days = summed(hours_of(pd.read_csv(sample, **series_power.MINUTE_FORMAT)), "day")
    frame, _ = table(Series("household-power"))
    same = frame.set_index("ds").loc[two_days.index, list(COLUMNS)]
    np.testing.assert_allclose(two_days[list(COLUMNS)], same, rtol=1e-6)


def test_the_crash_of_1987_is_where_it_was() -> None:
    original("sp500")
    frame, _ = table(Series("sp500"))
    crash = frame[frame["ds"] == "1987-10-19"]
    assert crash["close"].tolist() == [224.84]


def test_a_stock_that_came_later_is_warned_of() -> None:
    original("sp500-stocks", length=7)
    with pytest.warns(UserWarning, match=r"'PYPL' trains until .*, but 'AAPL' is tested from .* on"):
        load(Series("sp500-stocks", series=("PYPL", "AAPL")), 0)
