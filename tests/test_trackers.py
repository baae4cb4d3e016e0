"""What trackers are told of a run: every unit once, in order; and what TensorBoard, MLflow and W&B make of it."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from coppice.cli import main
from coppice.contract import Progress
from coppice.experiments import batch, live, record
from coppice.experiments.folder import Folder
from coppice.experiments.trackers import RECORD, TRACKERS, batched
from coppice.experiments.tracking import Ended, Numbers, Tracking, choices, results, rows
from tiny_recipes import FORECAST, SEARCH, STREAM, job, stop_after

pytestmark = pytest.mark.usefixtures("no_stopwatch")
Captured = pytest.CaptureFixture[str]
RESULTS = Path(__file__).parent.parent / "results"


# --- numbers out of records -----------------------------------------------------------------------------------


def test_rows_of_a_training_are_its_epochs() -> None:
    layers = {"head.weight": 0.5, "body.weight": 0.0}
    curve = [
        {"epoch": 0, "loss": None, "score": 0.5, "error": 0.1},
        {"epoch": 1, "loss": 2.0, "score": 0.75, "error": 0.1, "sparsity": 0.25, "layers": layers},
    ]
    assert rows({"curve": curve, "parameters": 40}) == [
        {"score": 0.5, "error": 0.1, "parameters": 40},
        {
            "loss": 2.0,
            "score": 0.75,
            "error": 0.1,
            "sparsity": 0.25,
            "sparsity/head.weight": 0.5,
            "sparsity/body.weight": 0.0,
            "parameters": 40,
        },
    ]
    assert rows({}) == []


def test_rows_of_a_search_are_epochs_cuts_and_epochs() -> None:
    nothing = dict.fromkeys(("error", "fitness", "stability", "change", "flops"))
    path = [
        {**nothing, "index": 0, "widths": [8, 4], "parameters": 90, "score": 0.75},
        {**nothing, "index": 1, "widths": [4, 2], "parameters": 30, "score": 0.5, "fitness": 0.25},
    ]
    begun = {"pretraining": [0.25, 0.5], "path": [], "tuning": [], "parameters": 90}
    growing = [{"score": 0.25, "parameters": 90}, {"score": 0.5, "parameters": 90}]
    assert rows(begun) == growing
    cut = [
        {"score": 0.75, "parameters": 90, "neurons": 12},
        {"score": 0.5, "parameters": 30, "fitness": 0.25, "neurons": 6},
    ]
    assert rows({**begun, "path": path, "parameters": 30}) == [*growing, *cut]
    whole = {**begun, "path": path, "parameters": 30, "neurons": 6, "tuning": [0.6]}
    assert rows(whole) == [*growing, *cut, {"score": 0.6, "parameters": 30, "neurons": 6}]


def test_rows_of_a_stream_are_epochs_and_a_task_ends_with_its_tests() -> None:
    def epoch(score: float, **synapses: int) -> dict[str, Any]:
        return {"epoch": 0, "score": score, "loss": 1.0, "synapses": synapses, "inhibited": 0}

    accuracy = {"tasks": ["see", "move"], "rows": [[0.9]]}
    result = {
        "accuracy": accuracy,
        "tasks": [{"curve": [epoch(0.5, see=10), epoch(0.8, see=9)]}],
        "learning": {"curve": [epoch(0.25, see=7, move=5)]},
    }
    first, last, next_ = rows(result)
    assert first == {
        "task": 0,
        "score": 0.5,
        "loss": 1,
        "inhibited": 0,
        "synapses": 10,
        "synapses/see": 10,
    }
    assert last["test/see"] == 0.9
    assert (last["synapses"], last["score"]) == (9, 0.8)
    assert (next_["task"], next_["synapses"], next_["synapses/move"]) == (1, 12, 5)
    assert not any(key.startswith("test/") for key in next_)


def test_rows_of_a_study_are_its_parts() -> None:
    part = {"test": -0.5, "reached": True, "widths": [3], "costs": {"seconds": 1}, "parameters": 7}
    assert rows({"parts": {"dense": part, "none": {"test": None}, "widths": {"8": {"validation": 1}}}}) == [
        {"dense/test": -0.5, "dense/parameters": 7},
        {},
        {"widths/8/validation": 1},
    ]


def test_choices_and_results_are_flat() -> None:
    found = {
        "seed": 3,
        "device": "cpu",
        "versions": {"torch": "2.4"},
        "recipe": {"model": {"hidden": [3, 4]}, "method": {"name": "dense", "fitness": {"weight": 1.0}}},
        "result": {
            "final": {"test": 0.5, "parameters": 3},
            "validation": None,
            "accuracy": {"measures": {"forgetting (max - last)": {"value": 0.25, "formula": "a"}}},
        },
        "timing": {"seconds": 2},
    }
    assert choices(found) == {
        "seed": "3",
        "device": "cpu",
        "model.hidden": "[3, 4]",
        "method.name": "dense",
        "method.fitness.weight": "1.0",
        "versions.torch": "2.4",
    }
    assert results(found) == {
        "final/test": 0.5,
        "final/parameters": 3,
        "measures/forgetting (max - last)": 0.25,
        "seconds": 2,
    }


def test_every_kind_of_record_there_is_has_rows() -> None:
    kinds = {file.relative_to(RESULTS).parts[0]: file for file in sorted(RESULTS.rglob("record.json"))}
    assert len(kinds) >= 10
    for file in kinds.values():
        found = json.loads(file.read_text())
        assert any(rows(found["result"])), file
        assert all(isinstance(value, float | int) for row in rows(found["result"]) for value in row.values())
        assert all(isinstance(value, str) for value in choices(found).values())
        assert "parts" in found["result"] or results(found), file


# --- telling --------------------------------------------------------------------------------------------------


class Notes:
    """A tracker that remembers."""

    look = "notes"

    def __init__(self, fails_at: int = -1, closes: bool = True) -> None:
        self.books: list[Note] = []
        self.fails_at, self.closes = fails_at, closes

    def open(self, recipe: str, name: str, choices: dict[str, str]) -> "Note":
        self.books.append(Note(recipe, name, choices, self.fails_at, self.closes))
        return self.books[-1]


class Note:
    def __init__(self, recipe: str, name: str, choices: dict[str, str], fails_at: int, closes: bool) -> None:
        self.recipe, self.name, self.choices = recipe, name, choices
        self.fails_at, self.closes = fails_at, closes
        self.rows: list[tuple[int, Numbers]] = []
        self.ends: list[tuple[Ended, Numbers, str | None]] = []

    def row(self, step: int, numbers: Numbers) -> None:
        if step == self.fails_at:
            raise ConnectionError("nobody there")
        self.rows.append((step, numbers))

    def close(self, how: Ended, results: Numbers, text: str | None) -> None:
        self.ends.append((how, results, text))
        if not self.closes:
            raise ConnectionError("cannot be closed")


def tracked(
    tracking: Tracking, work: Sequence[batch.Job], also: batch.Watch | None = None, **options: Any
) -> list[batch.Outcome]:
    with tracking.watch() as watch:
        both = batch.Watch.together(watch, also or batch.Watch())
        return batch.run_all(work, watch=both, live=True, **options)


@pytest.fixture(params=[0.0, 1e9], ids=["every unit", "no unit but the first"])
def pace(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(live, "PAUSE", request.param)
    monkeypatch.setattr(live, "SHARE", 0.0)
    return float(request.param)


@pytest.mark.usefixtures("pace")
@pytest.mark.parametrize(
    ("name", "settings"), [("bdnn-digits", SEARCH), ("forecast", FORECAST), ("td-mcl-pmi-mini", STREAM)]
)
def test_every_unit_is_told_once_however_seldom_one_looks(
    name: str, settings: list[str], pace: float, tmp_path: Path
) -> None:
    notes = Notes()
    counts: list[int] = []
    look = batch.Watch(progress=lambda *_: counts.append(len(notes.books[0].rows)))
    (outcome,) = tracked(Tracking("notes", notes), [job(tmp_path, name, settings)], look)
    (book,) = notes.books
    assert outcome.record is not None
    assert (book.recipe, book.name) == (name, "seed 0")
    assert book.choices == choices(outcome.record)
    told = rows(outcome.record["result"])
    assert len(told) >= 3
    assert book.rows == list(enumerate(told))
    assert book.ends == [("finished", results(outcome.record), (tmp_path / "0" / "record.json").read_text())]
    assert (max(counts) > 1) is (pace == 0)  # told while it went on, where there was something to tell


@pytest.mark.usefixtures("every_unit")
def test_a_run_that_goes_on_is_told_whole_and_a_finished_one_no_more(tmp_path: Path) -> None:
    first, second, third = Notes(), Notes(), Notes()
    with pytest.raises(KeyboardInterrupt):
        tracked(Tracking("notes", first), [job(tmp_path)], batch.Watch(progress=stop_after(3)))
    assert first.books[0].ends == [("stopped", {}, None)]
    (outcome,) = tracked(Tracking("notes", second), [job(tmp_path)], resume=True)
    assert outcome.record is not None
    assert second.books[0].rows == list(enumerate(rows(outcome.record["result"])))
    told = len(first.books[0].rows)
    assert 0 < told < len(second.books[0].rows)
    assert first.books[0].rows == second.books[0].rows[:told]
    tracked(Tracking("notes", third), [job(tmp_path)], resume=True)
    assert third.books == []


@pytest.mark.usefixtures("every_unit")
def test_a_run_that_fails_is_told_to_have_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes()

    def spoil(job: batch.Job, now: Progress) -> None:
        if now.score is not None:
            monkeypatch.setattr(Folder, "save", refuse)

    def refuse(*_: Any) -> None:
        raise OSError("no space left")

    (outcome,) = tracked(Tracking("notes", notes), [job(tmp_path)], batch.Watch(progress=spoil))
    assert outcome.error == "no space left"
    assert notes.books[0].ends == [("failed", {}, None)]


@pytest.mark.usefixtures("every_unit")
def test_a_tracker_that_fails_ends_no_run(tmp_path: Path) -> None:
    notes = Notes(fails_at=1)
    tracking = Tracking("notes", notes)
    outcomes = tracked(tracking, [job(tmp_path, seed=seed) for seed in (0, 1)])
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert tracking.warning == "notes was told no more, for it failed: nobody there"
    assert [len(book.rows) for book in notes.books] == [1]
    assert notes.books[0].ends == [("stopped", {}, None)]


@pytest.mark.usefixtures("every_unit")
def test_every_book_is_closed_whatever_went_wrong_before(tmp_path: Path) -> None:
    notes = Notes(closes=False)
    tracking, work = Tracking("notes", notes), [job(tmp_path, seed=seed) for seed in (0, 1)]
    outcomes: list[batch.Outcome] = []
    with tracking.watch() as watch:
        # two at once, none of which has ended for the tracker
        both = batch.Watch.together(batch.Watch(progress=watch.progress), batch.Watch(end=outcomes.append))
        batch.run_all(work, watch=both, live=True)
        assert [book.ends for book in notes.books] == [[], []]
        watch.end(outcomes[0])
    finished = ("finished", results(outcomes[0].record or {}), Folder(work[0].folder).record.read_text())
    stopped = ("stopped", {}, None)
    assert [book.ends for book in notes.books] == [[finished, stopped], [stopped]]
    assert tracking.warning == "notes was told no more, for it failed: cannot be closed"


def test_entries_come_in_parts() -> None:
    entries = [(str(n), n) for n in range(5)]
    assert list(batched(entries, 2)) == [entries[:2], entries[2:4], entries[4:]]
    assert list(batched([], 2)) == []


# --- the trackers themselves ----------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Without a user's own settings, and put back as it was."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def ran(name: str, out: Path) -> dict[str, Any]:
    """The record of a run with this tracker, by the command."""
    line = [
        "run",
        "forecast",
        *(f"--set={setting}" for setting in FORECAST),
        "--track",
        name,
        "--out",
        str(out),
    ]
    assert main(line) == 0
    return record.read(out / "0" / "record.json")


def told(found: dict[str, Any], key: str) -> list[tuple[int, float]]:
    return [(step, row[key]) for step, row in enumerate(rows(found["result"])) if key in row]


KEYS = ("score", "loss", "parameters", "sparsity", "sparsity/head.weight")


@pytest.mark.usefixtures("every_unit")
def test_tensorboard_has_what_it_was_told(tmp_path: Path, capsys: Captured) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = ran("tensorboard", tmp_path / "out")
    assert f"tensorboard: tensorboard --logdir {tmp_path}/out/tensorboard" in capsys.readouterr().out
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard" / "seed 0"))
    events.Reload()
    assert len(told(found, "sparsity")) == 3
    for key in KEYS:
        read = [(event.step, event.value) for event in events.Scalars(key)]
        assert read == [(step, pytest.approx(value, rel=1e-6)) for step, value in told(found, key)]
    assert events.Scalars("final/test")[0].value == pytest.approx(found["result"]["final"]["test"])
    text = {
        tag: events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0]
        for tag in ("recipe", "record")
    }
    assert b"| method.kind | SynapticPruning |" in text["recipe"]
    assert found["fingerprint"].encode() in text["record"]


@pytest.mark.usefixtures("every_unit")
def test_tensorboard_draws_an_interrupted_run_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    one = job(tmp_path, "forecast", FORECAST)
    tracking = [Tracking("tensorboard", TRACKERS["tensorboard"](tmp_path)) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        tracked(tracking[0], [one], batch.Watch(progress=stop_after(2)))
    (outcome,) = tracked(tracking[1], [one], resume=True)
    assert [each.warning for each in tracking] == [None, None]
    folder = tmp_path / "tensorboard" / "seed 0"
    assert (
        len(list(folder.iterdir())) == 3
    )  # of the first sitting, of the second, and the table of its choices
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [event.step for event in events.Scalars("score")] == [0, 1, 2]
    assert outcome.record is not None


@pytest.mark.usefixtures("every_unit", "environment")
@pytest.mark.filterwarnings("ignore")  # theirs
def test_mlflow_has_what_it_was_told(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from mlflow.tracking import MlflowClient

    found = ran("mlflow", tmp_path / "out")
    client = MlflowClient(f"sqlite:///{tmp_path}/out/mlflow.db")
    experiment = client.get_experiment_by_name("forecast")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("seed 0", "FINISHED")
    assert run.data.params == choices(found)
    for key in KEYS:
        read = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]
        assert read == told(found, key)
    assert run.data.metrics["final/test"] == found["result"]["final"]["test"]
    (file,) = (tmp_path / "out" / "mlflow").rglob(RECORD)
    assert record.read(file) == found
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"0", "mlflow", "mlflow.db"}


@pytest.mark.usefixtures("every_unit", "environment")
@pytest.mark.filterwarnings("ignore")  # theirs
def test_mlflow_is_told_how_it_ended_and_takes_every_name(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    tracker: Any = TRACKERS["mlflow"](tmp_path)
    many = {f"layer {n}": float(n) for n in range(250)}
    for name, how in (("a", "failed"), ("b", "stopped"), ("c", "finished")):
        book = tracker.open("recipe", name, {str(n): "x" for n in range(130)})
        book.row(0, many)
        book.close(how, {"measures/forgetting (max - last)": 0.5}, None)
    runs = tracker.client.search_runs([tracker.client.get_experiment_by_name("recipe").experiment_id])
    assert {run.info.run_name: run.info.status for run in runs} == {
        "a": "FAILED",
        "b": "KILLED",
        "c": "FINISHED",
    }
    assert len(runs[0].data.params) == 130
    assert len(runs[0].data.metrics) == 251
    assert runs[0].data.metrics["measures/forgetting _max - last_"] == 0.5


def entries_of_wandb(content: bytes) -> Iterator[bytes]:
    """Of a log in the form of LevelDB: blocks of 32 KiB with pieces behind heads of CRC, length and place."""
    whole, block, head = b"", 32768, 7
    at = head  # of the file's own
    while at + head <= len(content):
        if block - at % block < head:
            at += block - at % block
            continue
        length, place = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + head : at + head + length]
        at += head + length
        if place in (1, 4):  # all in one, or the last piece
            yield whole
            whole = b""


def key_of(item: Any) -> str:
    return "/".join(item.nested_key) or item.key


@pytest.mark.usefixtures("every_unit", "environment")
@pytest.mark.filterwarnings("ignore")  # theirs
def test_wandb_has_what_it_was_told_and_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    found = ran("wandb", tmp_path / "out")
    (file,) = (tmp_path / "out" / "wandb").glob("offline-run-*/*.wandb")
    read, summary, run = list[dict[str, Any]](), dict[str, Any](), None
    for data in entries_of_wandb(file.read_bytes()):
        entry = Record.FromString(data)
        if entry.HasField("history"):
            read.append({key_of(item): json.loads(item.value_json) for item in entry.history.item})
        elif entry.HasField("summary"):
            summary |= {key_of(item): json.loads(item.value_json) for item in entry.summary.update}
        elif entry.HasField("run") and run is None:
            run = entry.run
    assert run is not None
    assert (run.display_name, run.run_group, run.project) == ("seed 0", "forecast", "coppice")
    assert {i.key: json.loads(i.value_json) for i in run.config.update if i.key in choices(found)} == choices(
        found
    )
    for key in KEYS:
        assert [(row["_step"], row[key]) for row in read if key in row] == told(found, key)
    assert summary["final/test"] == found["result"]["final"]["test"]
    assert record.read(file.parent / "files" / RECORD) == found


@pytest.mark.usefixtures("environment")
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_the_way_to_look_at_it_can_be_pasted(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    out = tmp_path / "my runs; all"
    words = shlex.split(TRACKERS[name](out).look)
    (place,) = [word for word in words if str(out) in word]
    assert ";" not in words
    assert place.removeprefix("sqlite:///").startswith(str(out))


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_a_package_that_is_missing_is_named_before_anything_is_begun(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["run", "forecast", "--track", name, "--out", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr()
    assert shown.err == (
        f"error: '{name}' is not installed, but needed here: pip install \"coppice[{name}]\" brings it.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_nobody_knows_is_refused(tmp_path: Path, capsys: Captured) -> None:
    assert main(["run", "forecast", "--track", "tensorbord", "--out", str(tmp_path / "out")]) == 2
    assert "tensorboard" in capsys.readouterr().err
