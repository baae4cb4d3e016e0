import copy
import itertools
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, tensor
from torch.testing import assert_close

from coppice.parts import snapshot
from coppice.parts.blueprint import load_model, save_model
from coppice.parts.masks import Masks
from coppice.parts.neurons import Population
from coppice.parts.recurrent import RecurrentUnits, recurrent_units
from coppice.parts.resizing import resize
from coppice.parts.surgery import compact, count_parameters, keep_neurons
from coppice.parts.units import units

KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
}


@dataclass(frozen=True)
class Plan:
    kind: str = "lstm"
    inputs: int = 3
    hidden: int = 5
    layers: int = 1
    both: bool = False
    batch_first: bool = True
    bias: bool = True
    seed: int = 0

    def build(self) -> "Forecaster":
        torch.manual_seed(self.seed)
        return Forecaster(self)

    def batch(self) -> torch.Tensor:
        return torch.randn(4, 6, self.inputs, generator=torch.Generator().manual_seed(self.seed))

    @property
    def places(self) -> int:
        return self.layers * (1 + self.both)

    def narrower(self, gone: int) -> "Plan":
        return Plan(**{**self.__dict__, "hidden": self.hidden - gone})


class Forecaster(nn.Module):
    def __init__(self, plan: Plan):
        super().__init__()
        self.recurrent = KINDS[plan.kind](
            plan.inputs,
            plan.hidden,
            num_layers=plan.layers,
            bias=plan.bias,
            batch_first=plan.batch_first,
            bidirectional=plan.both,
        )
        self.head = nn.Linear(plan.hidden * (1 + plan.both), 2)
        self.batch_first = plan.batch_first

    def forward(self, x):
        out, _ = self.recurrent(x if self.batch_first else x.transpose(0, 1))
        return self.head(out[:, -1] if self.batch_first else out[-1])


@st.composite
def doomed(draw: st.DrawFn) -> tuple[Plan, list[list[int]]]:
    """A plan, and for each layer and direction its own units to kill, perhaps more in one than in another."""
    plan = Plan(
        kind=draw(st.sampled_from(sorted(KINDS))),
        inputs=draw(st.integers(1, 4)),
        hidden=draw(st.integers(1, 6)),
        layers=draw(st.integers(1, 3)),
        both=draw(st.booleans()),
        batch_first=draw(st.booleans()),
        bias=draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
    )
    count = draw(st.integers(0, plan.hidden - 1))
    choice = st.lists(
        st.integers(0, plan.hidden - 1), unique=True, min_size=count, max_size=plan.hidden - 1
    ).map(sorted)
    return plan, draw(st.lists(choice, min_size=plan.places, max_size=plan.places))


def kill(model: nn.Module, fallen: list[list[int]], masks: Masks, optimizer=None) -> None:
    for group, dead in zip(units(model), fallen, strict=True):
        chosen = torch.zeros(group.width(model), dtype=torch.bool)
        chosen[dead] = True
        masks.prune(group.synapses(model, chosen), optimizer)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - 1).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        optimizer.step()


# --- the claim: outputs stay equal, training goes on ------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(doomed())
def test_cutting_dead_units_out_changes_no_output(case: tuple[Plan, list[list[int]]]):
    plan, fallen = case
    model, x = plan.build(), plan.batch()
    masks = Masks.attach(model)
    kill(model, fallen, masks)
    alive = [group.name for group in units(model)]
    expected, keys = model(x), list(model.state_dict())

    done = compact(model)

    gone = min(len(dead) for dead in fallen)
    assert done.removed == (dict.fromkeys(alive, gone) if gone else {})
    assert_close(model(x), expected, atol=1e-5, rtol=0)
    small = plan.narrower(gone).build()
    assert type(model.recurrent) is KINDS[plan.kind]
    assert model.recurrent.extra_repr() == small.recurrent.extra_repr()
    assert model.head.extra_repr() == small.head.extra_repr()
    assert list(model.state_dict()) == keys
    assert {n: p.shape for n, p in model.named_parameters()} == {
        n: p.shape for n, p in small.named_parameters()
    }
    assert done.parameters_before == count_parameters(plan.build())
    assert done.parameters_after == count_parameters(small)
    assert all(mask.shape == model.get_parameter(name).shape for name, mask in masks.items())
    masks.check()
    assert_close(copy.deepcopy(model)(x), model(x), atol=0, rtol=0)


@settings(max_examples=15, deadline=None)
@given(doomed(), st.sampled_from(sorted(OPTIMIZERS)))
def test_the_survivors_train_on_as_in_the_masked_network(case: tuple[Plan, list[list[int]]], name: str):
    plan, fallen = case
    fallen = [dead[: min(map(len, fallen))] for dead in fallen]
    # float64: where a gradient is next to nothing, Adam would make whole steps of float32 noise
    masked, x = plan.build().double(), plan.batch().double()
    optimizer = OPTIMIZERS[name](masked.parameters())
    masks = Masks.attach(masked)
    masks.guard(optimizer)
    train(masked, optimizer, x, 2)
    kill(masked, fallen, masks, optimizer)

    cut = copy.deepcopy(masked)
    cut_optimizer = OPTIMIZERS[name](cut.parameters())
    Masks(cut).guard(cut_optimizer)
    cut_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    compact(cut, cut_optimizer)
    for _ in range(4):
        train(masked, optimizer, x, 1)
        train(cut, cut_optimizer, x, 1)
        assert_close(cut(x), masked(x), atol=1e-9, rtol=0)
    # the same units, by hand: rows of all gates, columns of hh, of the next layer and of the head
    stays = [[u for u in range(plan.hidden) if u not in dead] for dead in fallen]
    rows = [torch.tensor([g * plan.hidden + u for g in range(GATES[plan.kind]) for u in s]) for s in stays]
    directions = 1 + plan.both
    for layer, direction in itertools.product(range(plan.layers), range(directions)):
        place = layer * directions + direction
        suffix = f"l{layer}{'_reverse' if direction else ''}"
        below = stays[(layer - 1) * directions : layer * directions] if layer else [list(range(plan.inputs))]
        columns = torch.tensor([d * plan.hidden + u for d, s in enumerate(below) for u in s])
        for leaf, wanted in (
            (f"weight_ih_{suffix}", columns),
            (f"weight_hh_{suffix}", torch.tensor(stays[place])),
        ):
            large = masked.recurrent.get_parameter(leaf)
            small = cut.recurrent.get_parameter(leaf)
            assert_close(small, large[rows[place]][:, wanted], atol=1e-7, rtol=0)
            for key, moment in optimizer.state[large].items():
                if moment.shape == large.shape:
                    assert_close(
                        cut_optimizer.state[small][key], moment[rows[place]][:, wanted], atol=1e-7, rtol=0
                    )
    assert len(cut_optimizer.state) == len(list(cut.parameters()))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moments_and_gradients_are_cut_to_the_bit(name: str):
    plan = Plan(hidden=4, layers=2)
    model, x = plan.build(), plan.batch()
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, x, 3)
    old = {n: (copy.deepcopy(optimizer.state[p]), p.grad.clone()) for n, p in model.named_parameters()}
    masks = Masks.attach(model)
    kill(
        model, [[0, 2], [1, 3]], masks
    )  # without the optimizer: the moments of the dead stay, and must go now
    compact(model, optimizer)
    first, second = tensor([1, 3]), tensor([0, 2])
    rows = {0: torch.cat([first + 4 * g for g in range(4)]), 1: torch.cat([second + 4 * g for g in range(4)])}
    cuts = {
        "recurrent.weight_ih_l0": (rows[0], slice(None)), "recurrent.weight_hh_l0": (rows[0], first),
        "recurrent.bias_ih_l0": (rows[0],), "recurrent.bias_hh_l0": (rows[0],),
        "recurrent.weight_ih_l1": (rows[1], first), "recurrent.weight_hh_l1": (rows[1], second),
        "recurrent.bias_ih_l1": (rows[1],), "recurrent.bias_hh_l1": (rows[1],),
        "head.weight": (slice(None), second), "head.bias": (slice(None),),
    }  # fmt: skip
    assert cuts.keys() == dict(model.named_parameters()).keys()
    for n, p in model.named_parameters():
        state, _ = old[n]
        for key, value in state.items():
            if value.ndim:
                index = cuts[n]
                cut = value[index[0]][:, index[1]] if len(index) == 2 else value[index[0]]
                assert_close(optimizer.state[p][key], cut, atol=0, rtol=0)
            else:
                assert optimizer.state[p][key] == value
        assert p.grad.shape == p.shape
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()} == {id(p) for p in optimizer.state}
    train(model, optimizer, x, 2)
    masks.check()


# --- who is dead ---------------------------------------------------------------------------------------------------


def one_layer(hidden: int = 4) -> nn.Module:
    return Plan("rnn", hidden=hidden).build()


def test_a_unit_that_another_hears_is_alive():
    model, x = one_layer(), Plan().batch()
    with torch.no_grad():
        model.head.weight[:, [1, 2]] = 0
        model.recurrent.weight_hh_l0[:, 1] = 0
    expected = model(x)
    (group,) = units(model)
    assert group.dead(model).tolist() == [False, True, False, False]
    assert compact(model).removed == {"recurrent.l0": 1}
    assert_close(model(x), expected, atol=1e-5, rtol=0)


def test_units_that_hear_only_each_other_are_dead():
    model, x = one_layer(), Plan().batch()
    with torch.no_grad():
        model.head.weight[:, [1, 2]] = 0
        model.recurrent.weight_hh_l0[[0, 3], 1] = 0
        model.recurrent.weight_hh_l0[[0, 3], 2] = 0
        assert model.recurrent.weight_hh_l0[[1, 2]][:, [1, 2]].all()
    expected = model(x)
    assert compact(model).removed == {"recurrent.l0": 2}
    assert_close(model(x), expected, atol=1e-5, rtol=0)


def test_a_detour_keeps_a_unit_alive():
    model = one_layer(3)
    with torch.no_grad():
        model.head.weight[:, [1, 2]] = 0
        model.recurrent.weight_hh_l0.zero_()
        model.recurrent.weight_hh_l0[1, 2] = 1  # 1 hears 2
        model.recurrent.weight_hh_l0[0, 1] = 1  # 0 hears 1, and the head hears 0
    (group,) = units(model)
    assert group.dead(model).tolist() == [False, False, False]
    assert compact(model).removed == {}


def test_one_unit_is_kept_where_all_are_dead():
    model, x = one_layer(), Plan().batch()
    kill(model, [[0, 1, 2, 3]], Masks.attach(model))
    assert compact(model).removed == {"recurrent.l0": 3}
    assert (model.recurrent.hidden_size, model.head.in_features) == (1, 1)
    assert_close(model(x), model.head.bias.expand(4, 2))


def test_a_unit_heard_only_by_a_dead_neuron_of_the_head_dies_with_it():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.r, self.first, self.last = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 5), nn.Linear(5, 1)

        def forward(self, x):
            return self.last(self.first(self.r(x)[0][:, -1]).relu())

    model, x = Deep(), Plan().batch()
    with torch.no_grad():
        model.last.weight[:, 2] = 0
        model.first.weight[:, 1] = tensor([0.0, 0, 1, 0, 0])
        model.r.weight_hh_l0[:, 1] = 0
    expected = model(x)
    assert compact(model).removed == {"r.l0": 1, "first": 1}
    assert_close(model(x), expected, atol=1e-5, rtol=0)


def test_two_modules_that_read_each_other_are_cut_apart():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.low = nn.LSTM(3, 4, batch_first=True, bidirectional=True)
            self.high = nn.GRU(8, 5, batch_first=True, bidirectional=True)
            self.head = nn.Linear(10, 1)

        def forward(self, x):
            return self.head(self.high(self.low(x)[0])[0][:, -1])

    model, x = Stack(), Plan().batch()
    kill(model, [[0], [3], [1, 2], [0, 4]], Masks.attach(model))
    expected = model(x)
    removed = compact(model).removed
    assert removed == {"low.l0": 1, "low.l0_reverse": 1, "high.l0": 2, "high.l0_reverse": 2}
    assert (model.low.hidden_size, model.high.input_size, model.high.hidden_size) == (3, 6, 3)
    assert_close(model(x), expected, atol=1e-5, rtol=0)


def test_units_listed_by_hand_for_a_model_that_cannot_be_traced():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.r, self.head = nn.LSTM(3, 4, 2, batch_first=True), nn.Linear(4, 1)

        def forward(self, x):
            lengths = torch.tensor([6, 5, 3, 1])
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            out, _ = nn.utils.rnn.pad_packed_sequence(self.r(packed)[0], batch_first=True)
            return self.head(out[torch.arange(len(out)), lengths - 1])

    model, x = Packed(), Plan().batch()
    with pytest.raises(
        ValueError, match=r"list it yourself: recurrent_units\(model, 'r', readers=\(\.\.\.\)\)"
    ):
        compact(model)
    listed = recurrent_units(model, "r", readers=("head",))
    masks = Masks.attach(model)
    for group in listed:
        masks.prune(group.synapses(model, tensor([False, True, True, False])))
    expected = model(x)
    assert compact(model, neurons=listed).removed == {"r.l0": 2, "r.l1": 2}
    assert_close(model(x), expected, atol=1e-5, rtol=0)


def test_an_unpruned_network_is_left_alone():
    model = Plan(layers=2, both=True).build()
    before = [id(p) for p in model.parameters()]
    assert compact(model).removed == {}
    assert [id(p) for p in model.parameters()] == before


# --- the module stays what it is ------------------------------------------------------------------------------------


def test_the_kernel_runs_on_the_new_tensors_without_a_warning():
    model = Plan(layers=2).build()
    x = Plan().batch()
    kill(model, [[1], [2]], Masks.attach(model))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compact(model)
        assert [w.data_ptr() for w in model.recurrent._flat_weights] == [
            p.data_ptr() for p in model.recurrent.parameters()
        ]
        before = model(x)
        with torch.no_grad():
            model.recurrent.weight_hh_l0.zero_()
        assert not model(x).equal(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_on_cuda_the_weights_stay_one_block_of_memory(kind: str):
    plan = Plan(kind, hidden=8, layers=2, both=True)
    model, x = plan.build().cuda(), plan.batch().cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    masks = Masks.attach(model)
    masks.guard(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # cuDNN warns of weights that are scattered
        train(model, optimizer, x, 2)
        large = snapshot.take(model, optimizer)
        kill(model, [[0, 1, 2, 3], [2, 3, 4, 5], [0, 2, 4, 6], [4, 5, 6, 7]], masks, optimizer)
        expected = model(x)
        compact(model, optimizer)
        assert_close(model(x), expected, atol=1e-5, rtol=0)
        assert len({p.untyped_storage().data_ptr() for p in model.recurrent.parameters()}) == 1
        train(model, optimizer, x, 2)
        masks.check()
        snapshot.restore(model, optimizer, large)
        assert model.recurrent.hidden_size == 8
        assert len({p.untyped_storage().data_ptr() for p in model.recurrent.parameters()}) == 1
        train(model, optimizer, x, 2)


def test_kept_units_stand_in_the_order_asked_for():
    model = one_layer()
    old = copy.deepcopy(model)
    keep_neurons(model, units(model)[0], tensor([3, 0]))
    assert_close(model.recurrent.weight_hh_l0, old.recurrent.weight_hh_l0[[3, 0]][:, [3, 0]])
    assert_close(model.recurrent.bias_ih_l0, old.recurrent.bias_ih_l0[[3, 0]])
    assert_close(model.head.weight, old.head.weight[:, [3, 0]])
    assert model.recurrent.hidden_size == 2


def test_one_direction_alone_is_refused_and_nothing_is_cut():
    model = Plan(both=True).build()
    size = count_parameters(model)
    with pytest.raises(ValueError, match="can only be cut together, but l0_reverse of it is not listed"):
        keep_neurons(model, RecurrentUnits("recurrent", ("head",)), tensor([0]))
    assert count_parameters(model) == size


def test_an_optimizer_of_another_model_is_refused_before_anything_is_cut():
    model = Plan().build()
    kill(model, [[1]], Masks.attach(model))
    size = count_parameters(model)
    with pytest.raises(ValueError, match=r"SGD given does not train '"):
        compact(model, torch.optim.SGD(Plan().build().parameters(), lr=0.1))
    assert count_parameters(model) == size


@pytest.mark.parametrize("frozen", ["recurrent", "head"])
def test_frozen_parameters_stay_frozen(frozen: str):
    model, x = Plan().build(), Plan().batch()
    model.get_submodule(frozen).requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    kill(model, [[1]], Masks.attach(model))
    train(model, optimizer, x, 1)
    compact(model, optimizer)
    train(model, optimizer, x, 1)
    assert all(p.requires_grad != n.startswith(frozen) for n, p in model.named_parameters())


def test_a_guard_goes_on_guarding_after_the_cut():
    plan = Plan(layers=2)
    model, x = plan.build(), plan.batch()
    optimizer = torch.optim.Adam(model.parameters())
    masks = Masks.attach(model)
    masks.guard(optimizer)
    kill(model, [[0, 1], [3]], masks, optimizer)
    assert compact(model, optimizer).removed == {"recurrent.l0": 1, "recurrent.l1": 1}
    train(model, optimizer, x, 3)
    masks.check()
    # the unit of the first layer that had to stay is still dead
    assert [int(group.dead(model).sum()) for group in units(model)] == [1, 0]


# --- other sizes: resize, snapshots, files --------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(doomed())
def test_a_shrunken_model_is_saved_and_loaded_into_a_fresh_one(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[Plan, list[list[int]]]
):
    plan, fallen = case
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    model, x = plan.build(), plan.batch()
    kill(model, fallen, Masks.attach(model))
    compact(model)
    save_model(model, path)
    fresh = Plan(**{**plan.__dict__, "seed": plan.seed + 1}).build()
    assert load_model(path, into=fresh) is fresh
    assert_close(fresh(x), model(x), atol=0, rtol=0)
    assert fresh.recurrent.extra_repr() == model.recurrent.extra_repr()
    assert all(fresh.get_buffer(f"{n}_alive").equal(mask) for n, mask in Masks(model).items())
    optimizer = torch.optim.Adam(fresh.parameters())
    train(fresh, optimizer, x, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_build_is_refused(tmp_path: Path, kind: str):
    save_model(Plan(kind, layers=2).build(), tmp_path / "m")
    with pytest.raises(ValueError, match=r"not of one build: only one of them has 'recurrent\.weight_ih_l1'"):
        load_model(tmp_path / "m", into=Plan(kind).build())


def test_snapshots_bring_both_sizes_back_to_the_bit():
    plan = Plan(layers=2, both=True)
    model, x = plan.build(), plan.batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    masks = Masks.attach(model)
    masks.guard(optimizer)
    train(model, optimizer, x, 2)
    large = snapshot.take(model, optimizer)
    kill(model, [[1, 2], [0, 3], [2, 4], [1, 4]], masks, optimizer)
    compact(model, optimizer)
    train(model, optimizer, x, 2)
    small = snapshot.take(model, optimizer)
    train(model, optimizer, x, 2)
    after = model(x)
    for moment, width in ((large, 5), (small, 3)):
        snapshot.restore(model, optimizer, moment)
        assert (model.recurrent.hidden_size, model.head.in_features) == (width, 2 * width)
        stored = snapshot.take(model, optimizer)["model"]
        assert all(stored[name].equal(value) for name, value in moment["model"].items())
    train(model, optimizer, x, 2)
    assert_close(model(x), after, atol=0, rtol=0)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_resize_declares_sizes_of_a_projection_too():
    small, large = nn.LSTM(3, 4, proj_size=2), nn.LSTM(5, 6, proj_size=3)
    resize(small, large.state_dict())
    small.load_state_dict(large.state_dict())
    x = torch.randn(4, 2, 5)
    assert small.extra_repr() == large.extra_repr()
    assert_close(small(x)[0], large(x)[0], atol=0, rtol=0)


def test_neurons_and_hidden_units_are_reported_by_layer():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embed = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4))
            self.r, self.head = nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 1)

        def forward(self, x):
            return self.head(self.r(self.embed(x))[0][:, -1])

    model, x = Forked(), Plan().batch()
    with pytest.warns(UserWarning, match=r"'embed\.2' \('r' stands between it and the next layer\)"):
        found = units(model)
    assert found == [Population("embed.0", (), "embed.2", 1), RecurrentUnits("r", ("head",))]
    masks = Masks.attach(model)
    for group, dead in zip(found, ([4], [0, 1]), strict=True):
        chosen = torch.zeros(group.width(model), dtype=torch.bool)
        chosen[dead] = True
        masks.prune(group.synapses(model, chosen))
    expected = model(x)
    assert compact(model, neurons=found).removed == {"embed.0": 1, "r.l0": 2}
    assert_close(model(x), expected, atol=1e-5, rtol=0)
