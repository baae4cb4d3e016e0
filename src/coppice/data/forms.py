"""Data that may lie in the data folder in one of several forms: an archive, a folder, a file made of them."""

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from coppice.data.fetch import RemoteFile, data_folder

# What zipfile, gzip and lzma raise of bytes that are no whole archive, each seen by changing bytes of good files:
# checksums and names that differ, garbage to inflate, an end too soon, and (RuntimeError) flags of versions, methods or
# passwords
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile, RuntimeError)


@dataclass(frozen=True)
class OneOf(RemoteFile):
    """A set that has other forms than the file `name`: the first of `forms` that is in the data folder.

    A file may lie at the top of that folder as well, a folder not; an empty folder is passed over.
    Where `urls` is empty it is to be had by hand, and `sha256` is that of the content, as its reader defines it and
    checks it; "" when that is not known.
    """

    forms: tuple[str, ...] = ()

    def elsewhere(self) -> Path | None:
        folder = data_folder()
        if self.urls and (folder / self.name).is_file():
            return None  # the original itself, which `fetch` checks
        places = [place for form in self.forms for place in (folder / form, folder / Path(form).name)]
        return next((place for place in places if _holds(place, folder)), None)


def _holds(place: Path, folder: Path) -> bool:
    if place.is_dir():
        return place.parent != folder and any(place.iterdir())  # a name such as Train says little at the top
    return place.is_file()


def check(file: RemoteFile, digest: str) -> None:
    """RuntimeError when the content that was read of a file is not the expected one."""
    if file.sha256 and digest != file.sha256:
        raise RuntimeError(
            f"The content of '{file.name}' has SHA-256 {digest}, expected {file.sha256}: replace it by the original "
            f"({file.by_hand})."
        )


def members(path: Path, wanted: Callable[[str], bool]) -> list[tuple[str, bytes]]:
    """The wanted files of a .zip, a .tar.* or a folder: their names in it, with slashes, sorted, and their content.

    ValueError: a damaged archive, or nothing wanted is in it.
    """
    try:
        found = sorted(_members(path, wanted))
    except (*DAMAGE, tarfile.TarError, OSError) as broken:
        raise ValueError(f"'{path.name}' in '{path.parent}' is damaged ({broken}): replace it.") from broken
    if not found:
        raise ValueError(
            f"'{path.name}' in '{path.parent}' has none of the files looked for: it is another archive, replace it."
        )
    return found


def _members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in path.rglob("*"):
            name = file.relative_to(path).as_posix()
            if wanted(name) and file.is_file():
                yield name, file.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if wanted(name):
                    yield name, archive.read(name)
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                opened = archive.extractfile(member) if wanted(member.name) else None
                if opened is not None:
                    yield member.name, opened.read()
