"""TOML tables to dataclasses, each value checked against its field's type. A wrong key names its nearest right one."""

import dataclasses
import difflib
import tomllib
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from coppice.parts.fitness import FITNESSES
from coppice.parts.stopping import STOPS

OBJECTS: dict[str, dict[str, Any]] = {
    "fitness": FITNESSES,
    "stop": STOPS,
}  # fields chosen by name in a sub-table


def with_value(tables: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of nested tables in which the dotted key has this value."""
    first, _, rest = key.partition(".")
    if first == "sweep" and rest:  # its keys are themselves dotted: sweep.data.train=[600,1200]
        return {**tables, "sweep": {**tables.get("sweep", {}), rest: value}}
    inner = tables.get(first, {})
    if rest and not isinstance(inner, dict):
        raise ValueError(f"'{first}' is a value, not a table, so '{key}' cannot be set.")
    return {**tables, first: with_value(inner, rest, value) if rest else value}


def named(choices: Mapping[str, Any], table: Any, where: str) -> Any:
    """The object that a name, or a table with one, chooses."""
    table = {"name": table} if isinstance(table, str) else table
    if not isinstance(table, dict) or "name" not in table:
        raise ValueError(
            f"{where} is {table!r}, but must be a name ({', '.join(choices)}) or a table with one."
        )
    name = validated(str, table["name"], f"{where}.name")
    if name not in choices:
        raise ValueError(f"{where}: there is no '{name}'{nearest(str(name), choices)}")
    return read(choices[name], {k: v for k, v in table.items() if k != "name"}, where)


def read(kind: Any, table: Any, where: str) -> Any:
    """The dataclass of a table."""
    if not isinstance(table, dict):
        raise ValueError(f"{where} is {table!r}, but must be a table.")
    return filled(kind, table, where)


def filled(base: Any, table: dict[str, Any], where: str, also: tuple[str, ...] = ()) -> Any:
    """The dataclass, or the instance `base` changed, with the table's values, each checked against its field's type."""
    fresh = isinstance(base, type)
    hints = typing.get_type_hints(base if fresh else type(base))
    kinds = {field.name: hints[field.name] for field in dataclasses.fields(base)}
    for key in table:
        if key not in kinds:
            known = [*kinds, *also]
            raise ValueError(f"{where} has no key '{key}'{nearest(key, known)}")
    values = {
        key: value if key in OBJECTS else validated(kinds[key], value, f"{where}.{key}")
        for key, value in table.items()
    }
    try:
        return base(**values) if fresh else dataclasses.replace(base, **values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def validated(kind: Any, value: Any, where: str) -> Any:
    """The value as this type has it. Raises ValueError that says where it stands."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        problems = "; ".join(dict.fromkeys(problem["msg"] for problem in error.errors()))
        raise ValueError(f"{where} is {value!r}: {problems}.") from error


def toml_value(text: str) -> Any:
    """What TOML reads in this text, or the text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word, so that data.path=mine.csv needs no quotes within quotes


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error, with its mark: the word that was perhaps meant, or all there are."""
    known = list(known)
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f", did you mean '{match[0]}'?" if match else f" (there are: {', '.join(known)})."


def refuse_unlisted(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError unless `names`, the value of `what`, are at least one of the known, none of them twice."""
    for name in names:
        if name not in known:
            raise ValueError(f"{what} lists '{name}', which is none{nearest(name, known)}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{what} is {names}, but must list at least one, none of them twice.")


def short(key: str) -> str:
    """What a dotted key is called in a label or a folder's name: batch of training.batch, but data of data.name."""
    table, _, last = key.rpartition(".")
    return table.rpartition(".")[2] if last == "name" else last


def word(value: Any) -> str:
    """A value in a label or a folder's name; names one after another."""
    names = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return "+".join(value) if names else str(value)
