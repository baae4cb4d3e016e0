"""The Lightning callback inside neuralforecast, through `callbacks=`, which it hands to its Trainer."""

import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library's own imports
    neuralforecast = pytest.importorskip("neuralforecast")
    from neuralforecast.models import LSTM, PatchTST

    from coppice.integrations.lightning import SynapticPruningCallback
    from coppice.parts.masks import Masks

import pandas as pd

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*val_check_steps is greater than max_steps"),
]

SMALL = {
    PatchTST: {"hidden_size": 8, "linear_hidden_size": 16, "n_heads": 2, "encoder_layers": 1, "patch_len": 4},
    LSTM: {"encoder_hidden_size": 8, "decoder_hidden_size": 8, "encoder_n_layers": 1},
}


@pytest.fixture
def series():
    days = np.arange(90)
    return pd.concat(
        pd.DataFrame(
            {"unique_id": name, "ds": pd.date_range("2024-01-01", periods=90), "y": np.sin(days / period)}
        )
        for name, period in (("short", 2), ("long", 5))
    )


def forecaster(kind, callback):
    return kind(
        h=3,
        input_size=12,
        max_steps=20,
        windows_batch_size=16,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **SMALL[kind],
    )


@pytest.mark.parametrize("kind", [PatchTST, LSTM])
def test_a_forecaster_is_pruned_and_forecasts(kind, series, tmp_path):
    callback = SynapticPruningCallback(final_sparsity=0.8, every=1, quiet=True)
    forecast = neuralforecast.NeuralForecast([forecaster(kind, callback)], freq="D")
    forecast.fit(series)
    model = forecast.models[0]
    masks = Masks(model)
    assert masks.size - masks.alive == round(0.8 * masks.size)
    assert masks.size > 0.8 * sum(parameter.numel() for parameter in model.parameters())
    masks.check()
    predicted = forecast.predict()
    assert np.isfinite(predicted[kind.__name__]).all()
    forecast.save(str(tmp_path / "saved"))
    loaded = neuralforecast.NeuralForecast.load(str(tmp_path / "saved"))
    assert loaded.predict().equals(predicted)


def test_cross_validation_prunes_anew_for_its_windows(series):
    callback = SynapticPruningCallback(final_sparsity=0.8, every=1, quiet=True)
    forecast = neuralforecast.NeuralForecast([forecaster(LSTM, callback)], freq="D")
    scored = forecast.cross_validation(series, n_windows=2, refit=True)
    assert len(scored) == 12
    assert np.isfinite(scored["LSTM"]).all()
    masks = Masks(forecast.models[0])
    assert masks.size - masks.alive == round(0.8 * masks.size)
