"""Recipes of streams, runs of them, and the study: arms side by side, stored in their midst, judged as they say."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import coppice
from coppice.cli import main
from coppice.data import stream_sets
from coppice.data.control import PLANTS
from coppice.data.stream_sets import StreamSet
from coppice.data.streams import Stream
from coppice.experiments import record
from coppice.experiments.accuracy_matrix import AccuracyMatrix
from coppice.experiments.continual import RIVALS
from coppice.experiments.folder import Folder
from coppice.experiments.recipe import StreamRecipe, from_tables, load
from coppice.experiments.run import run
from coppice.experiments.run_stream import in_the_loop
from coppice.experiments.studies import continual
from coppice.experiments.studies.continual import ARMS, SIZED, VARIANTS, Continual
from coppice.experiments.studies.parts import LongPart, Parts
from coppice.experiments.studies.setting import StreamSetting
from coppice.learner import Learner
from coppice.methods.td_mcl_options import TDMCL, Schooling
from coppice.parts import storage
from streams_made_up import PLAN, SHORT, STRONG, TASKS
from tiny_recipes import stop_after

TABLES: dict[str, Any] = {
    "data": {"name": "made-up"},
    "model": {"widths": [3, 4], "steps": 2},
    "schooling": {"epochs": 2, "batch": 16},
    "method": {"inhibit": 0.3, "cap": 0.5, "own_budget": 0.6, "expected_tasks": 3},
}


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream "made-up" of two or three tiny tasks, as if it were one of coppice's."""

    def make(choices: dict[str, Any], seed: int) -> tuple[Any, dict[str, Any]]:
        return TASKS[: choices["tasks"]], {"sha256": "same for every seed"}

    monkeypatch.setitem(stream_sets.STREAMS, "made-up", StreamSet("made up", (), {"tasks": 2}, make))


def recipe(**tables: Any) -> StreamRecipe:
    found = from_tables("made-up", {**TABLES, **tables})
    assert isinstance(found, StreamRecipe)
    return found


def study(*arms: str) -> StreamRecipe:
    return recipe(study={"name": "continual", "arms": list(arms)})


def started(arms: list[str]) -> Parts:
    return Continual(tuple(arms)).start(StreamSetting(recipe(), 0, TASKS[:2]))


# --- recipes --------------------------------------------------------------------------------------------------


def test_a_stream_brings_its_own_kind_of_model_method_and_schooling() -> None:
    plain = from_tables("mine", {"data": {"name": "made-up", "tasks": 3}})
    assert isinstance(plain, StreamRecipe)
    assert plain.data == Stream("made-up", tasks=3)
    assert (plain.model.name, plain.schooling, plain.method) == ("modular-snn", Schooling(), TDMCL())
    assert recipe().model == PLAN
    assert (recipe().schooling, recipe().method) == (SHORT, STRONG)
    paper = recipe(method={"preset": "paper", "links": 1}).method
    assert (paper.evolution, paper.inherit, paper.links) == ("paper", False, 1)
    rectified = recipe(model={"neuron": "none", "steps": 1}).model
    assert rectified.neuron is None
    assert from_tables("mine", {**TABLES, "study": "continual"}).study == Continual()


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        (
            {"method": {"name": "dense"}},
            "method 'dense' is for one set of data, but data.name is 'made-up'.* td-mcl",
        ),
        ({"model": {"name": "mlp"}}, "model 'mlp' is for one set of data.* set model.name to modular-snn"),
        ({"training": {"epochs": 3}}, r"set \[schooling\], and leave \[training\] out"),
        ({"study": "forecasting"}, "study 'forecasting' is for one set of data"),
        ({"data": {"name": "digits"}}, r"\[schooling\] is for a stream of tasks, but data.name is 'digits'"),
        ({"method": {"name": "td-mkl"}}, "did you mean 'td-mcl'"),
        ({"model": {"neuron": "gelu"}}, "model.neuron is 'gelu'"),
        ({"model": {"neuron": "none"}}, "model: steps is 4, but without a spiking neuron"),
        ({"schooling": {"epochs": 0}}, "schooling: epochs is 0"),
        ({"schooling": {"epoch": 3}}, "did you mean 'epochs'"),
        (
            {"study": {"name": "continual", "arms": ["packet"]}},
            "arms lists 'packet'.* did you mean 'packnet'",
        ),
        ({"study": {"name": "continual", "arms": []}}, "must list at least one"),
        ({"study": {"name": "continual", "arms": ["direct", "direct"]}}, "none of them twice"),
        (
            {"study": {"name": "continual", "arms": ["direct wide", "td-mcl"]}},
            "arms lists 'direct wide', whose sizes are those of 'td-mcl': list 'td-mcl' before it",
        ),
        ({"data": {"name": "made-upp"}}, "did you mean 'made-up'"),
    ],
)
def test_a_wrong_table_is_refused_with_the_way_out(tables: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_tables("mine", {**TABLES, **tables})


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        (
            {"method": {"name": "td-mcl"}},
            "method 'td-mcl' is for a stream of tasks, but data.name is 'digits': set",
        ),
        ({"model": {"name": "modular-snn"}}, "model 'modular-snn' is for a stream of tasks.* such as mlp"),
        ({"study": "continual"}, "study 'continual' is for a stream of tasks"),
    ],
)
def test_what_is_for_streams_is_refused_without_one(tables: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_tables("mine", tables)


def test_a_swept_order_of_tasks_names_its_folder() -> None:
    found = from_tables(
        "mine",
        {
            "data": {"name": "pmi-mini"},
            "sweep": {"data.tasks": [["digits-1", "tracks"], ["tracks", "digits-1"]]},
        },
    )
    assert [label for label, _ in found.cells()] == ["tasks=digits-1+tracks", "tasks=tracks+digits-1"]


# --- a run ----------------------------------------------------------------------------------------------------


def test_a_run_leaves_a_record_and_a_learner_that_answers_the_same(tmp_path: Path) -> None:
    found = run(recipe(), 0, Folder(tmp_path))
    assert found["task"] == "stream"
    assert set(found["recipe"]) == {"data", "model", "schooling", "method"}
    matrix = AccuracyMatrix.from_record(found["result"]["accuracy"])
    assert matrix.tasks == ("see", "move")
    assert found["result"]["final"]["test"] == matrix.acc()
    assert found["result"]["final"]["bytes"] == (tmp_path / "learner.safetensors").stat().st_size
    learner = Learner.load(tmp_path)
    for number, task in enumerate(TASKS[:2]):
        right = learner.predict(task.test.x, task.name).numbers == task.test.y
        assert float(right.double().mean()) == matrix.rows[-1][number]
        assert learner.tasks[task.name].group == task.group
    inferred = found["result"]["inferred"]
    for name, shares in inferred["by_task"].items():
        assert shares["among"] == 2
        assert shares["class"] <= min(shares["task"], matrix.rows[-1][matrix.tasks.index(name)])
    assert set(found["timing"]["tasks"]) == {"see", "move"}
    again = run(recipe(), 0, Folder(tmp_path / "again"))
    assert again["fingerprint"] == found["fingerprint"]
    assert run(recipe(), 0, Folder(tmp_path), resume=True) == found
    with pytest.raises(ValueError, match="left a learner of several tasks"):
        Folder(tmp_path).trained()
    Folder(tmp_path).clear()
    assert not (tmp_path / "learner.safetensors").exists()


def test_an_interrupted_run_goes_on_to_the_same_record(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(recipe(), 0, Folder(tmp_path / "a"), watch=stop_after(3))
    resumed = run(recipe(), 0, Folder(tmp_path / "a"), resume=True)
    assert resumed["fingerprint"] == run(recipe(), 0, Folder(tmp_path / "b"))["fingerprint"]


def test_a_changed_stream_method_or_schooling_is_not_resumed(tmp_path: Path) -> None:
    def stop(progress: Any) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe(), 0, Folder(tmp_path), watch=stop)
    for other, says in (
        (recipe(data={"name": "made-up", "tasks": 3}), "data.tasks"),
        (recipe(schooling={"epochs": 5}), "schooling.batch, .*schooling.epochs"),
        (recipe(method={"links": 1}), "method.cap"),
    ):
        with pytest.raises(ValueError, match=says):
            run(other, 0, Folder(tmp_path), resume=True)


# --- the study ------------------------------------------------------------------------------------------------


def test_every_arm_runs_and_leaves_the_same_kind_of_numbers(tmp_path: Path) -> None:
    arms = [name for name in ARMS if name in ("td-mcl", "direct", "direct wide", "wsn", "blind random")]
    found = run(study(*arms), 0, Folder(tmp_path))
    parts = found["result"]["parts"]
    assert list(parts) == arms
    assert set(found["timing"]["parts"]) == set(arms)
    for part in parts.values():
        assert AccuracyMatrix.from_record(part["accuracy"]).acc() == part["test"]
        assert len(part["synapses"]) == 2
        assert part["capacity"] > 0
        assert "clock" not in part
    assert parts["direct"]["stored"] == {}
    assert parts["wsn"]["stored"]["scores"] > 0
    assert min(parts["td-mcl"]["stored"].values()) > 0
    ours, wide = parts["td-mcl"], parts["direct wide"]
    assert [kept <= grown for kept, grown in zip(ours["kept"], ours["grown"], strict=True)] == [True, True]
    assert sum(ours["kept"]) == ours["synapses"][-1]
    # widths go channel by channel, so sizes match nearly: by less than half a channel's synapses
    assert wide["synapses"][-1] == pytest.approx(sum(ours["grown"]), rel=0.2)
    assert [len(found["curve"]) for found in ours["tasks"]] == [2, 2]
    assert "tasks" not in parts["blind random"]
    assert not (tmp_path / "learner.safetensors").exists()
    assert main(["report", str(tmp_path)]) == 0


def test_every_arm_of_its_own_options_can_be_made() -> None:
    assert len(ARMS) == len(set(ARMS)) == len(VARIANTS) + len(RIVALS) + len(SIZED)
    setting = StreamSetting(recipe(method={}), 0, TASKS[:2])
    parts = Continual(tuple(n for n in ARMS if n in VARIANTS)).start(setting).parts
    methods = {}
    for name, part in parts.items():
        assert isinstance(part, LongPart)
        process: Any = part.begin()
        methods[name] = process.method
    assert methods["td-mcl"] == TDMCL()
    assert methods["td-mcl strict"].growth == "strict"
    assert len({str(method) for method in methods.values()}) == len(methods)  # each is another
    alike = [method for name, method in methods.items() if name.startswith(("worth ", "blind "))]
    assert len(alike) == 9
    assert {method.task_budget for method in alike} == {1.0}  # the count alone binds


def test_as_many_old_kernels_die_whatever_they_are_ranked_by() -> None:
    parts = started(["worth gated", "blind random"])
    while parts.advance():
        pass
    dead = [part["dead_since_own_task"] for part in parts.results.values()]
    assert dead[0] == dead[1] > 0


def test_a_study_stopped_within_an_arm_goes_on_to_the_same_results(tmp_path: Path) -> None:
    arms = ["td-mcl", "direct narrow"]
    whole = started(arms)
    units = 0
    while whole.advance():
        units += 1
        storage.write(tmp_path / f"{units}", whole.state_dict())
    assert units == 5 + 1  # four epochs and the telling; a rival at once
    for unit in (3, 5):
        resumed = started(arms)
        resumed.load_state_dict(storage.read(tmp_path / f"{unit}"))
        assert resumed.progress().doing
        while resumed.advance():
            pass
        assert json.dumps(resumed.summary()) == json.dumps(whole.summary())
    # of the learning alone, not of the tests between
    assert whole.within is None
    assert all(clock["cpu_seconds"] > 0 for clock in whole.clock.values())
    told = started(arms)
    told.load_state_dict(storage.read(tmp_path / "3"))
    assert told.progress().doing == "td-mcl: learning move, 2 of 2"
    assert told.progress().done == pytest.approx(0.75 / 2)
    assert told.clock["td-mcl"]["cpu_seconds"] > 0


def test_a_rival_is_tested_sample_by_sample() -> None:
    class Always:
        def logits(self, x: torch.Tensor, task: int) -> torch.Tensor:
            return torch.eye(3)[torch.full((len(x),), task)]

    y = TASKS[0].test.y  # 0, 1, 2, 0, 1, 2, ...
    assert continual.tested(Always(), 1, TASKS[0]) == float((y == 1).double().mean()) == pytest.approx(1 / 3)  # type: ignore[arg-type]


def test_policies_are_put_in_the_loop_of_the_controllers_they_are_clones_of() -> None:
    class Clone:
        def predict(self, states: torch.Tensor, name: str) -> Any:
            plant = PLANTS[name]
            return SimpleNamespace(
                numbers=torch.from_numpy(plant.controller(states.double().numpy() * plant.units))
            )

    motor = TASKS[0]._replace(name="mountain-car", group="motor")
    found = in_the_loop(
        Clone(), [TASKS[0]._replace(name="pendulum"), motor, TASKS[0]._replace(group="motor")]
    )  # type: ignore[arg-type]
    assert list(found) == ["mountain-car"]
    assert found["mountain-car"]["share"] == pytest.approx(1, abs=0.02)  # states come rounded to float32
    assert found["mountain-car"]["policy"] > found["mountain-car"]["random"]


# --- a real process, killed -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    settings = [
        'data.tasks=["digits-1","tracks"]',
        "data.samples=30",
        "model.widths=[4,6]",
        "schooling.epochs=4",
    ]
    arguments = ["run", "td-mcl-pmi-mini", *(f"--set={setting}" for setting in settings)]
    environment = {**os.environ, "PYTHONPATH": str(Path(coppice.__file__).parent.parent)}

    def begin(out: Path, *more: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "coppice.cli", *arguments, "--out", str(out), *more], env=environment
        )

    with begin(tmp_path / "whole") as process:
        assert process.wait(600) == 0
    checkpoint, seen = tmp_path / "killed/0/checkpoint.safetensors", set[int]()
    with begin(tmp_path / "killed") as process:
        deadline = time.monotonic() + 600
        while len(seen) < 6 and process.poll() is None and time.monotonic() < deadline:
            if checkpoint.exists():
                seen.add(checkpoint.stat().st_mtime_ns)
        process.send_signal(signal.SIGKILL)
    assert checkpoint.exists()
    with begin(tmp_path / "killed", "--resume") as process:
        assert process.wait(600) == 0
    one, other = (record.read(tmp_path / name / "0/record.json") for name in ("whole", "killed"))
    assert one["fingerprint"] == other["fingerprint"]
    ours, theirs = (storage.read(tmp_path / name / "0/learner.safetensors") for name in ("whole", "killed"))
    assert str(ours["network"]["structure"]) == str(theirs["network"]["structure"])
    for name, value in ours["network"]["weights"].items():
        assert torch.equal(value, theirs["network"]["weights"][name]), name


def test_the_recipes_of_streams_that_come_along_are_of_this_kind() -> None:
    for name in ("td-mcl-pmi-mini", "continual-pmi-mini", "order-pmi-mini"):
        assert isinstance(load(name), StreamRecipe)
    assert len(list(load("order-pmi-mini").cells())) == 6
