"""The folder of one run: its record, its checkpoint, the path of sizes. Everything is written whole or not at all."""

import shutil
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from coppice.experiments import record
from coppice.parts import storage


class Folder:
    """`record.json` when finished, `checkpoint.safetensors` until then, `live.json` beside it where somebody looks on,
    `model.safetensors`, `path/`;
    of a stream of tasks `learner.safetensors` in place of the model, and `unfinished.safetensors` while that is taught
    more.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "record.json"
        self.live = path / "live.json"
        self.checkpoint = path / "checkpoint.safetensors"
        self.model = path / "model.safetensors"
        self.learner = path / "learner.safetensors"
        self.unfinished = path / "unfinished.safetensors"
        self.shelf = DiskShelf(path / "path")

    @property
    def finished(self) -> bool:
        return self.record.is_file()

    @property
    def begun(self) -> bool:
        return self.checkpoint.is_file()

    @property
    def used(self) -> bool:
        """Whether there is what a new run would destroy: a run, or a learner, taught or half taught."""
        return self.finished or self.begun or self.learner.is_file() or self.unfinished.is_file()

    def save(self, identity: dict[str, Any], state: dict[str, Any]) -> None:
        """Keep the state of a run, together with what it is a run of."""
        storage.write(self.checkpoint, {"identity": identity, "state": state})

    def load(self, identity: dict[str, Any]) -> dict[str, Any]:
        """The state last saved. Raises ValueError when it belongs to another recipe or seed, or is damaged."""
        stored = storage.read(self.checkpoint)
        if not isinstance(stored, dict) or "identity" not in stored:
            raise ValueError(f"{self.checkpoint} is not the checkpoint of a run.")
        # what an earlier version did not keep yet is not compared
        self._refuse_other(self.checkpoint, {**identity, **stored["identity"]}, identity)
        return dict(stored["state"])

    def result(self, identity: dict[str, Any]) -> dict[str, Any]:
        """The record of the finished run. Raises ValueError when it is of another recipe or seed, or of other data where
        `identity` holds their sha256; or damaged.
        """
        finished = record.read(self.record)
        theirs = {**finished, "sha256": finished["data"].get("sha256")}
        self._refuse_other(self.record, {key: theirs.get(key) for key in identity}, identity)
        return finished

    def finish(self, finished: dict[str, Any]) -> None:
        """Write the record; then the checkpoint, and the record so far, have done their work."""
        record.write(self.record, finished)
        self.checkpoint.unlink(missing_ok=True)
        self.live.unlink(missing_ok=True)

    def trained(self) -> Path:
        """The model of the finished run. Raises ValueError where there is none."""
        if not self.finished:
            unfinished = "is not finished: `coppice run ... --resume` goes on with it"
            below = sorted(self.path.glob("**/record.json"))[:1]  # the folder of all seeds was meant for one
            none = "holds no run" + (f" itself: did you mean {below[0].parent}?" if below else ".")
            raise ValueError(f"{self.path} {unfinished + '.' if self.begun else none}")
        if self.learner.is_file():
            raise ValueError(
                f"{self.path} left a learner of several tasks, not one model: coppice.learner.Learner.load takes it."
            )
        if not self.model.is_file():
            raise ValueError(
                f"{self.path} left no model: a study leaves numbers only; `coppice run` of one method trains one."
            )
        return self.model

    def _refuse_other(self, file: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
        if differ := sorted(_differences(theirs, ours)):
            raise ValueError(
                f"{file} was made with other settings ({', '.join(differ[:5])}). Go on with the same recipe, "
                "options and seed, or choose another --out."
            )

    def clear(self) -> None:
        """Remove what an earlier run left here."""
        for file in (self.record, self.live, self.checkpoint, self.model, self.learner, self.unfinished):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.path / "path", ignore_errors=True)


def refuse_used(folders: Sequence[Folder]) -> None:
    """Raise FileExistsError when one of them holds a run or a learner, which another run would destroy."""
    used = [folder for folder in folders if folder.used]
    if not used:
        return
    first, more = used[0], f" (and {len(used) - 1} more)" if len(used) > 1 else ""
    if not first.finished and not first.begun:
        raise FileExistsError(
            f"{first.path}{more} holds a learner and no run, which would delete it: choose another --out."
        )
    raise FileExistsError(
        f"{first.path}{more} already holds a run: add --resume to go on with it (finished seeds are kept as they are), "
        "or choose another --out."
    )


class DiskShelf(MutableMapping[int, dict[str, Any]]):
    """Snapshots by number, each a file of its own, so that memory holds one network only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _file(self, index: int) -> Path:
        return self.path / f"{index:04d}.safetensors"

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(storage.read(self._file(index)))

    def __setitem__(self, index: int, snapshot: dict[str, Any]) -> None:
        storage.write(self._file(index), snapshot)

    def __delitem__(self, index: int) -> None:
        self._file(index).unlink()

    def __iter__(self) -> Iterator[int]:
        return (int(file.name.split(".")[0]) for file in sorted(self.path.glob("[0-9]*.safetensors")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _differences(old: Any, new: Any, where: str = "") -> set[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = (
            (key, _differences(old.get(key), new.get(key), f"{where}.{key}"))
            for key in old.keys() | new.keys()
        )
        return set().union(*(found for _, found in pairs))
    return set() if old == new else {where.strip(".")}
