import re
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, tensor
from torch.nn.utils.prune import identity
from torch.testing import assert_close

from coppice.parts.attention import AttentionHeads
from coppice.parts.neurons import Population
from coppice.parts.pieces import Piece, order
from coppice.parts.recurrent import RecurrentUnits, recurrent_units
from coppice.parts.surgery import compact
from coppice.parts.units import check_units, units
from strategies import Net


def recurrent(kind=nn.LSTM, hidden=4, layers=1, both=False, reads=None, **options) -> dict[str, nn.Module]:
    return {
        "r": kind(3, hidden, layers, bidirectional=both, batch_first=True, **options),
        "head": nn.Linear(reads or hidden * (1 + both), 2),
    }


def quietly(model: nn.Module):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return units(model)


# --- pieces: which places of an axis are a unit's ---------------------------------------------------------------


def test_places_by_hand():
    assert Piece("w", 0).places(3).tolist() == [[0], [1], [2]]
    # four gates of three units, one below the other
    assert Piece("w", 0, (0, 1, 2, 3)).places(3).tolist() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    # the second of two directions
    assert Piece("w", 1, (1,)).places(3).tolist() == [[3], [4], [5]]
    # two heads of two values in query, key and value
    assert Piece("w", 0, (0, 1, 2), 2).places(2).tolist() == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]


def test_order_by_hand():
    forward, backward = Piece("w", 1, (0,)), Piece("w", 1, (1,))
    assert order(6, 3, [(forward, tensor([0, 2])), (backward, tensor([1, 0]))]).tolist() == [0, 2, 4, 3]
    assert order(6, 3, [(backward, tensor([1]))]).tolist() == [0, 1, 2, 4]
    assert order(8, 2, [(Piece("w", 0, (0, 1), 2), tensor([1]))]).tolist() == [2, 3, 6, 7]


# --- strength and synapses ---------------------------------------------------------------------------------------


def test_strength_of_recurrent_units_by_hand():
    model = Net(lambda m, x: m.head(m.r(x)[0]), r=nn.RNN(1, 2), head=nn.Linear(2, 1))
    with torch.no_grad():
        model.r.weight_ih_l0.copy_(tensor([[1.0], [2]]))
        model.r.weight_hh_l0.copy_(tensor([[3.0, 4], [5, 6]]))
        model.head.weight.copy_(tensor([[7.0, 8]]))
    (group,) = quietly(model)
    # unit 0: input 1, its row 3 4, its column 3 5, its reader 7; the 3 is one synapse, not two
    assert_close(group.strength(model), tensor([1 + 9 + 16 + 25 + 49, 4 + 25 + 36 + 16 + 64]).double() / 5)
    assert {name: mask.tolist() for name, mask in group.synapses(model, tensor([True, False])).items()} == {
        "r.weight_ih_l0": [[True], [False]],
        "r.weight_hh_l0": [[True, True], [True, False]],
        "head.weight": [[True, False]],
    }


def test_strength_of_neurons_and_heads_by_hand():
    model = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Flatten(), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.copy_(tensor([[[1.0]], [[2]]]))
        model[2].weight.copy_(tensor([[3.0, 4, 5, 6]]))
    (group,) = quietly(model)
    assert_close(group.strength(model), tensor([1 + 9 + 16, 4 + 25 + 36]).double() / 3)

    attention = nn.MultiheadAttention(2, 2)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.arange(12.0).view(6, 2))
        attention.out_proj.weight.copy_(tensor([[1.0, 2], [3, 4]]))
    (heads,) = quietly(attention)
    first = 0 + 1 + 16 + 25 + 64 + 81 + 1 + 9
    second = 4 + 9 + 36 + 49 + 100 + 121 + 4 + 16
    assert_close(heads.strength(attention), tensor([first, second]).double() / 8)


KINDS = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)),
    hidden=st.integers(1, 5),
    layers=st.integers(1, 3),
    both=st.booleans(),
    chosen=st.integers(0, 2**5 - 1),
)
def test_recurrent_synapses_are_those_of_the_slow_twin(
    kind, hidden: int, layers: int, both: bool, chosen: int
):
    """One unit after the other, one gate after the other, by torch's documentation of the parameters."""
    model = Net(lambda m, x: m.head(m.r(x)[0][:, -1]), **recurrent(kind, hidden, layers, both))
    directions = ["", "_reverse"][: 1 + both]
    mask = [bool(chosen >> unit & 1) for unit in range(hidden)]
    found = quietly(model)
    assert len(found) == layers * len(directions)
    for group in found:
        layer, direction = group.layer, group.direction
        expected = {}
        total, count = np.zeros(hidden), np.zeros(hidden)
        for unit in range(hidden):
            places = {}
            for gate in range(KINDS[kind]):
                row = gate * hidden + unit
                for side in ("ih", "hh"):
                    name = f"r.weight_{side}_l{layer}{directions[direction]}"
                    for column in range(model.get_parameter(name).shape[1]):
                        places[name, row, column] = True
            for row in range(KINDS[kind] * hidden):
                places[f"r.weight_hh_l{layer}{directions[direction]}", row, unit] = True
                if layer + 1 < layers:
                    for other in directions:
                        places[f"r.weight_ih_l{layer + 1}{other}", row, direction * hidden + unit] = True
            if layer + 1 == layers:
                for row in range(2):
                    places["head.weight", row, direction * hidden + unit] = True
            for name, row, column in places:
                weight = model.get_parameter(name).detach()
                total[unit] += weight[row, column].item() ** 2
                count[unit] += 1
                wanted = expected.setdefault(name, np.zeros(weight.shape, bool))
                wanted[row, column] |= mask[unit]
        theirs = group.synapses(model, tensor(mask))
        assert theirs.keys() == expected.keys()
        for name, wanted in expected.items():
            assert (theirs[name].numpy() == wanted).all(), name
        assert_close(group.strength(model), torch.from_numpy(total / count), atol=1e-12, rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(heads=st.integers(1, 4), size=st.integers(1, 3), chosen=st.integers(0, 15))
def test_synapses_of_heads_are_those_of_the_slow_twin(heads: int, size: int, chosen: int):
    width = heads * size
    attention = nn.MultiheadAttention(width, heads)
    mask = [bool(chosen >> head & 1) for head in range(heads)]
    inside, outside = np.zeros((3 * width, width), bool), np.zeros((width, width), bool)
    for head in range(heads):
        for value in range(size):
            for projection in range(3):  # query, key, value
                inside[projection * width + head * size + value] |= mask[head]
            outside[:, head * size + value] |= mask[head]
    (group,) = quietly(attention)
    theirs = group.synapses(attention, tensor(mask))
    assert theirs.keys() == {"in_proj_weight", "out_proj.weight"}
    assert (theirs["in_proj_weight"].numpy() == inside).all()
    assert (theirs["out_proj.weight"].numpy() == outside).all()


def test_a_unit_without_weight_has_exactly_no_strength():
    model = Net(lambda m, x: m.head(m.r(x)[0]), **recurrent(hidden=5))
    (group,) = quietly(model)
    chosen = tensor([False, True, False, True, False])
    with torch.no_grad():
        for name, mask in group.synapses(model, chosen).items():
            model.get_parameter(name)[mask] = 0
    assert (group.strength(model) == 0).equal(chosen)
    assert group.dead(model).equal(chosen)


@pytest.mark.parametrize("chosen", [torch.ones(3, dtype=torch.bool), torch.ones(4), tensor([0, 1])])
def test_a_choice_that_does_not_fit_is_refused(chosen: torch.Tensor):
    model = Net(lambda m, x: m.head(m.r(x)[0]), **recurrent())
    (group,) = quietly(model)
    with pytest.raises(ValueError, match=r"'r\.l0' has 4 units: it must be bool of shape \[4\]"):
        group.synapses(model, chosen)


# --- recurrent units by tracing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "between",
    [
        lambda out: out,
        lambda out: out[:, -1],
        lambda out: out[:, -1, :],
        lambda out: out[:, -2:, :],
        lambda out: out[-1],
        lambda out: out[..., -1, :],
        lambda out: out[:, -1:].relu(),
        lambda out: out.select(1, -1),
        lambda out: out.mean(1),
        lambda out: out.sum(dim=1, keepdim=True),
        lambda out: torch.mean(out, 1),
        lambda out: F.dropout(torch.tanh(out[:, 0]), 0.2),
        lambda out: out[:, -1].sigmoid(),
        lambda out: out[:, -1, :][:, :],
    ],
)
@pytest.mark.parametrize("both", [False, True])
def test_the_reader_is_found_through(between, both: bool):
    def forward(m, x):
        out, _ = m.r(x)
        return m.head(between(out))

    model = Net(forward, **recurrent(both=both))
    assert model(torch.randn(2, 5, 3)).shape[-1] == 2
    found = quietly(model)
    assert found == [RecurrentUnits("r", ("head",), 0, d) for d in range(1 + both)]
    assert [group.name for group in found] == ["r.l0", "r.l0_reverse"][: 1 + both]
    assert {group.group for group in found} == {"r"}
    check_units(model, found)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize(
    "state", [lambda h: h[-1], lambda h: h[0], lambda h: h.squeeze(0), lambda h: h, lambda h: h[-1, :, :]]
)
def test_the_last_state_is_read_as_well(kind, state):
    def forward(m, x):
        _, h = m.r(x)
        return m.head(state(h[0] if kind is nn.LSTM else h))

    assert quietly(Net(forward, **recurrent(kind))) == [RecurrentUnits("r", ("head",))]


def test_each_layer_and_direction_has_the_readers_of_its_own_state():
    def forward(m, x):
        out, h = m.r(x)
        return m.a(h[0]), m.b(h[3]), m.c(out), m.head(out[:, -1])

    layers = recurrent(nn.GRU, 4, 2, True)
    layers |= {"a": nn.Linear(4, 2), "b": nn.Linear(4, 2), "c": nn.Linear(8, 2)}
    model = Net(forward, **layers)
    found = quietly(model)
    assert found == [
        RecurrentUnits("r", ("a",), 0, 0),
        RecurrentUnits("r", (), 0, 1),
        RecurrentUnits("r", ("c", "head"), 1, 0),
        RecurrentUnits("r", ("c", "head", "b"), 1, 1),
    ]
    assert [(p.tensor, p.blocks) for p in found[3].outward(model)[1:]] == [
        ("c.weight", (1,)),
        ("head.weight", (1,)),
        ("b.weight", (0,)),
    ]


@pytest.mark.parametrize(
    "call", [lambda r, x: r(x, None), lambda r, x: r(x, hx=None), lambda r, x: r(input=x)]
)
def test_no_initial_state_may_be_said_in_words(call):
    model = Net(lambda m, x: m.head(call(m.r, x)[0]), **recurrent())
    assert quietly(model) == [RecurrentUnits("r", ("head",))]


def test_a_recurrent_module_reads_another():
    layers = {
        "r": nn.LSTM(3, 4, bidirectional=True),
        "s": nn.GRU(8, 5, bidirectional=True),
        "head": nn.Linear(10, 1),
    }
    model = Net(lambda m, x: m.head(m.s(m.r(x)[0])[0][-1]), **layers)
    found = quietly(model)
    assert [(group.name, group.readers) for group in found] == [
        ("r.l0", ("s",)), ("r.l0_reverse", ("s",)), ("s.l0", ("head",)), ("s.l0_reverse", ("head",)),
    ]  # fmt: skip
    assert [p.tensor for p in found[1].outward(model)[1:]] == ["s.weight_ih_l0", "s.weight_ih_l0_reverse"]


REFUSED = [
    (lambda m, x: m.r(x)[0], recurrent, "'r' (the model gives its values out as they are; list it yourself: recurrent_units(model, 'r', readers=(...)))"),
    (lambda m, x: (m.r(x), 1)[0], recurrent, "'output' takes its output and its state together"),
    (lambda m, x: m.head(m.r(x)[1][1][-1]), recurrent, "its cell state is read"),
    (lambda m, x: m.head(m.r(x)[1][-1]), lambda: recurrent(nn.GRU, 4, 2, True, reads=4), "(nobody reads l1; "),
    (lambda m, x: m.head(torch.cat((m.r(x)[1][-2], m.r(x)[1][-1]), 1)), lambda: recurrent(nn.GRU, 4, 1, True), "'r' (it is used more than once"),
    (lambda m, x: m.head(m.r(x)[1].transpose(0, 1)), lambda: recurrent(nn.GRU, 4, 2), "'transpose' reads its state, all layers and directions at once"),
    (lambda m, x: m.head(m.r(x, x[:1])[0]), recurrent, "it is given an initial state, whose size"),
    (lambda m, x: m.head(m.r(m.r(x)[0])[0]), lambda: {"r": nn.LSTM(4, 4), "head": nn.Linear(4, 2)}, "it is used more than once"),
    (lambda m, x: m.head(m.r(x)[0]) + m.head(x), lambda: recurrent(hidden=3), "'head' reads it, but it is used more than once"),
    (lambda m, x: m.head(m.r(x)[0] + 1), recurrent, "'add' stands between it and the layer that reads it"),
    (lambda m, x: m.head(m.n(m.r(x)[0])), lambda: recurrent() | {"n": nn.LayerNorm(4)}, "'n' stands between"),
    (lambda m, x: m.head(m.r(x)[0].flatten(1)), lambda: recurrent(reads=20), "'flatten' stands between"),
    (lambda m, x: m.head(m.r(x)[0][:, :, :3]), lambda: recurrent(reads=3), "'getitem_1' stands between"),
    (lambda m, x: m.head(m.r(x)[0][..., -1]), lambda: recurrent(reads=5), "'getitem_1' stands between"),
    (lambda m, x: m.head(m.r(x)[0][:, None]), recurrent, "'getitem_1' stands between"),
    (lambda m, x: m.head(m.r(x)[0].mean(-1)), lambda: recurrent(reads=5), "'mean' stands between"),
    (lambda m, x: m.head(m.r(x)[0].mean(2)), lambda: recurrent(reads=5), "'mean' stands between"),
    (lambda m, x: m.head(m.r(x)[0].mean()), lambda: recurrent(reads=1), "'mean' stands between"),
    (lambda m, x: m.head(F.softmax(m.r(x)[0], -1)), recurrent, "'softmax' stands between"),
    (lambda m, x: m.head(m.r(x)[0]), lambda: recurrent(reads=7), "'head' reads it, but it takes 7 values, not 4"),
    (lambda m, x: m.head(m.r(x)[0]), lambda: recurrent(hidden=4, proj_size=2, reads=2), "'r' (its proj_size is 2, "),
    (lambda m, x: m.head(m.r(x)[0]), lambda: recurrent() | {"head": identity(nn.Linear(4, 2), "weight")}, "computed from other tensors"),
    (lambda m, x: m.head(m.r(x)[0]), lambda: recurrent() | {"r": identity(nn.LSTM(3, 4), "weight_hh_l0")}, "'r' (its weights are computed from other tensors)"),
    (lambda m, x: (m.r(x)[0][0], 0)[1] + x, recurrent, "nobody reads l0"),
]  # fmt: skip


@pytest.mark.parametrize(("forward", "layers", "named"), REFUSED)
def test_recurrent_units_that_cannot_be_cut_are_refused_with_the_reason(forward, layers, named: str):
    model = Net(forward, **layers())
    sizes = [p.shape for p in model.parameters()]
    for act in (units, compact):
        with pytest.raises(ValueError, match="Net has no units that can be removed: ") as error:
            act(model)
        assert named in str(error.value)
    assert [p.shape for p in model.parameters()] == sizes


def test_tied_weights_are_refused():
    model = Net(lambda m, x: m.head(m.r(x)[0]), **recurrent(), other=nn.Linear(4, 2))
    model.other.weight = model.head.weight
    with pytest.raises(ValueError, match="'head' reads it, but it is tied to another layer"):
        units(model)


def test_what_stays_beside_units_that_were_found_is_named():
    layers = recurrent(hidden=4, proj_size=2, reads=2) | {"last": nn.Linear(2, 1)}
    model = Net(lambda m, x: m.last(m.head(m.r(x)[0]).relu()), **layers)
    with pytest.warns(UserWarning, match=r"keep their size: 'r' \(its proj_size is 2"):
        assert units(model) == [Population("head", (), "last", 1)]


def test_a_model_that_is_nothing_but_a_recurrent_module():
    with pytest.raises(ValueError, match="its readers are not known; list it yourself"):
        units(nn.LSTM(2, 3))


# --- transformers --------------------------------------------------------------------------------------------------


def transformer(**options) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 4, 6, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def test_heads_and_feed_forward_neurons_are_found_by_module_type():
    found = quietly(transformer())
    assert found == [
        AttentionHeads("layers.0.self_attn"),
        AttentionHeads("layers.1.self_attn"),
        Population("layers.0.linear1", (), "layers.0.linear2", 1),
        Population("layers.1.linear1", (), "layers.1.linear2", 1),
    ]


def test_a_decoder_layer_has_two_attentions():
    model = nn.TransformerDecoderLayer(8, 4, 6)
    assert [group.name for group in quietly(model)] == ["self_attn", "multihead_attn", "linear1"]
    assert [group.width(model) for group in quietly(model)] == [4, 4, 6]


def test_a_model_that_cannot_be_traced_still_gives_its_parts():
    layers = {
        "first": nn.Linear(3, 8),
        "inner": transformer(),
        "blocks": nn.ModuleList([nn.Sequential(nn.Linear(8, 5), nn.GELU(), nn.Linear(5, 8))]),
        "r": nn.LSTM(8, 3),
    }

    def forward(m, x):
        x = m.inner(m.first(x))
        return x if x.sum() > 0 else m.r(m.blocks[0](x))[0]

    model = Net(forward, **layers)
    with pytest.warns(UserWarning, match="these layers keep their size") as seen:
        found = units(model)
    assert [group.name for group in found][:2] == ["blocks.0.0", "inner.layers.0.self_attn"]
    assert len(found) == 5
    (message,) = [str(warning.message) for warning in seen]
    assert "'first' (the forward pass of Net cannot be traced" in message
    assert "'r' (the forward pass of Net" in message
    assert "recurrent_units(model, 'r', readers=(...))" in message


def test_names_within_a_part_are_those_of_the_whole_model():
    part = Net(lambda m, x: m.head(m.r(x)[0][:, -1]), **recurrent(layers=2))
    model = Net(lambda m, x: m.part(x) if x.sum() > 0 else x, part=part)
    found = quietly(model)
    assert found == [RecurrentUnits("part.r", (), 0), RecurrentUnits("part.r", ("part.head",), 1)]
    check_units(model, found)


class OwnAttention(nn.MultiheadAttention):
    pass


class OwnLayer(nn.TransformerEncoderLayer):
    pass


def tied_attention() -> nn.Module:
    model = nn.ModuleDict({"a": nn.MultiheadAttention(4, 2), "b": nn.MultiheadAttention(4, 2)})
    model["b"].in_proj_weight = model["a"].in_proj_weight
    return model


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (nn.MultiheadAttention(4, 2, kdim=3), "'' (its kdim 3 or vdim 4 is not its embed_dim 4)"),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), "made with add_bias_kv or add_zero_attn"),
        (nn.MultiheadAttention(4, 2, add_zero_attn=True), "made with add_bias_kv or add_zero_attn"),
        (OwnAttention(4, 2), "it is a OwnAttention, not an nn.MultiheadAttention"),
        (
            identity(nn.MultiheadAttention(4, 2), "in_proj_weight"),
            "its weight is computed from other tensors",
        ),
        (tied_attention(), "'a' (it is tied to another layer), 'b' (it is tied"),
    ],
)
def test_attention_that_cannot_be_cut_is_refused_with_the_reason(model: nn.Module, named: str):
    with pytest.raises(ValueError, match="has no units that can be removed") as error:
        units(model)
    assert named.replace("), '", "); '") in str(error.value)


def test_feed_forward_neurons_that_cannot_be_cut_are_named():
    strange = nn.TransformerEncoderLayer(4, 2, 6, activation=lambda x: x.softmax(-1))
    with pytest.warns(UserWarning, match=r"'linear1' \(its activation is not known to be element-wise\)"):
        assert units(strange) == [AttentionHeads("self_attn")]
    with pytest.warns(UserWarning, match="its layer is a OwnLayer, a class of its own"):
        assert AttentionHeads("self_attn") in units(OwnLayer(4, 2, 6))


# --- units written by hand ----------------------------------------------------------------------------------------


def test_all_layers_and_directions_by_hand():
    model = Net(None, **recurrent(nn.GRU, 4, 2, True))
    assert recurrent_units(model, "r", readers=("head",)) == [
        RecurrentUnits("r", (), 0, 0),
        RecurrentUnits("r", (), 0, 1),
        RecurrentUnits("r", ("head",), 1, 0),
        RecurrentUnits("r", ("head",), 1, 1),
    ]


@pytest.mark.parametrize(
    ("module", "reads", "named"),
    [
        ("absent", ("head",), "Net has no 'absent': its recurrent modules are ['r', 'p', 'both']"),
        ("head", ("head",), "'head' cannot be cut: it is a Linear, not an nn.RNN, nn.LSTM or nn.GRU"),
        ("p", ("head",), "'p' cannot be cut: its proj_size is 2, and what others read is a mixture"),
        ("r", (), "names no reader, but somebody must read the last layer"),
        ("r", ("absent",), "names 'absent', which the model does not have"),
        ("r", ("norm",), "'norm' cannot lose what it reads of 'r': it is a LayerNorm"),
        ("r", ("p",), "'p' cannot lose what it reads of 'r': its proj_size is 2"),
        ("r", ("wide",), "'wide' reads 9 values, but 'r' gives out 4."),
        ("both", ("wide",), "'wide' reads 9 values, but 'both' gives out 8, or 4 of one direction."),
        ("both", ("head",), "'head' reads one direction of 'both', and which one is not known"),
        ("r", ("tied",), "'tied' cannot lose what it reads of 'r': it is tied"),
    ],
)
def test_recurrent_units_by_hand_are_held_against_the_model(module: str, reads: tuple[str, ...], named: str):
    layers = recurrent() | {
        "p": nn.LSTM(4, 3, proj_size=2), "both": nn.GRU(3, 4, bidirectional=True), "norm": nn.LayerNorm(4),
        "wide": nn.Linear(9, 1), "tied": nn.Linear(4, 2), "twin": nn.Linear(4, 2),
    }  # fmt: skip
    model = Net(None, **layers)
    model.twin.weight = model.tied.weight
    with pytest.raises(ValueError, match=re.escape(named)):
        recurrent_units(model, module, reads)


@pytest.mark.parametrize(
    ("listed", "named"),
    [
        ([RecurrentUnits("r", ("head",), 0)], "but l0_reverse of it is not listed"),
        ([RecurrentUnits("r", ("head",), 0, 2)], "'r' has 1 layers and 2 directions, counted from 0, but"),
        ([RecurrentUnits("head", ("head",))], "'head' cannot be cut: it is a Linear"),
        ([AttentionHeads("absent")], "names 'absent', which the model does not have"),
        ([AttentionHeads("head")], "'head' cannot be cut: it is a Linear, not an nn.MultiheadAttention"),
        ([Population("head", (), "absent", 1)], "names 'absent'"),
    ],
)
def test_units_by_hand_are_held_against_the_model(listed, named: str):
    model = Net(None, **recurrent(both=True))
    with pytest.raises(ValueError, match=re.escape(named)):
        compact(model, neurons=listed)


def test_a_compiled_model_gives_the_inner_names():
    model = Net(lambda m, x: m.head(m.r(x)[0]), **recurrent())
    assert quietly(torch.compile(model, backend="eager")) == [RecurrentUnits("r", ("head",))]
