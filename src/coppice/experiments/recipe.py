"""Recipes: TOML tables that map one to one on dataclasses. A wrong key names its nearest right one."""

import dataclasses
import itertools
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from coppice.data import SERIES, SETS, Data, Series
from coppice.data.streams import STREAMS, Stream
from coppice.experiments.choices import Choices, method_table
from coppice.experiments.loop import Training
from coppice.experiments.studies import StreamStudy, Study
from coppice.experiments.tables import nearest, read, short, toml_value, validated, with_value, word
from coppice.methods import BDNNSP, TDMCL, Dense, SynapticPruning
from coppice.methods.td_mcl_options import Schooling
from coppice.models import Model, ModularPlan, Plan

# Who asks for these gets them whole: the values a recipe gives its own method are not theirs.
AFRESH = {"method.name", "method.preset"}


@dataclass(frozen=True)
class Written:
    """What every recipe has. `sweep` lists values to run for some of its keys."""

    name: str
    about: str = ""
    sweep: dict[str, list[Any]] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)  # as written, for the record

    @property
    def file(self) -> Path | None:
        """The file of the user's that it reads, if any."""
        return None

    def cells(self) -> Iterator[tuple[str, "Recipe | StreamRecipe"]]:
        """Every combination of the swept values, with a name for its folder; one, named "", without a sweep."""
        for values in itertools.product(*self.sweep.values()):
            pairs = list(zip(self.sweep, values, strict=True))
            tables = {k: v for k, v in self.tables.items() if k != "sweep"}
            for key, value in pairs:
                tables = with_value(tables, key, value)
            label = ",".join(f"{short(key)}={word(value)}" for key, value in pairs)
            yield label, from_tables(self.name, tables)


@dataclass(frozen=True)
class Recipe(Written):
    """What to run on one set of data: model, training and method; or a study of several of these side by side."""

    data: Data | Series = field(default_factory=Data)
    model: Plan = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    method: BDNNSP | Dense | SynapticPruning = field(default_factory=BDNNSP)
    study: Study | None = None

    @property
    def file(self) -> Path | None:
        own = self.data.path if isinstance(self.data, Data) else self.data.csv
        return None if own is None else Path(own).expanduser()


@dataclass(frozen=True)
class StreamRecipe(Written):
    """What to run on a stream of tasks: a model that grows, how a task is schooled, the method; or a study."""

    data: Stream = field(default_factory=Stream)
    model: ModularPlan = field(default_factory=ModularPlan)
    schooling: Schooling = field(default_factory=Schooling)
    method: TDMCL = field(default_factory=TDMCL)
    study: StreamStudy | None = None


def names() -> list[str]:
    """The recipes that come with coppice."""
    folder = resources.files("coppice") / "recipes"
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def load(source: str, overrides: Sequence[str] = ()) -> Recipe | StreamRecipe:
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
            f"there is no recipe '{source}'{nearest(source, names())} `coppice list` shows them all."
        )
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"recipe {source} is not valid TOML: {error}.") from error
    changes = [_change(override) for override in overrides]
    if not AFRESH.isdisjoint(key for key, _ in changes):
        written = method_table(tables)
        tables = {**tables, "method": {"name": written["name"]} if "name" in written else {}}
    for key, value in changes:
        tables = with_value(tables, key, value)
    return from_tables(path.stem, tables)


def _change(override: str) -> tuple[str, Any]:
    key, equals, value = override.partition("=")
    if not equals or "." not in key:
        raise ValueError(f"--set {override} is not of the form table.key=value, such as method.share=0.3.")
    return key.strip(), toml_value(value.strip())


def from_tables(name: str, tables: dict[str, Any]) -> Recipe | StreamRecipe:
    """The validated recipe. Raises ValueError naming table, key, value and the nearest right key."""
    fields = {f.name for kind in (Recipe, StreamRecipe) for f in dataclasses.fields(kind)} - {
        "name",
        "tables",
    }
    for table in tables:
        if table not in fields:
            raise ValueError(
                f"recipe {name}: there is no table or key '{table}'{nearest(table, sorted(fields))}"
            )
    data, streamed = _data(tables.get("data", {}))
    if streamed and "training" in tables:
        raise ValueError(
            f"recipe {name}: data '{data.name}' is a stream, whose tasks are schooled: set [schooling], and leave [training]"
            " out."
        )
    if not streamed and "schooling" in tables:
        raise ValueError(
            f"recipe {name}: [schooling] is for a stream of tasks, but data.name is '{data.name}': set [training] instead, or"
            f" choose a stream: {', '.join(STREAMS)}."
        )
    common = {
        "name": name,
        "about": validated(str, tables.get("about", ""), "about"),
        "sweep": validated(dict[str, list[Any]], tables.get("sweep", {}), "sweep"),
        "tables": tables,
    }
    choose = Choices(data.name, streamed)
    chosen = {
        "data": data,
        "model": choose.model(tables.get("model", {})),
        "method": choose.method(tables.get("method", {})),
        "study": choose.study(tables["study"]) if "study" in tables else None,
    }
    recipe = (
        StreamRecipe(**common, **chosen, schooling=read(Schooling, tables.get("schooling", {}), "schooling"))
        if streamed
        else Recipe(**common, **chosen, training=read(Training, tables.get("training", {}), "training"))
    )
    for key in recipe.sweep:
        if "." not in key:
            raise ValueError(f"recipe {name}: sweep key '{key}' is not of the form table.key.")
    if recipe.sweep:
        list(recipe.cells())  # a wrong value fails now, not after hours
    return recipe


def _data(table: Any) -> tuple[Data | Series | Stream, bool]:
    """A stream where one is named, a series where one is named or a csv in the long form is given, else samples."""
    chosen = table if isinstance(table, dict) else {}
    name = validated(str, chosen.get("name", "digits"), "data.name")
    if name in STREAMS:
        return read(Stream, table, "data"), True
    if chosen.get("csv") is not None or name in SERIES:
        return read(Series, table, "data"), False
    known = (*SETS, "file", *STREAMS)
    if name not in (*SETS, "file"):
        raise ValueError(f"data: there is no '{name}'{nearest(name, known)}")
    return read(Data, table, "data"), False
