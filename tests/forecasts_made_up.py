"""Records of the forecasting study with numbers that nobody measured."""

import random
from typing import Any

from coppice.experiments import record
from coppice.methods.synaptic_pruning import PRESETS, SynapticPruning
from coppice.parts.schedules import SCHEDULES

PRUNED = {
    "random 0.9": 0.9,
    "one-shot 0.9": 0.9,
    "pruned 0.5": 0.5,
    "pruned 0.7": 0.7,
    "pruned 0.9": 0.9,
    "pruned 0.95": 0.95,
    "vos2025": 0.7,
    "neurons 0.5": 0.5,
}
PLAIN = ("dense", "dropout 0.1", "dropout 0.3", "MC dropout", "weight decay", "small dense")
DATA = ("air-quality", "bitcoin", "household-power", "sp500")
MODELS = ("rnn", "lstm", "patchtst")
STEPS, EPOCHS, SYNAPSES, REST = 1000, 20, 19_000, 500
LAYERS = {"recurrent.weight_ih_l0": 0.8, "recurrent.weight_hh_l0": 1.1, "head.weight": 0.3}


def made_up(
    data: str = "air-quality",
    model: str = "lstm",
    length: int = 14,
    seed: int = 0,
    percent: dict[str, float] | None = None,
    noise: float = 1.0,
) -> dict[str, Any]:
    """Errors of a method: the dense one, and so many percent more, give or take the noise."""
    percent = percent or {}
    draw = random.Random(f"{data} {model} {length} {seed}")
    dense = 0.36 + 0.01 * draw.random()
    parts: dict[str, Any] = {
        "persistence": {"test": 0.369, "test_unit": 0.51},
        "seasonal naive": {"test": 0.52, "test_unit": 0.72},
    }
    for name in (*PLAIN, *PRUNED):
        off = 0.0 if name == "dense" else percent.get(name, 0.0) + noise * draw.gauss(0, 1)
        sparsity = PRUNED.get(name, 0.0)
        alive = REST + round(SYNAPSES * (1 - sparsity))
        epochs = range(1, EPOCHS + 1)
        curve = [[STEPS * e // EPOCHS, round(dead(name, sparsity, e / EPOCHS), 4)] for e in epochs]
        test = dense * (1 + off / 100)
        parts[name] = {
            "validation": 0.9 * test,
            "test": test,
            "test_unit": 1.4 * test,
            "parameters": alive if name == "neurons 0.5" else SYNAPSES + REST,
            "alive": alive,
            "sparsity": sparsity,
            "bytes": 4 * alive + SYNAPSES // 8 + 900,
            "best_epoch": 18,
            "epochs": EPOCHS,
            "training_flops": 10**9,
            "curve": curve,
            "layers": {k: min(0.99, sparsity * share) for k, share in LAYERS.items()} if sparsity else {},
        }
    clock = {name: {"seconds": 2.0, "cpu_seconds": 2.0 * (1.02 if name in PRUNED else 1.0)} for name in parts}
    found = {
        "name": "forecasting",
        "seed": seed,
        "recipe": {
            "data": {"name": data, "csv": None, "length": length},
            "model": {"name": model, **({"width": 128} if model == "patchtst" else {"hidden": 64})},
            "study": {"kind": "Forecasting"},
        },
        "task": "forecast",
        "data": {"sha256": {f"{data}.csv": "0f" * 32}},
        "result": {"parts": parts},
        "timing": {"parts": clock},
    }
    return {**found, "fingerprint": record.fingerprint(found)}


def dead(method: str, sparsity: float, share: float) -> float:
    """The cubics of both forms, at a share of the steps."""
    form = PRESETS["vos2025"] if method == "vos2025" else SynapticPruning(sparsity)
    if share < form.start:
        return 0.0
    risen = SCHEDULES[form.schedule](min(1.0, (share - form.start) / (form.end - form.start)))
    return form.initial_sparsity + (sparsity - form.initial_sparsity) * risen


def study(seeds: int = 10, lengths: tuple[int, ...] = (14,), **effects: Any) -> list[dict[str, Any]]:
    """Every data set, model and seed."""
    return [
        made_up(data, model, length, seed, **effects)
        for length in lengths
        for data in DATA
        for model in MODELS
        for seed in range(seeds)
    ]
