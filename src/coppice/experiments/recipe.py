"""Recipes: TOML tables that map one to one on dataclasses. A wrong key names its nearest right one."""

import dataclasses
import difflib
import itertools
import tomllib
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from coppice.data import SERIES, SETS, Data, Series
from coppice.experiments.loop import Training
from coppice.experiments.studies import STUDIES, Study
from coppice.methods import BDNNSP, CATALOGUE, PRESETS, Dense, SynapticPruning
from coppice.models import MODELS, Model, Plan
from coppice.parts.fitness import FITNESSES
from coppice.parts.stopping import STOPS

OBJECTS: dict[str, dict[str, Any]] = {
    "fitness": FITNESSES,
    "stop": STOPS,
}  # fields chosen by name in a sub-table
# Who asks for these gets them whole: the values a recipe gives its own method are not theirs.
AFRESH = {"method.name", "method.preset"}


@dataclass(frozen=True)
class Recipe:
    """What to run: data, model, training and method; or a study of several of these side by side.

    `sweep` lists values to run for some of their keys.
    """

    name: str
    about: str = ""
    data: Data | Series = field(default_factory=Data)
    model: Plan = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    method: BDNNSP | Dense | SynapticPruning = field(default_factory=BDNNSP)
    study: Study | None = None
    sweep: dict[str, list[Any]] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)  # as written, for the record

    def cells(self) -> Iterator[tuple[str, "Recipe"]]:
        """Every combination of the swept values, with a name for its folder; one, named "", without a sweep."""
        for values in itertools.product(*self.sweep.values()):
            pairs = list(zip(self.sweep, values, strict=True))
            tables = {k: v for k, v in self.tables.items() if k != "sweep"}
            for key, value in pairs:
                tables = with_value(tables, key, value)
            label = ",".join(f"{_short(key)}={value}" for key, value in pairs)
            yield label, from_tables(self.name, tables)


def names() -> list[str]:
    """The recipes that come with coppice."""
    folder = resources.files("coppice") / "recipes"
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def load(source: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by name or from a .toml file, with `table.key=value` overrides; the value is TOML, or else text.

    With another method or preset the recipe's own values of [method] go; overrides of them stay.
    """
    path = Path(source)
    if source.endswith(".toml"):
        if not path.is_file():
            raise FileNotFoundError(f"there is no recipe file {source}.")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"recipe {source} is not UTF-8 text: {error}.") from error
    elif source in names():
        text = (resources.files("coppice") / "recipes" / f"{source}.toml").read_text()
    else:
        raise ValueError(
            f"there is no recipe '{source}'{_nearest(source, names())}; `coppice list` shows them all."
        )
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"recipe {source} is not valid TOML: {error}.") from error
    changes = [_change(override) for override in overrides]
    if not AFRESH.isdisjoint(key for key, _ in changes):
        named = _method_table(tables)
        tables = {**tables, "method": {"name": named["name"]} if "name" in named else {}}
    for key, value in changes:
        tables = with_value(tables, key, value)
    return from_tables(path.stem, tables)


def _change(override: str) -> tuple[str, Any]:
    key, equals, value = override.partition("=")
    if not equals or "." not in key:
        raise ValueError(f"--set {override} is not of the form table.key=value, such as method.share=0.3.")
    return key.strip(), _toml_value(value.strip())


def from_tables(name: str, tables: dict[str, Any]) -> Recipe:
    """The validated recipe. Raises ValueError naming table, key, value and the nearest right key."""
    fields = [f.name for f in dataclasses.fields(Recipe) if f.name not in ("name", "tables")]
    for table in tables:
        if table not in fields:
            raise ValueError(f"recipe {name}: there is no table or key '{table}'{_nearest(table, fields)}.")
    sweep = _validated(dict[str, list[Any]], tables.get("sweep", {}), "sweep")
    recipe = Recipe(
        name=name,
        about=_validated(str, tables.get("about", ""), "about"),
        data=_data(tables.get("data", {})),
        model=_model(tables.get("model", {})),
        training=_table(Training, tables.get("training", {}), "training"),
        method=_method(tables.get("method", {})),
        study=_named(STUDIES, tables["study"], "study") if "study" in tables else None,
        sweep=sweep,
        tables=tables,
    )
    if sweep:
        for key in sweep:
            if "." not in key:
                raise ValueError(f"recipe {name}: sweep key '{key}' is not of the form table.key.")
        list(recipe.cells())  # a wrong value fails now, not after hours
    return recipe


def with_value(tables: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of nested tables in which the dotted key has this value."""
    first, _, rest = key.partition(".")
    if first == "sweep" and rest:  # its keys are themselves dotted: sweep.data.train=[600,1200]
        return {**tables, "sweep": {**tables.get("sweep", {}), rest: value}}
    inner = tables.get(first, {})
    if rest and not isinstance(inner, dict):
        raise ValueError(f"'{first}' is a value, not a table, so '{key}' cannot be set.")
    return {**tables, first: with_value(inner, rest, value) if rest else value}


def _short(key: str) -> str:
    """What a swept key is called in a folder's name: batch of training.batch, but data of data.name."""
    table, _, last = key.rpartition(".")
    return table.rpartition(".")[2] if last == "name" else last


def _data(table: Any) -> Data | Series:
    """A series where one is named or a csv in the long form is given; else samples."""
    chosen = table if isinstance(table, dict) else {}
    name = _validated(str, chosen.get("name", "digits"), "data.name")
    if chosen.get("csv") is not None or name in SERIES:
        series: Series = _table(Series, table, "data")
        return series
    if name not in (*SETS, "file"):
        raise ValueError(f"data: there is no '{name}'{_nearest(str(name), (*SETS, 'file'))}.")
    data: Data = _table(Data, table, "data")
    return data


def _model(table: Any) -> Plan:
    name = _validated(str, table.get("name", "mlp") if isinstance(table, dict) else "mlp", "model.name")
    if name not in MODELS:
        raise ValueError(f"model: there is no '{name}'{_nearest(str(name), MODELS)}.")
    plan: Plan = _table(MODELS[name], table, "model")
    return plan


def _method(table: Any) -> BDNNSP | Dense | SynapticPruning:
    table = dict(_method_table({"method": table}))
    name = _validated(str, table.pop("name", "bdnn-sp"), "method.name")
    preset = _validated(str | None, table.pop("preset", None), "method.preset")
    if name not in CATALOGUE:
        raise ValueError(f"there is no method '{name}'{_nearest(str(name), CATALOGUE)}.")
    presets = PRESETS.get(name, {})
    if preset is not None and preset not in presets:
        raise ValueError(
            f"method '{name}' has no preset '{preset}'{_nearest(str(preset), presets or ['none'])}."
        )
    for key, choices in OBJECTS.items():
        if key in table:
            table[key] = _named(choices, table[key], f"method.{key}")
    base = presets[preset] if preset else CATALOGUE[name]()
    return _filled(base, table, "method", also=("name", "preset"))


def _method_table(tables: dict[str, Any]) -> dict[str, Any]:
    table = tables.get("method", {})
    if not isinstance(table, dict):
        raise ValueError(f"method is {table!r}, but must be a table such as {{ name = 'bdnn-sp' }}.")
    return table


def _named(choices: dict[str, Any], table: Any, where: str) -> Any:
    table = {"name": table} if isinstance(table, str) else table
    if not isinstance(table, dict) or "name" not in table:
        raise ValueError(
            f"{where} is {table!r}, but must be a name ({', '.join(choices)}) or a table with one."
        )
    name = _validated(str, table["name"], f"{where}.name")
    if name not in choices:
        raise ValueError(f"{where}: there is no '{name}'{_nearest(str(name), choices)}.")
    return _table(choices[name], {k: v for k, v in table.items() if k != "name"}, where)


def _table(kind: Any, table: Any, where: str) -> Any:
    if not isinstance(table, dict):
        raise ValueError(f"{where} is {table!r}, but must be a table.")
    return _filled(kind, table, where)


def _filled(base: Any, table: dict[str, Any], where: str, also: tuple[str, ...] = ()) -> Any:
    """The dataclass, or the instance `base` changed, with the table's values, each checked against its field's type."""
    fresh = isinstance(base, type)
    hints = typing.get_type_hints(base if fresh else type(base))
    kinds = {field.name: hints[field.name] for field in dataclasses.fields(base)}
    for key in table:
        if key not in kinds:
            known = [*kinds, *also]
            raise ValueError(f"{where} has no key '{key}'{_nearest(key, known)}.")
    values = {
        key: value if key in OBJECTS else _validated(kinds[key], value, f"{where}.{key}")
        for key, value in table.items()
    }
    try:
        return base(**values) if fresh else dataclasses.replace(base, **values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _validated(kind: Any, value: Any, where: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        problems = "; ".join(dict.fromkeys(problem["msg"] for problem in error.errors()))
        raise ValueError(f"{where} is {value!r}: {problems}.") from error


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word, so that data.path=mine.csv needs no quotes within quotes


def _nearest(word: str, known: Any) -> str:
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f", did you mean '{match[0]}'?" if match else f" (there are: {', '.join(known)})"
