"""Remote files: from a folder that already has them, from the cache, or downloaded; checked by their checksums.

Of a set that may be there in another form, the reader checks the content.
"""

import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from coppice.data.extras import need

CHUNK = 1 << 16  # bytes read at a time
TIMEOUT = (10, 30)  # seconds to wait for a connection, and for the next bytes


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web whose content is known beforehand.

    `name` is its place below the data folder or cache ("mnist/t10k-labels-idx1-ubyte.gz"); `urls` are
    mirrors, tried in turn; `sha256` in lower-case hex; `size` in bytes. `by_hand` says how to get a file that
    no address delivers as it is, and then there are no urls.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str
    size: int
    by_hand: str = ""

    def elsewhere(self) -> Path | None:
        """A copy that is here already in another form; None unless a kind of file looks for one.

        Its content is checked here (RuntimeError) or by its reader. FileNotFoundError: a part of it lacks.
        """
        return None


class WrongFile(Exception):
    """A server sent something other than the expected file; what arrived is worth nothing."""


def origin() -> Literal["COPPICE_DATA", "cache"]:
    """Where `fetch` reads from: the user's folder when COPPICE_DATA is set, else the cache."""
    return "COPPICE_DATA" if os.environ.get("COPPICE_DATA") else "cache"


def cache_folder() -> Path:
    """COPPICE_CACHE when set, else the platform's cache folder for coppice."""
    chosen = os.environ.get("COPPICE_CACHE")
    return Path(chosen).expanduser() if chosen else Path(need("pooch").os_cache("coppice"))


def data_folder() -> Path:
    """The folder that `fetch` reads from: the user's, else the cache."""
    if origin() == "COPPICE_DATA":
        return Path(os.environ["COPPICE_DATA"]).expanduser()
    return cache_folder()


def mismatch(path: Path, file: RemoteFile) -> str | None:
    """How the file at `path` differs from what is expected, in words; None when it is right."""
    size = path.stat().st_size
    if size != file.size:
        return f"has {size} bytes, expected {file.size}"
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    return None if found == file.sha256 else f"has SHA-256 {found}, expected {file.sha256}"


def fetch(file: RemoteFile) -> Path:
    """Path of a local copy: from COPPICE_DATA, else from the cache, else downloaded into the cache; checked.

    Only a copy in another form may still have to be checked, by its reader: see `RemoteFile.elsewhere`.
    COPPICE_DATA is never written to. A cached file that fails its check is reported (UserWarning) and
    downloaded again. A broken download leaves `<file>.part`, which the next call resumes.
    FileNotFoundError: COPPICE_DATA lacks the file, or it is to be had by hand only. RuntimeError: wrong
    content, or no address delivers.
    """
    other = file.elsewhere()
    if other is not None:
        return other
    if not file.urls:
        raise FileNotFoundError(
            f"'{file.name}' is not in '{data_folder()}', and it cannot be downloaded on its own: {file.by_hand}, "
            f"or into the folder '{file.name.rpartition('/')[0]}' in it."
            + ("" if origin() == "COPPICE_DATA" else " COPPICE_DATA names another folder to look in.")
        )
    if origin() == "COPPICE_DATA":
        return _from_folder(data_folder(), file)
    cached = cache_folder() / file.name
    if cached.is_file():
        wrong = mismatch(cached, file)
        if wrong is None:
            return cached
        warnings.warn(f"The cached {cached} {wrong}: downloading it again.", UserWarning, stacklevel=2)
    return _download(file, cached)


def form(file: RemoteFile) -> str:
    """The name of the file or folder that `fetch` reads, whichever of its forms is there."""
    return (file.elsewhere() or Path(file.name)).name


def here(file: RemoteFile) -> bool:
    """Whether `fetch` would answer without a download and without an error."""
    try:
        if file.elsewhere() is not None:
            return True
    except (RuntimeError, FileNotFoundError):  # it is there, but it is not the right one, or not whole
        return False
    path = data_folder() / file.name
    return path.is_file() and mismatch(path, file) is None


def _from_folder(folder: Path, file: RemoteFile) -> Path:
    path = folder / file.name
    if not path.is_file():
        raise FileNotFoundError(
            f"COPPICE_DATA is '{folder}', but '{file.name}' is not in it: put the file there "
            f"(from {' or '.join(file.urls)}), or unset COPPICE_DATA to let coppice download it."
        )
    wrong = mismatch(path, file)
    if wrong is not None:
        raise RuntimeError(
            f"'{file.name}' in COPPICE_DATA ('{folder}') {wrong}: replace it by the original "
            f"(from {' or '.join(file.urls)}), or unset COPPICE_DATA to let coppice download it."
        )
    return path


def _download(file: RemoteFile, cached: Path) -> Path:
    pooch, requests, urllib3 = need("pooch"), need("requests"), need("urllib3")
    part = cached.with_name(cached.name + ".part")
    failures: list[str] = []
    pending = list(file.urls)
    while pending:
        url, resumed = pending.pop(0), part.exists()
        try:
            pooch.retrieve(
                url,
                known_hash=f"sha256:{file.sha256}",
                fname=file.name,
                path=cache_folder(),
                downloader=_Resume(file, part),
            )
        except WrongFile as wrong:
            failures.append(f"{url} {wrong}")
            if resumed:  # two versions may have been stitched together: once more, from the start
                pending.insert(0, url)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as broken:
            failures.append(f"{url} failed: {type(broken).__name__}: {broken}")
        except OSError as unwritable:
            raise RuntimeError(
                f"'{file.name}' cannot be written to the cache '{cache_folder()}' ({unwritable}): "
                "set COPPICE_CACHE to a folder with room that you may write to."
            ) from unwritable
        else:
            cached.chmod(0o644)  # pooch's temporary file is readable by its owner alone
            return cached
    kept = f" {part.stat().st_size} bytes are kept; the next try resumes there." if part.exists() else ""
    raise RuntimeError(
        f"'{file.name}' could not be downloaded, and nothing was cached.{kept} Tried:\n  "
        + "\n  ".join(failures)
        + f"\nWithout a network, set COPPICE_DATA to a folder that has the file as '{file.name}'."
    )


class _Resume:
    """A pooch downloader that begins with what an earlier try left in `part`, and leaves its own rest there.

    It works in pooch's temporary file, never in `part`: two processes cannot write to the same file.
    """

    def __init__(self, file: RemoteFile, part: Path) -> None:
        self.file, self.part = file, part

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        target = Path(output_file)
        if self.part.exists():
            os.replace(self.part, target)
        try:
            _stream(url, target, self.file)
        except WrongFile:
            raise
        except BaseException:  # Ctrl-C too: what has arrived is good
            if target.stat().st_size:
                os.replace(target, self.part)
            raise
        wrong = mismatch(target, self.file)
        if wrong is not None:
            raise WrongFile(f"sent a file that {wrong}")


def _stream(url: str, target: Path, file: RemoteFile) -> None:
    """Append to `target` what it still lacks; start over when the server cannot continue."""
    requests = need("requests")
    present = target.stat().st_size
    if present == file.size:
        return
    resume = 0 < present < file.size
    # identity: a range counts the bytes on the wire, and a .gz must not be unpacked on the way
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={present}-"} if resume else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        span = response.headers.get("Content-Range", "")
        partial = response.status_code == 206
        if response.status_code == 416 or (partial and not span.startswith(f"bytes {present}-")):
            raise WrongFile(f"answered {response.status_code} '{span}' when asked for bytes {present}-")
        response.raise_for_status()
        with (
            target.open("ab" if partial else "wb") as out,
            _progress(file, present if partial else 0) as advance,
        ):
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                out.write(chunk)
                advance(len(chunk))
                if out.tell() > file.size:
                    raise WrongFile(f"sends more than the expected {file.size} bytes")
        size = target.stat().st_size
        if size < file.size and "Content-Length" not in response.headers:
            # without a length a closed connection looks like an end
            raise requests.ConnectionError(f"the connection ended after {size} of {file.size} bytes")


@contextmanager
def _progress(file: RemoteFile, done: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr when that is a terminal; silence otherwise."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    need("rich")
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(file.name, total=file.size, completed=done)
        yield lambda count: bar.advance(task, count)
