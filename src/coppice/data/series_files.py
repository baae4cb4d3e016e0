"""Text files known by what is in them, however they are packed."""

import gzip
import hashlib
import importlib.util
import lzma
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from coppice.data.fetch import RemoteFile, data_folder, fetch, origin
from coppice.data.forms import DAMAGE


@dataclass(frozen=True)
class TextFile(RemoteFile):
    """A file of which `sha256` and `size` are those of the unpacked content; sha256 "" when it is not known.

    It may lie in the data folder as `name`, as `name` with .gz or .xz, or in a .zip beside it or at the top.
    `package`: an installed package that holds it too, and the place in it. `instead`: another file that serves as well.
    """

    package: tuple[str, str] | None = None
    instead: "TextFile | None" = None

    def elsewhere(self) -> Path | None:
        """The first copy, packed or not, in the data folder or in the package.

        RuntimeError when a copy has other content.
        """
        found = self._find()
        if found is None:
            return None
        file, path = found
        if file.sha256:  # the content of the others is judged by their readers
            file._checked(path)
        return path

    def read(self) -> tuple["TextFile", bytes, dict[str, str], str]:
        """Which file it is (this one or `instead`), its unpacked content, checksums by name, where it was read.

        Errors of `fetch` pass.
        """
        file, path = self._find() or (self, fetch(self))
        content = file._checked(path)
        digests = {file.name: hashlib.sha256(content).hexdigest()}
        if path.name != Path(file.name).name:
            with path.open("rb") as packed:
                digests[path.name] = hashlib.file_digest(packed, "sha256").hexdigest()
        place: str = origin()
        if file.package is not None and path == file._in_package():
            place = f"{file.package[0]} {version(file.package[0])}"
        return file, content, digests, place

    def packaged(self) -> bool:
        """Whether it comes from an installed package, since the data folder has none."""
        return self._in_folder() is None and self._in_package() is not None

    def _find(self) -> tuple["TextFile", Path] | None:
        path = self._in_folder() or self._in_package()
        if path is not None:
            return self, path
        return None if self.instead is None else self.instead._find()

    def _in_folder(self) -> Path | None:
        place = data_folder() / self.name
        plain = () if self.urls else (place,)  # what can be downloaded, `fetch` checks and repairs itself
        for path in (*plain, place.with_name(place.name + ".gz"), place.with_name(place.name + ".xz")):
            if path.is_file():
                return path
        archives = [*sorted(place.parent.glob("*.zip")), *sorted(data_folder().glob("*.zip"))]
        return next((archive for archive in archives if member(archive, place.name)), None)

    def _in_package(self) -> Path | None:
        if self.package is None:
            return None
        found = importlib.util.find_spec(self.package[0])  # finds a package without importing it
        for folder in (found.submodule_search_locations or ()) if found else ():
            path = Path(folder) / self.package[1]
            if path.is_file():
                return path
        return None

    def _checked(self, path: Path) -> bytes:
        content = unpacked(path, self.name)
        digest = hashlib.sha256(content).hexdigest()
        if self.sha256 and digest != self.sha256:
            source = " or ".join(self.urls) or self.by_hand
            raise RuntimeError(
                f"'{path.name}' in '{path.parent}', unpacked, has {len(content)} bytes with SHA-256 {digest}; "
                f"expected {self.size} bytes with {self.sha256}: replace it by the original ({source})."
            )
        return content


def member(archive: Path, name: str) -> str | None:
    """The path, inside a .zip, of the file called `name` in whatever folder; None when there is none."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return next((inner for inner in opened.namelist() if inner.rpartition("/")[2] == name), None)
    except DAMAGE:
        return None


def unpacked(path: Path, name: str) -> bytes:
    """The content of `path`, or of `name` in it when it is a .zip; RuntimeError when the packing is damaged."""
    try:
        if path.suffix == ".gz":
            return gzip.decompress(path.read_bytes())
        if path.suffix == ".xz":
            return lzma.decompress(path.read_bytes())
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as opened:
                return opened.read(member(path, Path(name).name) or name)
    except DAMAGE as broken:
        raise RuntimeError(f"'{path.name}' in '{path.parent}' is damaged ({broken}): replace it.") from broken
    return path.read_bytes()
