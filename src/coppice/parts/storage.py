"""Trees of tensors and plain values in one safetensors file with a JSON header: no pickle, no half-written file."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FORMAT = 1


def write(path: Path, tree: Any) -> None:
    """Write a tree of dicts, lists, tensors and JSON values; atomically: the old file stays until the new is whole.

    Raises ValueError, naming the place, for a value that is none of these.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _take_apart(tree, tensors, "")
    header = {"format": FORMAT, "digest": _digest(skeleton, tensors), "tree": skeleton}
    write_bytes(path, _safetensors().torch.save(tensors, {"coppice": json.dumps(header, allow_nan=False)}))


def read(path: Path) -> Any:
    """The tree that `write` stored. Raises FileNotFoundError, or ValueError for a foreign or damaged file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    safe_open = _safetensors().safe_open
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            # copied, for the originals are windows on the file and would follow when somebody writes over it
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:  # safetensors raises its own class for every kind of damage
        raise ValueError(f"{path} is damaged or not a safetensors file ({error}).") from error
    if "coppice" not in metadata:
        raise ValueError(
            f"{path} is a safetensors file, but not one that coppice wrote: its header has no 'coppice'."
        )
    try:
        header = json.loads(metadata["coppice"])
        version, digest, skeleton = header["format"], header.get("digest"), header.get("tree")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: its header is not what coppice writes ({error!r}).") from error
    if version != FORMAT:
        raise ValueError(
            f"{path} has format {version}, this coppice reads format {FORMAT}: use the version that wrote it."
        )
    if digest != _digest(skeleton, tensors):
        raise ValueError(f"{path} is damaged: its contents do not match the digest in its header.")
    return _put_together(skeleton, tensors)


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file so that a kill at any moment leaves either the old or the new one, whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(
            missing_ok=True
        )  # what an error left; after a kill it stays, under a name nobody reads


def _take_apart(value: Any, tensors: dict[str, Tensor], place: str) -> Any:
    if isinstance(value, Tensor):
        key = f"t{len(tensors)}"
        tensors[key] = value.detach().cpu().contiguous().clone()  # safetensors refuses shared memory
        return {"tensor": key}
    if isinstance(value, dict):  # as pairs: keys of optimizer states are integers
        if odd := [key for key in value if not (key is None or isinstance(key, (bool, int, float, str)))]:
            raise ValueError(f"the key {odd[0]!r} at '{place}' cannot be stored: use a string or a number.")
        return {"dict": [[k, _take_apart(v, tensors, f"{place}/{k}")] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_take_apart(v, tensors, f"{place}/{i}") for i, v in enumerate(value)]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(float(value))}  # JSON has no word for it
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        f"a {type(value).__name__} at '{place}' cannot be stored without pickle: store tensors, numbers, strings, "
        "lists and dicts."
    )


def _put_together(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    (kind, inner), *_ = value.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "float":
        return float(inner)
    if kind == "dict":
        return {k: _put_together(v, tensors) for k, v in inner}
    parts = [_put_together(v, tensors) for v in inner]
    return tuple(parts) if kind == "tuple" else parts


def _digest(skeleton: Any, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(json.dumps(skeleton).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError('saving and loading needs safetensors: pip install "coppice[save]".') from error
    return safetensors
