"""Runs that are watched: the unfinished records they keep, and the page that shows them."""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import coppice
from coppice.cli import main, watching
from coppice.cli.watching import LATE, REFRESH, Page, serving
from coppice.contract import Progress
from coppice.experiments import batch, live, record
from coppice.experiments.folder import Folder
from coppice.experiments.page import assemble
from tiny_recipes import FORECAST, SEARCH, STREAM, job, stop_after

pytestmark = pytest.mark.usefixtures("no_stopwatch")
Captured = pytest.CaptureFixture[str]
STUDY = [
    "model.hidden=6",
    "training.epochs=2",
    'study.name="forecasting"',
    'study.methods=["persistence", "dense", "pruned 0.9"]',
]
RUN = ["run", "bdnn-digits", *(f"--set={setting}" for setting in SEARCH)]


class Drawing:
    """Stands in for the page of a report: the records as JSON, and how often it was asked to draw."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int | None]] = []

    def __call__(
        self,
        records: Sequence[dict[str, Any]],
        *,
        title: str,
        refresh: int | None = None,
        skipped: Sequence[str] = (),
    ) -> str:
        self.calls.append((len(records), refresh))
        told = "".join(f"<li>{text}</li>" for text in skipped)
        return f"<title>{title}</title>{json.dumps([r.get('unfinished') for r in records])} µ{told}{refresh}"


class Clock:
    """Time for the page that passes only while somebody waits; then `meanwhile` happens."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.now, self.meanwhile = 100.0, meanwhile

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(watching, "time", found)
    return found


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Drawing:
    module, stand_in = ModuleType("coppice.experiments.page"), Drawing()
    module.render = stand_in  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "coppice.experiments.page", module)
    return stand_in


def watched(one: batch.Job, **options: Any) -> tuple[list[dict[str, Any]], batch.Outcome]:
    """The unfinished records after each unit, and how the run ended."""
    found: list[dict[str, Any]] = []

    def look(job: batch.Job, _: Progress) -> None:
        found.append(record.read(Folder(job.folder).live))

    (outcome,) = batch.run_all([one], watch=batch.Watch(progress=look), live=True, **options)
    return found, outcome


def interrupted(one: batch.Job, units: int = 3) -> Folder:
    """Its folder when it was stopped after so many units."""
    with pytest.raises(KeyboardInterrupt):
        batch.run_all([one], watch=batch.Watch(progress=stop_after(units)), live=True)
    return Folder(one.folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The record of a search at which nobody looked."""
    (outcome,) = batch.run_all([job(tmp_path_factory.mktemp("alone"))])
    assert outcome.record is not None
    return outcome.record


# --- unfinished records ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("every_unit")
@pytest.mark.parametrize(
    ("name", "settings", "grows"),
    [
        ("bdnn-digits", SEARCH, lambda result: [*result["pretraining"], *result["path"], *result["tuning"]]),
        ("forecast", FORECAST, lambda result: result["curve"]),
        (
            "td-mcl-pmi-mini",
            STREAM,
            lambda result: [
                unit
                for task in [*result["tasks"], *([result["learning"]] if "learning" in result else [])]
                for unit in task["curve"]
            ],
        ),
        ("forecast", STUDY, lambda result: list(result["parts"].items())),
    ],
)
def test_each_kind_of_run_tells_what_there_is_so_far(
    name: str, settings: list[str], grows: Callable[[dict[str, Any]], list[Any]], tmp_path: Path
) -> None:
    found, outcome = watched(job(tmp_path, name, settings))
    assert outcome.warnings == ()
    final = outcome.record
    assert final is not None
    whole = grows(final["result"])
    lengths = [len(grows(one["result"])) for one in found]
    assert lengths[0] == 0
    assert lengths == sorted(lengths)
    assert lengths[-1] == len(whole) >= 3
    for one, length in zip(found, lengths, strict=True):
        assert grows(one["result"]) == whole[:length]  # what was told stays as it was told
        assert {key: one[key] for key in ("name", "seed", "recipe", "data", "task")} == {
            key: final[key] for key in ("name", "seed", "recipe", "data", "task")
        }
        assert set(one) == {*final, "unfinished"}
        assert "final" not in one["result"]
        assert set(one["unfinished"]) == {"doing", "done", "written"}
    assert "learning" not in final["result"]
    assert (len({one["unfinished"]["doing"] for one in found}) > 1) is (settings is not FORECAST)
    assert not Folder(tmp_path / "0").live.exists()


def test_living_synapses_are_told_where_some_can_die(tmp_path: Path) -> None:
    told: list[Progress] = []
    watch = batch.Watch(progress=lambda _, now: told.append(now))
    (pruned,) = batch.run_all([job(tmp_path / "pruned", "forecast", FORECAST)], watch=watch)
    assert pruned.record is not None
    final = pruned.record["result"]["final"]
    dead = final["parameters"] - final["alive"]
    assert told[0].synapses == round(dead / final["sparsity"])
    assert told[-1].synapses == told[0].synapses - dead < told[0].synapses
    told.clear()
    (stream,) = batch.run_all([job(tmp_path / "stream", "td-mcl-pmi-mini", STREAM)], watch=watch)
    assert stream.record is not None
    assert [now.synapses for now in told[1:]] == [
        sum(unit["synapses"].values()) for task in stream.record["result"]["tasks"] for unit in task["curve"]
    ]
    told.clear()
    batch.run_all([job(tmp_path / "search")], watch=watch)
    assert {now.synapses for now in told} == {None}


@pytest.mark.usefixtures("every_unit")
def test_who_is_watched_comes_to_the_same_bits(alone: dict[str, Any], tmp_path: Path) -> None:
    found, outcome = watched(job(tmp_path))
    assert len(found) > 5
    assert outcome.record is not None
    assert outcome.record["fingerprint"] == alone["fingerprint"]


def test_nobody_looks_and_nothing_is_left_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.Live, "note", lambda self: pytest.fail("an unfinished record was written"))
    (outcome,) = batch.run_all([job(tmp_path)])
    assert outcome.error is None
    assert not Folder(tmp_path / "0").live.exists()


class Standing:
    """A process whose summary takes a while."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.wait = wait

    def progress(self) -> Progress:
        return Progress("waiting", None, 1, None)

    def summary(self) -> dict[str, Any]:
        self.wait()
        return {"curve": []}

    def timing(self) -> dict[str, Any]:
        return {"seconds": 0.0}


def test_records_are_a_second_apart_and_further_where_they_cost_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, cost, written = [100.0], [0.0], []

    def wait() -> None:
        now[0] += cost[0]
        written.append(now[0])

    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    keeper = live.Live(tmp_path / "live.json", Standing(wait), {})  # type: ignore[arg-type]
    for _ in range(11):
        keeper.note()
        now[0] += 0.25
    assert written == [100.0, 101.0, 102.0]
    now[0], cost[0] = 200.0, 0.5  # s to write one
    written.clear()
    for _ in range(48):
        keeper.note()
        now[0] += 0.25
    assert written == [200.5, 211.0]


@pytest.mark.usefixtures("every_unit")
def test_a_record_that_cannot_be_written_does_not_end_the_run(
    alone: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, tried = record.write, []

    def full(path: Path, content: dict[str, Any]) -> None:
        if path.name == "live.json":
            tried.append(path)
            raise OSError("no space left")
        write(path, content)

    monkeypatch.setattr(record, "write", full)
    (outcome,) = batch.run_all([job(tmp_path)], live=True)
    assert outcome.record is not None
    assert outcome.record["fingerprint"] == alone["fingerprint"]
    assert outcome.warnings == (f"the run cannot be watched: {tried[0]} was not written (no space left).",)
    assert len(tried) == 1


# --- killed, interrupted, resumed -----------------------------------------------------------------------------


def test_after_a_kill_the_run_goes_on_and_the_record_so_far_goes(
    alone: dict[str, Any], tmp_path: Path
) -> None:
    """kill -9 in the midst, the unfinished record lies about, and somebody who does not watch goes on."""
    program = (
        "import sys; from pathlib import Path; from coppice.experiments import batch, live;"
        "from coppice.experiments.folder import Folder;"
        "from coppice.experiments.recipe import load; from coppice.parts import cost;"
        "cost.latency = lambda model, example: 1e-5; live.PAUSE = live.SHARE = 0.0;"
        "folder = Folder(Path(sys.argv[1]) / '0');"
        "there = lambda *_: len(folder.shelf) >= 2 and (print('there', flush=True), sys.stdin.read());"
        "batch.run_all([batch.Job(load('bdnn-digits', sys.argv[2:]), '', 0, folder.path)], live=True,"
        " watch=batch.Watch(progress=there))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(coppice.__file__).parent.parent)}
    folder, pipe = Folder(tmp_path / "0"), subprocess.PIPE
    line = [sys.executable, "-c", program, str(tmp_path), *SEARCH]
    with subprocess.Popen(line, env=environment, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"  # and waits
        process.send_signal(signal.SIGKILL)
    assert record.read(folder.live)["unfinished"]["doing"]  # whole, however it was struck
    assert main([*RUN, "--out", str(tmp_path), "--resume"]) == 0
    assert record.read(folder.record)["fingerprint"] == alone["fingerprint"]
    assert not folder.live.exists()


@pytest.mark.parametrize("content", [b"", b'{"format": 9}', b"\xff\xfe"])
def test_a_broken_record_so_far_is_in_nobodys_way(
    content: bytes, alone: dict[str, Any], tmp_path: Path
) -> None:
    folder = interrupted(job(tmp_path))
    folder.live.write_bytes(content)
    found, outcome = watched(job(tmp_path), resume=True)
    assert found[0]["result"]["pretraining"]
    assert outcome.record is not None
    assert outcome.record["fingerprint"] == alone["fingerprint"]
    assert not folder.live.exists()


def test_an_old_record_so_far_is_not_taken_for_the_present(alone: dict[str, Any], tmp_path: Path) -> None:
    folder, there = interrupted(job(tmp_path)), list[bool]()
    assert folder.live.exists()
    look = batch.Watch(progress=lambda *_: there.append(folder.live.exists()))
    (outcome,) = batch.run_all([job(tmp_path)], resume=True, watch=look)
    assert outcome.record is not None
    assert outcome.record["fingerprint"] == alone["fingerprint"]
    assert set(there) == {False}


def test_a_record_so_far_alone_is_no_run(tmp_path: Path, alone: dict[str, Any]) -> None:
    """Killed before the first checkpoint: there is nothing to lose and nothing to go on with."""
    folder = Folder(tmp_path / "0")
    folder.path.mkdir()
    folder.live.write_text("{}")
    assert not folder.used
    assert main([*RUN, "--out", str(tmp_path)]) == 0
    assert record.read(folder.record)["fingerprint"] == alone["fingerprint"]
    assert not folder.live.exists()


# --- the page -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three runs, one has ended, one was interrupted, and one has not begun."""
    out = tmp_path_factory.mktemp("stopped")
    batch.run_all([job(out, seed=0)])
    interrupted(job(out, seed=1))
    return out


@pytest.fixture
def page(stopped: Path, drawing: Drawing) -> Page:
    return Page([job(stopped, seed=seed) for seed in range(3)], "three <runs>")


@pytest.fixture
def address(page: Page) -> Iterator[str]:
    with serving(page, port=0) as address:
        yield address


def fetched(address: str, **headers: str) -> tuple[int, Any, bytes]:
    request = urllib.request.Request(
        address, headers={key.replace("_", "-"): v for key, v in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def raw(address: str, method: str, path: str, host: str | None = None) -> tuple[int, bytes]:
    """Without the client's mending of paths."""
    connection = HTTPConnection(address.removeprefix("http://").rstrip("/"), timeout=20)
    connection.putrequest(method, path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_the_page_shows_what_there_is(address: str, drawing: Drawing) -> None:
    status, headers, body = fetched(address)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert body.decode().startswith("<title>three <runs></title>[null, {")
    assert "µ" in body.decode()
    assert drawing.calls == [(2, REFRESH)]
    status, headers, body = fetched(address + "records.json")
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    records = json.loads(body)
    assert [found["seed"] for found in records] == [0, 1]
    assert "final" in records[0]["result"]
    assert records[1]["unfinished"]["doing"].startswith("waiting; it was at: ")


@pytest.mark.parametrize(
    "path",
    [
        "/0/record.json",
        "/record.json",
        "/../0/record.json",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/records.json/",
        "/records.json/..",
        "/index.html",
        "/favicon.ico",
        "etc/passwd",
    ],
)
def test_nothing_else_is_there(path: str, address: str) -> None:
    status, body = raw(address, "GET", path)
    assert (status, body) == (404, b"There are / and /records.json.\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_sent(method: str, address: str) -> None:
    assert raw(address, method, "/")[0] == 501


def test_other_names_for_this_machine_are_refused(address: str) -> None:
    port = address.rstrip("/").rpartition(":")[2]
    for name in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "localhost"):
        assert raw(address, "GET", "/", name)[0] == 200
    for name in (
        f"evil.example:{port}",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:80",
    ):
        assert raw(address, "GET", "/records.json", name)[0] == 403


def test_the_address_it_was_given_is_its_name_too(drawing: Drawing, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Page([], "none"), "127.0.0.2", 0) as address:
        assert raw(address, "GET", "/")[0] == 200
        assert raw(address, "GET", "/", "[::1]")[0] == 200
        for name in ("", "127.0.0.3", "[::1", "evil.example"):
            assert raw(address, "GET", "/", name)[0] == 403
    found = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: found("127.0.0.1" if host == "Mine.local" else host, *rest, **more),
    )
    with serving(Page([], "none"), "Mine.local", 0) as address:
        assert address.startswith("http://Mine.local:")
        assert raw(address, "GET", "/")[0] == 200


def test_the_same_page_is_neither_drawn_nor_sent_twice(address: str, page: Page, drawing: Drawing) -> None:
    """Two that look on, and what neither has to wait for."""
    answers: list[tuple[int, Any, bytes]] = []
    threads = [threading.Thread(target=lambda: answers.append(fetched(address))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6
    assert len({body for _, _, body in answers}) == 1
    assert len(drawing.calls) == 1
    mark = answers[0][1]["ETag"]
    assert fetched(address, If_None_Match=mark)[0] == 304
    assert raw(address, "HEAD", "/") == (200, b"")
    page.watch().start(page.jobs[1])
    status, headers, _ = fetched(address, If_None_Match=mark)
    assert status == 200
    assert headers["ETag"] != mark


def test_a_long_page_is_packed_for_who_can_unpack_it(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LONG", 1000)
    _, headers, body = fetched(address + "records.json", Accept_Encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    _, headers, plain = fetched(address + "records.json")
    assert headers["Content-Encoding"] is None
    assert gzip.decompress(body) == plain


def test_what_cannot_be_read_is_left_out_and_named(stopped: Path, tmp_path: Path, drawing: Drawing) -> None:
    page = Page([job(tmp_path)], "one")
    live_file, good = Folder(tmp_path / "0").live, Folder(stopped / "1").live.read_text()
    assert page.records() == []
    assert b"no run has left anything yet" in page.html().body
    live_file.parent.mkdir()
    live_file.write_text(good[: len(good) // 2])
    assert page.records() == []
    live_file.write_text(good.replace('"seed": 1', '"seed": 7'))
    assert page.records() == []
    assert [text.partition(":")[0] for text in page.warnings] == ["not shown", "not shown"]
    assert all(str(live_file) in text for text in page.warnings)
    live_file.write_text(good)
    assert [found["seed"] for found in page.records()] == [1]
    Folder(tmp_path / "0").record.write_text("{")  # what there was is better than nothing
    assert [found["seed"] for found in page.records()] == [1]
    assert len(page.warnings) == 3


def test_a_run_that_failed_is_not_shown_as_at_work(page: Page) -> None:
    watch, second = page.watch(), page.jobs[1]
    watch.start(second)
    doing = page.records()[1]["unfinished"]["doing"]
    assert not doing.startswith("waiting")
    watch.end(batch.Outcome(second, None, "the loss is nan"))
    assert page.records()[1]["unfinished"]["doing"] == "failed: the loss is nan"
    assert page.records()[1]["unfinished"]["state"] == "failed"


def test_a_run_that_failed_and_left_nothing_is_named(page: Page, tmp_path: Path, drawing: Drawing) -> None:
    page.watch().end(batch.Outcome(page.jobs[2], None, "no <room>"))
    assert "<li>seed 2 failed: no <room></li>" in page.html().body.decode()
    alone = Page([job(tmp_path)], "one")
    alone.watch().end(batch.Outcome(alone.jobs[0], None, "no <room>"))
    alone.ended = True
    shown = alone.html().body.decode()
    assert "no run has left anything." in shown
    assert "seed 0 failed: no &lt;room&gt;" in shown


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"doing": "growing", "done": 0.4}, "Still at work: growing, 40 %."),
        ({"doing": "growing", "done": None}, "Still at work: growing."),
        ({"state": "failed", "doing": "failed: boom.", "done": 0.4}, "Failed: boom; 40 % was done."),
        (
            {"state": "waiting", "doing": "waiting; it was at: growing", "done": None},
            "Waiting; it was at: growing.",
        ),
    ],
)
def test_a_run_is_worded_by_its_state(told: dict[str, Any], words: str) -> None:
    assert assemble._standing(told) == words


def test_a_page_that_cannot_be_drawn_is_told_and_ends_nothing(
    page: Page, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise KeyError("curve")

    monkeypatch.setattr(page, "render", fail)
    status, _, body = fetched(address)
    assert (status, body) == (500, b"KeyError('curve')\n")
    assert list(page.warnings) == ["the page could not be drawn: KeyError('curve')"]
    assert fetched(address + "records.json")[0] == 200


# --- the end --------------------------------------------------------------------------------------------------


def test_nobody_is_waited_for_who_does_not_look(page: Page, clock: Clock) -> None:
    before = clock.now
    page.last_look()
    assert clock.now == before


def test_those_who_look_get_the_last_page(page: Page, drawing: Drawing, clock: Clock) -> None:
    looks: list[float] = []

    def look() -> None:
        if len(looks) < 2 and clock.now > 101 + len(looks):  # one after a second, the other after two
            looks.append(clock.now)
            page.look(page.html())

    page.look(page.html())
    page.look(page.html())
    clock.meanwhile = look
    page.last_look()
    assert len(looks) == 2
    assert clock.now == looks[1]
    assert drawing.calls == [(2, REFRESH), (2, None)]


def test_who_has_gone_away_is_not_waited_for_long(page: Page, clock: Clock) -> None:
    page.look(page.html())
    before = clock.now
    page.last_look()
    assert REFRESH + LATE <= clock.now - before < REFRESH + LATE + 1
    assert REFRESH + LATE < 10


def test_who_asks_whether_there_is_another_looks_once(page: Page, address: str, clock: Clock) -> None:
    """Told that nothing has changed, one has looked; told that there is another, one comes again for it."""
    mark = fetched(address)[1]["ETag"]

    def again() -> None:
        nonlocal mark
        request = urllib.request.Request(address, headers={"If-None-Match": mark}, method="HEAD")
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.headers["ETag"] != mark
        asked.append(clock.now)
        mark = fetched(address)[1]["ETag"]
        clock.meanwhile = lambda: None

    asked: list[float] = []
    clock.now += REFRESH
    request = urllib.request.Request(address, headers={"If-None-Match": mark}, method="HEAD")
    with pytest.raises(urllib.error.HTTPError, match="304"):
        urllib.request.urlopen(request, timeout=60)
    clock.now += REFRESH + LATE / 2  # the first look is long ago, that question is not
    clock.meanwhile = again
    page.last_look()
    assert asked == [clock.now]


def test_a_page_is_hashed_once_and_not_packed_for_a_question(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[bytes] = []
    mark = watching._mark
    monkeypatch.setattr(watching, "LONG", 10)
    monkeypatch.setattr(watching, "_mark", lambda body: hashed.append(body) or mark(body))
    monkeypatch.setattr(watching, "gzip", None)
    for _ in range(3):
        request = urllib.request.Request(address, headers={"Accept-Encoding": "gzip"}, method="HEAD")
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.headers["ETag"] == mark(hashed[0])
    assert len(hashed) == 1


# --- ports and addresses --------------------------------------------------------------------------------------


def taken() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def test_a_busy_port_is_refused_if_it_was_asked_for_and_passed_over_if_not(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    with taken() as listener:
        port = listener.getsockname()[1]
        says = f"--port is {port}, which is taken: choose another, or 0"
        with pytest.raises(ValueError, match=says), serving(page, port=port):
            pass
        monkeypatch.setattr(watching, "PORT", port)
        with serving(page) as first, serving(page) as second:
            assert len({first, second, f"http://127.0.0.1:{port}/"}) == 3
            assert fetched(first)[0] == fetched(second)[0] == 200
    with pytest.raises(urllib.error.URLError):
        fetched(first)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_of_another_machine_is_refused(host: str, page: Page) -> None:
    says = f"--host is '{host}', which is no address of this machine"
    with pytest.raises(ValueError, match=says), serving(page, host, 0):
        pass


def test_only_loopback_is_closed_to_others() -> None:
    assert [watching.open_to_others(host) for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9")] == [
        False
    ] * 4
    assert [watching.open_to_others(host) for host in ("0.0.0.0", "::", "192.0.2.1")] == [True] * 3


# --- the command ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", [["--port", "8000"], ["--host", "0.0.0.0"]])
def test_options_of_a_page_that_is_not_there_are_refused(
    option: list[str], tmp_path: Path, capsys: Captured
) -> None:
    assert main([*RUN, *option, "--out", str(tmp_path / "out")]) == 2
    assert "there is no page to serve: add --watch" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["plotly", "jinja2"])
def test_without_what_draws_the_page_nothing_is_begun(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main([*RUN, "--watch", "--port", "0", "--out", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr()
    assert f"'{package}' is not installed" in shown.err
    assert 'pip install "coppice[html]"' in shown.err
    assert shown.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("drawing")
def test_a_busy_port_is_told_before_anything_is_begun(tmp_path: Path, capsys: Captured) -> None:
    with taken() as listener:
        port = str(listener.getsockname()[1])
        assert main([*RUN, "--watch", "--port", port, "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: --port is {port}, which is taken")
    assert shown.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("every_unit")
def test_a_command_serves_its_runs_while_they_go_on(
    alone: dict[str, Any],
    drawing: Drawing,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    seen: list[list[Any]] = []
    served: list[str] = []
    run_all = batch.run_all

    def look(*_: Any) -> None:
        text = fetched(served[0].split()[1])[2].decode()
        seen.append(json.loads(text.partition("</title>")[2].rpartition(" ")[0]) if "[" in text else [{}])

    def spied(*arguments: Any, watch: batch.Watch, **options: Any) -> Any:
        served.append(capsys.readouterr().out)
        clock.meanwhile = look  # when they have ended
        return run_all(*arguments, watch=batch.Watch.together(watch, batch.Watch(progress=look)), **options)

    monkeypatch.setattr(batch, "run_all", spied)
    assert main([*RUN, "--watch", "--port", "0", "--out", str(tmp_path)]) == 0
    assert served[0].startswith("watch: http://127.0.0.1:")
    assert {found["doing"] for page in seen for found in page if found} > {"growing"}
    assert drawing.calls[-1] == (1, None)
    assert record.read(tmp_path / "0" / "record.json")["fingerprint"] == alone["fingerprint"]
    with pytest.raises(urllib.error.URLError):
        fetched(served[0].split()[1])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.usefixtures("drawing")
def test_stopped_by_hand_the_page_closes_and_the_hint_is_there(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threading.active_count()

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "run_all", stop)
    line = [*RUN, "--watch", "--port", "0", "--out", str(tmp_path / "out")]
    assert main(line) == 130
    shown = capsys.readouterr()
    assert "stopped; what was reached is kept" in shown.err
    assert shown.err.rstrip().endswith("--resume")
    assert threading.active_count() == before
    with pytest.raises(urllib.error.URLError):
        fetched(shown.out.split()[1])


@pytest.mark.usefixtures("drawing")
def test_who_opens_it_to_others_is_warned(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "run_all", lambda *_, **__: [])
    for host, warned in (("0.0.0.0", True), ("localhost", False)):
        assert main([*RUN, "--watch", "--host", host, "--port", "0", "--out", str(tmp_path / host)]) == 0
        assert ("there is no password" in capsys.readouterr().err) is warned


@pytest.mark.slow  # three times torch
@pytest.mark.usefixtures("drawing", "every_unit")
def test_runs_in_processes_of_their_own_are_watched_too(alone: dict[str, Any], tmp_path: Path) -> None:
    work = [job(tmp_path, seed=seed) for seed in (0, 1)]
    page, doing = Page(work, "two"), set[str]()

    def look(*_: Any) -> None:
        doing.update(found["unfinished"]["doing"] for found in page.records() if "unfinished" in found)

    watch = batch.Watch.together(page.watch(), batch.Watch(progress=look))
    outcomes = batch.run_all(work, workers=2, watch=watch, live=True)
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert doing
    assert [found["seed"] for found in page.records()] == [0, 1]
    assert all("final" in found["result"] for found in page.records())
    assert page.warnings == {}
    assert page.records()[0]["fingerprint"] == alone["fingerprint"]
