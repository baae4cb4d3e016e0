"""Pruned weights on disk: fewer bytes, the same bits."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, tensor

from coppice.parts import storage
from coppice.parts.blueprint import load_model, save_model
from coppice.parts.masks import Masks
from coppice.parts.packing import load_weights, pack, read_model, unpack
from coppice.parts.selection import weakest

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


class Forecaster(nn.Module):
    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(12, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.MultiheadAttention(16, 4)
        self.norm = nn.LayerNorm(16)


def pruned(model: nn.Module, sparsity: float, seed: int = 0) -> nn.Module:
    """The model with so many of its weights dead, wherever chance says."""
    torch.manual_seed(seed)
    masks = Masks.attach(model)
    masks.prune(weakest({name: torch.rand(mask.shape) for name, mask in masks.items()}, masks, sparsity))
    return model


def same_bits(one: Tensor, other: Tensor) -> bool:
    views = [t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (one, other)]
    return one.dtype == other.dtype and one.shape == other.shape and views[0].equal(views[1])


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(same_bits(one[name], other[name]) for name in one)


# --- bits and values ------------------------------------------------------------------------------------------


def test_bits_and_values_by_hand():
    weights = torch.zeros(5, 40)
    alive = torch.zeros(5, 40, dtype=torch.bool)
    for row, column, value in ((0, 0, 1.5), (0, 9, -2.0), (4, 39, 3.0)):
        weights[row, column], alive[row, column] = value, True
    stored = pack({"w": weights, "b": torch.ones(5), "w_alive": alive})
    assert list(stored["weights"]) == ["b"]
    entry = stored["packed"]["w"]
    assert entry["shape"] == [5, 40]
    assert entry["values"].tolist() == [1.5, -2.0, 3.0]
    assert entry["alive"].tolist() == [1, 2, *[0] * 22, 128]  # synapses 0, 9 and 199


@st.composite
def masked(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Any shape, any dtype, any bits of a number (NaN, infinities, subnormals) where alive, zero where dead."""
    shape = draw(st.lists(st.integers(0, 12), max_size=3))
    dtype, seed = draw(st.sampled_from(DTYPES)), draw(st.integers(0, 99))
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    raw = rng.integers(0, 256, size * torch.empty(0, dtype=dtype).element_size(), dtype=np.uint8)
    alive = torch.from_numpy(rng.random(size) < share)
    values = torch.from_numpy(raw).view(dtype) if size else torch.empty(0, dtype=dtype)
    return torch.where(alive, values, 0).view(shape), alive.view(shape)


@settings(max_examples=150, deadline=None)
@given(masked())
def test_every_masked_tensor_comes_back_bit_for_bit(tmp_path_factory, case: tuple[Tensor, Tensor]):
    weights, alive = case
    state = {"layer.w": weights, "layer.w_alive": alive, "layer.b": torch.ones(3)}
    path = tmp_path_factory.getbasetemp() / "packed"
    storage.write(path, pack(state))
    assert same_state(unpack(**storage.read(path)), state)


@settings(max_examples=60, deadline=None)
@given(masked())
def test_packing_never_takes_more_bytes(tmp_path_factory, case: tuple[Tensor, Tensor]):
    weights, alive = case
    state = {"layer.w": weights, "layer.w_alive": alive}
    path = tmp_path_factory.getbasetemp() / "size"
    storage.write(path, {"weights": state, "packed": {}})
    whole = path.stat().st_size
    storage.write(path, pack(state))
    assert path.stat().st_size <= whole + 8  # to the next eight, to which safetensors pads its header


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_all_dead_and_all_alive_are_packed_too(share: float):
    alive = torch.rand(40, 40) < share
    state = {"w": torch.randn(40, 40).where(alive, 0), "w_alive": alive}
    stored = pack(state)
    assert not stored["weights"]
    assert stored["packed"]["w"]["values"].numel() == int(alive.sum())


def test_a_tensor_too_small_to_gain_stays_whole():
    for size in (0, 1, 7):
        state = {"w": torch.zeros(size), "w_alive": torch.zeros(size, dtype=torch.bool)}
        assert pack(state) == {"weights": state, "packed": {}}


def test_what_is_dead_but_not_zero_is_not_lost():
    alive = torch.zeros(20, 20, dtype=torch.bool)
    state = {"w": torch.full((20, 20), 0.5), "w_alive": alive}
    assert pack(state)["packed"] == {}
    state["w"] = torch.full((20, 20), -0.0)
    (whole, _) = unpack(**pack(state)).values()
    assert same_bits(whole, torch.zeros(20, 20))  # and not -0.0


def test_turned_and_strided_tensors_are_packed_by_value():
    alive = torch.rand(30, 50) < 0.3
    state = {"w": torch.randn(30, 50).where(alive, 0).T, "w_alive": alive.T}
    assert list(pack(state)["packed"]) == ["w"]
    assert same_state(unpack(**pack(state)), {k: v.contiguous() for k, v in state.items()})


def test_only_masks_are_taken_for_masks():
    state = {
        "w": torch.zeros(20, 20),
        "w_alive": torch.ones(20, 20),  # not bool
        "v": torch.zeros(20, 20),
        "v_alive": torch.ones(20, dtype=torch.bool),  # of another shape
        "u_alive": torch.ones(20, 20, dtype=torch.bool),  # of nothing
    }
    assert pack(state) == {"weights": state, "packed": {}}


# --- models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build", [Forecaster, Attention, lambda: nn.Sequential(nn.Linear(20, 30), nn.ReLU())]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dense_model_takes_weights_and_masks(tmp_path: Path, build, dtype: torch.dtype):
    model = pruned(build().to(dtype), 0.8)
    save_model(model, tmp_path / "m")
    dense = load_model(tmp_path / "m", into=build().to(dtype))
    assert same_state(dense.state_dict(), model.state_dict())
    assert {n: m.tolist() for n, m in Masks(dense).items()} == {
        n: m.tolist() for n, m in Masks(model).items()
    }
    Masks(dense).check()


def test_the_dense_class_takes_the_weights_strictly_and_knows_no_masks(tmp_path: Path):
    model, plain = pruned(Forecaster(), 0.9), Forecaster()
    save_model(model, tmp_path / "m")
    weights = load_weights(tmp_path / "m")
    plain.load_state_dict(weights, strict=True)
    for name, parameter in plain.named_parameters():
        assert same_bits(parameter, model.get_parameter(name))
    assert weights.keys() == Forecaster().state_dict().keys()
    assert weights["recurrent.weight_hh_l0"].count_nonzero() < 0.2 * 64 * 256


def test_dense_models_and_files_of_earlier_times_load(tmp_path: Path):
    model = Forecaster(8)
    save_model(model, tmp_path / "m")
    assert same_state(load_weights(tmp_path / "m"), model.state_dict())
    state = pruned(model, 0.5).state_dict()
    storage.write(tmp_path / "old", {"plan": None, "weights": state, "notes": {"by": "hand"}})
    assert same_state(read_model(tmp_path / "old")["weights"], state)
    assert same_state(load_model(tmp_path / "old", into=Forecaster(8)).state_dict(), state)
    assert not any(name.endswith("_alive") for name in load_weights(tmp_path / "old"))


def test_tied_weights_are_stored_once(tmp_path: Path):
    def build() -> nn.Module:
        model = nn.ModuleDict({"a": nn.Linear(50, 50), "b": nn.Linear(50, 50)})
        model["b"].weight = model["a"].weight
        return model

    model = pruned(build(), 0.9)
    save_model(model, tmp_path / "m")
    assert (tmp_path / "m").stat().st_size < 5000  # one dense matrix alone has 10,000
    assert same_state(load_weights(tmp_path / "m"), build_state(model))
    assert same_state(load_model(tmp_path / "m", into=build()).state_dict(), model.state_dict())


def build_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if not name.endswith("_alive")}


def test_a_files_bytes_fall_with_the_sparsity(tmp_path: Path):
    """LSTM 12 -> 64 -> 1: 80.1 kB of dense float32; bits and values, biases and a header remain."""
    sizes = []
    for sparsity in (0.0, 0.5, 0.7, 0.9, 0.95):
        model = pruned(Forecaster(), sparsity)
        save_model(model, tmp_path / "m")
        sizes.append((tmp_path / "m").stat().st_size)
        alive, synapses = Masks(model).alive, Masks(model).size
        assert synapses == 4 * 64 * (12 + 64) + 64
        needed = 4 * alive + synapses / 8 + 4 * (2 * 4 * 64 + 1)
        assert needed <= sizes[-1] < needed + 1800
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[3] < 14_000


def test_saving_changes_nothing(tmp_path: Path):
    model = pruned(Forecaster(8), 0.5)
    before = copy.deepcopy(model.state_dict())
    save_model(model, tmp_path / "m")
    assert same_state(model.state_dict(), before)


def test_checkpoints_of_training_are_stored_whole(tmp_path: Path):
    state = pruned(nn.Linear(20, 30), 0.9).state_dict()
    storage.write(tmp_path / "c", {"model": state})
    assert same_state(storage.read(tmp_path / "c")["model"], state)


# --- damage ---------------------------------------------------------------------------------------------------


def test_no_changed_byte_passes_unnoticed(tmp_path: Path):
    path = tmp_path / "m"
    save_model(pruned(nn.Sequential(nn.Linear(12, 16)), 0.8), path)
    whole, expected = path.read_bytes(), load_weights(path)
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert same_state(load_weights(path), expected)  # a byte that says nothing, such as a blank
        except ValueError:
            refused += 1
    assert refused > 0.9 * len(whole)


def test_a_cut_file_is_damage(tmp_path: Path):
    path = tmp_path / "m"
    save_model(pruned(nn.Sequential(nn.Linear(12, 16)), 0.8), path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="damaged"):
        load_model(path)


def good() -> dict[str, object]:
    return {
        "shape": [3, 4],
        "alive": tensor([3, 8], dtype=torch.uint8),
        "values": tensor([1.0, 2.0, 3.0]),
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"values": tensor([1.0, 2.0])},
        {"values": torch.zeros(4)},
        {"values": torch.zeros(1, 3)},
        {"shape": [3, 3]},
        {"shape": [3, 20]},
        {"shape": [2, 4]},
        {"alive": tensor([3, 16], dtype=torch.uint8)},  # a bit beyond the last synapse
        {"alive": tensor([3, 8, 0], dtype=torch.uint8)},
        {"alive": tensor([[3, 8]], dtype=torch.uint8)},
        {"alive": tensor([3.0, 8.0])},
        {"shape": None},
        {"values": None},
        {"alive": None},
        {"shape": [3, "4"]},
        {"shape": [-3, -4]},
    ],
)
def test_entries_that_do_not_fit_together_are_refused_by_name(tmp_path: Path, wrong: dict[str, object]):
    whole = {"plan": None, "weights": {}, "notes": {}}
    storage.write(tmp_path / "m", {**whole, "packed": {"layer.w": good()}})
    assert load_weights(tmp_path / "m")["layer.w"].tolist() == [[1, 2, 0, 0], [0] * 4, [0, 0, 0, 3]]
    storage.write(tmp_path / "m", {**whole, "packed": {"layer.w": {**good(), **wrong}}})
    with pytest.raises(ValueError, match=r"packed entry of 'layer\.w'.*the file is damaged"):
        load_weights(tmp_path / "m")


def test_a_tie_to_nothing_is_damage():
    with pytest.raises(ValueError, match="'b' equals 'a', which is not stored"):
        unpack({}, {"b": {"same": "a"}})


def test_other_files_hold_no_model(tmp_path: Path):
    for tree in ({"identity": {}}, [1], {"weights": [1]}):
        storage.write(tmp_path / "c", tree)
        with pytest.raises(ValueError, match="holds no model"):
            load_weights(tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_weights(tmp_path / "absent")
