"""Synaptic pruning inside neuralforecast: PatchTST and LSTM lose 70 % of their synapses by one argument.

python examples/neuralforecast_pruning.py
"""

import numpy as np
import pandas as pd
from neuralforecast import NeuralForecast
from neuralforecast.models import LSTM, PatchTST

from coppice import Masks
from coppice.integrations.lightning import SynapticPruningCallback


def series() -> pd.DataFrame:
    """Two noisy waves of 300 days, in the long form."""
    days, noise = np.arange(300), np.random.default_rng(0)
    waves = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range("2024-01-01", periods=300),
                "y": np.sin(2 * np.pi * days / period) + 0.1 * noise.normal(size=300),
            }
        )
        for name, period in (("weekly", 7), ("monthly", 30))
    ]
    return pd.concat(waves)


def main() -> None:
    shared = {
        "h": 7,
        "input_size": 28,
        "max_steps": 100,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    models = [
        PatchTST(
            **shared,
            hidden_size=32,
            linear_hidden_size=64,
            n_heads=4,
            encoder_layers=1,
            patch_len=7,
            stride=7,
            callbacks=[SynapticPruningCallback(final_sparsity=0.7)],
        ),
        LSTM(
            **shared,
            encoder_hidden_size=32,
            encoder_n_layers=1,
            decoder_hidden_size=32,
            callbacks=[SynapticPruningCallback(final_sparsity=0.7)],
        ),
    ]
    forecast = NeuralForecast(models=models, freq="D")
    forecast.fit(series())
    for model in forecast.models:  # neuralforecast fits copies, callbacks and all
        print(type(model).__name__, Masks(model))
    print(forecast.predict().head(7))


if __name__ == "__main__":
    main()
