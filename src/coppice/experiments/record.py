"""One JSON per run: what was asked, on what, with what; what came out. And a fingerprint of all but the clock."""

import dataclasses
import hashlib
import json
import math
import platform
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from coppice.parts.storage import write_bytes

FORMAT = 1
# what two runs of the same bits may differ in
VOLATILE = ("fingerprint", "timing", "command", "machine", "commit")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that data, training or an arm of a study come from; those that are there."""
    found = {"python": platform.python_version()}
    for package in ("coppice", "torch", "numpy", "scikit-learn", "pandas", "statsmodels", "torch-pruning"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the checkout that runs, with "+" when files differ from it; None outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (
            "+" if git("status", "--porcelain", "--", str(here)) else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None


def command() -> str:
    """The command line of this process, the program by its bare name, quoted to be pasted into a shell."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def fingerprint(record: dict[str, Any]) -> str:
    """Digest of everything in a record but the clock, the machine and the words of the command."""
    stable = {key: value for key, value in record.items() if key not in VOLATILE}
    return hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()[:32]


def identity(recipe: Any, seed: int) -> dict[str, Any]:
    """What a run is a run of: the tables of its recipe, all values written out, and the seed."""
    chosen = [
        f.name for f in dataclasses.fields(recipe) if f.name not in ("name", "about", "sweep", "tables")
    ]
    tables = {key: plain(getattr(recipe, key)) for key in chosen if getattr(recipe, key) is not None}
    # a user's file is known by its contents; where it lies may differ from machine to machine
    for key in ("path", "csv"):
        if tables["data"].get(key) is not None:
            tables["data"][key] = Path(tables["data"][key]).name
    return {"name": recipe.name, "seed": seed, "recipe": tables}


def plain(value: Any) -> Any:
    """A dataclass as JSON values, the names of its classes included where a recipe chooses by name."""
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    kind = {} if "name" in fields else {"kind": type(value).__name__}
    tables = {k: plain(v) if dataclasses.is_dataclass(v) else v for k, v in fields.items()}
    return json.loads(json.dumps({**kind, **tables}))


def envelope(
    recipe: Any,
    seed: int,
    device: torch.device,
    *,
    data: dict[str, Any],
    task: str,
    result: dict[str, Any],
    timing: dict[str, Any],
) -> dict[str, Any]:
    """The record of a run that has just ended, ready to be written."""
    return {
        **identity(recipe, seed),
        "versions": versions(),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "data": data,
        "task": task,
        "result": result,
        "timing": {**timing, "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())},
        "command": command(),
        "machine": _machine(device),
        "commit": commit(),
    }


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record, with its format and fingerprint, atomically. A number that is not finite becomes null."""
    record = {"format": FORMAT, **json.loads(json.dumps(_finite(record), allow_nan=False))}
    record["fingerprint"] = fingerprint(record)
    write_bytes(path, (_compact_json(record) + "\n").encode())


def read(path: Path) -> dict[str, Any]:
    """A record. Raises ValueError for one that is damaged, altered by hand, or of a newer format."""
    try:
        record = json.loads(Path(path).read_text())
        number = record["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a run's record, or is damaged ({error}).") from error
    if number != FORMAT:
        raise ValueError(f"{path} has format {number}; this coppice reads format {FORMAT}: update coppice.")
    if record.get("fingerprint") != fingerprint(record):
        raise ValueError(f"{path} does not match its own fingerprint: it was changed after it was written.")
    return dict(record)


def _finite(value: Any) -> Any:
    """JSON has no word for nan and the infinities; what Python writes for them other readers refuse."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _compact_json(record: dict[str, Any]) -> str:
    """Tables on lines of their own, everything within them on one line: small, and still readable in a diff."""
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in record.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.system()} {platform.machine()}"
