"""PatchTST and the small patch encoder, against literal numpy twins."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import fx

from coppice.models.blocks import RevIN
from coppice.models.patchtst import MixedPatch, Patch, PatchEncoder, PatchTST
from coppice.parts.synapses import synapses

Array = NDArray[np.float64]
erf = np.vectorize(math.erf)


# --- twins: loops, straight from the papers --------------------------------------------------------------------


def numbers(model: torch.nn.Module) -> dict[str, Array]:
    return {name: value.detach().double().numpy() for name, value in model.state_dict().items()}


def revin(x: Array, weight: float, bias: float) -> tuple[Array, float, float]:
    mean, std = x.mean(), np.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)
    return (x - mean) / std * weight + bias, mean, std


def overlapping(x: Array, patch: int, stride: int) -> Array:
    padded = [*x, *([x[-1]] * stride)]
    starts = range(0, len(padded) - patch + 1, stride)
    return np.array([padded[start : start + patch] for start in starts])


def softmax(v: Array) -> Array:
    e = np.exp(v - v.max())
    return e / e.sum()


def attention(tokens: Array, w: dict[str, Array], at: str, heads: int) -> Array:
    q, k, v = np.split(tokens @ w[f"{at}.in_proj_weight"].T + w[f"{at}.in_proj_bias"], 3, axis=1)
    size, out = tokens.shape[1] // heads, np.zeros_like(tokens)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(tokens)):
            shares = softmax(np.array([q[i, part] @ k[j, part] for j in range(len(tokens))]) / np.sqrt(size))
            out[i, part] = sum(shares[j] * v[j, part] for j in range(len(tokens)))
    return out @ w[f"{at}.out_proj.weight"].T + w[f"{at}.out_proj.bias"]


def feedforward(tokens: Array, w: dict[str, Array], at: str, activation: Any) -> Array:
    hidden = activation(tokens @ w[f"{at}.0.weight"].T + w[f"{at}.0.bias"])
    return hidden @ w[f"{at}.3.weight"].T + w[f"{at}.3.bias"]


def batch_norm(tokens: Array, w: dict[str, Array], at: str) -> Array:
    normal = (tokens - w[f"{at}.running_mean"]) / np.sqrt(w[f"{at}.running_var"] + 1e-5)
    return normal * w[f"{at}.weight"] + w[f"{at}.bias"]


def layer_norm(tokens: Array, w: dict[str, Array], at: str) -> Array:
    normal = np.array([(t - t.mean()) / np.sqrt(t.var() + 1e-5) for t in tokens])
    return normal * w[f"{at}.weight"] + w[f"{at}.bias"]


def gelu(v: Array) -> Array:
    return v * (1 + erf(v / np.sqrt(2))) / 2


def patchtst_by_hand(model: PatchTST, window: Array, heads: int) -> Array:
    w = numbers(model)
    weight, bias = w["instance_norm.weight"][0], w["instance_norm.bias"][0]
    normal, mean, std = revin(window[:, 0], weight, bias)
    tokens = overlapping(normal, model.patch, model.stride) @ w["embed.weight"].T + w["embed.bias"]
    tokens = tokens + w["position"]
    for number in range(len(model.blocks)):
        block = f"blocks.{number}"
        tokens = tokens + attention(tokens, w, f"{block}.attention", heads)
        tokens = batch_norm(tokens, w, f"{block}.attention_norm.norm")
        tokens = tokens + feedforward(tokens, w, f"{block}.feedforward", gelu)
        tokens = batch_norm(tokens, w, f"{block}.feedforward_norm.norm")
    forecast = w["head.weight"] @ tokens.reshape(-1) + w["head.bias"]
    return (forecast - bias) / (weight + 1e-10) * std + mean


def patch_encoder_by_hand(model: PatchEncoder, window: Array, heads: int) -> Array:
    w = numbers(model)
    rows = list(window)
    while len(rows) % model.patch:
        rows.append(rows[-1])
    patches = [np.concatenate(rows[i : i + model.patch]) for i in range(0, len(rows), model.patch)]
    tokens = np.array(patches) @ w["embed.weight"].T + w["embed.bias"] + w["position"]
    for number in range(len(model.blocks)):
        block = f"blocks.{number}"
        tokens = tokens + attention(tokens, w, f"{block}.attention", heads)
        tokens = layer_norm(tokens, w, f"{block}.attention_norm")
        tokens = tokens + feedforward(tokens, w, f"{block}.feedforward", lambda v: np.maximum(v, 0))
        tokens = layer_norm(tokens, w, f"{block}.feedforward_norm")
    return w["head.weight"] @ layer_norm(tokens, w, "norm").mean(0) + w["head.bias"]


def shaken(model: Any) -> Any:
    """Every number away from its initial value, running statistics included."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.add_(0.3 * (torch.rand_like(value) if "var" in name else torch.randn_like(value)))
    return model.eval()


# --- the twins agree ----------------------------------------------------------------------------------------------


@given(st.integers(2, 40), st.integers(0, 10_000), st.booleans())
def test_revin_is_its_equation_and_undone(length: int, seed: int, affine: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(3.0, 2.0, size=(4, length))
    norm = RevIN(affine).double()
    weight, bias = (1.5, -0.25) if affine else (1.0, 0.0)
    if affine:
        norm.load_state_dict({"weight": torch.tensor([weight]), "bias": torch.tensor([bias])})
    normal, mean, std = norm(torch.from_numpy(x))
    for row, found in zip(x, normal.detach().numpy(), strict=True):
        np.testing.assert_allclose(found, revin(row, weight, bias)[0], atol=1e-10)
    np.testing.assert_allclose(norm.undo(normal, mean, std).detach().numpy(), x, atol=1e-8)


def test_revin_of_a_constant_window_is_zero_and_comes_back() -> None:
    norm, x = RevIN(affine=False), torch.full((1, 5), 7.0)
    normal, mean, std = norm(x)
    assert normal.tolist() == [[0.0] * 5]
    assert norm.undo(normal, mean, std).tolist() == x.tolist()


def test_patches_by_hand() -> None:
    model = PatchTST(length=7, horizon=1, patch=2, stride=1)
    x = torch.arange(7.0)[None]
    wanted = [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6], [6, 6]]
    assert model.patches(x)[0].tolist() == wanted
    encoder = PatchEncoder(length=5, channels=2, horizon=1, patch=2)
    rows = torch.arange(10.0).reshape(1, 5, 2)
    assert encoder.patches(rows)[0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 8, 9]]


@given(st.integers(2, 60), st.integers(2, 16), st.integers(1, 16))
def test_patches_are_as_many_as_positions(length: int, patch: int, stride: int) -> None:
    if patch > length:
        return
    model = PatchTST(length, 1, patch, stride, width=4, heads=1, layers=0)
    x = np.random.default_rng(0).normal(size=length)
    found = model.patches(torch.from_numpy(x)[None])[0].numpy()
    np.testing.assert_array_equal(found, overlapping(x, patch, stride))
    assert len(found) == len(model.position)


@pytest.mark.parametrize(("length", "layers"), [(7, 1), (14, 2), (30, 1)])
def test_patchtst_is_its_twin(length: int, layers: int) -> None:
    plan = Patch(width=8, heads=2, layers=layers, feedforward=6)
    model = shaken(plan.build((length, 3), 2))
    x = torch.randn(3, length, 3)
    found = model(x).detach().numpy()
    for window, forecast in zip(x.double().numpy(), found, strict=True):
        np.testing.assert_allclose(forecast, patchtst_by_hand(model, window, 2), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("length", [7, 15])
def test_the_patch_encoder_is_its_twin(length: int) -> None:
    model = shaken(MixedPatch(width=8, heads=2, layers=2, feedforward=6).build((length, 3), 2))
    x = torch.randn(3, length, 3)
    found = model(x).detach().numpy()
    for window, forecast in zip(x.double().numpy(), found, strict=True):
        np.testing.assert_allclose(forecast, patch_encoder_by_hand(model, window, 2), rtol=1e-3, atol=1e-4)


# --- what sets the two apart -----------------------------------------------------------------------------------


def test_patchtst_hears_no_other_channel_and_the_patch_encoder_does() -> None:
    x = torch.randn(4, 14, 3)
    other = x.clone()
    other[:, :, 1] += 5
    for training in (False, True):
        model = shaken(Patch().build((14, 3), 1)).train(training)
        assert torch.equal(model(x), model(other))
    encoder = shaken(MixedPatch().build((14, 3), 1))
    assert not torch.allclose(encoder(x), encoder(other))


def test_a_forecast_moves_with_the_level_of_its_window() -> None:
    model = shaken(Patch(affine=False).build((14, 1), 1)).double()
    x = torch.randn(4, 14, 1, dtype=torch.float64)
    torch.testing.assert_close(model(x + 100), model(x) + 100, atol=1e-9, rtol=0)


# --- shapes, sizes, refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "patch", "stride", "small"),
    [(7, 2, 1, 1), (14, 4, 2, 2), (30, 8, 4, 3), (64, 16, 8, 4), (336, 16, 8, 4), (2, 2, 1, 1)],
)
def test_patches_fit_the_window(length: int, patch: int, stride: int, small: int) -> None:
    model = Patch().build((length, 2), 3)
    assert (model.patch, model.stride) == (patch, stride)
    assert model(torch.randn(5, length, 2)).shape == (5, 3)
    encoder = MixedPatch().build((length, 2), 3)
    assert encoder.patch == small
    assert encoder(torch.randn(5, length, 2)).shape == (5, 3)


@pytest.mark.parametrize("plan", [Patch(dropout=0.2), MixedPatch(dropout=0.2)])
def test_it_can_be_traced_and_all_its_layers_hold_synapses(plan: Any) -> None:
    model = plan.build((14, 3), 1).eval()
    x = torch.randn(2, 14, 3)
    torch.testing.assert_close(fx.symbolic_trace(model)(x), model(x))
    found = synapses(model)
    assert (
        len(found) == 4 * plan.layers + 2
    )  # two of the attention, two of the feed-forward; embedding and head
    assert "position" not in found
    model.train()
    assert not torch.equal(model(x), model(x))


def test_attention_drops_no_scores_in_patchtst_as_in_the_official_code() -> None:
    assert {block.attention.dropout for block in Patch(dropout=0.3).build((14, 1), 1).blocks} == {0.0}  # type: ignore[union-attr]
    assert {block.attention.dropout for block in MixedPatch(dropout=0.3).build((14, 1), 1).blocks} == {0.3}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"patch": 0}, "patch is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"layers": 0}, "layers is 0"),
        ({"feedforward": 0}, "feedforward is 0"),
        ({"heads": 0}, "heads is 0"),
        ({"width": 10, "heads": 4}, "width = 10, which 4 does not divide: width = 8"),
        ({"width": 2, "heads": 4}, "width = 4 would do"),
        ({"dropout": 1.5}, r"dropout is 1\.5"),
    ],
)
def test_bad_values_are_refused_by_name(options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Patch(**options)
    if "stride" not in options:
        with pytest.raises(ValueError, match=says):
            MixedPatch(**options)


@pytest.mark.parametrize("plan", [Patch(patch=8), MixedPatch(patch=8)])
def test_a_patch_longer_than_the_window_is_refused(plan: Any) -> None:
    with pytest.raises(ValueError, match="a patch has 8 rows, but the window only 7"):
        plan.build((7, 1), 1)
