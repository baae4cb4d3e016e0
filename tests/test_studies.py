"""Studies: their parts stand side by side, are done once each, and judge as they say."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from coppice.experiments import recipe as recipes
from coppice.experiments.folder import Folder
from coppice.experiments.run import run
from coppice.experiments.studies.alternatives import Alternatives, picked
from coppice.experiments.studies.forecasting import Forecasting
from coppice.experiments.studies.needed_width import NeededWidth, needed
from coppice.experiments.studies.parts import Parts
from coppice.experiments.studies.transfer import Transfer

BACKPROP = {
    "data": {"name": "digits", "train": 300, "validation": 300},
    "model": {"hidden": [30], "activation": "sigmoid", "output": "sigmoid", "init_std": 0.1},
    "training": {"optimizer": "online_backprop", "learning_rate": 0.5},
}


def done(tables: dict[str, Any], folder: Path, seed: int = 0) -> dict[str, Any]:
    return run(recipes.from_tables("study", tables), seed, Folder(folder))


def test_each_part_is_done_once_and_resumes_between_parts() -> None:
    calls: list[str] = []

    def part(name: str, before: dict[str, Any]) -> dict[str, Any]:
        calls.append(name)
        return {"seen": sorted(before)}

    def study() -> Parts:
        return Parts({n: lambda done, n=n: part(n, done) for n in ("a", "b")}, torch.nn.Linear(2, 1))  # type: ignore[misc]

    first = study()
    assert first.advance()
    second = study()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.progress().doing == "b"
    assert second.progress().done == 0.5
    assert second.advance()
    assert not second.advance()
    assert calls == ["a", "b"]
    assert second.summary() == {"parts": {"a": {"seen": []}, "b": {"seen": ["a"]}}}


def test_needed_is_the_smallest_width_within_one_standard_error_of_the_best_mean() -> None:
    def run_of(scores: dict[int, float]) -> dict[str, Any]:
        return {str(w): {"validation": s, "error": 0.01} for w, s in scores.items()}

    # means 0.80, 0.895, 0.90; the best is at 16, its error 0.01: 0.895 is within, 0.80 is not
    assert needed([run_of({4: 0.7, 8: 0.90, 16: 0.92}), run_of({4: 0.9, 8: 0.89, 16: 0.88})]) == 8
    assert needed([run_of({4: 0.7, 8: 0.85, 16: 0.9})]) == 16


def test_picked_chooses_by_validation_never_by_test_and_adds_up_what_all_cost() -> None:
    parts = {
        "grid/1": {"validation": 0.8, "test": 0.99, "training_flops": 3},
        "grid/2": {"validation": 0.9, "test": 0.5, "training_flops": 4},
        "other": {"validation": 1.0, "test": 1.0, "training_flops": 100},
    }
    best = picked(parts, "grid")
    assert (best["picked"], best["test"], best["training_flops"]) == ("grid/2", 0.5, 7)
    assert parts["grid/2"]["training_flops"] == 4


def test_alternatives_give_every_rival_the_same_terms(tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    tables = {
        "data": {"name": "digits", "train": 300, "validation": 300},
        "model": {"hidden": [24]},
        "training": {"batch": 50},
        "method": {"pretrain_epochs": 2, "plateau": 0, "tune_epochs": 2, "min_width": 6, "stop": {"name": "budget", "parameters": 1000}},
        "study": {"name": "alternatives", "widths": [4, 8], "grid_epochs": [2], "rates": [1.0]},
    }  # fmt: skip
    parts = done(tables, tmp_path)["result"]["parts"]
    search, one_shot = parts["search"], parts["one-shot, same epochs"]
    assert search["parameters"] <= 1000 < parts["unpruned, same epochs"]["parameters"]
    assert one_shot["parameters"] == search["parameters"] == parts["scratch, same epochs/1"]["parameters"]
    assert one_shot["epochs"] + search["epochs_before"] == search["epochs"]
    assert (
        parts["unpruned, same epochs"]["epochs"]
        == parts["scratch, same epochs/1"]["epochs"]
        == search["epochs"]
    )
    assert parts["grid 2 epochs/4"]["parameters"] == 64 * 4 + 4 + 4 * 10 + 10
    # dense training: 3 passes x 2 operations x weights x samples x epochs
    assert parts["grid 2 epochs/4"]["training_flops"] == 3 * 2 * (64 * 4 + 4 * 10) * 300 * 2


def test_needed_width_trains_every_width_for_as_many_updates(tmp_path: Path) -> None:
    tables = {**BACKPROP, "study": {"name": "needed_width", "widths": [2, 20], "updates": 700}}
    parts = done(tables, tmp_path)["result"]["parts"]["widths"]
    assert set(parts) == {"2", "20"}
    assert (
        parts["20"]["validation"] > parts["2"]["validation"]
    )  # two hidden neurons cannot tell ten digits apart


def test_transfer_brings_every_network_to_the_same_accuracy_first(tmp_path: Path) -> None:
    study = {
        "name": "transfer",
        "first": 150,
        "accuracy": 0.5,
        "new": [150, 50],
        "passes": [1, 3],
        "widths": [10],
    }
    parts = done({**BACKPROP, "study": study}, tmp_path)["result"]["parts"]
    assert set(parts) == {"un-pruned", "pruned 10", "randomly pruned 10", "fresh 10"}
    for part in parts.values():
        assert part["reached"]
        assert part["curves"]["150"]["error"][0][1] <= 0.5
        assert (
            part["curves"]["150"]["error"][0] == part["curves"]["50"]["error"][0]
        )  # each from the same state
        assert part["curves"]["50"]["error"][-1][0] == 150


def test_transfer_says_so_when_the_accuracy_is_out_of_reach(tmp_path: Path) -> None:
    study = {
        "name": "transfer",
        "first": 100,
        "accuracy": 0.999,
        "new": [50],
        "passes": [1],
        "widths": [10],
        "limit": 200,
    }
    parts = done({**BACKPROP, "study": study}, tmp_path)["result"]["parts"]
    assert not any(part["reached"] for part in parts.values())


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (Alternatives, {"widths": ()}, "widths"),
        (Alternatives, {"rates": (0.0,)}, "rates"),
        (NeededWidth, {"widths": (0,)}, "widths"),
        (NeededWidth, {"updates": 0}, "updates"),
        (Transfer, {"accuracy": 1.0}, "accuracy"),
        (Transfer, {"passes": (1,)}, "passes"),
        (Transfer, {"limit": 0}, "limit is 0, but must be at least 1"),
        (Transfer, {"first": -1}, "first is -1, but must be at least 1"),
        (Transfer, {"widths": ()}, r"widths is \(\), but must list"),
        (Transfer, {"widths": (100, 0)}, r"widths is \(100, 0\), but must list"),
        (Transfer, {"new": (), "passes": ()}, r"new is \(\), but must list"),
        (Transfer, {"passes": (1, 0)}, r"passes is \(1, 0\), but must list"),
        (Forecasting, {"methods": ()}, r"methods is \(\), but must list"),
        (Forecasting, {"methods": ("dense", "dense")}, "none of them twice"),
        (
            Forecasting,
            {"methods": ("dens",)},
            "methods lists 'dens', which is none, did you mean 'dense'\\?$",
        ),
    ],
)
def test_bad_values_are_refused_by_name(kind: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        kind(**options)


def test_alternatives_refuse_a_network_whose_widths_are_not_all_hidden_ones(tmp_path: Path) -> None:
    tables = {
        "data": {"name": "digits", "train": 100, "validation": 100},
        "model": {"name": "convnet", "channels": [4], "hidden": [8]},
        "study": {"name": "alternatives"},
    }
    with pytest.raises(
        ValueError, match=r"hidden widths alone, but model\.name is 'convnet': set it to \"mlp\""
    ):
        done(tables, tmp_path)


def test_alternatives_refuse_a_method_that_finds_no_network(tmp_path: Path) -> None:
    tables = {
        "data": {"name": "digits", "train": 100, "validation": 100},
        "method": {"name": "dense"},
        "study": {"name": "alternatives"},
    }
    with pytest.raises(
        ValueError, match=r'the method is Dense, which searches for none: set method\.name to "bdnn-sp"'
    ):
        done(tables, tmp_path)


@pytest.mark.parametrize("study", ["transfer", "needed_width"])
def test_studies_of_the_online_rule_refuse_another(study: str, tmp_path: Path) -> None:
    other = {**BACKPROP, "training": {"optimizer": "adam"}, "study": {"name": study}}
    with pytest.raises(ValueError, match=rf"'{study}' trains by .*, but training\.optimizer is \"adam\""):
        done(other, tmp_path)


def test_transfer_refuses_too_few_samples(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.train is 300"):
        done({**BACKPROP, "study": {"name": "transfer"}}, tmp_path)
