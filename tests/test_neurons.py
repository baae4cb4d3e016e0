import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import nn, tensor
from torch.nn.utils.prune import identity
from torch.testing import assert_close

from coppice.parts.neurons import Population, check_populations, populations, unwrap
from strategies import Net, Plan, plans


def a_b() -> dict[str, nn.Module]:
    return {"a": nn.Linear(4, 5), "b": nn.Linear(5, 2)}


def conv_b() -> dict[str, nn.Module]:
    return {"a": nn.Conv2d(1, 3, 2), "b": nn.Linear(12, 2)}


def refused(model: nn.Module) -> str:
    with pytest.raises(ValueError, match="has no neurons that can be removed") as error:
        populations(model)
    return str(error.value)


# --- what is found --------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(plans())
def test_every_hidden_layer_of_a_plain_network_is_found(plan: Plan):
    model = plan.build()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = populations(model)
    assert [p.width(model) for p in found] == list(plan.widths)
    for population in found:
        assert population.incoming_weight(model).shape[0] == population.width(model)
        assert population.outgoing_weight(model).shape[0] == population.width(model)
    check_populations(model, found)


def test_a_convnet_by_hand():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 6), nn.LayerNorm(6), nn.Linear(6, 1),
    )  # fmt: skip
    assert populations(model) == [
        Population("0", ("1",), "4", 1),
        Population("4", (), "7", 9),
        Population("7", ("8",), "9", 1),
    ]


def test_weights_of_a_neuron_by_hand():
    model = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        model[2].weight.copy_(tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]))
    (population,) = populations(model)
    assert population == Population("0", (), "2", 2)
    # columns 0 and 1 are the two places of neuron 0
    assert population.outgoing_weight(model).tolist() == [[1, 5, 2, 6], [3, 7, 4, 8]]
    assert_close(population.incoming_weight(model), model[0].weight.detach().flatten(1))


@pytest.mark.parametrize(
    ("between", "spread"),
    [
        (lambda x: x.view(x.size(0), -1), 4),
        (lambda x: x.reshape(x.shape[0], -1), 4),
        (lambda x: x.view(x.size()[0], -1), 4),
        (lambda x: torch.flatten(x, 1), 4),
        (lambda x: torch.flatten(x, start_dim=1), 4),
        (lambda x: F.relu(x).flatten(1), 4),
        (lambda x: F.max_pool2d(F.relu(x), 2).flatten(start_dim=1, end_dim=-1), 1),
        (lambda x: F.adaptive_avg_pool2d(x.tanh(), 1).flatten(1), 1),
        (lambda x: F.dropout2d(F.gelu(x)).contiguous().flatten(1), 4),
    ],
)
def test_functions_between_convolution_and_linear(between, spread: int):
    layers = {"a": nn.Conv2d(1, 3, 2), "b": nn.Linear(3 * spread, 2)}
    model = Net(lambda m, x: m.b(between(m.a(x))), **layers)
    assert model(torch.randn(2, 1, 3, 3)).shape == (2, 2)
    assert populations(model) == [Population("a", (), "b", spread)]


@pytest.mark.parametrize(
    "function",
    [F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.hardswish, F.softplus, F.softsign,
     F.hardtanh, F.hardsigmoid, F.logsigmoid, F.dropout, F.sigmoid, F.tanh, torch.relu, torch.sigmoid, torch.tanh,
     lambda x: x.relu(), lambda x: x.sigmoid(), lambda x: x.tanh()],
)  # fmt: skip
def test_element_wise_functions(function):
    assert populations(Net(lambda m, x: m.b(function(m.a(x))), **a_b())) == [Population("a", (), "b", 1)]


def test_the_inner_layer_of_a_residual_block_is_found_and_the_others_are_named():
    layers = {
        "enter": nn.Linear(4, 5), "inner": nn.Linear(5, 6), "back": nn.Linear(6, 5), "leave": nn.Linear(5, 2)
    }  # fmt: skip

    def forward(m, x):
        x = m.enter(x)
        return m.leave(x + m.back(F.relu(m.inner(x))))

    with pytest.warns(
        UserWarning, match=r"keep their size: 'enter' \(2 places .*'back' \('add' stands"
    ) as seen:
        assert populations(Net(forward, **layers)) == [Population("inner", (), "back", 1)]
    assert len(seen) == 1


def test_nested_modules_go_by_their_full_names():
    class Block(nn.Module):
        def __init__(self, reads, gives):
            super().__init__()
            self.layer, self.norm = nn.Linear(reads, gives), nn.LayerNorm(gives)

        def forward(self, x):
            return F.relu(self.norm(self.layer(x)))

    model = nn.Sequential(Block(4, 5), Block(5, 6), nn.Linear(6, 2))
    assert populations(model) == [
        Population("0.layer", ("0.norm",), "1.layer", 1),
        Population("1.layer", ("1.norm",), "2", 1),
    ]


def test_a_compiled_model_gives_the_inner_names():
    model = torch.compile(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), backend="eager")
    assert populations(model) == [Population("0", (), "2", 1)]
    assert unwrap(model) is model._orig_mod


def test_an_activation_used_twice_is_no_trouble():
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 5), act, nn.Linear(5, 6), act, nn.Linear(6, 2))
    assert [p.incoming for p in populations(model)] == ["0", "2"]


# --- what is refused, and by which name -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forward", "layers", "named"),
    [
        (lambda m, x: m.b(m.a(x) + 1), a_b, "'a' ('add' stands between it and the next layer)"),
        (lambda m, x: m.b(F.softmax(m.a(x), -1)), a_b, "'softmax' stands"),
        (lambda m, x: (m.b(h := m.a(x)), h), a_b, "'a' (2 places read its output)"),
        (lambda m, x: m.b(F.linear(m.a(x), m.a.weight.T @ m.a.weight)), a_b, "'linear' stands"),
        (lambda m, x: m.b(m.a(F.linear(m.a.bias, m.a.weight.T) + x)), a_b, "'a' is shared or used more than once"),
        (lambda m, x: m.b(m.a(x).view(-1, 12)), conv_b, "'view' stands"),
        (lambda m, x: m.b(torch.flatten(m.a(x), 2)), conv_b, "'flatten' stands"),
        (lambda m, x: m.b(m.a(x).flatten()), conv_b, "'flatten' stands"),
        (lambda m, x: m.b(m.a(x).permute(0, 2, 3, 1).flatten(1)), conv_b, "'permute' stands"),
        (lambda m, x: m.b(m.a(x)), lambda: {"a": nn.Conv2d(1, 3, 1), "b": nn.Linear(3, 2)}, "not a plain axis"),
        (lambda m, x: m.b(m.a(x)), lambda: {"a": nn.Linear(3, 3), "b": nn.Conv1d(3, 2, 1)}, "not a plain axis"),
        # [batch, time, neuron] flattened: a neuron's values are not neighbours
        (lambda m, x: m.b(m.a(x).flatten(1)), lambda: {"a": nn.Linear(4, 5), "b": nn.Linear(15, 2)},
         "not a plain axis"),
        (lambda m, x: m.b(F.max_pool1d(m.a(x), 3, 1, 1)), a_b, "pools over its neurons"),
        (lambda m, x: m.b(F.avg_pool1d(m.a(x).flatten(1), 2)),
         lambda: {"a": nn.Conv2d(1, 4, 2), "b": nn.Linear(8, 2)}, "pools over its neurons"),
        (lambda m, x: m.b(m.n(m.a(x))), lambda: {**a_b(), "n": nn.LayerNorm(5, elementwise_affine=False)},
         "at 'n' it has no entry a neuron"),
        (lambda m, x: m.b(m.n(m.a(x))),
         lambda: {**a_b(), "n": nn.BatchNorm1d(5, affine=False, track_running_stats=False)},
         "at 'n' it has no entry a neuron"),
        (lambda m, x: m.b(m.n(torch.sigmoid(m.a(x)))), lambda: {**a_b(), "n": nn.LayerNorm(5)},
         "at 'n' a LayerNorm hears its dead neurons"),
        (lambda m, x: m.b(m.n(m.a(x).flatten(1))), lambda: {**conv_b(), "n": nn.BatchNorm1d(12)},
         "at 'n' the normalised values are not its neurons"),
        (lambda m, x: m.b(m.n(m.a(x)).flatten(1)), lambda: {**conv_b(), "n": nn.LayerNorm(2)},
         "at 'n' the normalised values are not its neurons"),
        (lambda m, x: m.b(m.n(m.a(x))), lambda: {**a_b(), "n": nn.BatchNorm1d(3)}, "at 'n' 3 values"),
        (lambda m, x: m.b(m.n(m.a(x))), lambda: {**a_b(), "n": nn.PReLU(5)}, "'n' stands between"),
        (lambda m, x: m.b(m.a(x)), lambda: {"a": nn.Conv2d(2, 4, 1, groups=2), "b": nn.Conv2d(4, 2, 1)},
         "'a' (its groups are 2, only 1 can be cut)"),
        (lambda m, x: m.b(m.a(x)), lambda: {"a": nn.Conv2d(2, 4, 1), "b": nn.Conv2d(4, 4, 1, groups=4)},
         "'a' (at 'b' its groups are 4"),
        (lambda m, x: m.b(m.a(x)), lambda: {**a_b(), "a": nn.LazyLinear(5)}, "'a' (it is lazy"),
        (lambda m, x: m.b(m.a(x)), lambda: {**a_b(), "a": nn.utils.parametrizations.weight_norm(nn.Linear(4, 5))},
         "'a' (its weight is computed from other tensors)"),
        (lambda m, x: m.b(m.a(x)), lambda: {**a_b(), "b": identity(nn.Linear(5, 2), "weight")},
         "at 'b' its weight is computed from other tensors"),
        (lambda m, x: m.a(x), lambda: {"a": nn.Linear(4, 5)}, "it has no hidden Linear, Conv1d or Conv2d layer"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_refused_with_its_reason(forward, layers, named: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own words on lazy modules
        model = Net(forward, **layers())
    assert named in refused(model)


def test_tied_weights_are_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    assert "'0' ('0' is shared" in refused(model)


def test_a_module_used_twice_is_refused_and_named_once():
    same = nn.Linear(4, 4)
    message = refused(nn.Sequential(same, nn.ReLU(), same, nn.Linear(4, 2)))
    assert message.count("is shared or used more than once") == 1


def test_concatenated_layers_stay():
    layers = {"a": nn.Linear(4, 5), "b": nn.Linear(4, 5), "c": nn.Linear(10, 6), "d": nn.Linear(6, 2)}
    model = Net(lambda m, x: m.d(F.relu(m.c(torch.cat([m.a(x), m.b(x)], 1)))), **layers)
    with pytest.warns(UserWarning, match=r"'a' \('cat' stands .*'b' \('cat' stands"):
        assert populations(model) == [Population("c", (), "d", 1)]


def test_control_flow_on_values_cannot_be_traced():
    model = Net(lambda m, x: m.b(m.a(x)) if x.sum() > 0 else m.b(-m.a(x)), **a_b())
    with pytest.raises(
        ValueError, match=r"forward pass of Net cannot be traced .*list the populations yourself"
    ):
        populations(model)


def test_data_parallel_is_refused():
    with pytest.raises(ValueError, match=r"DataParallel holds the old tensors"):
        populations(nn.DataParallel(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))))


# --- populations written by hand ------------------------------------------------------------------------------


class OwnLayerNorm(nn.LayerNorm):
    pass


@pytest.mark.parametrize(
    ("listed", "named"),
    [
        (Population("absent", (), "b", 1), "names 'absent', which the model does not have"),
        (
            Population("a", (), "b", 2),
            "'b' reads 5 values, but 'a' has 5 neurons with spread 2, which makes 10",
        ),
        (Population("a", (), "a", 1), "'a' reads 4 values"),
        (Population("act", (), "b", 1), "'act' is a ReLU, but"),
        (Population("a", ("act",), "b", 1), "'act' is a ReLU, but"),
        (Population("a", ("narrow",), "b", 1), "'narrow' cannot be cut: 3 values are normalised"),
        (Population("a", ("bare",), "b", 1), "'bare' cannot be cut: it has no entry"),
        (Population("a", ("own",), "b", 1), "'own' cannot be cut: it is a LayerNorm of a class of its own"),
        (Population("tied", (), "b", 1), "'tied' cannot be cut: it is tied to another layer"),
        (Population("grouped", (), "conv", 1), "'grouped' cannot be cut: its groups are 2"),
        (
            Population("conv", ("ln",), "b", 1),
            "'ln' cannot be cut: the normalised values are not its neurons",
        ),
    ],
)
def test_populations_by_hand_are_held_against_the_model(listed: Population, named: str):
    layers = {
        **a_b(), "act": nn.ReLU(), "narrow": nn.BatchNorm1d(3), "own": OwnLayerNorm(5), "ln": nn.LayerNorm(5),
        "bare": nn.LayerNorm(5, elementwise_affine=False), "tied": nn.Linear(4, 5), "twin": nn.Linear(4, 5),
        "grouped": nn.Conv1d(2, 4, 1, groups=2), "conv": nn.Conv1d(4, 5, 1),
    }  # fmt: skip
    model = Net(None, **layers)
    model.twin.weight = model.tied.weight
    check_populations(model, [Population("a", ("ln",), "b", 1)])
    with pytest.raises(ValueError, match=re.escape(named)):
        check_populations(model, [listed])
