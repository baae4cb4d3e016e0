"""Files known by their content: plain, packed, in a zip, in a package; what is wrong is refused."""

import gzip
import hashlib
import lzma
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from coppice.data import SETS, DataSet, Series, load, status
from coppice.data.fetch import fetch, here
from coppice.data.series_files import TextFile

CONTENT = b"ds,y\n" + b"".join(b"%d,%d\n" % (k, k * k) for k in range(50))
DIGEST = hashlib.sha256(CONTENT).hexdigest()
BY_HAND = "download https://example.org/a.zip and put it there as it is"
OTHER = TextFile("folder/other.txt", (), "", 0, BY_HAND)
FILE = TextFile("folder/table.csv", (), DIGEST, len(CONTENT), BY_HAND, instead=OTHER)


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["COPPICE_DATA", "cache"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("COPPICE_DATA", raising=False)
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path / "cache"))
    if request.param == "cache":
        (tmp_path / "cache" / "folder").mkdir(parents=True)
        return tmp_path / "cache"
    monkeypatch.setenv("COPPICE_DATA", str(tmp_path))
    (tmp_path / "folder").mkdir()
    return tmp_path


def zipped(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"inner/{name}.csv", content)


PACKINGS = {
    "folder/table.csv": lambda path: path.write_bytes(CONTENT),
    "folder/table.csv.gz": lambda path: path.write_bytes(gzip.compress(CONTENT)),
    "folder/table.csv.xz": lambda path: path.write_bytes(lzma.compress(CONTENT)),
    "folder/archive.zip": lambda path: zipped(path, readme=b"", table=CONTENT),
    "download.zip": lambda path: zipped(path, table=CONTENT),
}


@pytest.mark.parametrize("name", PACKINGS)
def test_the_same_content_is_found_however_it_is_packed(name: str, folder: Path) -> None:
    assert not here(FILE)
    zipped(folder / "folder" / "a_first.zip", unrelated=b"")
    PACKINGS[name](folder / name)
    assert here(FILE)
    assert fetch(FILE) == folder / name
    file, content, digests, place = FILE.read()
    assert (file, content) == (FILE, CONTENT)
    packed = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert digests == {FILE.name: DIGEST, **({} if name == FILE.name else {Path(name).name: packed})}
    assert place == ("cache" if folder.name == "cache" else "COPPICE_DATA")


@pytest.mark.parametrize("name", PACKINGS)
def test_other_content_and_damage_are_refused(name: str, folder: Path) -> None:
    PACKINGS[name](folder / name)
    if not name.endswith(".zip"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-9])
        with pytest.raises(RuntimeError, match=r"is damaged|with SHA-256") as refused:
            FILE.read()
        assert "replace it" in str(refused.value)
    wrong = CONTENT[:-1] + b"!"
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(Path(name).suffix)
    if name.endswith(".zip"):
        zipped(folder / name, table=wrong)
    else:
        (folder / name).write_bytes(pack(wrong) if pack else wrong)
    with pytest.raises(
        RuntimeError, match=rf"unpacked, has {len(wrong)} bytes with SHA-256 .*; expected .*{DIGEST}"
    ):
        FILE.read()
    with pytest.raises(RuntimeError, match=r"example.org/a.zip"):
        fetch(FILE)
    assert not here(FILE)


def test_what_is_nowhere_says_how_to_get_it(folder: Path) -> None:
    for ask in (fetch, TextFile.read):
        with pytest.raises(FileNotFoundError) as refused:
            ask(FILE)
        text = str(refused.value)
        assert (
            f"'folder/table.csv' is not in '{folder}', and it cannot be downloaded on its own: {BY_HAND}"
            in text
        )
        assert ("COPPICE_DATA names another folder" in text) == (folder.name == "cache")


def test_another_file_serves_as_well_when_the_first_is_absent(folder: Path) -> None:
    (folder / "folder" / "other.txt").write_bytes(b"whatever: its checksum is not known")
    assert here(FILE)
    file, content, digests, _ = FILE.read()
    assert (file, content, list(digests)) == (
        OTHER,
        b"whatever: its checksum is not known",
        ["folder/other.txt"],
    )
    (folder / FILE.name).write_bytes(CONTENT)
    assert FILE.read()[0] == FILE


def test_a_broken_zip_beside_it_is_passed_over(folder: Path) -> None:
    (folder / "folder" / "a.zip").write_bytes(b"PK nothing")
    PACKINGS["download.zip"](folder / "download.zip")
    assert fetch(FILE) == folder / "download.zip"


def test_a_zip_with_a_password_is_refused_by_its_name(folder: Path) -> None:
    zipped(folder / "download.zip", table=CONTENT)
    content = bytearray((folder / "download.zip").read_bytes())
    for head, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(head) + flags] |= 1
    (folder / "download.zip").write_bytes(content)
    with pytest.raises(RuntimeError, match=r"'download\.zip' in .* is damaged .*password.*: replace it"):
        FILE.read()


def test_a_file_may_come_from_an_installed_package(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "tables_of_somebody" / "data").mkdir(parents=True)
    (site / "tables_of_somebody" / "__init__.py").write_text("raise ImportError('it need not be imported')")
    (site / "tables_of_somebody" / "data" / "1.csv").write_bytes(CONTENT)
    information = site / "tables_of_somebody-2.5.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: tables-of-somebody\nVersion: 2.5\n")
    file = TextFile(
        FILE.name,
        ("https://example.org/t",),
        DIGEST,
        len(CONTENT),
        package=("tables_of_somebody", "data/1.csv"),
    )
    monkeypatch.setitem(SETS, "theirs", DataSet("theirs", "", "", "", (file,)))
    assert (here(file), status("theirs")) == (False, "not downloaded")
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    assert (here(file), status("theirs")) == (True, "embedded")
    _, content, _, place = file.read()
    assert (content, place) == (CONTENT, "tables_of_somebody 2.5")
    (folder / f"{FILE.name}.gz").write_bytes(gzip.compress(CONTENT))  # the user's own comes first
    assert fetch(file) == folder / f"{FILE.name}.gz"
    assert status("theirs") == ("cached" if folder.name == "cache" else "in COPPICE_DATA")


def test_every_file_of_a_set_is_named_in_the_error_that_asks_for_it(folder: Path) -> None:
    asked = []
    for name in ("air-quality", "bitcoin", "household-power", "sp500-stocks"):
        assert status(name) == "not downloaded"
        with pytest.raises(
            FileNotFoundError, match=r"cannot be downloaded on its own: download (it from )?https://"
        ):
            load(Series(name), 0)
        asked.append(name)
    assert len(asked) == 4


def test_what_can_be_downloaded_is_and_a_spoilt_copy_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "table.csv").write_bytes(CONTENT)
    handler = partial(Silent, directory=str(tmp_path / "served"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv("COPPICE_DATA", raising=False)
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/table.csv"
            file = TextFile("folder/table.csv", (url,), DIGEST, len(CONTENT))
            assert file.read()[1:] == (CONTENT, {"folder/table.csv": DIGEST}, "cache")
            (tmp_path / "cache" / "folder" / "table.csv").write_bytes(b"spoilt")
            assert not here(file)
            with pytest.warns(UserWarning, match=r"has 6 bytes, expected .*: downloading it again"):
                assert file.read()[1] == CONTENT
            assert here(file)
        finally:
            server.shutdown()
            thread.join()
