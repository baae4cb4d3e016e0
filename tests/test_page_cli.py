"""coppice report and coppice demo, up to the page that they write."""

import json
import os
import shutil
import sys
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from coppice.cli import demo_forecast, demo_search, demo_tasks, main, running
from coppice.experiments import record
from pages import RESULTS, committed, drawn

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two seeds of a search."""
    for seed in (0, 1):
        shutil.copytree(RESULTS / "bdnn-digits" / str(seed), tmp_path / "runs" / str(seed))
    return tmp_path / "runs"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not addresses.append(address))
    return addresses


def test_the_page_of_one_place_lies_in_it(runs: Path, opened: list[str], capsys: Captured) -> None:
    assert main(["report", str(runs)]) == 0
    shown = capsys.readouterr().out
    assert shown.endswith(f"report: {runs / 'report.html'}\n")
    assert "<title>bdnn-digits · coppice" in (runs / "report.html").read_text()
    assert main(["report", str(runs / "1" / "record.json"), "--open"]) == 0
    assert "<title>bdnn-digits, seed 1 · coppice" in (runs / "1" / "report.html").read_text()
    assert opened == [(runs / "1" / "report.html").resolve().as_uri()]


def test_the_page_of_several_places_lies_in_the_current_folder(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(runs / "0"), str(runs / "1")]) == 0
    assert (tmp_path / "report.html").is_file()
    assert main(["report", str(runs), "--html", str(tmp_path / "new" / "mine.html")]) == 0
    assert (tmp_path / "new" / "mine.html").is_file()
    assert not (runs / "report.html").exists()


def test_no_other_file_is_written_over(runs: Path, capsys: Captured) -> None:
    notes = runs / "report.html"
    notes.write_text("my own")
    assert main(["report", str(runs)]) == 2
    shown = capsys.readouterr()
    assert "no report of coppice: choose another file or folder" in shown.err
    assert shown.out == ""  # before anything is computed
    assert notes.read_text() == "my own"


def test_unreadable_records_are_named_in_the_page_and_the_rest_is_shown(runs: Path, capsys: Captured) -> None:
    good = (runs / "0" / "record.json").read_text()
    (runs / "bytes").mkdir()
    (runs / "bytes" / "record.json").write_bytes(b"\xff\xfe\x00")
    (runs / "newer").mkdir()
    (runs / "newer" / "record.json").write_text(json.dumps({**json.loads(good), "format": 2}))
    (runs / "folder" / "record.json").mkdir(parents=True)
    assert main(["report", str(runs)]) == 0
    assert capsys.readouterr().err.count("warning: passed over") == 3
    page = (runs / "report.html").read_text()
    told = page.split("Passed over:")[1].split("</div>")[0]
    assert told.count("<li>") == 3
    assert "update coppice" in told
    assert all(str(runs / name) in told for name in ("bytes", "newer", "folder"))
    assert any("run-0" in address for address in drawn(page))


def test_a_run_at_work_is_passed_over_by_name(runs: Path, capsys: Captured) -> None:
    found = json.loads((runs / "0" / "record.json").read_text())
    standing = {"doing": "growing", "done": 0.5, "written": "2026-01-01T00:00:00Z"}
    record.write(runs / "0" / "live.json", {**found, "unfinished": standing, "result": {"pretraining": []}})
    assert main(["report", str(runs / "0" / "live.json")]) == 2
    shown = capsys.readouterr().err
    assert f"passed over: {runs / '0' / 'live.json'} is of a run that is not finished" in shown
    assert "--resume" in shown
    assert "no readable record" in shown
    assert main(["report", str(runs / "0" / "live.json"), str(runs), "--html", str(runs / "all.html")]) == 0
    assert "is of a run that is not finished" in (runs / "all.html").read_text()


def test_nothing_readable_is_an_error_and_no_page(runs: Path, capsys: Captured) -> None:
    for seed in (0, 1):
        (runs / str(seed) / "record.json").write_text("{}")
    assert main(["report", str(runs)]) == 2
    assert "no readable record" in capsys.readouterr().err
    assert not (runs / "report.html").exists()


def test_without_plotly_the_tables_stand_and_the_way_to_the_page_is_named(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    without_plotly(monkeypatch)
    assert main(["report", str(runs)]) == 1
    shown = capsys.readouterr()
    assert "bdnn-digits" in shown.out
    assert 'pip install "coppice[html]"' in shown.err
    assert not (runs / "report.html").exists()


def test_no_browser_is_told(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert main(["report", str(runs), "--open"]) == 0
    assert f"no browser was found: open {runs / 'report.html'} in one." in capsys.readouterr().err


def without_plotly(monkeypatch: pytest.MonkeyPatch) -> None:
    __import__("coppice.experiments.page.render")
    sys.modules["coppice.experiments.page.render"]._plotly.cache_clear()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "plotly.offline", None)


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The runs of the demo, each done before it is asked for; what is asked for."""
    asked, shown = list[Any](), list[str]()
    searches, (stream, *_) = committed("bdnn-digits/*"), committed("order-pmi-mini/*/0")

    def done(jobs: list[Any], workers: int, then: dict[Path, Any], show: Any) -> None:
        asked.append((*(job.folder.name for job in jobs), workers))
        asked.append(tuple((folder.name, call(searches[4])) for folder, call in then.items()))
        asked.append(shown)
        runs = {"tasks": stream, "search": searches[4], "dense": searches[0]}
        runs |= {"pruned-forecast": searches[1], "dense-forecast": searches[2]}
        for name, run in runs.items():
            show(jobs[0].folder.parent / name, run)

    monkeypatch.setattr(running, "run_together", done)
    for module in (demo_search, demo_forecast, demo_tasks):
        monkeypatch.setattr(module, "show", lambda *_, name=module.__name__: shown.append(name))
    return asked


def test_the_demo_ends_with_its_report(
    demo: list[Any], opened: list[str], tmp_path: Path, capsys: Captured
) -> None:
    assert main(["demo", "--out", str(tmp_path), "--open"]) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'report.html'}\n"
    page = (tmp_path / "report.html").read_text()
    assert "<title>coppice demo" in page
    assert "5 runs" in page
    (*first, workers), ((asked, dense),), shown = demo
    assert first == ["tasks", "pruned-forecast", "dense-forecast", "search"]
    assert [name.rpartition("_")[2] for name in shown] == [
        "tasks",
        "search",
        "forecast",
    ]  # each when its runs are done
    assert workers == min(2, os.cpu_count() or 1)
    assert (asked, dense.folder.name) == ("search", "dense")
    assert dense.recipe.training.epochs == sum(committed("bdnn-digits/*")[4]["result"]["epochs"].values())
    assert opened == [(tmp_path / "report.html").resolve().as_uri()]


def test_the_demo_without_plotly_says_so_in_a_line(
    demo: list[Any], opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    without_plotly(monkeypatch)
    assert main(["demo", "--out", str(tmp_path), "--open"]) == 0
    told = capsys.readouterr().err
    assert told.startswith("no report: ")
    assert 'pip install "coppice[html]"' in told
    assert opened == []


def test_the_demo_refuses_another_file_before_it_begins(
    demo: list[Any], tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "report.html").write_text("my own")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "no report of coppice" in capsys.readouterr().err
    assert demo == []


@pytest.mark.parametrize("command", ["report", "demo"])
def test_help_names_the_page(command: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--open" in shown
    assert "report.html" in shown
