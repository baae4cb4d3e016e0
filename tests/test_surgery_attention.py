import copy
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, tensor
from torch.testing import assert_close

from coppice.parts import snapshot
from coppice.parts.attention import AttentionHeads
from coppice.parts.blueprint import load_model, save_model
from coppice.parts.layers import ShrunkAttention
from coppice.parts.masks import Masks
from coppice.parts.resizing import resize
from coppice.parts.surgery import compact, count_parameters, keep_neurons
from coppice.parts.units import units


def attention(heads: int = 4, size: int = 2, seed: int = 0, **options) -> nn.MultiheadAttention:
    torch.manual_seed(seed)
    layer = nn.MultiheadAttention(heads * size, heads, **options)
    for name, parameter in layer.named_parameters():
        if name.endswith("bias"):  # torch begins with zeros, behind which a wrong entry would hide
            nn.init.normal_(parameter)
    return layer


def encoder(**options) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 4, 6, batch_first=True, **{"dropout": 0.0, **options})
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=options.get("norm_first") is None)


def kill(model: nn.Module, fallen: dict[str, list[int]], optimizer=None) -> Masks:
    masks = Masks.attach(model)
    for group in units(model):
        chosen = torch.zeros(group.width(model), dtype=torch.bool)
        chosen[fallen.get(group.name, [])] = True
        masks.prune(group.synapses(model, chosen), optimizer)
    return masks


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - 1).square().mean().backward()
        optimizer.step()


# --- the layer: torch's own in everything but the number of heads -------------------------------------------------


def masks_for(kind: str, batch: int, heads: int, length: int, generator) -> tuple[dict, dict]:
    """Arguments for all heads, and for the living among them."""
    lower = torch.ones(length, length).tril().bool()
    per_head = torch.rand(batch * heads, length, length, generator=generator) < 0.3
    per_head[:, :, 0] = False  # everybody may look at the first, so that no softmax is of nothing
    padding = torch.zeros(batch, length, dtype=torch.bool)
    padding[0, -1:] = True
    numbers = torch.randn(length, length, generator=generator)
    return {
        "none": {},
        "causal": {"attn_mask": ~lower},
        "causal hint": {"attn_mask": ~lower, "is_causal": True},
        "numbers": {"attn_mask": numbers},
        "padding": {"key_padding_mask": padding},
        "padding in numbers": {"key_padding_mask": torch.where(padding, -3.0, 0.0)},
        "both": {"attn_mask": ~lower, "key_padding_mask": padding},
        "both, hinted": {"attn_mask": ~lower, "key_padding_mask": padding, "is_causal": True},
        "a head its own": {"attn_mask": per_head},
        "a head its own, in numbers": {"attn_mask": per_head * -2.0},
    }[kind]


MASKS = [
    "none", "causal", "causal hint", "numbers", "padding", "padding in numbers", "both", "both, hinted",
    "a head its own", "a head its own, in numbers",
]  # fmt: skip


@pytest.mark.parametrize("mask", MASKS)
@settings(max_examples=12, deadline=None)
@given(
    batch_first=st.booleans(),
    weights=st.booleans(),
    average=st.booleans(),
    bias=st.booleans(),
    itself=st.booleans(),
    dead=st.sets(st.integers(0, 3), max_size=3),
    seed=st.integers(0, 99),
)
def test_the_same_results_as_the_masked_layer(mask, batch_first, weights, average, bias, itself, dead, seed):
    layer = attention(batch_first=batch_first, bias=bias, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(3, 5, 8, generator=generator) for _ in range(3))
    if itself:
        key = value = query
    if not batch_first:
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        if itself:
            key = value = query
    given_masks = masks_for(mask, 3, 4, 5, generator)
    kill(layer, {"": sorted(dead)})
    # in torch's function the dead heads' own weights are returned too: those of the living are compared
    options = {"need_weights": weights, "average_attn_weights": False, **given_masks}
    expected, seen = layer(query, key, value, **options)

    done = compact(layer)

    living = [head for head in range(4) if head not in dead]
    assert done.removed == ({"": len(dead)} if dead else {})
    assert type(layer) is (ShrunkAttention if dead else nn.MultiheadAttention)
    assert (layer.num_heads, layer.head_dim, layer.embed_dim) == (4 - len(dead), 2, 8)
    output, shown = layer(query, key, value, **{**options, "average_attn_weights": average})
    assert_close(output, expected, atol=1e-5, rtol=0)
    if not weights:
        assert shown is None
    elif average and dead:
        assert_close(shown, seen[:, living].mean(1), atol=1e-6, rtol=0)
    elif not average:
        assert_close(shown, seen[:, living], atol=1e-6, rtol=0)
    if dead and "head" in mask:  # the masks of the living alone will do as well
        own = given_masks["attn_mask"].unflatten(0, (3, 4))[:, living].flatten(0, 1)
        again, _ = layer(query, key, value, attn_mask=own, need_weights=weights)
        assert_close(again, expected, atol=1e-5, rtol=0)


def test_a_converted_whole_layer_is_torchs_in_every_way():
    layer = attention()
    twin = ShrunkAttention.convert(copy.deepcopy(layer))
    assert ShrunkAttention.convert(twin) is twin
    assert twin.heads.tolist() == [0, 1, 2, 3]
    x = torch.randn(5, 3, 8)
    for arguments in ({}, {"need_weights": False}, {"average_attn_weights": False}):
        for one, other in zip(twin(x, x, x, **arguments), layer(x, x, x, **arguments), strict=True):
            assert_close(one, other)
    twin.revert()
    assert type(twin) is nn.MultiheadAttention
    assert twin.state_dict().keys() == layer.state_dict().keys()
    assert twin._qkv_same_embed_dim
    assert_close(twin(x, x, x)[0], layer(x, x, x)[0], atol=0, rtol=0)


@pytest.mark.parametrize("weights", [True, False])
def test_unbatched_input(weights: bool):
    layer = attention()
    kill(layer, {"": [1]})
    query, key = torch.randn(5, 8), torch.randn(6, 8)
    padding = tensor([False] * 5 + [True])
    mask = torch.rand(4, 5, 6) < 0.2
    options = {"key_padding_mask": padding, "need_weights": weights, "average_attn_weights": False}
    expected = [layer(query, key, key, attn_mask=m, **options) for m in (mask, mask[0])]
    compact(layer)
    for m, (output, seen) in zip((mask, mask[0]), expected, strict=True):
        got, shown = layer(query, key, key, attn_mask=m, **options)
        assert got.shape == (5, 8)
        assert_close(got, output, atol=1e-5, rtol=0)
        assert shown is None if not weights else shown.shape == (3, 5, 6)
        if weights:
            assert_close(shown, seen[[0, 2, 3]], atol=1e-6, rtol=0)


def test_dropout_acts_in_training_only():
    layer = attention(dropout=0.5, heads=2, size=8)
    kill(layer, {"": [1]})
    compact(layer)
    x = torch.randn(4, 2, 16)
    assert not layer(x, x, x)[0].equal(layer(x, x, x)[0])
    _, weights = layer(x, x, x)
    assert (weights == 0).any()
    assert not layer(x, x, x, need_weights=False)[0].equal(layer(x, x, x, need_weights=False)[0])
    layer.eval()
    assert layer(x, x, x)[0].equal(layer(x, x, x)[0])
    assert_close(layer(x, x, x)[1].sum(-1), torch.ones(2, 4))


def test_half_precision_and_meta_device():
    layer = attention().bfloat16()
    kill(layer, {"": [0]})
    compact(layer)
    x = torch.randn(4, 2, 8).bfloat16()
    causal = torch.ones(4, 4).triu(1).bool()
    for weights in (True, False):
        assert layer(x, x, x, attn_mask=causal, need_weights=weights)[0].dtype == torch.bfloat16
    empty = attention().to("meta")
    keep_neurons(empty, AttentionHeads(""), tensor([1, 3]))
    assert {t.device.type for t in empty.state_dict().values()} == {"meta"}
    assert empty.in_proj_weight.shape == (12, 8)


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"is_causal": True}, RuntimeError, "give the causal attn_mask as well"),
        (
            {"attn_mask": torch.zeros(5, 4, 4)},
            ValueError,
            "holds 5 matrices, but for 2 samples there must be 6 for the living heads or 8 for all",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused(arguments, error, named: str):
    layer = attention()
    keep_neurons(layer, AttentionHeads(""), tensor([0, 1, 3]))
    x = torch.randn(4, 2, 8)
    with pytest.raises(error, match=named):
        layer(x, x, x, **arguments)


def test_the_same_object_with_its_hooks_and_through_copy_and_pickle():
    model = encoder()
    layer, heard = model.layers[0].self_attn, []
    layer.register_forward_hook(lambda *_: heard.append(1))
    kill(model, {"layers.0.self_attn": [2]})
    compact(model)
    assert model.layers[0].self_attn is layer
    x = torch.randn(2, 3, 8)
    expected = model(x)
    assert heard == [1]
    layer._forward_hooks.clear()  # a lambda cannot be pickled
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_close(twin(x), expected, atol=0, rtol=0)


# --- in torch's transformer layers --------------------------------------------------------------------------------


FALLEN = {
    "layers.0.self_attn": [1, 3], "layers.1.self_attn": [0], "layers.0.linear1": [0, 5], "layers.1.linear1": [2],
}  # fmt: skip


@pytest.mark.parametrize("norm_first", [True, None])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gradients", [True, False])
def test_an_encoder_gives_the_same_with_fewer_heads_and_neurons(norm_first, training, gradients):
    """In evaluation without gradients torch takes fused paths, which must not read the shrunken weights."""
    model = encoder(**({"norm_first": True} if norm_first else {})).train(training)
    x = torch.randn(3, 5, 8)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 3:] = True
    calls = [{}, {"mask": causal, "is_causal": True}, {"mask": causal}, {"src_key_padding_mask": padding}]
    kill(model, FALLEN)
    with torch.set_grad_enabled(gradients), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The PyTorch API of nested tensors")  # torch's own fused path
        expected = [model(x, **call) for call in calls]
    before = count_parameters(model)

    done = compact(model)

    assert done.removed == {name: len(dead) for name, dead in FALLEN.items()}
    # a head of 2: 3 * 2 rows of 8 and their biases, 2 columns of 8; a neuron: 8 in, 8 out, a bias
    assert before - count_parameters(model) == 3 * (6 * 9 + 16) + 3 * 17
    assert model.layers[0].linear1.out_features == model.layers[0].linear2.in_features == 4
    with torch.set_grad_enabled(gradients):
        for call, output in zip(calls, expected, strict=True):
            heard = ~call.get("src_key_padding_mask", torch.zeros(3, 5, dtype=torch.bool))
            # what stands at padded places is nobody's result: torch's nested path writes zeros there
            assert_close(model(x, **call)[heard], output[heard], atol=1e-5, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("gradients", [True, False])
def test_on_cuda_an_encoder_gives_the_same(gradients: bool):
    model, x = encoder().cuda().eval(), torch.randn(3, 5, 8).cuda()
    kill(model, FALLEN)
    with torch.set_grad_enabled(gradients):
        expected = model(x)
        compact(model)
        assert model.layers[0].self_attn.heads.is_cuda
        assert_close(model(x), expected, atol=1e-5, rtol=0)


def test_two_heads_of_four_do_not_lure_torch_onto_its_fused_path():
    """An even number of heads in evaluation is what torch's fused layer asks for."""
    model = encoder().eval()
    x = torch.randn(3, 5, 8)
    fallen = {"layers.0.self_attn": [1, 3], "layers.1.self_attn": [0, 1]}
    kill(model, fallen)
    with torch.no_grad():
        expected = model(x)
        compact(model)
        assert_close(model(x), expected, atol=1e-5, rtol=0)


def test_only_feed_forward_neurons_leave_the_fused_path_open():
    model = encoder().eval()
    kill(model, {"layers.0.linear1": [0, 1], "layers.1.linear1": [3]})
    x = torch.randn(3, 5, 8)
    with torch.no_grad():
        expected = model(x)
        compact(model)
        assert_close(model(x), expected, atol=1e-5, rtol=0)
    assert type(model.layers[0].self_attn) is nn.MultiheadAttention
    assert model.use_nested_tensor


def test_a_decoder_layer_gives_the_same():
    torch.manual_seed(0)
    model = nn.TransformerDecoderLayer(8, 4, 6, dropout=0.0)
    kill(model, {"self_attn": [0, 2], "multihead_attn": [1], "linear1": [5]})
    target, memory = torch.randn(4, 2, 8), torch.randn(6, 2, 8)
    expected = model(target, memory)
    assert compact(model).removed == {"self_attn": 2, "multihead_attn": 1, "linear1": 1}
    assert_close(model(target, memory), expected, atol=1e-5, rtol=0)


def test_a_head_of_which_one_column_is_heard_is_alive():
    layer = attention()
    with torch.no_grad():
        layer.out_proj.weight[:, 2:6] = 0
        layer.out_proj.weight[3, 5] = 1e-3
    (group,) = units(layer)
    assert group.dead(layer).tolist() == [False, True, False, False]
    assert compact(layer).removed == {"": 1}
    assert layer.heads.tolist() == [0, 2, 3]


def test_one_head_is_kept_where_all_are_dead():
    layer = attention()
    kill(layer, {"": [0, 1, 2, 3]})
    assert compact(layer).removed == {"": 3}
    assert layer.heads.tolist() == [0]
    x = torch.randn(4, 2, 8)
    assert_close(layer(x, x, x)[0], layer.out_proj.bias.expand(4, 2, 8))


def test_cutting_twice_remembers_which_heads_live():
    layer = attention()
    x = torch.randn(4, 2, 8)
    mask = torch.rand(8, 4, 4) < 0.2
    kill(layer, {"": [0]})
    compact(layer)
    assert layer.heads.tolist() == [1, 2, 3]
    kill(layer, {"": [1]})  # the second of the living, the third of old
    expected = layer(x, x, x, attn_mask=mask)[0]
    compact(layer)
    assert layer.heads.tolist() == [1, 3]
    assert_close(layer(x, x, x, attn_mask=mask)[0], expected, atol=1e-5, rtol=0)


# --- training goes on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [lambda p: torch.optim.Adam(p, lr=0.01), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)]
)
def test_the_survivors_train_on_as_in_the_masked_network(make):
    # float64: of a key's bias the true gradient is zero, and Adam would make whole steps of float32 noise
    masked, x = encoder().double(), torch.randn(4, 5, 8).double()
    optimizer = make(masked.parameters())
    Masks.attach(masked).guard(optimizer)
    train(masked, optimizer, x, 2)
    kill(masked, FALLEN, optimizer)
    cut = copy.deepcopy(masked)
    cut_optimizer = make(cut.parameters())
    Masks(cut).guard(cut_optimizer)
    cut_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    compact(cut, cut_optimizer)
    for _ in range(4):
        train(masked, optimizer, x, 1)
        train(cut, cut_optimizer, x, 1)
        assert_close(cut(x), masked(x), atol=1e-9, rtol=0)
    rows = tensor([p * 8 + h * 2 + i for p in range(3) for h in (0, 2) for i in range(2)])
    columns = tensor([0, 1, 4, 5])
    one, other = cut.layers[0].self_attn, masked.layers[0].self_attn
    for small, large, at in (
        (one.in_proj_weight, other.in_proj_weight, (rows,)),
        (one.in_proj_bias, other.in_proj_bias, (rows,)),
        (one.out_proj.weight, other.out_proj.weight, (slice(None), columns)),
    ):
        assert_close(small, large[at], atol=1e-7, rtol=0)
        for key, moment in optimizer.state[large].items():
            if isinstance(moment, torch.Tensor) and moment.shape == large.shape:
                assert_close(cut_optimizer.state[small][key], moment[at], atol=1e-7, rtol=0)
    Masks(cut).check()
    assert {id(p) for g in cut_optimizer.param_groups for p in g["params"]} == {
        id(p) for p in cut.parameters()
    }


def test_heads_stand_in_the_order_asked_for():
    layer = attention()
    old = copy.deepcopy(layer)
    keep_neurons(layer, AttentionHeads(""), tensor([3, 1]))
    assert_close(layer.out_proj.weight, old.out_proj.weight[:, [6, 7, 2, 3]])
    assert_close(layer.in_proj_bias, old.in_proj_bias[[6, 7, 2, 3, 14, 15, 10, 11, 22, 23, 18, 19]])
    assert layer.heads.tolist() == [3, 1]
    assert (layer.num_heads, layer.out_proj.in_features) == (2, 4)


def test_an_optimizer_that_cannot_be_cut_is_refused_before_anything_is_changed():
    model = encoder()
    kill(model, FALLEN)
    with pytest.raises(ValueError, match="LBFGS keeps"):
        compact(model, torch.optim.LBFGS(model.parameters()))
    assert type(model.layers[0].self_attn) is nn.MultiheadAttention
    assert model.use_nested_tensor


# --- other sizes: resize, snapshots, files --------------------------------------------------------------------------


def test_a_shrunken_model_is_saved_and_loaded_into_a_fresh_one(tmp_path: Path):
    model, x = encoder().eval(), torch.randn(3, 5, 8)
    kill(model, FALLEN)
    compact(model)
    save_model(model, tmp_path / "m")
    fresh = encoder().eval()
    assert load_model(tmp_path / "m", into=fresh) is fresh
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            assert_close(fresh(x), model(x), atol=0, rtol=0)
    assert fresh.layers[0].self_attn.heads.tolist() == [0, 2]
    assert not fresh.use_nested_tensor
    assert Masks(fresh)["layers.0.self_attn.in_proj_weight"].shape == (12, 8)
    load_model(tmp_path / "m", into=fresh)  # into one that is shrunken already
    assert_close(fresh(x), model(x), atol=0, rtol=0)


def test_snapshots_bring_both_sizes_back_to_the_bit():
    model, x = encoder(), torch.randn(3, 5, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    masks = Masks.attach(model)
    masks.guard(optimizer)
    train(model, optimizer, x, 2)
    large, whole = snapshot.take(model, optimizer), model(x)
    kill(model, FALLEN, optimizer)
    compact(model, optimizer)
    train(model, optimizer, x, 2)
    small, shrunken = snapshot.take(model, optimizer), model(x)
    layer = model.layers[0].self_attn
    for _ in range(2):
        snapshot.restore(model, optimizer, large)
        assert type(layer) is nn.MultiheadAttention
        assert (layer.num_heads, layer.out_proj.in_features, layer.head_dim) == (4, 8, 2)
        assert model.use_nested_tensor
        assert layer._qkv_same_embed_dim
        assert_close(model(x), whole, atol=0, rtol=0)
        snapshot.restore(model, optimizer, small)
        assert type(layer) is ShrunkAttention
        assert (layer.num_heads, layer.out_proj.in_features, layer.head_dim) == (2, 4, 2)
        assert not model.use_nested_tensor
        assert_close(model(x), shrunken, atol=0, rtol=0)
    train(model, optimizer, x, 1)
    masks.check()


def test_resize_of_whole_layers_states_true_sizes():
    model = attention(4, 2)
    resize(model, attention(4, 3).state_dict())
    assert (model.embed_dim, model.head_dim, model.num_heads) == (12, 3, 4)
    x = torch.randn(4, 2, 12)
    assert model(x, x, x)[0].shape == x.shape


def test_heads_of_something_else_are_not_taken_for_ours():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"only one of them has '0\.heads'"):
        resize(model, model.state_dict() | {"0.heads": tensor([0])})


def test_a_shrunken_layer_is_one_step_to_the_tracer():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.attend = nn.MultiheadAttention(8, 4, batch_first=True)
            self.feed = nn.Sequential(nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 8))
            self.head = nn.Linear(8, 1)

        def forward(self, x):
            x = x + self.attend(x, x, x, need_weights=False)[0]
            return self.head((x + self.feed(x)).mean(1))

    model, x = Block(), torch.randn(2, 3, 8)
    for dead in ([3], [0]):
        with pytest.warns(UserWarning, match=r"'feed\.2' \('add_1' stands"):
            found = units(model)
        assert [group.name for group in found] == ["feed.0", "attend"]
        masks = Masks.attach(model)
        for group in found:
            chosen = torch.zeros(group.width(model), dtype=torch.bool)
            chosen[dead] = True
            masks.prune(group.synapses(model, chosen))
        expected = model(x)
        assert compact(model, neurons=found).removed == {"feed.0": 1, "attend": 1}
        assert_close(model(x), expected, atol=1e-5, rtol=0)
    assert model.attend.heads.tolist() == [1, 2]
