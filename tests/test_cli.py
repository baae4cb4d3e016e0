"""Every command as a user types it: what it prints, what it leaves, how it refuses."""

import io
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

import coppice
from coppice.cli import board, compacting, main, running, terminal
from coppice.data import fetch
from coppice.data.data_sets import TASK_SETS
from coppice.data.streams import STREAMS
from coppice.experiments import batch, record
from coppice.experiments.folder import Folder
from coppice.parts import cost
from coppice.parts.blueprint import load_model, save_model
from tiny_recipes import STREAM

TINY = [
    f"--set={setting}"
    for setting in (
        "model.hidden=[24]",
        "training.batch=256",
        "method.pretrain_epochs=1",
        "method.plateau=0",
        "method.retrain_steps=0",
        "method.tune_epochs=1",
        "method.share=0.5",
    )
]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module", autouse=True)
def _no_stopwatch() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "latency", lambda model, example, seconds=0.3: 1e-6 * model(example).numel())
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds 0 and 1 of a search, and a plain training beside them."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(["run", "bdnn-digits", *TINY, "--seeds", "0-1", "--out", str(folder / "search")]) == 0
    dense = ["--set=method.name=dense", "--set=training.epochs=1", "--set=model.hidden=[24]"]
    (folder / "dense.toml").write_text('[method]\nname = "dense"\n')
    assert main(["run", str(folder / "dense.toml"), *dense, "--out", str(folder / "dense")]) == 0
    return folder


# --- help, versions, wrong lines ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["demo", "list", "run", "predict", "report", "compact", "data"])
def test_every_help_teaches_with_an_example(command: str, capsys: Captured) -> None:
    assert main([command, "--help"]) == 0
    assert f"Example: coppice {command}" in capsys.readouterr().out


def test_a_paragraph_of_help_is_not_broken_where_its_source_is(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["run", "--help"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "tables of a recipe" in line)
    assert line.strip().endswith("comes with its own values.")


def test_help_names_all_commands_and_version_is_one_line(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("demo", "list", "run", "predict", "report", "compact", "data"))
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"coppice {coppice.__version__}\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["run"], "Missing argument"),
        (["run", "bdnn-digits", "--jobs", "0"], "--jobs"),
        (["run", "bdnn-digits", "--bogus"], "No such option: --bogus"),
        (["run", "bdnn-digitz"], "did you mean 'bdnn-digits'"),
        (["run", "nowhere.toml"], "no recipe file nowhere.toml"),
        (["run", "bdnn-digits", "--set", "method.share"], "table.key=value"),
        (["run", "bdnn-digits", "--set", "method.shaer=1"], "did you mean 'share'"),
        (["run", "bdnn-digits", "--set", "metod.share=1"], "did you mean 'method'"),
        (["run", "bdnn-digits", "--set", "training.batch=many"], "training.batch is 'many'"),
        (["run", "bdnn-digits", "--seeds", "4-0"], "4-0 counts down: write 0-4"),
        (["run", "bdnn-digits", "--seeds", "a"], "--seeds is 'a'"),
        (["run", "bdnn-digits", "--seeds", "1,"], "--seeds is '1,'"),
        (["run", "bdnn-digits", "--seeds", "-1"], "--seeds"),
        (["report", "nowhere"], "no file or folder nowhere"),
        (["predict", "nowhere"], "no file nowhere"),
        (["run", "forecast", "--set", "data.name=co3"], "there is no 'co3', did you mean 'co2'?"),
        (["run", "forecast", "--set", "model.name=lsmt"], "there is no 'lsmt', did you mean 'lstm'?"),
        (["run", "forecast", "--set", "method.preset=vos"], "did you mean 'vos2025'?"),
        (["run", "forecast", "--set", "method.final_sparsity=1.0"], "final_sparsity is 1.0"),
        (["run", "forecast", "--set", "training.epochs=0"], "epochs is 0"),
        (["compact", "nowhere.safetensors"], "no file nowhere.safetensors"),
        (["data", "mnits"], "there is no data set 'mnits', did you mean 'mnist'?"),
    ],
)
def test_a_wrong_line_is_refused_in_one_line(
    line: list[str], says: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert says in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_not_there_is_a_clear_error(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["run", "bdnn-digits", "--device", "cuda"]) == 2
    assert "torch finds no GPU here" in capsys.readouterr().err
    assert running.find_device(running.Device.auto) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert running.find_device(running.Device.auto) == "cuda"
    assert running.find_device(running.Device.cpu) == "cpu"


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", [3]), ("0-2", [0, 1, 2]), ("0,2, 5-6", [0, 2, 5, 6]), ("1,0-2", [1, 0, 2])]
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert running.parse_seeds(text) == seeds


def test_an_interrupt_anywhere_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(asked: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "find_device", stop)
    assert main(["run", "bdnn-digits"]) == 130


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_who_stops_a_command_is_told_how_it_goes_on(
    number: int, code: int, more: list[str], tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(batch, "run_all", lambda *_, **__: signal.raise_signal(number))
    out = str(tmp_path / "my runs")
    keyboard = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    try:
        assert main(["run", "bdnn-digits", "--out", out, *more]) == code
    finally:
        signal.signal(signal.SIGINT, keyboard)
    shown = capsys.readouterr()
    assert shown.err == (
        f"stopped; what was reached is kept. Go on with:\n  coppice run bdnn-digits --out '{out}' --resume\n"
    )
    assert signal.getsignal(signal.SIGTERM) is before


# --- run, list, data, report ----------------------------------------------------------------------------------


def test_without_a_terminal_a_run_prints_plain_lines_and_a_table(tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    assert main(["run", "bdnn-digits", *TINY, "--seeds", "0,3", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "seed 0: started"
    assert lines[1].startswith("seed 0: done, ")
    assert lines[2] == "seed 3: started"
    assert "\x1b" not in shown.out
    assert any(line.split()[0] == "mean" and line.count("±") == 5 for line in lines if line.strip())
    assert lines[-1] == f"records: {out}/{{0,3}}/record.json"
    for seed in (0, 3):
        assert record.read(out / str(seed) / "record.json")["seed"] == seed


def test_on_a_terminal_a_table_shows_size_and_score(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=120, markup=False, highlight=False)
    monkeypatch.setattr(terminal, "console", lambda: screen)
    monkeypatch.setattr(board, "REDRAW", 0.0)
    assert main(["run", "bdnn-digits", *TINY, "--seeds", "0-1", "--out", str(tmp_path / "out")]) == 0
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.file.getvalue())  # type: ignore[attr-defined]
    assert "all runs: 1 of 2 ended, " in drawn
    assert re.search(r"seed 1 +tuning, \d+ neurons +━+ +[\d,]+ +[▁-█]+ +0\.\d{4} +[▁-█]+ +0:\d\d", drawn)
    assert "seed 1: done, " in drawn
    assert "seed 0: started" not in drawn


def test_on_a_terminal_that_cannot_draw_lines_are_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    screen = Console(file=io.StringIO(), force_terminal=True, width=120, markup=False, highlight=False)
    monkeypatch.setattr(terminal, "console", lambda: screen)
    assert main(["run", "bdnn-digits", *TINY, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("seed 0: started\nseed 0: done, ")


def test_list_knows_recipes_methods_presets_and_data(capsys: Captured) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    for word in (
        "bdnn-digits",
        "bdnn-sp",
        "dense",
        "zhao2017",
        "share=0.12",
        "mnist",
        "your own .csv",
        "lstm",
        "co2",
        "vos2025",
    ):
        assert word in shown
    data, streams = shown.split("data sets: ")[1].split("streams of tasks")
    listed, streamed = (
        {line.split()[0] for line in part.splitlines() if line.split()} for part in (data, streams)
    )
    assert {"digits", "mnist"} <= listed
    assert listed.isdisjoint({entry.name for entry in TASK_SETS})  # no name for [data] of one task
    assert set(STREAMS) <= streamed


def test_data_shows_the_sets_and_fetches_by_name(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["data"]) == 0
    table = capsys.readouterr().out
    assert "https://archive.ics.uci.edu" in table
    assert "embedded" in table
    monkeypatch.setattr(fetch, "fetch", lambda file: Path("cache") / file.name)
    assert main(["data", "digits", "mnist"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digits: embedded in a package, nothing to fetch"
    assert len(lines) == 5
    assert lines[1].startswith("mnist: cache/")


def test_a_failed_download_is_one_error_with_code_1(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: object) -> Path:
        raise RuntimeError("no address delivers.")

    monkeypatch.setattr(fetch, "fetch", fail)
    assert main(["data", "mnist"]) == 1
    assert capsys.readouterr().err == "error: no address delivers.\n"


def test_report_groups_runs_and_draws_searches(runs: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main(["report", str(runs), "--figures", str(tmp_path / "figures")]) == 0
    shown = capsys.readouterr().out
    assert "bdnn-digits" in shown
    assert "dense, seed 0: it searched no size" in shown
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == [
        "bdnn-digits-0.png",
        "bdnn-digits-0.svg",
        "bdnn-digits-1.png",
        "bdnn-digits-1.svg",
    ]


def test_report_passes_over_what_it_cannot_read(runs: Path, tmp_path: Path, capsys: Captured) -> None:
    good = (runs / "search" / "0" / "record.json").read_text()
    newer = json.dumps({**json.loads(good), "format": 2})
    altered = good.replace('"parameters": ', '"parameters": 1')
    for name, text in {"good": good, "newer": newer, "altered": altered, "cut": good[:200]}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(text)
    assert main(["report", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("warning: passed over") == 3
    assert "update coppice" in shown.err
    assert "changed after it was written" in shown.err
    assert "bdnn-digits" in shown.out
    (tmp_path / "good" / "record.json").unlink()
    assert main(["report", str(tmp_path)]) == 2
    assert "no readable record" in capsys.readouterr().err


# --- compact --------------------------------------------------------------------------------------------------


def half_dead() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[2].weight[:, :4] = 0
    return model


def test_compact_removes_dead_neurons_and_keeps_the_outputs(tmp_path: Path, capsys: Captured) -> None:
    model, file = half_dead(), tmp_path / "net.safetensors"
    save_model(model, file, purpose="test")
    assert main(["compact", str(file)]) == 0
    assert "dead neurons removed: 4 of 0" in capsys.readouterr().out
    small = load_model(tmp_path / "net.compact.safetensors")
    x = torch.randn(6, 5)
    torch.testing.assert_close(small(x), model(x))
    assert sum(p.numel() for p in small.parameters()) == 5 * 4 + 4 + 4 * 3 + 3
    before = (tmp_path / "net.compact.safetensors").read_bytes()
    assert main(["compact", str(file)]) == 2
    assert "add --force" in capsys.readouterr().err
    assert main(["compact", str(file), "--force", "--out", str(tmp_path / "other.safetensors")]) == 0
    assert (tmp_path / "net.compact.safetensors").read_bytes() == before
    assert (tmp_path / "other.safetensors").is_file()


def test_compact_takes_another_size_from_a_run(runs: Path, tmp_path: Path, capsys: Captured) -> None:
    run = runs / "search" / "0"
    path = record.read(run / "record.json")["result"]["path"]
    sizes = [step["parameters"] for step in path]
    for budget, wanted in ((sizes[1], sizes[1]), (sizes[1] - 1, sizes[2]), (10**6, sizes[0])):
        out = tmp_path / f"{budget}.safetensors"
        assert main(["compact", str(run), "--parameters", str(budget), "--out", str(out)]) == 0
        assert sum(p.numel() for p in load_model(out).parameters()) == wanted
    assert f"{sizes[0]:,}" in capsys.readouterr().out
    assert main(["compact", str(run), "--out", str(tmp_path / "final.safetensors")]) == 0
    final, own = load_model(tmp_path / "final.safetensors"), load_model(run / "model.safetensors")
    x = torch.randn(4, 64)
    torch.testing.assert_close(final(x), own(x))


def test_compact_refuses_what_it_cannot_compact(runs: Path, tmp_path: Path, capsys: Captured) -> None:
    def refused(*arguments: str) -> str:
        assert main(["compact", *arguments, "--out", str(tmp_path / "out.safetensors")]) == 2
        assert not (tmp_path / "out.safetensors").exists()
        return capsys.readouterr().err

    smallest = record.read(runs / "search" / "0" / "record.json")["result"]["path"][-1]["parameters"]
    few = refused(str(runs / "search" / "0"), "--parameters", "5")
    assert f"--parameters is 5, but the smallest network of the path has {smallest}" in few
    assert "no path to choose" in refused(str(runs / "dense" / "0"), "--parameters", "500")
    assert "holds no run" in refused(str(tmp_path))
    Folder(tmp_path / "begun").save({}, {"x": 1})
    assert "is not finished" in refused(str(tmp_path / "begun"))
    assert "holds no model" in refused(str(tmp_path / "begun" / "checkpoint.safetensors"))
    model = runs / "search" / "0" / "model.safetensors"
    assert "--parameters needs the folder of a run" in refused(str(model), "--parameters", "500")
    (tmp_path / "cut.safetensors").write_bytes(model.read_bytes()[:-9])
    assert "is damaged" in refused(str(tmp_path / "cut.safetensors"))
    (tmp_path / "notes.txt").write_text("words")
    assert "not a safetensors file" in refused(str(tmp_path / "notes.txt"))


def test_an_input_is_known_from_the_notes_or_the_first_layer() -> None:
    dense, convolution = nn.Sequential(nn.Flatten(), nn.Linear(6, 2)), nn.Sequential(nn.Conv2d(1, 2, 3))
    flat = compacting._example(dense, None)
    assert flat is not None
    assert flat.shape == (1, 6)
    assert compacting._example(convolution, None) is None
    noted = compacting._example(convolution, [1, 8, 8])
    assert noted is not None
    assert noted.shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("classification", "test accuracy 0.1815"),
        ("regression", "test R2 0.1815"),
        ("forecast", "test MAE in σ 0.1815"),
        ("stream", "mean test accuracy 0.1815"),
    ],
)
def test_the_line_at_the_end_of_a_run_says_what_its_score_is(task: str, words: str) -> None:
    from coppice.cli.terminal import ending
    from coppice.experiments import recipe
    from coppice.experiments.batch import Job, Outcome

    final = {"parameters": 1234, "test": 0.18149}
    found = {"task": task, "timing": {"seconds": 2.0}, "result": {"final": final}}
    told = ending(Outcome(Job(recipe.load("bdnn-digits"), "", 0, Path("runs")), found, None))
    assert told == f"seed 0: done, 2.0 s of training, 1,234 parameters, {words}"


# --- demo -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    from coppice.experiments import recipe

    whole = recipe.load
    tiny = {
        "bdnn-digits": [setting.removeprefix("--set=") for setting in TINY],
        "forecast": ["model.hidden=6", "training.epochs=2", "training.batch=128", "method.every=1"],
        "td-mcl-pmi-mini": STREAM,
    }
    monkeypatch.setattr(recipe, "load", lambda name: whole(name, tiny[name]))


# slow: ten processes that import torch
@pytest.mark.parametrize("cores", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("small_demo")
def test_the_demo_compares_with_the_same_training_and_runs_again(
    cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    for _ in range(2):
        assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    shown = capsys.readouterr().out
    assert "too large, trained as long" in shown
    assert "found by coppice" in shown
    assert "times fewer parameters" in shown
    search, dense = (record.read(tmp_path / "demo" / name / "record.json") for name in ("search", "dense"))
    assert dense["recipe"]["training"]["epochs"] == sum(search["result"]["epochs"].values())
    assert dense["recipe"]["model"] == search["recipe"]["model"]
    assert dense["seed"] == search["seed"]
    assert {"search.png", "search.svg", "report.html"} <= {
        file.name for file in (tmp_path / "demo").iterdir()
    }
    assert shown.endswith(f"report: {tmp_path / 'demo' / 'report.html'}\n")
    for word in (
        "like this week (persistence)",
        "dense LSTM",
        "pruned while it trained",
        "90 % of the synapses",
    ):
        assert word in shown
    pruned, whole = (
        record.read(tmp_path / "demo" / name / "record.json")
        for name in ("pruned-forecast", "dense-forecast")
    )
    assert pruned["recipe"]["data"] == whole["recipe"]["data"]
    assert (pruned["recipe"]["training"], pruned["seed"]) == (whole["recipe"]["training"], whole["seed"])
    assert pruned["result"]["final"]["bytes"] < whole["result"]["final"]["bytes"]
    assert pruned["result"]["final"]["alive"] < whole["result"]["final"]["alive"]
    tasks = record.read(tmp_path / "demo" / "tasks" / "record.json")["result"]
    for word in (
        "digits-1",
        "cart-pole",
        "local kernels died",
        "In the loop: cart-pole",
        "coppice learn NAME",
    ):
        assert word in shown
    assert f"{100 * tasks['accuracy']['rows'][1][1]:.1f}" in shown
    assert f"{tasks['tasks'][1]['synapses']:,}" in shown
    assert f"cart-pole {100 * tasks['in_the_loop']['cart-pole']['share']:.0f} %, of 100 %" in shown
