"""Remote files: checked, resumed, refused. A server on the loopback plays every fault."""

import hashlib
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from coppice.data import extras
from coppice.data import fetch as fetch_module
from coppice.data.fetch import RemoteFile, cache_folder, fetch, here, origin

CONTENT = bytes(k * k % 251 for k in range(200_000))  # several chunks
HALF = len(CONTENT) // 2
NAME = "mnist/images.gz"


class Server(ThreadingHTTPServer):
    """Serves CONTENT with the fault named by the path; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    def file(self, *faults: str, content: bytes = CONTENT) -> RemoteFile:
        urls = tuple(f"http://127.0.0.1:{self.server_port}/{fault}" for fault in faults)
        return RemoteFile(NAME, urls, hashlib.sha256(content).hexdigest(), len(content))


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        fault, wanted = self.path.strip("/"), self.headers["Range"]
        self.server.asked.append((fault, wanted))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and fault != "norange" else 0
        if fault == "missing" or (fault == "unsatisfiable" and wanted):
            self.send_error(404 if fault == "missing" else 416)
            return
        body = CONTENT[start:]
        sent = body
        if fault == "wrong":
            sent = body = bytes(reversed(body))
        elif fault == "short":
            sent = body = body[:-1]
        elif fault == "long":
            sent = body = body + b"!" * 100_000
        elif fault in ("broken", "unannounced"):
            sent = body[: HALF - start]
        self.send_response(206 if start else 200)
        if start:
            claimed = 0 if fault == "shifted" else start
            self.send_header("Content-Range", f"bytes {claimed}-{len(CONTENT) - 1}/{len(CONTENT)}")
        if fault == "labelled":  # a server that takes the .gz suffix for a transport encoding
            self.send_header("Content-Encoding", "gzip")
        if fault != "unannounced":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(sent)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("COPPICE_DATA", raising=False)
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def put_part(cache: Path, content: bytes) -> None:
    part = cache / f"{NAME}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content)


# --- downloads that succeed


def test_a_file_is_downloaded_once_and_then_read_from_the_cache(server: Server, cache: Path) -> None:
    file = server.file("good")
    assert not here(file)
    path = fetch(file)
    assert path == cache / NAME
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o044 == 0o044
    assert fetch(file) == path
    assert here(file)
    assert server.asked == [("good", None)]
    assert stored(cache) == ["images.gz"]


def test_a_broken_download_is_resumed_where_it_stopped(server: Server, cache: Path) -> None:
    with pytest.raises(RuntimeError, match=rf"nothing was cached. {HALF} bytes are kept"):
        fetch(server.file("broken"))
    assert stored(cache) == ["images.gz.part"]
    assert (cache / f"{NAME}.part").read_bytes() == CONTENT[:HALF]
    assert fetch(server.file("good")).read_bytes() == CONTENT
    assert server.asked == [("broken", None), ("good", f"bytes={HALF}-")]
    assert stored(cache) == ["images.gz"]


def test_the_next_mirror_continues_what_the_first_one_began(server: Server, cache: Path) -> None:
    assert fetch(server.file("missing", "broken", "good")).read_bytes() == CONTENT
    assert server.asked == [("missing", None), ("broken", None), ("good", f"bytes={HALF}-")]


def test_a_connection_that_ends_without_an_announced_length_is_resumed_too(server: Server) -> None:
    assert fetch(server.file("unannounced", "good")).read_bytes() == CONTENT
    assert server.asked[-1] == ("good", f"bytes={HALF}-")


def test_a_server_without_ranges_starts_over(server: Server, cache: Path) -> None:
    put_part(cache, CONTENT[:777])
    assert fetch(server.file("norange")).read_bytes() == CONTENT
    assert server.asked == [("norange", "bytes=777-")]


def test_a_complete_part_needs_no_request(server: Server, cache: Path) -> None:
    put_part(cache, CONTENT)
    assert fetch(server.file("good")).read_bytes() == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("part", [b"?" * 777, b"?" * len(CONTENT)])
def test_a_part_of_another_version_is_dropped_and_the_download_begins_again(
    part: bytes, server: Server, cache: Path
) -> None:
    put_part(cache, part)
    assert fetch(server.file("good")).read_bytes() == CONTENT
    assert server.asked[-1] == ("good", None)


def test_a_part_that_is_too_long_is_overwritten(server: Server, cache: Path) -> None:
    put_part(cache, CONTENT + b"?")
    assert fetch(server.file("good")).read_bytes() == CONTENT
    assert server.asked == [("good", None)]


@pytest.mark.parametrize("fault", ["shifted", "unsatisfiable"])
def test_a_range_answered_wrongly_begins_again(fault: str, server: Server, cache: Path) -> None:
    put_part(cache, CONTENT[:777])
    assert fetch(server.file(fault)).read_bytes() == CONTENT
    assert server.asked == [(fault, "bytes=777-"), (fault, None)]


def test_bytes_are_kept_as_sent_whatever_the_encoding_header_says(server: Server) -> None:
    assert fetch(server.file("labelled")).read_bytes() == CONTENT


def test_a_spoilt_cached_file_is_reported_and_downloaded_again(server: Server, cache: Path) -> None:
    (cache / "mnist").mkdir(parents=True)
    (cache / NAME).write_bytes(bytes(reversed(CONTENT)))
    with pytest.warns(UserWarning, match="has SHA-256 .* downloading it again"):
        path = fetch(server.file("good"))
    assert path.read_bytes() == CONTENT


# --- downloads that fail


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("wrong", f"has SHA-256 {hashlib.sha256(CONTENT[::-1]).hexdigest()}, expected "),
        ("short", f"has {len(CONTENT) - 1} bytes, expected {len(CONTENT)}"),
        ("long", f"more than the expected {len(CONTENT)} bytes"),
    ],
)
def test_wrong_content_is_refused_and_nothing_stays(
    fault: str, found: str, server: Server, cache: Path
) -> None:
    with pytest.raises(
        RuntimeError, match=f"'{NAME}' could not be downloaded.*nothing was cached. Tried"
    ) as e:
        fetch(server.file(fault))
    assert found in str(e.value)
    assert stored(cache) == []
    assert server.asked == [(fault, None)]


def test_every_mirror_is_tried_and_named(server: Server, cache: Path) -> None:
    with socket.socket() as unused:  # bound but not listening: connections are refused
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/gone"
        file = server.file("missing", "wrong")
        with pytest.raises(RuntimeError) as caught:
            fetch(RemoteFile(file.name, (dead, *file.urls), file.sha256, file.size))
    text = str(caught.value)
    for piece in (dead, *file.urls, "404", "ConnectionError", "SHA-256", "COPPICE_DATA", NAME):
        assert piece in text
    assert stored(cache) == []


def test_an_interrupted_download_keeps_what_has_arrived(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    class Stop:
        def __enter__(self) -> object:
            return interrupt

        def __exit__(self, *_: object) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr(fetch_module, "_progress", lambda *_: Stop())
        with pytest.raises(KeyboardInterrupt):
            fetch(server.file("good"))
    assert stored(cache) == ["images.gz.part"]
    assert fetch(server.file("good")).read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={fetch_module.CHUNK}-"


def test_a_cache_that_cannot_be_written_names_the_way_out(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "a file, not a folder"
    blocked.write_text("")
    monkeypatch.setenv("COPPICE_CACHE", str(blocked))
    with pytest.raises(RuntimeError, match=r"cannot be written to the cache .* set COPPICE_CACHE"):
        fetch(server.file("good"))


# --- the user's own folder


def test_the_users_folder_is_read_and_never_written(
    server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "given"
    monkeypatch.setenv("COPPICE_DATA", str(folder))
    file = server.file("good")
    assert origin() == "COPPICE_DATA"
    assert not here(file)
    with pytest.raises(
        FileNotFoundError, match=rf"COPPICE_DATA is '{folder}', but '{NAME}'.*unset COPPICE_DATA"
    ):
        fetch(file)
    (folder / "mnist").mkdir(parents=True)
    (folder / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(RuntimeError, match=f"has {len(CONTENT) - 1} bytes, expected {len(CONTENT)}"):
        fetch(file)
    (folder / NAME).write_bytes(CONTENT[::-1])
    with pytest.raises(RuntimeError, match=f"has SHA-256 .* expected {file.sha256}"):
        fetch(file)
    assert not here(file)
    (folder / NAME).write_bytes(CONTENT)
    assert fetch(file) == folder / NAME
    assert here(file)
    assert stored(folder) == ["images.gz"]
    assert server.asked == []
    assert not cache.exists()


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPPICE_DATA", "")
    monkeypatch.setenv("COPPICE_CACHE", "")
    assert origin() == "cache"
    assert cache_folder().name == "coppice"


# --- around


def test_a_bar_is_drawn_on_a_terminal_only(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    fetch(server.file("good"))
    assert "mnist/images.gz" in capsys.readouterr().err.replace("\x1b[0m", "")


def test_no_bar_without_a_terminal(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)  # importing it would fail
    assert fetch(server.file("good")).read_bytes() == CONTENT


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"'coppice_absent' is not installed.*coppice\[data\]"):
        extras.need("coppice_absent")
