"""Trees of tensors and plain values in one safetensors file with a JSON header: no pickle, no half-written file."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FORMAT = 1


def write(path: Path, tree: Any) -> None:
    """Write a tree of dicts, lists, tensors and JSON values; atomically: the old file stays until the new is whole."""
    tensors: dict[str, Tensor] = {}
    skeleton = _take_apart(tree, tensors)
    header = {"coppice": json.dumps({"format": FORMAT, "digest": _digest(tensors), "tree": skeleton})}
    payload = _safetensors().save(tensors, metadata=header)
    write_bytes(path, payload)


def read(path: Path) -> Any:
    """The tree that `write` stored. Raises FileNotFoundError, or ValueError for a foreign or damaged file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    safe_open = _safetensors_module().safe_open
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:  # safetensors raises its own class for every kind of damage
        raise ValueError(f"{path} is damaged or not a safetensors file ({error}).") from error
    if "coppice" not in metadata:
        raise ValueError(
            f"{path} is a safetensors file, but not one that coppice wrote: its header has no 'coppice'."
        )
    header = json.loads(metadata["coppice"])
    if header["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {header['format']}, this coppice reads format {FORMAT}: use the version that wrote it."
        )
    if header["digest"] != _digest(tensors):
        raise ValueError(f"{path} is damaged: its contents do not match the digest in its header.")
    return _put_together(header["tree"], tensors)


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file so that a kill at any moment leaves either the old or the new one, whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _take_apart(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        key = f"t{len(tensors)}"
        tensors[key] = value.detach().cpu().contiguous().clone()  # safetensors refuses shared memory
        return {"tensor": key}
    if isinstance(value, dict):  # as pairs: keys of optimizer states are integers
        return {"dict": [[k, _take_apart(v, tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_take_apart(v, tensors) for v in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be stored without pickle: {value!r}.")


def _put_together(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    (kind, inner), *_ = value.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "dict":
        return {k: _put_together(v, tensors) for k, v in inner}
    parts = [_put_together(v, tensors) for v in inner]
    return tuple(parts) if kind == "tuple" else parts


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _safetensors_module() -> Any:
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise ImportError('saving and loading needs safetensors: pip install "coppice[save]".') from error
    return safetensors


def _safetensors() -> Any:
    return _safetensors_module().torch
