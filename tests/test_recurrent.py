"""Recurrent forecasters: as the equations say, step by step; as the recipe asks, or refused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import fx

from coppice.models import MODELS
from coppice.models.recurrent import Recurrent, RecurrentForecaster
from coppice.parts.synapses import synapses

KINDS = ("rnn", "lstm", "gru")


def sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


def lstm_by_hand(model: RecurrentForecaster, x: torch.Tensor) -> Any:
    """One layer, one row and one gate at a time."""
    weights = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    w, u = weights["recurrent.weight_ih_l0"], weights["recurrent.weight_hh_l0"]
    bias = weights["recurrent.bias_ih_l0"] + weights["recurrent.bias_hh_l0"]
    forecasts = []
    for window in x.double().numpy():
        state = cell = np.zeros(u.shape[1])
        for row in window:
            i, f, g, o = np.split(w @ row + u @ state + bias, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            state = sigmoid(o) * np.tanh(cell)
        forecasts.append(weights["head.weight"] @ state + weights["head.bias"])
    return np.array(forecasts)


def test_an_lstm_is_its_equations() -> None:
    torch.manual_seed(0)
    model = Recurrent("lstm", hidden=5).build((6, 3), 2).eval()
    x = torch.randn(4, 6, 3)
    np.testing.assert_allclose(model(x).detach().numpy(), lstm_by_hand(model, x), atol=1e-6)


def test_an_rnn_is_its_equation() -> None:
    torch.manual_seed(0)
    model = Recurrent("rnn", hidden=4).build((5, 2), 1).eval()
    x, p = torch.randn(3, 5, 2), {n: v.detach() for n, v in model.named_parameters()}
    state = torch.zeros(3, 4)
    for row in x.unbind(1):
        bias = p["recurrent.bias_ih_l0"] + p["recurrent.bias_hh_l0"]
        state = torch.tanh(row @ p["recurrent.weight_ih_l0"].T + state @ p["recurrent.weight_hh_l0"].T + bias)
    torch.testing.assert_close(model(x), state @ p["head.weight"].T + p["head.bias"])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("layers", "dropout"), [(1, 0.0), (2, 0.3)])
def test_shapes_and_tracing(name: Any, layers: int, dropout: float) -> None:
    model = Recurrent(name, hidden=6, layers=layers, dropout=dropout).build((7, 3), 4).eval()
    x = torch.randn(2, 7, 3)
    assert model(x).shape == (2, 4)
    torch.testing.assert_close(fx.symbolic_trace(model)(x), model(x))
    assert len(synapses(model)) == 2 * layers + 1


def test_the_published_size() -> None:
    # Vos et al. 2025: 64 hidden neurons, one layer; 4 gates of (12 + 64) weights and 2 biases, and a head
    model = Recurrent("lstm").build((14, 12), 1)
    assert sum(p.numel() for p in model.parameters()) == 4 * 64 * (12 + 64 + 2) + 64 + 1


def test_dropout_acts_before_the_head_in_training_only() -> None:
    torch.manual_seed(0)
    model = Recurrent("gru", hidden=30, dropout=0.5).build((4, 2), 1)
    x = torch.randn(5, 4, 2)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("name", ["lstm", "patchtst", "patch-encoder"])
def test_another_width_is_the_same_network_otherwise(name: str) -> None:
    plan: Any = MODELS[name](name=name)  # type: ignore[arg-type]
    same = plan.at_width(plan.width)
    assert same == plan
    sizes = [
        sum(p.numel() for p in plan.at_width(width).build((14, 3), 1).parameters()) for width in (4, 8, 16)
    ]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hidden": 0}, "hidden is 0"),
        ({"layers": 0}, "layers is 0"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
        ({"dropout": -0.1}, r"dropout is -0\.1"),
    ],
)
def test_bad_values_are_refused_by_name(options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Recurrent(**options)


@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("mlp", "convnet")])
def test_samples_that_are_no_windows_are_refused(name: str) -> None:
    plan: Any = MODELS[name](name=name)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"'{name}' reads windows .* shape \[64\]"):
        plan.build((64,), 10)
