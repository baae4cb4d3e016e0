"""The user's own .csv and .npz: what is read, and every door at which it is refused."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from coppice.data import Data, Splits, load
from coppice.data.table import read


@pytest.fixture(autouse=True)
def _in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def csv(text: str, encoding: str = "utf-8") -> Path:
    path = Path("own.csv")
    path.write_text(text, encoding=encoding)
    return path


def npz(**arrays: Any) -> Path:
    np.savez(Path("own.npz"), **arrays)
    return Path("own.npz")


def splits(path: Path, seed: int = 0, **options: Any) -> Splits:
    return load(Data(name="file", path=str(path), **options), seed)


FLOWERS = "width,kind,height\n" + "".join(f"{k},{'rose' if k % 2 else 'aster'},{10 * k}\n" for k in range(20))
HOUSES = "area,price\n" + "".join(f"{k},{3 * k + 0.5}\n" for k in range(20))


# --- what is read


def test_a_csv_with_text_targets_is_classification():
    got = splits(csv(FLOWERS), target="kind", validation=4)
    assert got.task == "classification"
    assert got.outputs == 2
    assert got.classes == ("aster", "rose")
    assert [len(part.x) for part in (got.train, got.validation, got.test)] == [12, 4, 4]
    assert got.train.x.shape == (12, 2)
    assert got.train.y.bincount().tolist() == [6, 6]
    # the row number decides the class: undo the scaling and look
    scaling = got.provenance["scaling"]["features"]
    for part in (got.train, got.validation, got.test):
        raw = part.x.numpy() * scaling["std"] + scaling["mean"]
        assert_allclose(raw[:, 1], 10 * raw[:, 0], rtol=1e-4, atol=1e-3)
        assert (np.rint(raw[:, 0]).astype(int) % 2).tolist() == part.y.tolist()
    assert got.provenance["columns"] == ["width", "height"]


def test_a_csv_with_fractions_is_regression_standardised_by_its_training_rows():
    got = splits(csv(HOUSES), target="price", validation=4, seed=3)
    assert (got.task, got.outputs, got.classes) == ("regression", 1, None)
    assert got.train.y.shape == (12, 1)
    for values in (got.train.x, got.train.y):
        assert_allclose(values.numpy().mean(), 0, atol=1e-6)
        assert_allclose(values.numpy().std(), 1, atol=1e-6)
    assert abs(got.test.y.mean()) > 1e-3  # the others are not centred by themselves
    scaling = got.provenance["scaling"]
    everything = np.concatenate([part.y.numpy() for part in (got.train, got.validation, got.test)])
    prices = everything * scaling["target"]["std"] + scaling["target"]["mean"]
    assert_allclose(np.sort(prices[:, 0]), 3 * np.arange(20) + 0.5, rtol=1e-5)


def test_the_test_rows_are_the_same_for_every_seed():
    def amounts(seed: int) -> np.ndarray:
        got = splits(csv(HOUSES), seed=seed, target="price", validation=4)
        constants = got.provenance["scaling"]["target"]
        return got.test.y.numpy() * constants["std"] + constants["mean"]

    assert_allclose(amounts(0), amounts(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("targets", "option", "task", "classes"),
    [
        (range(20), "auto", "classification", [str(k) for k in range(20)]),
        ([10, 9, 2, 1] * 5, "auto", "classification", ["1", "2", "9", "10"]),  # by size, not by spelling
        (["1.0", "2.0"] * 10, "auto", "classification", ["1", "2"]),
        (range(60), "auto", "regression", None),
        (range(20), "regression", "regression", None),
        ([0.5, 1.5] * 10, "auto", "regression", None),
        ([0.5, 1.5] * 10, "classification", "classification", ["0.5", "1.5"]),
        (["1", "2b"] * 10, "classification", "classification", ["1", "2b"]),
    ],
)
def test_the_task_follows_the_target_unless_it_is_said(targets, option, task, classes) -> None:
    path = csv("a,b\n" + "".join(f"{k},{target}\n" for k, target in enumerate(targets)))
    source = read(path, "b", option, 0.2)
    assert source.task == task
    assert source.classes == (None if classes is None else tuple(classes))


def test_blank_lines_quotes_spaces_and_a_byte_order_mark_are_harmless():
    rows = "".join(f' {k} ,"kind, {k % 2}"\n\n' for k in range(10))
    source = read(csv("\ufeffa,b\n" + rows), "b", "auto", 0.2)
    assert source.classes == ("kind, 0", "kind, 1")
    assert source.provenance["columns"] == ["a"]
    assert sorted([*source.x[:, 0], *source.x_test[:, 0]]) == list(range(10))


def test_an_npz_with_its_own_test_set_keeps_it():
    x, y = np.arange(24.0).reshape(12, 2), np.array(["b", "a"] * 6)
    got = splits(npz(x=x, y=y, x_test=x[:2] + 100, y_test=y[:2], note=np.array(1)), validation=2)
    assert got.classes == ("a", "b")
    assert got.test.y.tolist() == [1, 0]
    assert len(got.train.y) == 10
    scaling = got.provenance["scaling"]["features"]
    assert_allclose(got.test.x.numpy() * scaling["std"] + scaling["mean"], x[:2] + 100, rtol=1e-5)
    assert got.provenance["test"] == "its own"


def test_an_npz_with_images_is_scaled_per_channel():
    x = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4)).astype(np.uint8)
    got = splits(npz(x=x, y=np.arange(20) % 2 == 1), validation=4)
    assert got.classes == ("False", "True")
    assert got.train.x.shape == (12, 3, 4, 4)
    assert_allclose(got.train.x.numpy().mean(axis=(0, 2, 3)), 0, atol=1e-5)
    assert_allclose(got.train.x.numpy().std(), 1, atol=1e-5)
    scaling = got.provenance["scaling"]["features"]
    assert (len(scaling["mean"]), len(scaling["std"])) == (3, 1)


def test_several_outputs_are_regression_and_one_column_is_flat():
    x = np.random.default_rng(0).normal(size=(20, 3))
    got = splits(npz(x=x, y=x[:, :2] * 7), validation=4)
    assert (got.task, got.outputs, got.train.y.shape) == ("regression", 2, (12, 2))
    assert read(npz(x=x, y=np.arange(20)[:, None] % 2), None, "auto", 0.2).classes == ("0", "1")


def test_text_that_spells_numbers_stays_text():
    assert read(npz(x=np.ones((6, 1)), y=np.array(["10", "9"] * 3)), None, "auto", 0.2).classes == ("10", "9")


def test_constants_do_not_see_the_test_rows():
    x, y = np.zeros((12, 1)), np.arange(12) % 2
    x[6:] = 1.0
    far = np.full((2, 1), 1e6)
    scaling = splits(npz(x=x, y=y, x_test=far, y_test=y[:2])).provenance["scaling"]["features"]
    assert 0 < scaling["mean"][0] < 1


# --- where it is refused: csv


@pytest.mark.parametrize(
    ("text", "target", "complaint"),
    [
        ("", "b", r"'own.csv' is empty: the first line must name the columns"),
        ("a,b\n", "b", "has a header line but no rows"),
        ("a,a,b\n1,2,3\n", "b", "names the column 'a' more than once"),
        ("b\n1\n", "b", r"has one column, 'b'.*feature are needed\."),
        ("a;b\n1;2\n", "b", "separate the cells by commas"),
        ("a,b\n1,2\n", None, r"Which column of 'own.csv'.*Set target; the columns are: a, b"),
        ("age,price\n1,2\n", "prize", "no column target = 'prize'; the nearest is 'price'; .* age, price"),
        ("a,b\n1,2\n", "zzzz", r"no column target = 'zzzz'; the columns are: a, b"),
        ("a,b\n1,2\n\n1\n", "b", "line 4 has 1 cells, but the header names 2 columns"),
        ("a,b\n1,2\nx y,2\n", "b", "line 3, column 'a': 'x y' is not a number"),
        ("a,b\n1_0,2\n", "b", "line 2, column 'a': '1_0' is not a number"),
        ("a,b\n1,2\n,2\n", "b", "line 3, column 'a': the cell is empty"),
        ("a,b\n1,2\n1,\n", "b", "line 3: the target 'b' is empty"),
        ("a,b\n1,2\nnan,3\n-inf,3\n", "b", "x has NaN or infinite values in 2 of 3 rows, first in line 3"),
        ("a,b\n1,2\n1,nan\n", "b", "the target has NaN or infinite values in 1 of 2 rows, first in line 3"),
        ("a,b\n1,2\n2,2\n", "b", r"the target is 2.0 in every row: there is nothing to learn"),
        ("a,b\n1,u\n2,u\n", "b", "the target is u in every row"),
        ("a,b\n1,2\n2,n/a\n", "b", "'2' in line 2, a number, but 'n/a' in line 3: correct one"),
        ('a,b\n1,"2\n', "b", "cannot be read as comma-separated UTF-8 text"),
        ("a,b\n1,2\n2,3\n", "b", "has 2 rows, which leaves 1 for training and validation"),
    ],
)
def test_a_csv_is_refused_with_its_place(text: str, target: str | None, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read(csv(text), target, "auto", 0.2)


def test_another_encoding_is_refused():
    with pytest.raises(ValueError, match="cannot be read as comma-separated UTF-8 text"):
        read(csv("a,b\n1,caf\xe9\n", encoding="latin-1"), "b", "auto", 0.2)


def test_text_is_no_regression_target():
    with pytest.raises(ValueError, match="the target 'aster' in line 2 is text"):
        read(csv(FLOWERS), "kind", "regression", 0.2)


def test_a_large_test_share_leaves_too_few_rows():
    with pytest.raises(ValueError, match=r"has 20 rows, which leaves 1 .*lower test = 0.95"):
        read(csv(HOUSES), "price", "auto", 0.95)


@pytest.mark.parametrize("path", ["absent.csv", "absent.npz", "folder.npz"])
def test_a_missing_file_is_named(path: str) -> None:
    Path("folder.npz").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"no file '{path}'.*\[data\]"):
        read(Path(path), "b", "auto", 0.2)


# --- where it is refused: npz

X, Y = np.arange(12.0).reshape(6, 2), np.arange(6) % 2


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"x": X}, "has no array 'y', it has: x"),
        ({"y": Y}, "has no array 'x', it has: y"),
        ({}, "has no array 'x', it has: none"),
        ({"x": X, "y": Y, "x_test": X}, "only one of x_test and y_test"),
        ({"x": X, "y": Y, "y_test": Y}, "only one of x_test and y_test"),
        ({"x": X, "y": Y[:5]}, "x has 6 rows, but y has 5"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y[:5]}, "x_test has 6 rows, but y_test has 5"),
        ({"x": X[:, 0], "y": Y}, r"x is \[6\], expected \[n, features\]"),
        ({"x": X[:, :, None], "y": Y}, r"x is \[6, 2, 1\]"),
        ({"x": X[:0], "y": Y[:0]}, r"x is \[0, 2\]"),
        ({"x": np.ones((6, 4, 4)), "y": Y}, r"grey pictures get a channel by x\[:, None\]"),
        ({"x": X, "y": np.array(1)}, r"y is \[\], expected \[n\]"),
        ({"x": X, "y": np.array([["a", "b"]] * 6)}, r"y is \[6, 2\]"),
        ({"x": X, "y": Y, "x_test": X[:, :1], "y_test": Y}, r"x is \[6, 2\] but x_test is \[6, 1\]"),
        ({"x": X, "y": X, "x_test": X, "y_test": Y}, r"y is \[6, 2\] but y_test is \[6\]"),
        ({"x": X.astype(object), "y": Y}, "array 'x' cannot be read .* Pickled objects are refused"),
        ({"x": X, "y": np.array([{}] * 6)}, "array 'y' cannot be read .* Pickled objects are refused"),
        ({"x": X.astype(complex), "y": Y}, "array 'x' must hold real numbers"),
        ({"x": X.astype(str), "y": Y}, "array 'x' must hold real numbers"),
        ({"x": X, "y": Y.astype("datetime64[D]")}, "array 'y' must hold real numbers"),
        (
            {"x": np.where(X > 9, np.nan, X), "y": Y},
            r"x has NaN .* in 1 of 6 rows, first in row 5 \(the first is 0",
        ),
        ({"x": X, "y": Y, "x_test": X + np.inf, "y_test": Y}, "x_test has NaN or infinite values in 6 of 6"),
        ({"x": X, "y": X, "x_test": X, "y_test": X + np.inf}, "y_test has NaN or infinite values in 6 of 6"),
        ({"x": X, "y": Y * 0}, "the target is 0 in every row"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y + 1}, "y_test has the class '2', .* the classes are 0, 1"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y.astype(str)}, "use one kind"),
        ({"x": X[:2], "y": Y[:2], "x_test": X, "y_test": Y}, "has 2 rows, which leaves 2"),
    ],
)
def test_an_npz_is_refused_with_its_reason(arrays: dict[str, Any], complaint: str) -> None:
    with np.errstate(all="ignore"):
        path = npz(**arrays)
    with pytest.raises(ValueError, match=complaint):
        read(path, None, "auto", 0.2)


def test_several_outputs_are_no_classes():
    with pytest.raises(ValueError, match=r"y is \[6, 2\], but classes are one number or text per row"):
        read(npz(x=X, y=X), None, "classification", 0.2)


def test_an_npz_has_no_target_column():
    with pytest.raises(ValueError, match=r"target = 'b' names a csv column, but 'own.npz' keeps"):
        read(npz(x=X, y=Y), "b", "auto", 0.2)


def test_what_is_not_an_npz_is_refused():
    for content in (b"", b"PK\x03\x04 nothing", bytes(npz(x=X, y=Y).read_bytes()[:-30])):
        Path("own.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"'own.npz' is not an .npz file, or is cut off"):
            read(Path("own.npz"), None, "auto", 0.2)


def test_a_flipped_byte_is_noticed():
    path = npz(x=X, y=Y)
    content = bytearray(path.read_bytes())
    content[content.index(X.tobytes()[8:32]) + 5] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"'own.npz' is damaged .*CRC"):
        read(path, None, "auto", 0.2)


def test_a_member_that_is_no_array_is_refused():
    target = io.BytesIO()
    np.save(target, Y)
    with zipfile.ZipFile("own.npz", "w") as archive:
        archive.writestr("x", "not an array")
        archive.writestr("y.npy", target.getvalue())
    with pytest.raises(ValueError, match="array 'x' must hold real numbers"):
        read(Path("own.npz"), None, "auto", 0.2)


def test_an_npz_that_asks_for_an_unknown_method_is_damaged():
    np.savez("own.npz", x=np.eye(4), y=np.arange(4))
    content = bytearray(Path("own.npz").read_bytes())
    directory = content.rfind(
        b"PK\x01\x02"
    )  # the last member's entry; its compression method stands 10 bytes on
    content[directory + 10] = 99
    Path("own.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"'own.npz' is damaged .*compression"):
        read(Path("own.npz"), None, "auto", 0.2)


def test_a_disk_that_fails_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> bytes:
        raise PermissionError("no right to read")

    np.savez("own.npz", x=np.eye(4), y=np.arange(4))
    monkeypatch.setattr(Path, "read_bytes", fails)
    with pytest.raises(PermissionError):
        read(Path("own.npz"), None, "auto", 0.2)
