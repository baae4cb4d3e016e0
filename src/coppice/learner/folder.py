"""The folder of a learner: what it has learned, and a task half learned. Everything is written whole or not at all."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coppice.parts import storage


class LearnerFolder:
    """`learner.safetensors`, and `unfinished.safetensors` while a task is being learned."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "learner.safetensors"
        self.unfinished = path / "unfinished.safetensors"

    @property
    def exists(self) -> bool:
        """Whether there is a learner, whole or not."""
        return self.file.is_file()

    @property
    def begun(self) -> bool:
        return self.unfinished.is_file()

    def write(self, tree: dict[str, Any]) -> None:
        """Over an earlier state of the same learner only: one of the same seed, plan, method and schooling, whose tasks are
        the first of its.
        """
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file, but a learner needs a folder: choose another.")
        if self.exists:
            there = self.read(tree["learner"])
            if differ := _differences(there, tree):
                raise FileExistsError(
                    f"{self.file} is another learner (of {', '.join(there['names']) or 'no task yet'}), with another"
                    f" {' and another '.join(differ)}: choose another folder, or load that one and go on with it."
                )
        storage.write(self.file, tree)

    def read(self, schema: int) -> dict[str, Any]:
        tree = self._read()
        if tree["learner"] != schema:
            raise ValueError(
                f"{self.file} has schema {tree['learner']}, but this coppice reads schema {schema}: use the version that"
                " wrote it, or a newer one."
            )
        return tree

    def _read(self) -> dict[str, Any]:
        if not self.exists:
            what = (
                "is no folder"
                if not self.path.is_dir()
                else "holds no learner: it has no learner.safetensors"
            )
            raise FileNotFoundError(f"{self.path} {what}. `Learner.save` or `coppice learn` writes one.")
        tree = storage.read(self.file)
        if not isinstance(tree, dict) or "learner" not in tree:
            raise ValueError(f"{self.file} holds no learner, but something else that coppice wrote.")
        return tree

    def write_unfinished(self, identity: dict[str, Any], state: dict[str, Any]) -> None:
        storage.write(self.unfinished, {"identity": identity, "state": state})

    def read_unfinished(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        """The state last written. Raises ValueError where it was begun with anything else, or is damaged."""
        stored = self._unfinished()
        if differ := [key for key in identity if stored["identity"].get(key) != identity[key]]:
            task = stored["identity"].get("task")
            raise ValueError(
                f"{self.unfinished} has task '{task}' half learned, begun with another {' and another '.join(differ)}:"
                " resume it as it began, or delete the file."
            )
        return dict(stored["state"])

    def forget_learned(self, learned: Collection[str]) -> None:
        """Delete what is half learned where the task has been learned since."""
        if self.begun and self._unfinished()["identity"].get("task") in learned:
            self.unfinished.unlink()

    def _unfinished(self) -> dict[str, Any]:
        stored = storage.read(self.unfinished)
        if not isinstance(stored, dict) or not isinstance(stored.get("identity"), dict):
            raise ValueError(
                f"{self.unfinished} holds no task half learned, but something else that coppice wrote."
            )
        return stored


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """In what the learner there cannot have become the one here."""
    # what a later version added to the options is not there, and has its default here
    options = [key for key in ("plan", "method", "schooling") if {**here[key], **there[key]} != here[key]]
    known, now = (
        [(one["name"], list(one["classes"]), fingerprint(one["centres"].values())) for one in tree["tasks"]]
        for tree in (there, here)
    )
    seed = ["seed"] if there["seed"] != here["seed"] else []
    # names and classes may be alike by chance; the centres, which never change once a task is learned, are not
    return seed + options + (["past"] if known != now[: len(known)] else [])


def fingerprint(tensors: Iterable[Tensor]) -> str:
    """A digest of types, shapes and values."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        flat = tensor.detach().cpu().contiguous()
        digest.update(f"{flat.dtype} {list(flat.shape)}".encode())
        digest.update(flat.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
