"""Data by name: the recipe's table, the embedded digits, and what load promises."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.data import SERIES, SETS, Data, catalogue, load
from coppice.data.scaling import Scaling
from coppice.data.splits import Source

# --- the recipe's table


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            {"name": "mnits"},
            "name is 'mnits', but the data sets are digits, mnist, file. Did you mean 'mnist'",
        ),
        ({"name": "co2"}, r"name is 'co2', a series to forecast: load it by Series\(name='co2'\)"),
        ({"name": "file"}, 'path is None, but name = "file" needs the path of a .npz or .csv'),
        ({"name": "file", "path": "a.parquet"}, "path is 'a.parquet'"),
        ({"path": "a.csv"}, "path = 'a.csv' has no meaning for 'digits'"),
        ({"target": "b"}, "target = 'b' has no meaning for 'digits'"),
        ({"task": "regression"}, "task = 'regression' has no meaning for 'digits'"),
        ({"test": 0.3}, "test = 0.3 has no meaning for 'digits'"),
        ({"task": "guess"}, "task is 'guess', but it must be one of auto, classification, regression"),
        ({"train": 0}, "train is 0, but it must be a whole number, 1 or more"),
        ({"train": 0.5}, "train is 0.5"),
        ({"train": True}, "train is True"),
        ({"classes": 1}, "classes is 1, but it must be a whole number, 2 or more"),
        ({"validation": 0}, "validation is 0, but it must be a whole number, 1 or more"),
        ({"validation": 0.0}, "validation is 0.0, but it must be a share above 0 and below 1 or a count"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"validation": float("nan")}, "validation is nan"),
        ({"validation": True}, "validation is True"),
        ({"validation": "300"}, "validation is '300'"),
        ({"name": "file", "path": "a.csv", "test": 1.0}, "test is 1.0, but it must be a share"),
        ({"name": "file", "path": "a.csv", "test": 0}, "test is 0, but it must be a share"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Data(**options)


def test_the_defaults_are_the_embedded_digits():
    assert Data() == Data(name="digits", validation=0.15)
    assert Data(name="file", path="X.CSV", target="b", test=0.5).path == "X.CSV"


# --- digits


def test_digits_have_the_promised_shapes_and_range():
    got = load(Data(), seed=0)
    assert [len(part.y) for part in (got.train, got.validation, got.test)] == [1146, 202, 449]
    assert got.train.x.shape[1:] == (1, 8, 8)
    assert (got.train.x.dtype, got.train.y.dtype) == (torch.float32, torch.int64)
    assert (got.train.x.min(), got.train.x.max()) == (0, 1)
    assert (got.train.x * 16 == (got.train.x * 16).round()).all()
    assert (got.task, got.outputs, got.classes) == ("classification", 10, tuple("0123456789"))


def test_nothing_is_lost_or_doubled_between_the_three_sets():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    got = load(Data(), seed=5)
    parts = (got.train, got.validation, got.test)
    rows = np.concatenate([np.c_[part.x.reshape(-1, 64).numpy() * 16, part.y.numpy()] for part in parts])
    expected = np.c_[pixels, labels]
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, expected.tolist()))


def test_the_test_set_stands_still_and_the_rest_follows_the_seed():
    one, same, other = load(Data(), 1), load(Data(), 1), load(Data(), 2)
    for part in ("train", "validation"):
        assert torch.equal(getattr(one, part).x, getattr(same, part).x)
        assert not torch.equal(getattr(one, part).x, getattr(other, part).x)
    assert torch.equal(one.test.x, other.test.x)
    assert torch.equal(one.test.y, other.test.y)


def test_validation_does_not_depend_on_the_number_of_training_samples():
    few, many = load(Data(train=100), 3), load(Data(), 3)
    assert torch.equal(few.validation.x, many.validation.x)
    assert len(few.train.y) == 100
    assert few.train.y.bincount().tolist() == [10] * 10


def test_the_first_classes_alone():
    got = load(Data(classes=3), 0)
    assert (got.outputs, got.classes) == (3, ("0", "1", "2"))
    for part in (got.train, got.validation, got.test):
        assert part.y.unique().tolist() == [0, 1, 2]
    assert torch.equal(got.test.x, load(Data(), 0).test.x[load(Data(), 0).test.y < 3])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"classes": 11}, "classes is 11, but 'digits' has 10 classes"),
        ({"train": 1300}, "the 1348 samples of the training pool: train = 1146 is the most"),
        ({"validation": 1348}, "lower validation to 1347"),
        ({"train": 9}, r"has no sample among the 9 drawn for training .*raise train"),
    ],
)
def test_what_the_data_cannot_give_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        load(Data(**options), 0)


def test_the_provenance_is_complete_and_json():
    got = load(Data(train=200, validation=50, classes=4), seed=np.int64(7))
    record = json.loads(json.dumps(got.provenance))
    assert record == got.provenance
    assert record["name"] == "digits"
    assert record["source"].startswith("embedded in scikit-learn ")
    assert record["read_from"] == "embedded"
    assert [len(digest) for digest in record["sha256"].values()] == [64]
    assert "CC BY 4.0" in record["licence"]
    assert record["seed"] == 7
    assert record["counts"]["train"] == 200
    assert record["counts"]["validation"] == 50
    assert record["counts"]["test"] == len(got.test.y)
    assert record["scaling"] == {"features": {"mean": [0.0], "std": [16.0]}, "target": None}


# --- load, on sources made up on the spot


@given(
    kinds=st.lists(st.integers(0, 3), min_size=30, max_size=90),
    validation=st.one_of(st.integers(1, 9), st.floats(0.01, 0.3)),
    train=st.one_of(st.none(), st.integers(12, 20)),
    seed=st.integers(0, 10**6),
)
@settings(deadline=None)
def test_load_keeps_the_sets_disjoint_and_the_counts_exact(kinds, validation, train, seed) -> None:
    y = np.array([*range(4), *range(4), *range(4), *range(4), *kinds], dtype=np.int64) % 4
    y = np.concatenate([y, np.repeat(np.arange(4), len(y) // 4)])  # no class too rare to be drawn
    x = np.arange(len(y), dtype=np.float64)[:, None]
    source = Source(x, y, -x, y, "classification", tuple("abcd"), Scaling((0.0,), (1.0,)), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "_read", lambda data: source)
        got = load(Data(train=train, validation=validation), seed)
    drawn, judged = got.train.x[:, 0].int().tolist(), got.validation.x[:, 0].int().tolist()
    assert not set(drawn) & set(judged)
    assert len(set(drawn)) == len(drawn) == got.provenance["counts"]["train"]
    expected = validation if isinstance(validation, int) else max(1, round(validation * len(y)))
    assert len(judged) == expected
    assert len(drawn) == (len(y) - expected if train is None else train)
    for part, members in ((got.train, drawn), (got.validation, judged)):
        assert part.y.tolist() == y[members].tolist()  # labels stay with their samples
    sizes = np.bincount(y, minlength=4)
    left = sizes - np.bincount(y[judged], minlength=4)
    assert (abs(np.bincount(y[judged], minlength=4) - sizes * len(judged) / len(y)) < 1).all()
    assert (abs(np.bincount(y[drawn], minlength=4) - left * len(drawn) / left.sum()) < 1).all()


def test_a_target_that_does_not_vary_in_the_training_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.arange(40.0).reshape(20, 2)
    y = np.stack([x[:, 0], np.full(20, 0.1)], axis=1)
    monkeypatch.setattr(catalogue, "_read", lambda data: Source(x, y, x, y, "regression", None, None, {}))
    with pytest.raises(ValueError, match=r"regression target \(output 1\) is 0.1 in all 17 training rows"):
        load(Data(), 0)


def test_classes_of_a_regression_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.arange(40.0).reshape(20, 2)
    monkeypatch.setattr(catalogue, "_read", lambda data: Source(x, x, x, x, "regression", None, None, {}))
    with pytest.raises(ValueError, match="classes is 3, but 'digits' has no classes"):
        load(Data(classes=3), 0)


def test_a_users_file_leaves_no_machine_path_in_the_record(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    x = np.random.default_rng(0).normal(size=(40, 3))
    np.savez(path, x=x, y=x[:, 0])
    record = json.dumps(load(Data(name="file", path=str(path)), 0).provenance)
    assert str(tmp_path) not in record
    assert '"read_from": "mine.npz"' in record
    assert hashlib.sha256(path.read_bytes()).hexdigest() in record


# --- around


def test_the_catalogue_names_https_mirrors_and_checksums():
    assert set(SETS) == {
        "digits",
        "mnist",
        "cifar100",
        "tiny-imagenet",
        "nmnist",
        "wrist",
        "pen",
        "signs",
        "speech",
        *SERIES,
    }
    assert len(SETS["mnist"].files) == 4
    for file in SETS["mnist"].files:
        assert len(file.sha256) == 64
        assert len(file.urls) == 2
        assert all(url.startswith("https://") and url.endswith(file.name[5:]) for url in file.urls)


def test_the_package_imports_without_its_extra():
    code = (
        "import sys\n"
        "for name in ('sklearn', 'pooch', 'requests', 'rich', 'pandas', 'statsmodels'): sys.modules[name] = None\n"
        "import coppice.data as data\n"
        "try: data.load(data.Data(), 0)\n"
        "except ModuleNotFoundError as missing: print(missing)\n"
        "print(data.status('mnist'))\n"
    )
    bare = {key: value for key, value in os.environ.items() if not key.startswith("COPPICE_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=bare)
    assert 'pip install "coppice[data]"' in done.stdout
    assert "not downloaded" in done.stdout
