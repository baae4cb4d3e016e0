"""The page of `coppice run --watch`: what the runs of a batch have left so far, over HTTP, while they are at work.

Longer than others: the page and its server agree on who has looked, and when the last one may go.
"""

import errno
import gzip
import hashlib
import html
import ipaddress
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from coppice.data.extras import need
from coppice.experiments import record
from coppice.experiments.batch import Job, Outcome, Watch
from coppice.experiments.folder import Folder

HOST, PORT = "127.0.0.1", 8765
REFRESH = 5  # seconds after which a page asks for the next
LATE = 2  # seconds that a page may ask late
LONG = 10_000  # bytes, which are worth packing
HERE = ("localhost", "127.0.0.1", "::1")


class Drawn(NamedTuple):
    """A page, the mark by which another is told from it, and whether it is the last."""

    body: bytes
    mark: str
    last: bool


class Page:
    """The records of a batch, and the page that shows them. Safe to be asked by several threads.

    Raises ModuleNotFoundError where what draws the page is missing.
    """

    def __init__(self, jobs: Sequence[Job], title: str) -> None:
        for package in ("plotly", "jinja2"):
            need(package, "html")
        from coppice.experiments.page import render

        self.render: Callable[..., str] = render
        self.jobs, self.title = jobs, title
        self.ended = False
        self.warnings: dict[str, None] = {}
        self._begun: set[Path] = set()
        self._failed: dict[Path, str] = {}
        self._read: dict[Path, tuple[Any, dict[str, Any] | None]] = {}  # file -> when it changed, its record
        self._drawn: tuple[Any, Drawn] = (None, Drawn(b"", "", last=False))
        self._lock = threading.Lock()
        self._asked: list[float] = []  # when the page was asked for, lately
        self._last = 0  # times the last page was given

    def watch(self) -> Watch:
        def start(job: Job) -> None:
            self._begun.add(job.folder)

        def end(outcome: Outcome) -> None:
            if outcome.error is not None:
                self._failed[outcome.job.folder] = outcome.error

        return Watch(start=start, end=end)

    def records(self) -> list[dict[str, Any]]:
        """Of each job its record, or what there is of it so far; what cannot be read is left out and noted."""
        return [found for _, found in self._found() if found is not None]

    def html(self) -> Drawn:
        """The page as it is now; drawn again only if something changed, for drawing takes time from the runs."""
        ended, found = self.ended, self._found()  # in this order: what is drawn as the last page is whole
        records = [record for _, record in found if record is not None]
        lost = [
            f"{job.name} failed: {self._failed[job.folder]}"
            for job, record in found
            if record is None and job.folder in self._failed
        ]
        with self._lock:
            state = (ended, lost, [(found["fingerprint"], found.get("unfinished")) for found in records])
            if self._drawn[0] != state:
                refresh = None if ended else REFRESH
                draw = self.render if records else _nothing_yet
                body = draw(records, title=self.title, refresh=refresh, skipped=lost).encode()
                self._drawn = (state, Drawn(body, _mark(body), ended))
            return self._drawn[1]

    def look(self, drawn: Drawn) -> None:
        """Somebody has this one before them, and will ask for the next."""
        with self._lock:
            now = time.monotonic()
            self._asked = [*(then for then in self._asked if now - then < REFRESH + LATE), now]
            self._last += drawn.last

    def last_look(self) -> None:
        """The runs have ended: wait, not for long, until those who look on have the last page."""
        self.ended, now = True, time.monotonic()
        ages = [now - then for then in self._asked]
        # each asks once in that time, if it is not late
        several = max(sum(age < REFRESH for age in ages), any(age < REFRESH + LATE for age in ages))
        with suppress(KeyboardInterrupt):  # who stops this has lost nothing
            while self._last < several and time.monotonic() < now + REFRESH + LATE:
                time.sleep(0.05)

    def _found(self) -> list[tuple[Job, dict[str, Any] | None]]:
        with self._lock:
            read = [(job, self._record(Folder(job.folder))) for job in self.jobs]
            return [(job, None if found is None else self._standing(job, found)) for job, found in read]

    def _record(self, folder: Folder) -> dict[str, Any] | None:
        for file in (folder.record, folder.live):
            try:
                entry = file.stat()
            except OSError:
                continue
            changed = (entry.st_mtime_ns, entry.st_size, entry.st_ino)
            if self._read.get(file, (None,))[0] != changed:
                self._read[file] = (changed, self._opened(file))
            if (found := self._read[file][1]) is not None:
                return found
        return None

    def _opened(self, file: Path) -> dict[str, Any] | None:
        try:
            return record.read(file)
        except FileNotFoundError:  # it ended just now
            return None
        except (ValueError, OSError) as error:
            self.warnings[f"not shown: {error}"] = None
            return None

    def _standing(self, job: Job, found: dict[str, Any]) -> dict[str, Any]:
        """What a file cannot know: that its run has failed, or has not gone on yet."""
        if "unfinished" not in found:
            return found
        told = found["unfinished"]
        if job.folder in self._failed:
            told = {**told, "state": "failed", "doing": f"failed: {self._failed[job.folder]}"}
        elif job.folder not in self._begun:
            told = {**told, "state": "waiting", "doing": f"waiting; it was at: {told['doing']}"}
        return {**found, "unfinished": told}


def _mark(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _nothing_yet(_: Sequence[dict[str, Any]], title: str, refresh: int | None, skipped: Sequence[str]) -> str:
    lost = "".join(f"<p>{html.escape(text)}</p>" for text in skipped)
    again = "" if refresh is None else '<meta http-equiv="refresh" content="2">'
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{again}<title>{html.escape(title)}</title>'
        f"<p>{html.escape(title)}: no run has left anything{'' if refresh is None else ' yet'}.</p>{lost}</html>"
    )


class _Server(ThreadingHTTPServer):
    def __init__(self, host: str, port: int, page: Page) -> None:
        where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self.address_family, self.page = where[0], page
        address = where[4][0]
        self.local = ipaddress.ip_address(address).is_loopback
        self.names = {*HERE, host.lower(), address}
        super().__init__((address, port), _Answer)  # type: ignore[arg-type]

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(error := sys.exception(), OSError):  # who has gone away is no error
            self.page.warnings[f"the page failed: {error!r}"] = None


class _Answer(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "coppice", ""
    timeout = 10  # seconds for a request that does not come to its end

    def do_GET(self) -> None:
        # a page from elsewhere could point a name of its own at this machine, and read along
        if self.server.local and _host(self.headers.get("Host", "")) not in self.server.names:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"This page answers to localhost only.\n")
            return
        page, path = self.server.page, self.path.partition("?")[0]
        if path == "/":
            try:
                shown = page.html()
            except Exception as error:  # the runs go on, whoever cannot draw them
                page.warnings[f"the page could not be drawn: {error!r}"] = None
                self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", f"{error!r}\n".encode())
                return
            # who is told that there is another page comes again for it at once
            if self.command == "GET" or self.headers.get("If-None-Match") == shown.mark:
                page.look(shown)
            self._send(HTTPStatus.OK, "text/html", shown.body, shown.mark)
        elif path == "/records.json":
            self._send(HTTPStatus.OK, "application/json", json.dumps(page.records()).encode())
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"There are / and /records.json.\n")

    do_HEAD = do_GET

    def _send(self, status: HTTPStatus, kind: str, body: bytes, mark: str = "") -> None:
        mark = mark or _mark(body)
        if self.headers.get("If-None-Match") == mark:
            status, body = HTTPStatus.NOT_MODIFIED, b""
        asked = self.command == "HEAD"  # again and again, whether there is another: that costs nothing
        packed = not asked and "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > LONG
        if packed:  # the page may come through a tunnel
            body = gzip.compress(body, 1)
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        if not asked:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-cache")
        self.send_header("ETag", mark)
        self.send_header("Vary", "Accept-Encoding")
        self.send_header("X-Content-Type-Options", "nosniff")
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if not asked:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...  # the terminal belongs to the runs


@contextmanager
def serving(page: Page, host: str = HOST, port: int | None = None) -> Iterator[str]:
    """Serve the page until the end of the block; yields its address. Without a port, PORT, or any that is free.

    Raises ValueError where it cannot be served.
    """
    server = _bound(page, host, port)
    shown = f"[{host}]" if ":" in host else host
    if ipaddress.ip_address(str(server.server_address[0])).is_unspecified:
        shown = socket.gethostname()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield f"http://{shown}:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _host(header: str) -> str | None:
    """The name in a Host header, without port and brackets; None where it is none."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def open_to_others(host: str) -> bool:
    """Whether others than this machine may reach what is served there."""
    try:
        return not ipaddress.ip_address(socket.gethostbyname(host) if ":" not in host else host).is_loopback
    except (OSError, ValueError):
        return True


def _bound(page: Page, host: str, port: int | None) -> _Server:
    try:
        return _Server(host, PORT if port is None else port, page)
    except socket.gaierror as error:
        raise ValueError(f"--host is '{host}', which is no address of this machine: leave it out.") from error
    except OSError as error:
        if port is None and error.errno == errno.EADDRINUSE:
            return _bound(page, host, 0)
        if error.errno == errno.EADDRNOTAVAIL:
            raise ValueError(
                f"--host is '{host}', which is no address of this machine: leave it out."
            ) from error
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
        raise ValueError(
            f"--port is {port if port is not None else PORT}, which {why}: choose another, or 0 for any that is free."
        ) from error
