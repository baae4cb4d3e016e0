"""coppice predict: from a user's table to a model, and from new rows to forecasts; nothing of the future leaks back."""

import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coppice.cli import main
from coppice.cli.predicting import _rows
from coppice.data import Series, load
from coppice.experiments import record
from coppice.experiments.folder import Folder
from coppice.experiments.forecasts import forecast
from coppice.experiments.saved import rebuilt, saved_bytes
from coppice.parts.masks import Masks

pandas = pytest.importorskip("pandas")
pytestmark = pytest.mark.usefixtures("no_stopwatch")
Captured = pytest.CaptureFixture[str]
ROWS = 240
TINY = [
    f"--set={setting}"
    for setting in (
        "data.target=level",
        "data.length=7",
        "data.horizon=2",
        "model.hidden=8",
        "training.epochs=3",
        "training.batch=32",
        "method.every=2",
    )
]


def rows(count: int = ROWS, name: str = "north") -> Any:
    """A daily wave with noise, and a covariate; the same numbers whatever the count."""
    rng = np.random.default_rng(7)
    noise = rng.normal(size=(10 * ROWS, 2))
    days = np.arange(count)
    level = 50 + 10 * np.sin(days / 5) + noise[:count, 0]
    wind = noise[:count, 1].round(3)
    dates = pandas.date_range("2024-01-01", periods=count)
    return pandas.DataFrame({"unique_id": name, "ds": dates, "level": level.round(3), "wind": wind})


def written(frame: Any, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


def trained(csv: Path, out: Path, *more: str) -> Path:
    assert main(["run", "forecast", f"--set=data.csv={csv}", *TINY, *more, "--out", str(out)]) == 0
    return out / "0"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return trained(written(rows(), folder / "mine.csv"), folder / "out")


def test_a_table_of_the_users_becomes_a_pruned_model_and_a_record(run: Path) -> None:
    found = record.read(run / "record.json")
    final, naive = found["result"]["final"], found["result"]["naive"]
    assert found["task"] == "forecast"
    assert found["recipe"]["data"]["csv"] == "mine.csv"  # where it lay is nobody's business
    assert set(naive) == {"persistence", "seasonal naive"}
    assert all(set(one) == {"test", "test_unit"} for one in naive.values())
    assert final["sparsity"] == pytest.approx(0.9, abs=0.005)
    assert final["alive"] < 0.3 * final["parameters"]
    # scaled by the training rows: 64 % of the wave
    sigma = rows()["level"][: int(ROWS * 0.64)].std(ddof=0)
    assert final["test_unit"] / final["test"] == pytest.approx(sigma, rel=0.02)
    model, notes = rebuilt(run / "model.safetensors")
    assert Masks(model).sparsity == pytest.approx(final["sparsity"])
    assert final["bytes"] == saved_bytes(model)
    assert notes["source"]["csv"] == "mine.csv"


def test_the_errors_in_the_record_are_those_of_the_saved_model(run: Path) -> None:
    splits = load(Series(csv=str(run.parent.parent / "mine.csv"), target="level", length=7, horizon=2), 0)
    model, _ = rebuilt(run / "model.safetensors")
    off = (forecast(model, splits.test.x) - splits.test.y).abs()
    final = record.read(run / "record.json")["result"]["final"]
    assert final["test"] == pytest.approx(float(off.mean()), rel=1e-5)


def test_new_rows_are_forecast_in_the_unit_and_time_of_the_target(
    run: Path, tmp_path: Path, capsys: Captured
) -> None:
    new, out = written(rows(ROWS + 30), tmp_path / "new.csv"), tmp_path / "deep" / "forecast.csv"
    assert main(["predict", str(run), "--csv", str(new), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "after the last rows of 'new.csv'" in shown
    assert "on its test rows the model was off by" in shown
    found = pandas.read_csv(out)
    assert list(found.columns) == ["unique_id", "ds", "level"]
    last = pandas.Timestamp("2024-01-01") + pandas.Timedelta(days=ROWS + 29)
    assert list(pandas.to_datetime(found["ds"])) == [last + pandas.Timedelta(days=d) for d in (1, 2)]
    assert found["level"].between(20, 80).all()
    # by hand: the last window, scaled, through the model, and back
    model, notes = rebuilt(run / "model.safetensors")
    known = notes["data"]["preparation"]["series"]["north"]
    (mean, std), (wind_mean, wind_std) = known["target"], known["covariates"][0]
    tail = rows(ROWS + 30).tail(7)
    x = np.stack([(tail["level"] - mean) / std, (tail["wind"] - wind_mean) / wind_std], 1)
    y = model.eval()(torch.tensor(x[None], dtype=torch.float32))[0].detach().numpy() * std + mean
    np.testing.assert_allclose(found["level"], y, rtol=1e-4)


def test_the_model_file_alone_is_enough(run: Path, tmp_path: Path, capsys: Captured) -> None:
    new = written(rows(20), tmp_path / "new.csv")
    assert main(["predict", str(run), "--csv", str(new)]) == 0
    whole = capsys.readouterr().out.splitlines()
    assert main(["predict", str(run / "model.safetensors"), "--csv", str(new)]) == 0
    alone = capsys.readouterr().out.splitlines()
    assert alone == [line for line in whole if not line.startswith("on its test rows")]


def test_only_the_last_rows_count(run: Path, tmp_path: Path) -> None:
    whole, short = rows(50), rows(50).tail(7)
    earlier = rows(50)
    earlier.loc[:42, "level"] = 99.0
    found = []
    for name, frame in (("whole", whole), ("short", short), ("earlier", earlier)):
        out = tmp_path / f"{name}-forecast.csv"
        csv = written(frame, tmp_path / f"{name}.csv")
        assert main(["predict", str(run), "--csv", str(csv), "--out", str(out)]) == 0
        found.append(out.read_text())
    assert found[0] == found[1] == found[2]


def test_new_rows_are_of_series_named_as_in_training(tmp_path: Path) -> None:
    csv = tmp_path / "new.csv"
    csv.write_text("shop,ds,y\n001,1,2\n")
    notes = {"data": {"preparation": {"columns": {"id": "shop"}}}}
    frame, what = _rows(tmp_path, notes, csv)
    assert (list(frame["shop"]), what) == (["001"], "'new.csv'")


def test_a_known_series_needs_no_table(tmp_path: Path, capsys: Captured) -> None:
    pytest.importorskip("statsmodels")
    small = ["--set=model.hidden=4", "--set=training.epochs=1", "--set=training.batch=256"]
    assert main(["run", "forecast", *small, "--set=method.every=1", "--out", str(tmp_path)]) == 0
    assert main(["predict", str(tmp_path / "0"), "--out", str(tmp_path / "next.csv")]) == 0
    assert "after the last rows of 'co2'" in capsys.readouterr().out
    (next_week,) = pandas.read_csv(tmp_path / "next.csv").itertuples()
    assert next_week.ds == "2002-01-05"
    assert 365 < next_week.co2 < 378  # the last week has 371.5


# --- no leak, from end to end ------------------------------------------------------------------------------------


def test_shuffling_the_future_changes_nothing_before_it(run: Path, tmp_path: Path) -> None:
    cut = int(ROWS * 0.9)  # within the test rows, so that training and validation end before it
    shuffled, order = rows(), np.random.default_rng(1).permutation(ROWS - cut)
    for column in ("level", "wind"):
        shuffled.loc[cut:, column] = shuffled[column].to_numpy()[cut:][order]
    csv = written(shuffled, tmp_path / "mine.csv")
    other = trained(csv, tmp_path / "out")
    ours, theirs = (rebuilt(folder / "model.safetensors") for folder in (run, other))
    assert all(torch.equal(a, b) for a, b in zip(ours[0].parameters(), theirs[0].parameters(), strict=True))
    assert ours[1]["data"]["preparation"] == theirs[1]["data"]["preparation"]
    before, after = (
        load(Series(csv=str(path), target="level", length=7, horizon=2), 0)
        for path in (run.parent.parent / "mine.csv", csv)
    )
    assert torch.equal(before.validation.x, after.validation.x)
    # test windows begin with the first target row; the first to see a shuffled row has its last input at the cut
    safe = cut - math.floor(ROWS * 0.8) - 1
    one, two = forecast(ours[0], before.test.x), forecast(theirs[0], after.test.x)
    assert torch.equal(one[:safe], two[:safe])
    assert not torch.equal(one[safe + 3 :], two[safe + 3 :])


# --- refusals --------------------------------------------------------------------------------------------------------


def refused(*arguments: str, capsys: Captured) -> str:
    assert main(["predict", *arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    return errors


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.rename(columns={"level": "levle"}), "no column target = 'level': the nearest is 'levle'"),
        (lambda f: f.drop(columns="wind"), "no column covariates = 'wind'"),
        (lambda f: f.drop(columns="ds"), "no column time = 'ds'"),
        (lambda f: f.tail(6), "has 6 rows of 'north'"),
        (lambda f: f.assign(unique_id="south"), "the series 'south', but the model was trained on north"),
        (lambda f: f.assign(level=f["level"].where(f.index != 3)), "row 4, column 'level' is empty"),
        (lambda f: f.iloc[::-1], "sort the rows by time"),
        (lambda f: f.assign(level=f["level"].astype(str).replace(str(f["level"][2]), "high")), "'high' is not a number"),
        (lambda f: f.iloc[:0], "has no rows"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_refused(
    change: Any, says: str, run: Path, tmp_path: Path, capsys: Captured
) -> None:
    csv = written(change(rows(20)), tmp_path / "new.csv")
    out = tmp_path / "out.csv"
    assert says in refused(str(run), "--csv", str(csv), "--out", str(out), capsys=capsys)
    assert not out.exists()


def test_what_is_no_forecaster_is_refused(run: Path, tmp_path: Path, capsys: Captured) -> None:
    assert "learned from a table of yours, mine.csv" in refused(str(run), capsys=capsys)
    assert "There is no file" in refused(str(run), "--csv", str(tmp_path / "none.csv"), capsys=capsys)
    assert "holds no run." in refused(str(tmp_path), capsys=capsys)
    assert f"holds no run itself: did you mean {run}?" in refused(str(run.parent), capsys=capsys)
    assert "there is no file" in refused(str(tmp_path / "none.safetensors"), capsys=capsys)
    begun = Folder(tmp_path / "begun")
    begun.save({}, {"x": 1})
    assert "is not finished" in refused(str(begun.path), capsys=capsys)
    assert "holds no model" in refused(str(begun.checkpoint), capsys=capsys)
    study = Folder(tmp_path / "study")
    record.write(study.record, {"name": "s"})
    assert "a study leaves numbers only" in refused(str(study.path), capsys=capsys)
    digits = ["--set=model.hidden=[8]", "--set=training.epochs=1", "--set=data.train=200"]
    digits += ["--set=method.name=dense", "--set=data.name=digits"]
    (tmp_path / "dense.toml").write_text("")
    assert main(["run", str(tmp_path / "dense.toml"), *digits, "--out", str(tmp_path / "digits")]) == 0
    capsys.readouterr()
    assert "a model for classification, which takes new samples by --data FILE" in refused(
        str(tmp_path / "digits" / "0"), capsys=capsys
    )


def test_nothing_is_said_or_written_beside_a_damaged_record(
    run: Path, tmp_path: Path, capsys: Captured
) -> None:
    shutil.copytree(run, tmp_path / "0")
    (tmp_path / "0" / "record.json").write_text("{")
    csv, out = written(rows(20), tmp_path / "new.csv"), tmp_path / "out.csv"
    assert main(["predict", str(tmp_path / "0"), "--csv", str(csv), "--out", str(out)]) == 2
    shown = capsys.readouterr()
    assert "record.json is not a run's record, or is damaged" in shown.err
    assert shown.out == ""
    assert not out.exists()


def test_a_file_is_not_written_over_unasked(run: Path, tmp_path: Path, capsys: Captured) -> None:
    csv, out = written(rows(20), tmp_path / "new.csv"), tmp_path / "out.csv"
    out.write_text("mine")
    line = [str(run), "--csv", str(csv), "--out", str(out)]
    assert "add --force" in refused(*line, capsys=capsys)
    assert out.read_text() == "mine"
    assert main(["predict", *line, "--force"]) == 0
    assert out.read_text().startswith("unique_id,ds,level")


def test_a_write_that_fails_leaves_the_forecasts_that_were(
    run: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv, out = written(rows(20), tmp_path / "new.csv"), tmp_path / "out.csv"
    out.write_text("mine")

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["predict", str(run), "--csv", str(csv), "--out", str(out), "--force"]) == 1
    assert "no space left" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new.csv", "out.csv"]
