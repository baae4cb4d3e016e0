import copy
import itertools
import warnings

import pytest
import torch
from hypothesis import given, settings
from torch import nn, tensor
from torch.testing import assert_close

from coppice.parts.layers import ShrunkLayerNorm
from coppice.parts.masks import Masks
from coppice.parts.neurons import Population, populations
from coppice.parts.resizing import resize
from coppice.parts.surgery import compact, count_parameters, keep_neurons
from strategies import Plan, doomed, kill, scramble

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "sgd momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adamw amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
}


def mlp(*widths: int, norm: type[nn.Module] | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for reads, gives in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(reads, gives), *([norm(gives)] if norm else []), nn.Tanh()]
    return scramble(nn.Sequential(*layers, nn.Linear(*widths[-2:])))


def train(model, optimizer, steps, x=None):
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1)) if x is None else x
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - 1).square().mean().backward()
        optimizer.step()


def everything(model, optimizer):
    """All that a refused cut must leave alone."""
    state = [[(k, v) for k, v in optimizer.state[p].items()] for p in model.parameters()]
    groups = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    return copy.deepcopy([model.state_dict(), state]), groups, [id(p) for p in model.parameters()]


# --- compact: the claim for all plain networks ---------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(doomed())
def test_cutting_the_dead_out_changes_no_output(case: tuple[Plan, list[list[int]]]):
    plan, fallen = case
    model = plan.build()
    x = plan.batch()
    for population, dead in zip(populations(model), fallen, strict=True):
        kill(model, population, dead, wholly=plan.norm == "layer")
    training = None if plan.dropout else copy.deepcopy(model).train()(x)
    expected = model.eval()(x)

    done = compact(model)

    assert_close(model(x), expected, atol=1e-5, rtol=0)
    if training is not None:
        assert_close(copy.deepcopy(model).train()(x), training, atol=1e-5, rtol=0)
    small = plan.shrunken([len(dead) for dead in fallen]).build()
    assert done.parameters_after == count_parameters(model) == count_parameters(small)
    assert done.parameters_before == count_parameters(plan.build())
    assert list(done.removed.values()) == [len(dead) for dead in fallen if dead]
    assert {n: m.extra_repr() for n, m in model.named_modules()} == {
        n: m.extra_repr() for n, m in small.named_modules()
    }
    optimizer = torch.optim.Adam(model.parameters())
    before = [p.detach().clone() for p in model.parameters()]
    model.train()(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())
    optimizer.step()
    assert any((p != b).any() for p, b in zip(model.parameters(), before, strict=True))


@settings(max_examples=40, deadline=None)
@given(doomed())
def test_keeping_neurons_equals_the_masked_full_network(case: tuple[Plan, list[list[int]]]):
    plan, fallen = case
    model = plan.build().eval()
    masked = copy.deepcopy(model)
    for population, dead in zip(populations(model), fallen, strict=True):
        kill(masked, population, dead, wholly=plan.norm == "layer")
        kept = [n for n in range(population.width(model)) if n not in dead]
        keep_neurons(model, population, tensor(kept), count_silent=True)
    # 1e-6 for values of order 1; sums of a hundred float32 terms may be ordered anew
    assert_close(model(plan.batch()), masked(plan.batch()), atol=1e-6, rtol=1e-5)


def test_a_neuron_heard_only_by_the_dead_dies_with_them():
    model = mlp(4, 5, 6, 3)
    second = populations(model)[1]
    kill(model, second, [1, 4], wholly=False)
    with torch.no_grad():
        model[2].weight[:, 3] = tensor([0.0, 1, 0, 0, 1, 0])  # neuron 3 speaks to 1 and 4 alone
    x = torch.randn(7, 4)
    expected = model(x)
    assert compact(model).removed == {"0": 1, "2": 2}
    assert_close(model(x), expected, atol=1e-5, rtol=0)


def test_a_layer_of_dead_neurons_keeps_one():
    model = mlp(4, 5, 3)
    kill(model, populations(model)[0], [0, 1, 2, 3, 4], wholly=False)
    assert compact(model).removed == {"0": 4}
    assert (model[0].out_features, model[2].in_features) == (1, 1)
    assert_close(model(torch.randn(2, 4)), model[2].bias.expand(2, 3))


def test_compact_without_dead_neurons_exchanges_nothing():
    model = mlp(4, 5, 3)
    before = [id(p) for p in model.parameters()]
    done = compact(model)
    assert (done.removed, done.parameters_before, done.parameters_after) == ({}, 43, 43)
    assert [id(p) for p in model.parameters()] == before


@pytest.mark.parametrize("talking", ["0.weight", "0.bias"])
def test_a_neuron_that_a_layer_norm_still_hears_is_not_dead(talking: str):
    model = mlp(4, 5, 3, norm=nn.LayerNorm)
    (population,) = populations(model)
    kill(model, population, [1, 2], wholly=True)
    with torch.no_grad():
        model.get_parameter(talking)[1] = 0.7
    x = torch.randn(6, 4)
    expected = model(x)
    assert compact(model).removed == {"0": 1}
    assert_close(model(x), expected, atol=1e-5, rtol=0)


def test_batch_norm_before_layer_norm_decides_whether_the_dead_are_silent():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 2)
    ).eval()
    scramble(model)
    (population,) = populations(model)
    kill(model, population, [1, 3], wholly=True)
    with torch.no_grad():
        model[1].bias[3] = 0.5
    x = torch.randn(6, 4)
    expected = model(x)
    assert compact(model).removed == {"0": 1}
    assert_close(model(x), expected, atol=1e-5, rtol=0)


def test_cutting_twice_counts_all_the_silent():
    model = mlp(4, 6, 3, norm=nn.LayerNorm)
    (population,) = populations(model)
    kill(model, population, [0, 5, 2], wholly=True)
    x = torch.randn(6, 4)
    expected = model(x)
    compact(model)
    norm = model[1]
    kill(model, population, [1], wholly=True)
    kept = model(x)
    compact(model)
    assert model[1] is norm
    assert int(norm.silent) == 4
    assert norm.normalized_shape == (2,)
    assert_close(model(x), kept, atol=1e-5, rtol=0)
    assert (kept - expected).abs().max() > 1e-3


def test_shrunken_layer_norm_by_hand_and_in_half_precision():
    norm = ShrunkLayerNorm(2, eps=0.0)
    norm.silent += 2
    # of (1, 3, 0, 0): mean 1, variance (0 + 4 + 1 + 1) / 4 = 1.5
    assert_close(norm(tensor([[1.0, 3.0]])), tensor([[0.0, 2 / 1.5**0.5]]))
    fresh, plain = ShrunkLayerNorm(64).bfloat16(), nn.LayerNorm(64).bfloat16()
    x = (torch.randn(3, 64) + 20).bfloat16()
    assert fresh(x).dtype == torch.bfloat16
    assert_close(fresh(x), plain(x), atol=0.02, rtol=0)  # one step of bfloat16 near 2


def test_the_exchanged_layer_norm_is_the_same_object_with_its_hooks():
    model = mlp(4, 5, 3, norm=nn.LayerNorm)
    norm, heard = model[1], []
    norm.register_forward_hook(lambda *_: heard.append(1))
    kill(model, populations(model)[0], [2], wholly=True)
    compact(model)
    model(torch.randn(2, 4))
    assert model[1] is norm
    assert isinstance(norm, ShrunkLayerNorm)
    assert heard == [1]


def test_compact_takes_populations_of_a_model_that_cannot_be_traced():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.last(self.first(x).relu()) if x.sum() > -1e9 else x

    model = Branching()
    listed = [Population("first", (), "last", 1)]
    kill(model, listed[0], [1, 2], wholly=False)
    x = torch.randn(2, 4)
    expected = model(x)
    assert compact(model, neurons=listed).removed == {"first": 2}
    assert_close(model(x), expected, atol=1e-5, rtol=0)


# --- keep_neurons ---------------------------------------------------------------------------------------------


def test_kept_neurons_stand_in_the_order_asked_for():
    model = mlp(4, 5, 3, norm=nn.BatchNorm1d).eval()
    old = copy.deepcopy(model)
    keep_neurons(model, populations(model)[0], tensor([4, 0, 2]))
    assert_close(model[0].weight, old[0].weight[[4, 0, 2]])
    assert_close(model[0].bias, old[0].bias[[4, 0, 2]])
    assert_close(model[1].running_var, old[1].running_var[[4, 0, 2]])
    assert_close(model[1].weight, old[1].weight[[4, 0, 2]])
    assert_close(model[3].weight, old[3].weight[:, [4, 0, 2]])
    assert model[1].num_features == 3


def test_a_channel_takes_all_its_places_along():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    columns = model[3].weight.detach().clone()
    keep_neurons(model, populations(model)[0], tensor([2, 0]))
    assert_close(model[3].weight, columns[:, [8, 9, 10, 11, 0, 1, 2, 3]])
    assert (model[0].out_channels, model[3].in_features) == (2, 8)


def test_a_layer_norm_then_normalises_over_the_kept_ones():
    model = mlp(4, 5, 3, norm=nn.LayerNorm)
    old = copy.deepcopy(model)
    keep_neurons(model, populations(model)[0], tensor([1, 3]))
    x = torch.randn(3, 4)
    hidden = old[0](x)[:, [1, 3]]
    normal = nn.functional.layer_norm(hidden, (2,), old[1].weight[[1, 3]], old[1].bias[[1, 3]])
    assert type(model[1]) is nn.LayerNorm
    assert_close(model(x), normal.tanh() @ old[3].weight[:, [1, 3]].T + old[3].bias)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(5, affine=False),
        nn.BatchNorm1d(5, track_running_stats=False),
        nn.LayerNorm(5, bias=False),
    ],
)
def test_norms_with_few_entries_are_cut_all_the_same(norm: nn.Module):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), copy.deepcopy(norm), nn.Linear(5, 2))
    if getattr(norm, "running_mean", None) is not None:
        model[1].running_mean.normal_()
    x = torch.randn(6, 4)
    kill(model, populations(model)[0], [0, 3], wholly=True)
    expected = model.eval()(x)
    compact(model)
    assert model[0].out_features == 3
    assert_close(model(x), expected, atol=1e-5, rtol=0)
    assert getattr(model[1], "num_features", 3) == 3


def test_masks_are_cut_along():
    model = mlp(4, 5, 3)
    masks = Masks.attach(model, where=lambda name, p: True)
    masks.prune({"0.weight": torch.rand(5, 4) < 0.5, "2.weight": torch.rand(3, 5) < 0.5})
    old = {name: mask.clone() for name, mask in masks.items()}
    keep_neurons(model, populations(model)[0], tensor([4, 1]))
    assert masks["0.weight"].equal(old["0.weight"][[4, 1]])
    assert masks["0.bias"].equal(old["0.bias"][[4, 1]])
    assert masks["2.weight"].equal(old["2.weight"][:, [4, 1]])
    assert masks["2.bias"].equal(old["2.bias"])
    masks.check()


def test_a_guard_goes_on_guarding_after_the_cut():
    model = mlp(4, 5, 3)
    optimizer = torch.optim.Adam(model.parameters())
    masks = Masks.attach(model)
    masks.guard(optimizer)
    masks.prune({"0.weight": torch.eye(5, 4, dtype=torch.bool)}, optimizer)
    keep_neurons(model, populations(model)[0], tensor([1, 2, 4]), optimizer)
    train(model, optimizer, 3)
    masks.check()
    assert masks["0.weight"].sum() == 10


def test_new_tensors_stay_on_the_device_of_the_old_whatever_that_of_the_indices():
    model = mlp(4, 5, 3, norm=nn.LayerNorm).to("meta")
    Masks.attach(model)
    keep_neurons(model, populations(model)[0], tensor([1, 3]), count_silent=True)
    assert {t.device.type for t in model.state_dict().values()} == {"meta"}
    resize(model, mlp(4, 5, 3, norm=nn.LayerNorm).state_dict())
    assert {t.device.type for t in model.state_dict().values()} == {"meta"}
    assert model[0].weight.shape == (5, 4)


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        (tensor([0, 5]), "neuron 5"),
        (tensor([-1, 2]), "neuron -1"),
        (tensor([1, 1]), "different"),
        (torch.zeros(0, dtype=torch.long), "between 1 and 5"),
        (tensor([[0, 1]]), "shape"),
        (tensor([True, False, True, True, True]), "nonzero"),
        (tensor([0.0, 1.0]), "whole numbers"),
    ],
)
def test_indices_that_do_not_fit_are_refused(kept: torch.Tensor, named: str):
    model = mlp(4, 5, 3)
    with pytest.raises(ValueError, match=named):
        keep_neurons(model, populations(model)[0], kept)
    assert count_parameters(model) == 43


# --- the optimizer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_and_gradients_are_cut_along(name: str):
    model = mlp(4, 5, 3, norm=nn.BatchNorm1d)
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, 3)
    old = {n: (copy.deepcopy(optimizer.state[p]), p.grad.clone()) for n, p in model.named_parameters()}
    keep_neurons(model, populations(model)[0], kept := tensor([3, 0]), optimizer)
    for n, p in model.named_parameters():
        dim = {"3.weight": 1, "3.bias": None}.get(n, 0)

        def cut(t, d=dim):
            return t if d is None else t.index_select(d, kept)

        state, gradient = old[n]
        assert_close(p.grad, cut(gradient), atol=0, rtol=0)
        assert state.keys() == optimizer.state[p].keys()
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and value.ndim:
                assert_close(optimizer.state[p][key], cut(value), atol=0, rtol=0)
            else:
                assert optimizer.state[p][key] == value
    assert len(optimizer.state) <= len(list(model.parameters()))
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in model.parameters()}
    before = [p.detach().clone() for p in model.parameters()]
    train(model, optimizer, 1)
    moved = [(p != b).any() for p, b in zip(model.parameters(), before, strict=True)]
    assert all(moved[2:])  # a bias before a BatchNorm has no gradient
    assert moved[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_survivors_train_on_as_in_the_masked_large_network(name: str):
    dead, alive = [1, 4], tensor([0, 2, 3])
    large = mlp(4, 5, 3)
    optimizer = OPTIMIZERS[name](large.parameters())
    train(large, optimizer, 3)
    (population,) = populations(large)
    kill(large, population, dead, wholly=True)
    small = copy.deepcopy(large)
    small_optimizer = OPTIMIZERS[name](small.parameters())
    small_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # else they share moments
    compact(small, small_optimizer)
    for _ in range(5):
        train(large, optimizer, 1)
        kill(large, population, dead, wholly=True)
        train(small, small_optimizer, 1)
    assert_close(small[0].weight, large[0].weight[alive], atol=1e-5, rtol=0)
    assert_close(small[0].bias, large[0].bias[alive], atol=1e-5, rtol=0)
    assert_close(small[2].weight, large[2].weight[:, alive], atol=1e-5, rtol=0)
    assert_close(small[2].bias, large[2].bias, atol=1e-5, rtol=0)


def test_a_scheduler_made_before_the_cut_still_drives_the_optimizer():
    model = mlp(4, 5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.0)
    kill(model, populations(model)[0], [2], wholly=False)
    compact(model, optimizer)
    train(model, optimizer, 1)
    scheduler.step()
    before = copy.deepcopy(model.state_dict())
    train(model, optimizer, 1)
    assert optimizer.param_groups[0]["lr"] == 0.0
    assert all(before[n].equal(t) for n, t in model.state_dict().items())


def test_groups_keep_their_options_and_their_order():
    model = mlp(4, 5, 3)
    decayed, free = [model[0].weight, model[2].weight], [model[0].bias, model[2].bias]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.5}, {"params": free, "lr": 0.7}])
    train(model, optimizer, 1)
    keep_neurons(model, populations(model)[0], tensor([1, 2]), optimizer)
    first, second = optimizer.param_groups
    assert [id(p) for p in first["params"]] == [id(model[0].weight), id(model[2].weight)]
    assert [id(p) for p in second["params"]] == [id(model[0].bias), id(model[2].bias)]
    assert (first["weight_decay"], second["lr"]) == (0.5, 0.7)


@pytest.mark.parametrize("known", [True, False])
def test_frozen_parameters_stay_frozen(known: bool):
    model = mlp(4, 5, 3)
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters() if known else model[2].parameters(), lr=0.1, momentum=0.9)
    train(model, optimizer, 2)
    frozen = model[0].weight.clone()
    keep_neurons(model, populations(model)[0], tensor([1, 2]), optimizer)
    train(model, optimizer, 2)
    assert not model[0].weight.requires_grad
    assert model[2].weight.requires_grad
    assert_close(model[0].weight, frozen[[1, 2]], atol=0, rtol=0)


def test_an_optimizer_of_another_model_is_refused_before_anything_is_cut():
    model, other = mlp(4, 5, 6, 3), mlp(4, 5, 6, 3)
    for population in populations(model):
        kill(model, population, [1], wholly=False)
    optimizer = torch.optim.Adam(other.parameters())
    before = everything(model, torch.optim.Adam(model.parameters()))
    with pytest.raises(ValueError, match=r"Adam given does not train '\d.weight'|'\d.bias'"):
        compact(model, optimizer)
    after = everything(model, torch.optim.Adam(model.parameters()))
    assert before[2] == after[2]
    assert str(before[0]) == str(after[0])


@pytest.mark.parametrize(
    ("optimizer", "steps"),
    [
        (lambda p: torch.optim.Adafactor(p, lr=0.01), 2),
        (lambda p: torch.optim.LBFGS(p, lr=0.01, max_iter=3), 1),
        (lambda p: torch.optim.LBFGS(p, lr=0.01), 0),
    ],
)
def test_an_optimizer_without_an_entry_per_synapse_is_refused_before_anything_is_cut(optimizer, steps: int):
    model = mlp(4, 5, 6, 3)
    optimizer = optimizer(model.parameters())
    x = torch.randn(8, 4)

    def closure():
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    # only the last population has dead: the state of the first parameters must count all the same
    kill(model, populations(model)[1], [1], wholly=False)
    before = everything(model, optimizer)
    with pytest.raises(ValueError, match=f"{type(optimizer).__name__} keeps .* cannot be cut along"):
        compact(model, optimizer)
    after = everything(model, optimizer)
    assert before[1:] == after[1:]
    assert str(before[0]) == str(after[0])


def test_an_optimizer_trains_two_models_and_one_is_cut():
    model, other = mlp(4, 5, 3), mlp(4, 6, 3)
    optimizer = torch.optim.Adam([*model.parameters(), *other.parameters()])
    for one in (model, other):
        one(torch.randn(8, 4)).sum().backward()
    optimizer.step()
    kept = {id(p): copy.deepcopy(optimizer.state[p]) for p in other.parameters()}
    keep_neurons(model, populations(model)[0], tensor([0]), optimizer)
    assert all(str(optimizer.state[p]) == str(kept[id(p)]) for p in other.parameters())


# --- wrappers -------------------------------------------------------------------------------------------------


def test_a_compiled_model_is_cut_and_goes_on():
    torch._dynamo.reset()
    inner = mlp(4, 6, 3, norm=nn.LayerNorm)
    model = torch.compile(inner, backend="eager")
    optimizer = torch.optim.Adam(model.parameters())
    train(model, optimizer, 2)
    kill(inner, populations(model)[0], [1, 2], wholly=True)
    x = torch.randn(3, 4)
    expected = model(x)
    assert compact(model, optimizer).removed == {"0": 2}
    assert_close(model(x), expected, atol=1e-5, rtol=0)
    assert_close(model(x), inner(x))
    train(model, optimizer, 2)
    assert_close(model(x), inner(x))
    assert (model(x) - expected).abs().max() > 1e-4


def test_data_parallel_is_refused_even_inside_compile():
    model = mlp(4, 5, 3)
    for wrapped in (nn.DataParallel(model), torch.compile(nn.DataParallel(model), backend="eager")):
        with pytest.raises(ValueError, match=r"DataParallel holds the old tensors: cut `model\.module`"):
            compact(wrapped)
    assert count_parameters(model) == 43


def test_layers_that_stay_are_named_and_the_rest_is_cut():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.enter, self.inner, self.back, self.leave = (
                nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 5), nn.Linear(5, 2)
            )  # fmt: skip

        def forward(self, x):
            x = self.enter(x)
            return self.leave(x + self.back(self.inner(x).relu()))

    model = Residual()
    kill(model, Population("inner", (), "back", 1), [0, 1], wholly=False)
    x = torch.randn(2, 4)
    expected = model(x)
    with pytest.warns(UserWarning, match="'enter' .*'back'"):
        assert compact(model).removed == {"inner": 2}
    assert_close(model(x), expected, atol=1e-5, rtol=0)


# --- resize ---------------------------------------------------------------------------------------------------


def test_resize_gives_shapes_and_sizes_in_both_directions():
    large, small = mlp(4, 6, 5, 3, norm=nn.BatchNorm1d), mlp(4, 2, 5, 3, norm=nn.BatchNorm1d)
    for model, other in ((copy.deepcopy(large), small), (copy.deepcopy(small), large)):
        untouched = model[6].weight
        resize(model, other.state_dict())
        assert {n: t.shape for n, t in model.state_dict().items()} == {
            n: t.shape for n, t in other.state_dict().items()
        }
        assert [m.extra_repr() for m in model] == [m.extra_repr() for m in other]
        assert model[6].weight is untouched


def test_resize_of_grouped_convolutions_states_true_sizes():
    make = lambda width: nn.Sequential(nn.Conv2d(width, width, 1, groups=2))  # noqa: E731
    model = make(4)
    resize(model, make(6).state_dict())
    assert (model[0].in_channels, model[0].out_channels) == (6, 6)
    assert model(torch.randn(1, 6, 2, 2)).shape == (1, 6, 2, 2)


def test_resize_refuses_before_anything_is_changed():
    model = mlp(4, 5, 3, norm=nn.LayerNorm)
    before = {n: t.shape for n, t in model.state_dict().items()}
    smaller = mlp(4, 2, 3, norm=nn.LayerNorm).state_dict()
    for shapes, named in (
        ({**smaller, "9.weight": torch.ones(2)}, "'9.weight'"),
        ({**smaller, "absent.silent": torch.ones(())}, "'absent.silent'"),
        ({n: t for n, t in smaller.items() if n != "0.bias"}, "'0.bias'"),
        ({**smaller, "3.weight": torch.ones(3)}, r"'3.weight' is \[3, 5\] here but \[3\]"),
    ):
        with pytest.raises(ValueError, match=named):
            resize(model, {**shapes, "1.silent": torch.ones(())})
        assert {n: t.shape for n, t in model.state_dict().items()} == before
    with pytest.raises(ValueError, match="does not train"):
        resize(model, smaller, torch.optim.SGD(mlp(4, 5, 3).parameters(), lr=0.1))
    assert {n: t.shape for n, t in model.state_dict().items()} == before


def test_no_warning_on_a_plain_chain():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compact(mlp(4, 5, 3))
