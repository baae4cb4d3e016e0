import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, tensor

from coppice.parts import storage

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool]


def same(one, other) -> bool:
    """Equal in type, order, dtype, shape and bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        bits = [t.reshape(-1).view(torch.uint8) for t in (one, other)]
        return one.dtype == other.dtype and one.shape == other.shape and bits[0].equal(bits[1])
    if isinstance(one, dict):
        return [*map(repr, one)] == [*map(repr, other)] and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)  # so that nan is nan


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
tensors = st.builds(
    lambda dtype, shape: (torch.rand(shape) * 9).to(dtype),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=3),
)
keys = st.one_of(st.integers(-3, 9), st.text(max_size=3), st.booleans(), st.none())
trees = st.recursive(
    st.one_of(scalars, tensors),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(trees)
def test_every_tree_comes_back(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "tree"
    storage.write(path, tree)
    assert same(storage.read(path), tree)


def test_an_optimizers_state_comes_back_with_its_integer_keys(tmp_path: Path):
    layer = nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(layer.parameters(), betas=(0.8, 0.9))
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    storage.write(tmp_path / "o", optimizer.state_dict())
    read = storage.read(tmp_path / "o")
    assert same(read, optimizer.state_dict())
    assert list(read["state"]) == [0, 1]
    assert read["param_groups"][0]["betas"] == (0.8, 0.9)


def test_shared_strided_and_learnable_tensors_are_stored_by_value(tmp_path: Path):
    base = torch.arange(6.0).reshape(2, 3)
    tree = {
        "a": base, "b": base, "column": base[:, 1], "turned": base.T, "spread": base[:, :1].expand(2, 4),
        "parameter": nn.Parameter(base),
    }  # fmt: skip
    storage.write(tmp_path / "s", tree)
    read = storage.read(tmp_path / "s")
    assert all(read[name].equal(tree[name]) for name in tree)
    assert read["a"].data_ptr() != read["b"].data_ptr()
    assert type(read["parameter"]) is torch.Tensor


def test_the_file_is_safetensors_with_a_header_in_strict_json(tmp_path: Path):
    storage.write(tmp_path / "f", {"w": tensor([1.0, 2]), "best": float("-inf"), 3: (None,)})
    with safetensors.safe_open(tmp_path / "f", "pt") as file:
        header = json.loads(file.metadata()["coppice"], parse_constant=pytest.fail)
        assert file.get_tensor("t0").tolist() == [1, 2]
    assert header["format"] == storage.FORMAT
    assert header["tree"]["dict"] == [
        ["w", {"tensor": "t0"}], ["best", {"float": "-inf"}], [3, {"tuple": [None]}]
    ]  # fmt: skip


def test_what_was_read_does_not_follow_the_file(tmp_path: Path):
    storage.write(tmp_path / "a", {"w": torch.zeros(1000)})
    storage.write(tmp_path / "b", {"w": torch.ones(1000)})
    read = storage.read(tmp_path / "a")["w"]
    (tmp_path / "a").write_bytes((tmp_path / "b").read_bytes())  # in place, unlike ours
    assert read.sum() == 0


# --- what cannot be stored ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "named"),
    [
        ({"a": [1, {2: object()}]}, "a object at '/a/1/2' cannot be stored without pickle"),
        ({"f": print}, "builtin_function_or_method at '/f'"),
        ([{1, 2}], "a set at '/0'"),
        ({"b": b"bytes"}, "a bytes at '/b'"),
        ({"c": {(1, 2): 3}}, r"the key \(1, 2\) at '/c' cannot be stored"),
        ({"m": nn.Linear(1, 1)}, "a Linear at '/m'"),
        (1j, "a complex at ''"),
    ],
)
def test_an_unstorable_value_is_refused_by_its_place_and_leaves_the_old_file(
    tmp_path: Path, tree, named: str
):
    path = tmp_path / "f"
    storage.write(path, "old")
    with pytest.raises(ValueError, match=named):
        storage.write(path, tree)
    assert storage.read(path) == "old"


# --- damage ---------------------------------------------------------------------------------------------------


def example(path: Path) -> bytes:
    storage.write(path, {"w": torch.arange(4.0), "n": [1, 0.5, "text", (True, None)], "e": tensor(7)})
    return path.read_bytes()


def test_no_changed_byte_passes_unnoticed(tmp_path: Path):
    path = tmp_path / "f"
    whole = example(path)
    expected = storage.read(path)
    for place in range(len(whole)):
        flip = 0x80 if place % 2 else 0x01
        path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        try:
            read = storage.read(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 - most, but not all, must raise
        else:  # a byte that says nothing, such as a blank
            assert same(read, expected)
    assert len(whole) > 300


def test_no_truncated_file_passes(tmp_path: Path):
    path = tmp_path / "f"
    whole = example(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is damaged or not a safetensors file"):
            storage.read(path)


def test_a_flipped_weight_is_damage(tmp_path: Path):
    path = tmp_path / "f"
    whole = example(path)
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(ValueError, match="is damaged: its contents do not match the digest"):
        storage.read(path)


def test_foreign_files_are_told_apart(tmp_path: Path):
    path = tmp_path / "f"
    safetensors.torch.save_file({"w": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="not one that coppice wrote"):
        storage.read(path)
    for header in ("no json", "3", "[]", "{}"):
        safetensors.torch.save_file({"w": torch.ones(2)}, path, {"coppice": header})
        with pytest.raises(ValueError, match="is damaged: its header is not what coppice writes"):
            storage.read(path)
    torch.save({"w": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="is damaged or not a safetensors file"):
        storage.read(path)


def test_a_newer_format_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "f"
    monkeypatch.setattr(storage, "FORMAT", 2)
    example(path)
    monkeypatch.undo()
    with pytest.raises(
        ValueError, match="has format 2, this coppice reads format 1: use the version that wrote"
    ):
        storage.read(path)


def test_a_missing_file_or_a_folder(tmp_path: Path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            storage.read(path)


# --- a kill at any moment -------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    path = tmp_path / "f"
    storage.write(path, "old")

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(*((os, "fsync") if moment == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OSError, match="disk is full"):
        storage.write(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert storage.read(path) == "old"


def test_a_kill_leaves_a_partial_that_nobody_takes_for_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "f.safetensors"
    storage.write(path, "old")
    seen: list[Path] = []

    def killed(_file: int) -> None:  # what lies on the disk when the process is killed here
        seen.extend(p for p in tmp_path.iterdir() if p != path)
        shutil.copy(seen[0], tmp_path / "kept")
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        storage.write(path, "new")
    monkeypatch.undo()
    (tmp_path / "kept").rename(seen[0])
    assert seen[0].name.startswith(".")
    assert list(tmp_path.glob("*.safetensors")) == [path]
    assert storage.read(path) == "old"
    storage.write(path, "newer")
    assert storage.read(path) == "newer"


def test_write_makes_the_folders(tmp_path: Path):
    storage.write(tmp_path / "a" / "b" / "f", 1)
    assert storage.read(tmp_path / "a" / "b" / "f") == 1
