"""coppice learn and coppice predict with a learner, as a person types them; and the files they read."""

import csv
import io
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from coppice import Learner
from coppice.cli import board, learning, main, terminal
from coppice.data.samples import Samples, read_inputs, read_samples, reading

Captured = pytest.CaptureFixture[str]
TINY = [
    f"--set={setting}"
    for setting in (
        "model.widths=[4,6]",
        "model.steps=2",
        "method.links=1",
        "schooling.epochs=3",
        "schooling.batch=20",
    )
]
NAMES = ["north", "south", "west"]


def samples(seed: int, shape: tuple[int, ...] = (2, 6, 6), count: int = 60) -> tuple[Any, Any]:
    """Three classes of noisy patterns."""
    rng = np.random.default_rng(seed)
    patterns = rng.normal(size=(3, *shape))
    y = np.arange(count) % 3
    return patterns[y] + 0.5 * rng.normal(size=(count, *shape)), y


def table(
    path: Path, seed: int = 3, columns: tuple[str, ...] = ("a", "kind", "b", "c"), target: bool = True
) -> Path:
    """A .csv with three inputs and a class in words; the columns in this order."""
    x, y = samples(seed, (3,))
    values = {"a": x[:, 0] * 1000, "b": x[:, 1], "c": x[:, 2] + 50, "kind": np.array(NAMES)[y]}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([name for name in columns if target or name != "kind"])
        writer.writerows(zip(*(values[name] for name in columns if target or name != "kind"), strict=True))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    x, y = samples(1)
    np.savez(folder / "see.npz", x=x, y=y, classes=NAMES)
    np.savez(folder / "move.npz", x=samples(2)[0], y=np.array(["up", "down", "left"])[y])
    np.savez(folder / "frames.npz", x=samples(4, (2, 2, 6, 6))[0], y=y)
    table(folder / "table.csv")
    return folder


@pytest.fixture(scope="module")
def mine(files: Path) -> Path:
    """The folder of a learner of images and of a table."""
    folder = files / "mine"
    assert main(["learn", "see", f"--data={files / 'see.npz'}", f"--into={folder}", *TINY, "--seed=3"]) == 0
    line = [
        "learn",
        "measure",
        f"--data={files / 'table.csv'}",
        "--target=kind",
        f"--into={folder}",
        "--epochs=12",
    ]
    assert main(line) == 0
    return folder


def test_help_teaches_with_an_example(capsys: Captured) -> None:
    assert main(["learn", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example: coppice learn digits --data digits.npz --into my-learner" in shown
    assert "--resume" in shown
    assert main(["--help"]) == 0
    assert "Teach a learner one more task" in capsys.readouterr().out


def test_a_learner_is_made_and_taught_more_from_files(mine: Path, files: Path, capsys: Captured) -> None:
    learner = Learner.load(mine)
    assert (learner.seed, learner.plan.widths, learner.method.links) == (3, (4, 6), 1)
    assert (learner.schooling.epochs, learner.schooling.batch) == (3, 20)
    assert [(name, one.classes, one.columns) for name, one in learner.tasks.items()] == [
        ("see", tuple(NAMES), None),
        ("measure", tuple(NAMES), ("a", "b", "c")),
    ]
    by_hand = Learner(learner.plan, learner.method, learner.schooling, 3)
    by_hand.learn("see", (*samples(1), NAMES), scale=True)
    ours, theirs = learner.network.module(0).head.weight, by_hand.network.module(0).head.weight
    assert torch.equal(ours, theirs)
    again = ["learn", "see", f"--data={files / 'see.npz'}", f"--into={mine}"]
    assert main([*again, "--resume", *TINY]) == 0  # the same line, for whoever repeats it
    assert capsys.readouterr().out == "see was learned already, nothing is left to do\n"
    assert main(again) == 2
    assert "there is a task 'see' already" in capsys.readouterr().err


def test_what_learning_came_to_is_told(files: Path, tmp_path: Path, capsys: Captured) -> None:
    line = ["learn", "events", f"--data={files / 'frames.npz'}", f"--into={tmp_path / 'new'}", *TINY]
    assert main(line) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("events: 60 samples, taken as frames of events [")
    assert lines[1] == "events: started"
    # not "learned from": a tenth of the 51 judges links
    assert lines[2].startswith("events: 3 classes, 51 samples for training, ")
    assert lines[2].endswith("% right on those held back")
    assert lines[3].endswith("living synapses in 1 module")
    assert lines[4].endswith("--data NEW --task events")
    assert Learner.load(tmp_path / "new").tasks["events"].scaling is None


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((5,), "vectors of 5 features"),
        ((7, 2), "sequences of 7 steps with 2 channels"),
        ((8, 8), "sequences of 8 steps with 8 channels; grey pictures are [n, 1, height, width]"),
        ((3, 8, 9), "images of 8 x 9 with 3 channels"),
        ((4, 2, 8, 8), "frames of events [4, 2, 8, 8]"),
    ],
)
def test_as_what_samples_are_taken_is_told(shape: tuple[int, ...], words: str) -> None:
    assert reading(Samples(np.zeros((3, *shape)), [0, 1, 0])) == words


def test_on_a_terminal_a_table_tells_epoch_and_score(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(terminal, "console", lambda: screen)
    monkeypatch.setattr(board, "REDRAW", 0.0)
    with learning._watching("new") as show:
        process = Learner.load(mine).begin("new", samples(5), epochs=2)
        while process.advance():
            show(process)
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.file.getvalue())  # type: ignore[attr-defined]
    assert re.search(r"new +epoch 1 of 2 ", drawn)
    now = process.progress()
    assert re.search(rf"new +epoch 2 of 2 +━+ +{now.synapses:,} +\S+ +{now.score:.4f} ", drawn)
    assert "all runs" not in drawn


def test_new_samples_are_named_in_a_table_and_a_file(
    mine: Path, files: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "deep" / "found.csv"
    assert main(["predict", str(mine), f"--data={files / 'see.npz'}", "--task=see", f"--out={out}"]) == 0
    shown = capsys.readouterr().out
    assert "and 40 more" in shown
    assert "see: " in shown
    found = list(csv.DictReader(out.read_text().splitlines()))
    expected = Learner.load(mine).predict(samples(1)[0], "see")
    assert [row["class"] for row in found] == expected.labels
    assert [row["sample"] for row in found] == [str(n) for n in range(60)]
    assert {row["task"] for row in found} == {"see"}
    probabilities = [float(row["probability"]) for row in found]
    np.testing.assert_allclose(probabilities, expected.probabilities.max(1).values, atol=1e-4)
    assert main(["predict", str(mine), f"--data={files / 'see.npz'}", f"--out={out}"]) == 2
    assert "add --force to write over it" in capsys.readouterr().err


def test_the_file_of_a_learner_is_as_good_as_its_folder(
    mine: Path, files: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mine)
    shown = []
    for given in (str(mine), str(mine / "learner.safetensors"), "learner.safetensors"):
        assert main(["predict", given, f"--data={files / 'see.npz'}", "--task=see"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] == shown[2]
    assert main(["predict", str(mine / "learner.safetensors")]) == 2
    assert (
        "learner.safetensors holds a learner, which takes new samples by --data FILE"
        in capsys.readouterr().err
    )
    assert main(["predict", str(tmp_path / "learner.safetensors")]) == 2
    assert f"there is no file {tmp_path / 'learner.safetensors'}" in capsys.readouterr().err


def test_a_table_is_read_by_the_names_of_its_columns(mine: Path, tmp_path: Path) -> None:
    answers = []
    for number, options in enumerate(
        ({}, {"columns": ("c", "b", "kind", "a")}, {"columns": ("b", "c", "a", "kind"), "target": False})
    ):
        new, out = table(tmp_path / f"{number}.csv", **options), tmp_path / f"out{number}.csv"  # type: ignore[arg-type]
        task = ["--task=measure"] if number else []  # without: the only task of its shape
        assert main(["predict", str(mine), f"--data={new}", *task, f"--out={out}"]) == 0
        answers.append(out.read_text())
    assert answers[0] == answers[1] == answers[2]
    right = [row["class"] for row in csv.DictReader(answers[0].splitlines())]
    assert np.mean(np.array(right) == np.array(NAMES)[np.arange(60) % 3]) > 0.6


def test_an_inferred_task_is_said_to_be_one(
    mine: Path, files: Path, tmp_path: Path, capsys: Captured
) -> None:
    learner = Learner.load(mine)
    learner.learn("move", samples(2), scale=True, into=tmp_path / "more")
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "more"), f"--data={files / 'move.npz'}"]) == 0
    assert "the task of each was inferred" in capsys.readouterr().out
    assert main(["predict", str(tmp_path / "more"), f"--data={files / 'move.npz'}", "--task=move"]) == 0
    assert "inferred" not in capsys.readouterr().out


def test_stopped_by_hand_it_goes_on_by_the_line_it_names(
    mine: Path, files: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"

    @contextmanager
    def stopping(name: str) -> Any:
        def stop(process: Any) -> None:
            if process.epoch >= 2:
                raise KeyboardInterrupt

        yield stop

    monkeypatch.setattr(learning, "_watching", stopping)
    line = ["learn", "see", f"--data={files / 'see.npz'}", f"--into={folder}", *TINY, "--seed=3"]
    assert main(line) == 130
    shown = capsys.readouterr().err
    assert "what was reached is kept" in shown
    assert shown.splitlines()[-1].startswith("  coppice learn see")
    assert shown.rstrip().endswith("--resume")
    assert main(["predict", str(folder), f"--data={files / 'see.npz'}"]) == 2
    assert "has learned no task yet" in capsys.readouterr().err
    assert main(line) == 2
    assert "(--resume)" in capsys.readouterr().err
    assert main([*line, "--resume"]) == 130
    assert capsys.readouterr().err.count("--resume") == 1  # the line that was typed, as it was
    monkeypatch.undo()
    assert main([*line, "--resume"]) == 0
    whole = Learner(*(getattr(Learner.load(folder), key) for key in ("plan", "method", "schooling", "seed")))
    whole.learn("see", (*samples(1), NAMES), scale=True)
    ours, theirs = Learner.load(folder).network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.slow
def test_a_killed_command_goes_on_by_resume(files: Path, tmp_path: Path) -> None:
    line = ["learn", "see", f"--data={files / 'see.npz'}", "--seed=3", *TINY, "--set=schooling.epochs=40"]
    start = [sys.executable, "-m", "coppice.cli", *line]
    with subprocess.Popen([*start, f"--into={tmp_path / 'killed'}"]) as process:
        while process.poll() is None and not (tmp_path / "killed" / "unfinished.safetensors").is_file():
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert Learner.load(tmp_path / "killed").tasks == {}
    assert subprocess.run([*start, f"--into={tmp_path / 'killed'}", "--resume"], check=False).returncode == 0
    assert subprocess.run([*start, f"--into={tmp_path / 'whole'}"], check=False).returncode == 0
    ours, theirs = (Learner.load(tmp_path / name).network.state_dict() for name in ("killed", "whole"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_values_are_set_together_where_one_alone_would_contradict() -> None:
    found = learning.options(
        Learner(), ["method.refine_start=0.8", "method.refine_end=0.9", "method.growth=strict"]
    )
    method = found["method"]
    assert (method.refine_start, method.refine_end, method.growth) == (0.8, 0.9, "strict")
    with pytest.raises(ValueError, match="method: refinement goes from refine_start"):
        learning.options(Learner(), ["method.refine_start=0.8"])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--set=model.widths=[8,16]"], "--set model.widths asks for (8, 16), but the learner in"),
        (["--set=schooling.epochs=5"], "--epochs changes them for one task"),
        (
            ["--set=method.growth=strict"],
            "made with 'full', for good: leave it out, or choose another --into",
        ),
        (["--seed=4"], "--seed is 4, but the learner in"),
        (["--set=model.width=8"], "model has no key 'width', did you mean 'widths'?"),
        (["--set=modell.steps=8"], "there is no table 'modell', did you mean 'model'?"),
        (["--set=model.steps"], "not of the form table.key=value"),
        (["--set=steps=3"], "not of the form table.key=value"),
        (["--set=model.neuron.tau=3"], "not of the form table.key=value"),
        (["--set=model.neuron=3"], "another neuron is chosen in Python"),
        (["--set=model.steps=many"], "model.steps is 'many'"),
        (["--set=method.links=0"], "method: links is 0"),
        (["--epochs=0"], "--epochs"),
        (["--data=nowhere.npz"], "there is no file nowhere.npz"),
        (["--target=kind"], "names a column of a .csv file, but 'move.npz'"),
        (["--into=FILE"], "is no folder"),
    ],
)
def test_a_wrong_line_changes_nothing(
    mine: Path, files: Path, more: list[str], says: str, capsys: Captured
) -> None:
    before = sorted((file.name, file.read_bytes()) for file in mine.iterdir())
    if more == ["--into=FILE"]:
        more, says = [f"--into={files / 'see.npz'}"], "is a file, but a learner needs a folder"
    assert main(["learn", "third", f"--data={files / 'move.npz'}", f"--into={mine}", *more]) == 2
    shown = capsys.readouterr()
    assert says in shown.err
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert sorted((file.name, file.read_bytes()) for file in mine.iterdir()) == before


def test_what_cannot_be_predicted_is_refused(
    mine: Path, files: Path, tmp_path: Path, capsys: Captured
) -> None:
    def says(*line: str) -> str:
        assert main(["predict", *line]) == 2
        return capsys.readouterr().err

    images, rows = f"--data={files / 'see.npz'}", f"--data={files / 'table.csv'}"
    assert "holds a learner, which takes new samples by --data FILE" in says(str(mine))
    assert "holds a learner, which takes new samples by --data FILE" in says(str(mine), "--csv=x.csv")
    assert "there is no task 'sea', did you mean 'see'?" in says(str(mine), images, "--task=sea")
    assert "shape [2, 2, 6, 6], but no task was learned" in says(str(mine), f"--data={files / 'frames.npz'}")
    assert "but task 'measure' was learned with [3]" in says(str(mine), images, "--task=measure")
    assert "is a table, but this was learned from arrays" in says(str(mine), rows, "--task=see")
    assert "--task is for a learner, but" in says(str(tmp_path), images, "--task=see")
    assert "holds no run" in says(str(tmp_path), images)
    short = table(tmp_path / "short.csv", columns=("a", "b", "kind"))
    assert "has no column 'c'; the columns are: a, b, kind" in says(str(mine), f"--data={short}")
    (tmp_path / "learner.safetensors").write_bytes(b"nothing")
    assert "damaged or not a safetensors file" in says(str(tmp_path), images)


def test_tables_with_other_columns_ask_for_the_task(
    mine: Path, files: Path, tmp_path: Path, capsys: Captured
) -> None:
    learner = Learner.load(mine)
    x, y = samples(5, (2,))
    learner.learn("other", (x, y, None, ["p", "q"]), epochs=1, into=tmp_path)
    assert main(["predict", str(tmp_path), f"--data={files / 'table.csv'}"]) == 2
    assert (
        "measure, other were learned from tables with other columns each: give --task"
        in capsys.readouterr().err
    )


def test_files_are_read_as_they_are(files: Path) -> None:
    x, y = samples(1)
    found = read_samples(files / "see.npz")
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.y, y)
    assert found.classes == tuple(NAMES)
    np.testing.assert_array_equal(read_inputs(files / "see.npz"), x)
    rows = read_samples(files / "table.csv", "kind")
    assert (rows.columns, rows.x.shape, list(rows.y[:3])) == (("a", "b", "c"), (60, 3), NAMES)
    np.testing.assert_array_equal(read_inputs(files / "table.csv", ["c", "a"]), rows.x[:, [2, 0]])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros((4, 2))}, "has no array 'y', it has: x"),
        ({"y": np.zeros(4)}, "has no array 'x', it has: y"),
        ({"x": np.array([["a"]]), "y": np.zeros(1)}, "the array 'x' must hold real numbers"),
        ({"x": np.zeros((4, 2)), "y": np.array([{}] * 4)}, "Pickled objects are refused"),
        (
            {"x": np.zeros((4, 2)), "y": np.zeros(4), "classes": np.zeros(2)},
            "classes is float64 [2], but must be text",
        ),
        ({"x": np.zeros((4, 2)), "y": np.zeros(4), "classes": np.array([["a"]])}, "but must be text [class]"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(ValueError, match=r"mine\.npz") as refused:
        read_samples(tmp_path / "mine.npz")
    assert says in str(refused.value)


def test_wrong_files_are_named(tmp_path: Path, files: Path) -> None:
    for name, content, says in (
        ("a.npz", b"no zip", "is not an .npz file, or is cut off"),
        ("b.npz", (files / "see.npz").read_bytes()[:200], "is not an .npz file, or is cut off"),
        ("c.txt", b"1,2", "neither an .npz nor a .csv file"),
        ("d.csv", b"", "is empty: the first line must name the columns"),
        ("e.csv", b"a,b\n1,2\n3\n", "line 3 has 1 cells, but the header names 2"),
        ("f.csv", b"a,a\n1,2\n", "names the column 'a' more than once"),
        ("g.csv", b"a,b\n1,x\n", "line 2, column 'b': 'x' is not a number"),
        ("h.csv", b"a,b\n", "has a header line but no rows"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name) as refused:
            read_inputs(tmp_path / name, ["a", "b"])
        assert says in str(refused.value)
    np.savez(tmp_path / "y.npz", y=np.zeros(3))
    with pytest.raises(ValueError, match="has no array 'x', it has: y"):
        read_inputs(tmp_path / "y.npz")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_samples(tmp_path / "nowhere.npz")
    with pytest.raises(ValueError, match=r"Which column of 'table\.csv' is to be learned"):
        read_samples(files / "table.csv")
