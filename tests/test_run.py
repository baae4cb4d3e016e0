"""Runs that are killed, interrupted, resumed, refused; side by side and one after another; on the user's own files."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import coppice
from coppice.cli import main
from coppice.data import load as load_data
from coppice.experiments import batch, record
from coppice.experiments.folder import Folder
from coppice.experiments.recipe import load
from coppice.experiments.run import run
from coppice.parts import storage
from coppice.parts.blueprint import load_model
from tiny_recipes import stop_after

pytestmark = pytest.mark.usefixtures("no_stopwatch")
SETTINGS = [
    "model.hidden=[24]",
    "training.batch=32",  # units long enough to be struck in their midst
    "method.pretrain_epochs=2",
    "method.plateau=0",
    "method.retrain_epochs=1",
    "method.retrain_steps=0",
    "method.tune_epochs=2",
    "method.share=0.25",
]
RUN = ["run", "bdnn-digits", *(f"--set={setting}" for setting in SETTINGS)]


def started(*arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(Path(coppice.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-m", "coppice.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # as at a terminal: a shell's background jobs, and all they start, ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def stopped_at(folder: Path, times: int, number: int) -> tuple[int, str]:
    """A run that gets the signal once its checkpoint was seen to change so many times: exit code, standard error."""
    checkpoint, seen = folder / "checkpoint.safetensors", set[int]()
    deadline = time.monotonic() + 300  # a busy machine is no failure
    with started(*RUN, "--out", str(folder.parent)) as process:
        while len(seen) < times and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)  # the run needs the core more than the onlooker
            try:
                seen.add(checkpoint.stat().st_mtime_ns)
            except FileNotFoundError:
                continue
        process.send_signal(number)
        _, errors = process.communicate()
    return process.returncode, errors


def fingerprints(folder: Path) -> dict[str, str]:
    return {
        str(file.parent.relative_to(folder)): record.read(file)["fingerprint"]
        for file in folder.rglob("record.json")
    }


def half_done(folder: Path, settings: list[str] = SETTINGS, units: int = 3) -> Path:
    """A run of seed 0 stopped after some units, in this process; returns its checkpoint."""
    job = batch.Job(load("bdnn-digits", settings), "", 0, folder / "0")
    with pytest.raises(KeyboardInterrupt):
        batch.run_all([job], watch=batch.Watch(progress=stop_after(units)))
    return Folder(job.folder).checkpoint


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds 0 and 1, never disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert main([*RUN, "--seeds", "0-1", "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize(
    "times", [pytest.param(1, marks=pytest.mark.slow), 3, pytest.param(6, marks=pytest.mark.slow)]
)
def test_a_killed_run_goes_on_to_the_same_bits(times: int, whole: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "0")
    code, _ = stopped_at(folder.path, times, signal.SIGKILL)
    assert code == -signal.SIGKILL, "the run ended before it could be killed"
    assert folder.begun
    assert not folder.finished
    assert main([*RUN, "--out", str(tmp_path), "--resume"]) == 0
    ours, theirs = record.read(folder.record), record.read(whole / "0" / "record.json")
    assert ours["fingerprint"] == theirs["fingerprint"]
    for key in record.VOLATILE:
        ours.pop(key), theirs.pop(key)
    assert ours == theirs
    assert folder.model.read_bytes() == (whole / "0" / "model.safetensors").read_bytes()
    assert not folder.begun


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_says_how_to_go_on(number: int, code: int, whole: Path, tmp_path: Path) -> None:
    given, errors = stopped_at(tmp_path / "0", 2, number)
    assert given == code, errors
    assert "Traceback" not in errors
    command = errors.strip().splitlines()[-1].split()
    assert command[:3] == ["coppice", "run", "bdnn-digits"]
    assert command[-1] == "--resume"
    assert main([*RUN, "--out", str(tmp_path), "--resume"]) == 0
    assert fingerprints(tmp_path) == {"0": fingerprints(whole)["0"]}


@pytest.mark.slow
def test_runs_side_by_side_leave_the_same_records(whole: Path, tmp_path: Path) -> None:
    with started(*RUN, "--seeds", "0-1", "--jobs", "2", "--out", str(tmp_path)) as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert fingerprints(tmp_path) == fingerprints(whole)
    assert "seed 1: done" in output


@pytest.mark.parametrize(
    "workers", [1, pytest.param(2, marks=pytest.mark.slow)]
)  # slow: processes that import torch
def test_a_job_that_needs_a_record_waits_for_it(workers: int, tmp_path: Path) -> None:
    first = [batch.Job(load("bdnn-digits", SETTINGS), "", seed, tmp_path / f"{seed}") for seed in (0, 1)]
    given: list[dict[str, Any]] = []

    def call(found: dict[str, Any]) -> batch.Job:
        given.append(found)
        return batch.Job(first[0].recipe, "last", found["seed"] + 2, tmp_path / "last")

    broken = batch.Job(
        load("bdnn-digits", ["data.name=file", "data.path=none.csv", "data.target=y"]), "", 9, tmp_path / "9"
    )

    def never(found: dict[str, Any]) -> batch.Job:
        raise AssertionError("a job was called for by one that has failed")

    then = {first[0].folder: call, broken.folder: never}
    outcomes = batch.run_all([*first, broken], workers=workers, then=then)
    assert [outcome.job.folder.name for outcome in outcomes] == ["0", "1", "9", "last"]
    assert given == [outcomes[0].record]
    assert [None if o.record is None else o.record["seed"] for o in outcomes] == [0, 1, None, 2]
    assert "none.csv" in str(outcomes[2].error)


@pytest.mark.parametrize("own", ["--set=data.path=none.csv", "--set=data.path=~/none.csv"])
def test_a_file_that_is_not_there_is_told_before_anything_is_begun(
    own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [
        "run",
        "bdnn-digits",
        "--set=data.name=file",
        own,
        "--set=data.target=y",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(line) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: there is no file '" in shown.err
    assert "none.csv': check the recipe's table [data]" in shown.err
    assert not (tmp_path / "out").exists()


def test_a_changed_recipe_is_not_resumed(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = half_done(tmp_path)
    before = checkpoint.read_bytes()
    other = [*RUN, "--set", "method.share=0.3", "--resume", "--out"]
    assert main([*other, str(tmp_path)]) == 2
    assert "other settings (recipe.method.share)" in capsys.readouterr().err
    assert checkpoint.read_bytes() == before
    assert main([*other, str(whole)]) == 2  # nor is a finished one taken for it
    assert "record.json was made with other settings (recipe.method.share)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
        lambda content: b"",
    ],
    ids=["cut off", "a bit", "empty"],
)
def test_a_damaged_checkpoint_is_named_and_nothing_is_deleted(
    harm: Callable[[bytes], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = half_done(tmp_path)
    checkpoint.write_bytes(harm(checkpoint.read_bytes()))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert main([*RUN, "--resume", "--out", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert "checkpoint.safetensors is damaged" in errors
    assert "Traceback" not in errors
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_folder_with_a_run_is_not_written_over(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fingerprints(whole)
    assert main([*RUN, "--seeds", "1,5", "--out", str(whole)]) == 2
    assert "1 already holds a run: add --resume" in capsys.readouterr().err
    assert fingerprints(whole) == before
    half_done(tmp_path)
    assert main([*RUN, "--out", str(tmp_path)]) == 2


@pytest.mark.parametrize("name", ["learner.safetensors", "unfinished.safetensors"])
@pytest.mark.parametrize("resume", [[], ["--resume"]], ids=["anew", "resumed"])
def test_a_learner_of_the_users_is_not_deleted(
    name: str, resume: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learner = tmp_path / "0" / name
    learner.parent.mkdir()
    learner.write_bytes(b"all that I know")
    assert main([*RUN, *resume, "--out", str(tmp_path)]) == 2
    assert (
        "0 holds a learner and no run, which would delete it: choose another --out."
        in capsys.readouterr().err
    )
    assert learner.read_bytes() == b"all that I know"
    Folder(learner.parent).clear()
    assert not learner.exists()


def test_a_fault_that_is_not_in_the_input_is_code_1_and_one_that_is_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (fault, code) in enumerate(
        [(ValueError, 2), (FileNotFoundError, 2), (OSError, 1), (RuntimeError, 1)]
    ):

        def broken(*_: Any, kind: type[Exception] = fault, **__: Any) -> None:
            raise kind("no luck")

        monkeypatch.setattr(batch, "run", broken)
        assert main([*RUN, "--out", str(tmp_path / str(number))]) == code
        assert capsys.readouterr().err == "error: seed 0 failed: no luck\n"


def test_resuming_keeps_finished_seeds_and_adds_new_ones(whole: Path, tmp_path: Path) -> None:
    assert main([*RUN, "--seeds", "1", "--out", str(tmp_path)]) == 0
    untouched = (tmp_path / "1" / "record.json").read_bytes()
    assert main([*RUN, "--seeds", "0-1", "--out", str(tmp_path), "--resume"]) == 0
    assert (tmp_path / "1" / "record.json").read_bytes() == untouched
    assert fingerprints(tmp_path) == fingerprints(whole)


def test_a_failed_run_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*RUN, "--set", "sweep.data.train=[99999, 300]", "--out", str(tmp_path)])
    shown = capsys.readouterr()
    assert code == 2
    assert "train=99999 seed 0 failed:" in shown.err
    assert "Traceback" not in shown.err
    assert "train=300 seed 0: done" in shown.out
    assert list(fingerprints(tmp_path)) == ["train=300/0"]


def test_a_bug_in_a_run_shows_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: Any, **__: Any) -> Any:
        raise KeyError("missing")

    monkeypatch.setattr(batch, "run", faulty)
    (outcome,) = batch.run_all([batch.Job(load("bdnn-digits"), "", 0, tmp_path)])
    assert outcome.error == "KeyError: 'missing'"
    assert "Traceback" in (outcome.trace or "")


@pytest.mark.parametrize(
    ("sent", "signal_number", "says"),
    [
        (b"", 9, "killed by signal 9 (out of memory?)"),
        # a message begins with its length: here in its midst
        ((100).to_bytes(4, "big") + b"a tenth of", 15, "killed by signal 15"),
    ],
)
def test_a_process_that_dies_is_an_outcome_like_others(
    sent: bytes, signal_number: int, says: str, tmp_path: Path
) -> None:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    os.write(theirs.fileno(), sent)
    theirs.close()
    dead: Any = SimpleNamespace(exitcode=-signal_number, join=lambda: None)
    outcome = batch._receive(ours, batch.Job(load("bdnn-digits"), "", 0, tmp_path), dead)
    ours.close()
    assert isinstance(outcome, batch.Outcome)
    assert says in (outcome.error or "")


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    with batch.cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def csv_file(path: Path, kind: str) -> Path:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(240, 3)).round(4)
    value = x[:, 0] - 2 * x[:, 1]
    target = np.where(value > 0, "up", "down") if kind == "text" else value.round(4)
    lines = ["a,b,c,wanted", *(",".join(map(str, [*row, t])) for row, t in zip(x, target, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


OWN = ["data.name=file", "data.target=wanted", "data.validation=0.3", "training.batch=32"]


def test_a_pruned_forecaster_stopped_half_way_leaves_the_same_record(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    wave = np.sin(np.arange(200) / 3).round(4)
    file = tmp_path / "wave.csv"
    file.write_text("\n".join(["ds,y", *(f"{i},{v}" for i, v in enumerate(wave))]) + "\n")
    recipe = load("forecast", [f"data.csv={file}", "model.hidden=6", "training.epochs=5", "method.every=2"])
    whole = batch.Job(recipe, "", 0, tmp_path / "whole")
    half = batch.Job(recipe, "", 0, tmp_path / "half")
    batch.run_all([whole])
    with pytest.raises(KeyboardInterrupt):
        batch.run_all([half], watch=batch.Watch(progress=stop_after(3)))
    (outcome,) = batch.run_all([half], resume=True)
    assert outcome.error is None
    assert len(set(fingerprints(tmp_path).values())) == 1
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "half")]
    assert models[0] == models[1]


@pytest.mark.parametrize(("kind", "outputs", "column"), [("text", 2, "accuracy"), ("number", 1, "R2")])
def test_a_csv_of_the_users_runs_to_a_model_that_loads(
    kind: str, outputs: int, column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = csv_file(tmp_path / "mine.csv", kind)
    own = [f"--set={setting}" for setting in (*OWN, f"data.path={file}")]
    assert main([*RUN, *own, "--seeds", "0-1", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert f"test {column}" in shown.out
    # few validation samples: said once for both runs, and readably
    assert shown.err.count("validation samples") == 1
    assert shown.err.startswith("warning: only 5")
    assert "(2 runs)" in shown.err
    model = load_model(tmp_path / "out" / "0" / "model.safetensors")
    assert model(torch.zeros(4, 3)).shape == (4, outputs)
    found = record.read(tmp_path / "out" / "0" / "record.json")
    assert found["recipe"]["data"]["path"] == "mine.csv"  # where it lay is nobody's business
    assert found["result"]["final"]["test"] > (
        0.8 if kind == "text" else 0.1
    )  # of 48 rows; learned, not guessed


def test_a_run_is_not_resumed_on_a_file_that_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = csv_file(tmp_path / "mine.csv", "text")
    settings = [*SETTINGS, *OWN, f"data.path={file}"]
    half_done(tmp_path, settings)
    file.write_text(file.read_text() + "1,2,3,up\n")
    again = ["run", "bdnn-digits", *(f"--set={s}" for s in settings), "--resume", "--out", str(tmp_path)]
    assert main(again) == 2
    assert "other settings (sha256.mine.csv)" in capsys.readouterr().err


def test_a_finished_run_is_not_joined_by_others_on_a_file_that_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = csv_file(tmp_path / "mine.csv", "text")
    again = ["run", "bdnn-digits", *(f"--set={s}" for s in [*SETTINGS, *OWN, f"data.path={file}"])]
    again += ["--out", str(tmp_path)]
    assert main(again) == 0
    before = fingerprints(tmp_path)
    assert main([*again, "--resume"]) == 0
    content = file.read_text()
    file.write_text(content + "1,2,3,up\n")
    capsys.readouterr()
    assert main([*again, "--resume"]) == 2
    assert "record.json was made with other settings (sha256.mine.csv)" in capsys.readouterr().err
    file.unlink()  # a run that is finished needs no file
    assert main([*again, "--resume"]) == 0
    assert fingerprints(tmp_path) == before


def test_data_given_by_the_caller_are_compared_as_well(tmp_path: Path) -> None:
    recipe, folder = load("bdnn-digits", SETTINGS), Folder(tmp_path)
    splits = load_data(recipe.data, 0)
    finished = run(recipe, 0, folder, splits=splits)
    assert run(recipe, 0, folder, splits=splits, resume=True) == finished
    others = dataclasses.replace(splits, provenance={**splits.provenance, "sha256": {"mine": "0f" * 32}})
    with pytest.raises(ValueError, match=r"made with other settings \(sha256\."):
        run(recipe, 0, folder, splits=others, resume=True)


@pytest.mark.parametrize(("key", "value"), [("device", "cuda"), ("threads", 3)])
def test_a_run_is_not_resumed_where_it_would_come_to_other_bits(key: str, value: Any, tmp_path: Path) -> None:
    checkpoint = half_done(tmp_path)
    stored = storage.read(checkpoint)
    assert stored["identity"][key] in ("cpu", 1)
    storage.write(checkpoint, {**stored, "identity": {**stored["identity"], key: value}})
    job = batch.Job(load("bdnn-digits", SETTINGS), "", 0, tmp_path / "0")
    (refused,) = batch.run_all([job], resume=True)
    assert f"other settings ({key})" in (refused.error or "")
    del stored["identity"][key]  # as before it was kept
    storage.write(checkpoint, stored)
    (outcome,) = batch.run_all([job], resume=True)
    assert outcome.error is None
