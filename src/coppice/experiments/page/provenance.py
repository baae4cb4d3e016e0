"""How a run was made: what it takes to make it again."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coppice.experiments.page.panel import Record


class Origin(NamedTuple):
    """facts: name and words; settings: the tables of the recipe with every value written out, as TOML.

    No recipe to be loaded: where a recipe has a name, the settings have the kind that it stands for.
    """

    title: str
    facts: list[tuple[str, str]]
    settings: str


def origin(record: Record) -> Origin:
    """What the record says of recipe, command, versions, commit, data and machine."""
    data, timing = record.get("data", {}), record.get("timing", {})
    digests = data.get("sha256") or {}
    if isinstance(digests, str):  # of a stream: one of all its samples
        digests = {"all samples": digests}
    versions = ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items())
    facts = [
        ("recipe", record["name"]),
        ("seed", str(record["seed"])),
        ("command", record.get("command", "")),
        ("versions", versions),
        ("commit", record.get("commit") or ""),
        ("machine", ", ".join(str(record[key]) for key in ("machine", "device") if record.get(key))),
        ("threads", str(record.get("threads", ""))),
        ("data", data.get("name") or data.get("stream", {}).get("name", "")),
        ("source of the data", _words(data.get("source", ""))),
        ("SHA-256 of the data", "; ".join(f"{name}: {digest}" for name, digest in digests.items())),
        ("samples", ", ".join(f"{count:,} {name}" for name, count in data.get("counts", {}).items())),
        ("training, s", f"{timing['seconds']:.1f}" if "seconds" in timing else ""),
        ("ended", timing.get("ended", "")),
        ("fingerprint", record.get("fingerprint", "")),
    ]
    title = f"{record['name']}, seed {record['seed']}"
    return Origin(title, [(name, words) for name, words in facts if words], toml(record.get("recipe", {})))


def _words(source: str | Sequence[str] | Mapping[str, str]) -> str:
    """One source, several, or those of each task by its name."""
    if isinstance(source, str):
        return source
    several = source if isinstance(source, Sequence) else [f"{name}: {one}" for name, one in source.items()]
    return "; ".join(several)


def toml(tables: Mapping[str, Any], where: str = "") -> str:
    """Tables as TOML; what is not set is left out."""
    plain = {key: value for key, value in tables.items() if value is not None and not isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items()]
    blocks = ["\n".join([*([f"[{where}]"] if where else []), *lines])] if lines else []
    inner = [toml(v, f"{where}.{k}" if where else k) for k, v in tables.items() if isinstance(v, dict)]
    return "\n\n".join([*blocks, *(block for block in inner if block)])
