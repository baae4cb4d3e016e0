"""Tables and figures of records: by hand, and from a real run."""

import copy
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from coppice.experiments import figures, record, report
from coppice.experiments.batch import Job, run_all
from coppice.experiments.recipe import load


def made_up(seed: int, test: float, hidden: int = 40) -> dict[str, Any]:
    found = {
        "name": "tiny",
        "seed": seed,
        "task": "classification",
        "data": {"sha256": {"a.csv": "11" * 32}},
        "recipe": {"model": {"name": "mlp", "hidden": [hidden], "channels": [9]}, "training": {"batch": 8}},
        "result": {
            "final": {"parameters": 1000 + seed, "bytes": 4000, "test": test},
            "initial": {"parameters": 5000, "bytes": 20000, "test": 0.5},
            "path": [{"widths": [hidden]}, {"widths": [10]}],
            "chosen": 1,
        },
        "timing": {"latency": {"final": 25e-6, "initial": 40e-6}},
    }
    return {**found, "fingerprint": record.fingerprint(found)}


def test_the_interval_of_three_values_by_hand() -> None:
    centre = report.mean([1.0, 2.0, 3.0])
    assert centre.value == 2.0
    # s = 1, t(0.975, 2) = 4.302653, / sqrt(3)
    assert centre.half == pytest.approx(2.484138, abs=1e-6)
    assert centre.text(2) == "2.00 ± 2.48"
    assert report.mean([7.0]) == (7.0, None, 1)
    assert report.mean([7.0]).text(0) == "7"
    assert report.mean([4.0, 4.0]).half == 0.0


def test_runs_become_lines_and_several_a_mean() -> None:
    (group,) = report.grouped([made_up(1, 0.9), made_up(0, 0.8)])
    title, header, lines = group.table()
    assert title == "tiny"
    assert header == ["seed", "neurons", "parameters", "bytes", "latency, µs", "test accuracy"]
    assert lines[0] == ["0", "40 -> 10", "5,000 -> 1,000", "4,000", "25", "0.5000 -> 0.8000"]
    assert [line[0] for line in lines] == ["0", "1", "mean"]
    # half width: t(0.975, 1) = 12.7062, s = 0.0707107, / sqrt(2)
    assert lines[2][5] == "0.8500 ± 0.6353"
    assert {len(line) for line in lines} == {len(header)}


def test_one_run_has_no_mean_and_plain_training_no_arrow() -> None:
    dense = made_up(0, 0.8)
    dense["result"] = {"final": dense["result"]["final"]}
    (group,) = report.grouped([dense])
    assert group.table().lines == [["0", "40", "1,000", "4,000", "25", "0.8000"]]
    dense["recipe"]["model"]["name"] = "convnet"
    assert report.Row.of(dense).widths == (9, 40)


def test_groups_are_named_by_what_sets_them_apart() -> None:
    groups = report.grouped([made_up(0, 0.8), made_up(0, 0.9, hidden=80), made_up(1, 0.8)])
    assert [(group.cell, len(group.records)) for group in groups] == [("hidden=[40]", 2), ("hidden=[80]", 1)]
    assert groups[1].title == "tiny, hidden=[80]"


def test_the_same_run_found_twice_counts_once() -> None:
    (group,) = report.grouped([made_up(0, 0.8), made_up(0, 0.8), made_up(1, 0.9)])
    assert [found["seed"] for found in group.records] == [0, 1]


def run_again(record_: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The same run with other things about it."""
    changed = {**record_, **changes}
    return {**changed, "fingerprint": record.fingerprint(changed)}


def test_a_seed_run_twice_is_refused_and_what_differs_is_named() -> None:
    again = run_again(made_up(1, 0.9), versions={"torch": "9"}, threads=2)
    again |= {"timing": {"latency": {"final": 1.0}}}
    first = run_again(made_up(1, 0.9), versions={"torch": "8"}, threads=2)
    with pytest.raises(
        ValueError,
        match=r"^tiny: there are two records of seed 1, which differ in versions: it was run again",
    ):
        report.grouped([first, made_up(0, 0.8), again])


def test_runs_on_other_data_are_a_group_of_their_own() -> None:
    changed = run_again(made_up(0, 0.7), data={"sha256": {"a.csv": "22" * 32}})
    groups = report.grouped([made_up(0, 0.8), changed, made_up(1, 0.8)])
    assert [(group.cell, len(group.records)) for group in groups] == [
        ("sha256=11111111", 2),
        ("sha256=22222222", 1),
    ]
    drawn = [
        {**made_up(seed, 0.8), "task": "stream", "data": {"sha256": {"t": str(seed)}}} for seed in (0, 1)
    ]
    assert [len(group.records) for group in report.grouped(map(run_again, drawn))] == [2]  # drawn by the seed


def test_a_part_of_parts_has_a_line_for_each() -> None:
    study = made_up(0, 0.8)
    widths = {"8": {"validation": 0.5, "error": 0.01}, "12": {"validation": 0.75, "error": 0.01}}
    study["result"] = {"parts": {"widths": widths, "plain": {"validation": 0.25, "curves": {"5": {}}}}}
    (group,) = report.grouped([study])
    assert group.table().lines == [
        ["widths 8", "0.5000", "0.0100"],
        ["widths 12", "0.7500", "0.0100"],
        ["plain", "0.2500", ""],
    ]


def test_a_study_has_a_line_for_each_part() -> None:
    studies = [made_up(seed, 0.8) for seed in (0, 1)]
    for number, study in enumerate(studies):
        part = {"validation": 0.5 + number, "parameters": 10, "note": "words", "reached": True}
        study["result"] = {"parts": {"one": part, "two": {"validation": 0.25}}}
    (group,) = report.grouped(studies)
    title, header, lines = group.table()
    assert title == "tiny (seeds 0, 1)"
    assert header == ["part", "validation", "parameters"]
    assert lines[0] == ["one", "1.0000 ± 6.3531", "10 ± 0"]
    assert lines[1] == ["two", "0.2500 ± 0.0000", ""]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = [
        "model.hidden=[30, 20]",
        "training.batch=256",
        "method.pretrain_epochs=1",
        "method.plateau=0",
        "method.retrain_steps=0",
        "method.tune_epochs=1",
        "method.share=0.4",
    ]
    (outcome,) = run_all([Job(load("bdnn-digits", settings), "", 0, tmp_path_factory.mktemp("run"))])
    assert outcome.record is not None, outcome.error
    return outcome.record


def test_a_search_is_drawn_with_its_chosen_size_and_every_layer(real: dict[str, Any]) -> None:
    scores, widths = figures.search_figure(real).axes
    path, chosen = real["result"]["path"], real["result"]["chosen"]
    left, right = scores.get_xlim()
    assert left > right  # the network shrinks from left to right
    assert scores.get_xscale() == "log"
    curve = next(line for line in scores.lines if len(line.get_xdata()) == len(path))  # type: ignore[arg-type]
    assert list(curve.get_xdata()) == [sum(step["widths"]) for step in path]  # type: ignore[arg-type]
    legend = scores.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert f"chosen: {sum(path[chosen]['widths'])} neurons, {path[chosen]['score']:.3f}" in labels
    assert len(labels) == 4
    assert [str(line.get_label())[:7] for line in widths.lines[:2]] == ["layer 1", "layer 2"]


def test_a_figure_is_saved_in_two_forms_and_the_same_each_time(real: dict[str, Any], tmp_path: Path) -> None:
    png, svg = figures.save(figures.search_figure(real), tmp_path / "new" / "run.v1")
    assert (png.name, svg.name) == ("run.v1.png", "run.v1.svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    again = figures.save(figures.search_figure(real), tmp_path / "again")[1]
    assert again.read_bytes() == svg.read_bytes()


def test_drawing_leaves_matplotlib_as_it_was(real: dict[str, Any]) -> None:
    before = dict(matplotlib.rcParams)
    figures.search_figure(real)
    assert dict(matplotlib.rcParams) == before


def test_a_score_without_error_or_plateau_is_drawn_plainly(real: dict[str, Any]) -> None:
    bare = copy.deepcopy(real)
    bare["result"]["plateau"] = None
    for step in bare["result"]["path"]:
        step["error"] = None
    legend = figures.search_figure(bare).axes[0].get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 2


def test_a_run_without_a_path_has_no_picture(real: dict[str, Any]) -> None:
    bare = copy.deepcopy(real)
    del bare["result"]["path"]
    with pytest.raises(ValueError, match="bdnn-digits, seed 0: no path of sizes"):
        figures.search_figure(bare)
