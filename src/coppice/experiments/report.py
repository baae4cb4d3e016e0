"""Records to tables: one line a run, and over the seeds the mean with its 95 % interval. Pure."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from coppice.experiments import report_continual as continual
from coppice.experiments import report_forecasting as forecasting
from coppice.experiments.record import VOLATILE
from coppice.experiments.statistics import mean
from coppice.experiments.tables import short, word

Record = dict[str, Any]


class Table(NamedTuple):
    """Words only, for a terminal or a document; every line is as long as the header."""

    title: str
    header: list[str]
    lines: list[list[str]]


@dataclass(frozen=True)
class Row:
    """What one run of a search or a training came to; `before` is the network before the first cut, if there was one."""

    seed: int
    widths_before: tuple[int, ...] | None
    widths: tuple[int, ...]
    parameters_before: int | None
    parameters: int
    bytes: int
    latency: float  # seconds
    test_before: float | None
    test: float

    @classmethod
    def of(cls, record: Record) -> "Row":
        result = record["result"]
        path, initial = result.get("path"), result.get("initial", {})
        model = record["recipe"]["model"]
        built = (*(model["channels"] if model["name"] == "convnet" else ()), *model["hidden"])
        return cls(
            seed=record["seed"],
            widths_before=tuple(path[0]["widths"]) if path else None,
            widths=tuple(path[result["chosen"]]["widths"]) if path else built,
            parameters_before=initial.get("parameters"),
            parameters=result["final"]["parameters"],
            bytes=result["final"]["bytes"],
            latency=record["timing"]["latency"]["final"],
            test_before=initial.get("test"),
            test=result["final"]["test"],
        )


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed; `cell` says what sets them apart from others of the recipe."""

    name: str
    cell: str
    records: tuple[Record, ...]

    @property
    def title(self) -> str:
        return f"{self.name}, {self.cell}" if self.cell else self.name

    @property
    def metric(self) -> str:
        """What the test column holds."""
        return metric(self.records[0])

    def tables(self) -> list[Table]:
        """What the runs came to; of a stream of tasks there are several tables."""
        if self.records[0]["task"] == "stream":
            return [Table(*words) for words in continual.tables(self.title, self.records)]
        return [self.table()]

    def remark(self) -> str:
        """What belongs beside the table; empty where there is nothing to say."""
        plain = self.records[0]["task"] == "forecast" and not forecasting.is_study(self.records[0])
        return forecasting.remark(self.records) if plain else ""

    def table(self) -> Table:
        """The runs, one a line, and their mean when there are several. Not of a stream."""
        if self.records[0]["task"] == "forecast":
            told = ("data=", "model=", "length=")  # by the description
            apart = [piece for piece in self.cell.split(",") if piece and not piece.startswith(told)]
            title = f"{', '.join([self.name, *apart])}: {forecasting.about(self.records)}"
            return Table(title, *forecasting.table(self.records))
        if "parts" in self.records[0]["result"]:
            return _study_table(self)
        return _run_table(self)


def metric(record: Record) -> str:
    """The name of the score: accuracy for classes, R2 for values, minus the error for forecasts."""
    names = {"classification": "accuracy", "forecast": "-MAE, σ"}
    return names.get(record["task"], "R2")


def grouped(records: Iterable[Record]) -> list[Group]:
    """Records by recipe, settings and content of the data, in order of appearance, the seeds of each in order.

    The same run found twice counts once: it would make the interval too narrow. Raises ValueError for a seed that was
    run twice and did not come to the same.
    """
    recipes: dict[str, dict[str, list[Record]]] = {}
    for record in {record["fingerprint"]: record for record in records}.values():
        settings = json.dumps(_settings(record), sort_keys=True)
        recipes.setdefault(record["name"], {}).setdefault(settings, []).append(record)
    groups = []
    for name, cells in recipes.items():
        labels = _labels([_settings(cell[0]) for cell in cells.values()])
        for label, cell in zip(labels, cells.values(), strict=True):
            groups.append(Group(name, label, tuple(sorted(cell, key=lambda record: record["seed"]))))
            _refuse_twice(groups[-1])
    return groups


def _settings(record: Record) -> Record:
    """The tables of the recipe, and how the digests of the data begin: a file may have changed from run to run."""
    if record["task"] == "stream":  # drawn by the seed, and so is its digest
        return dict(record["recipe"])
    digests = record["data"].get("sha256", {})
    return {**record["recipe"], "sha256": [digests[name][:8] for name in sorted(digests)]}


def _refuse_twice(group: Group) -> None:
    for one, other in itertools.pairwise(group.records):
        if one["seed"] == other["seed"]:
            differ = [key for key in one if key not in VOLATILE and one[key] != other.get(key)]
            raise ValueError(
                f"{group.title}: there are two records of seed {one['seed']}, which differ in {', '.join(differ)}: it was run "
                "again, and would count twice; show them apart."
            )


def compared(groups: Iterable[Group]) -> list[Table]:
    """Streams of one recipe whose settings differ, such as the order of the tasks, side by side."""
    recipes: dict[str, dict[str, tuple[Record, ...]]] = {}
    for group in groups:
        if group.records[0]["task"] == "stream" and not continual.is_study(group.records[0]):
            recipes.setdefault(group.name, {})[group.cell] = group.records
    return [Table(*continual.cells_table(name, cells)) for name, cells in recipes.items() if len(cells) > 1]


def widths_text(widths: Sequence[int]) -> str:
    """300-100: the neurons of each layer."""
    return "-".join(str(width) for width in widths)


def _run_table(group: Group) -> Table:
    rows = [Row.of(record) for record in group.records]
    header = ["seed", "neurons", "parameters", "bytes", "latency, µs", f"test {group.metric}"]
    lines = [
        [
            str(row.seed),
            _change(row.widths_before, row.widths, widths_text),
            _change(row.parameters_before, row.parameters, "{:,}".format),
            f"{row.bytes:,}",
            f"{row.latency * 1e6:.0f}",
            _change(row.test_before, row.test, "{:.4f}".format),
        ]
        for row in rows
    ]
    if len(rows) > 1:
        columns: list[tuple[Callable[[Row], float], int]] = [
            (lambda row: sum(row.widths), 1),
            (lambda row: row.parameters, 0),
            (lambda row: row.bytes, 0),
            (lambda row: row.latency * 1e6, 0),
            (lambda row: row.test, 4),
        ]
        lines.append(
            ["mean", *(mean([value(row) for row in rows]).text(digits) for value, digits in columns)]
        )
    return Table(group.title, header, lines)


def _study_table(group: Group) -> Table:
    """One line for each part of the study, in its numbers the mean over the seeds."""
    parts = [one_level(record["result"]["parts"]) for record in group.records]
    # a part may be missing or stay without a number in some seeds, so the mean is over those that have it
    names = list(dict.fromkeys(name for part in parts for name in part))
    keys = list(
        dict.fromkeys(key for part in parts for one in part.values() for key, v in one.items() if _plain(v))
    )
    lines = []
    for name in names:
        line = [name]
        for key in keys:
            found = [part[name][key] for part in parts if _plain(part.get(name, {}).get(key))]
            line.append(mean(found).text(0 if all(isinstance(v, int) for v in found) else 4) if found else "")
        lines.append(line)
    seeds = ", ".join(str(record["seed"]) for record in group.records)
    return Table(f"{group.title} (seeds {seeds})", ["part", *keys], lines)


def one_level(parts: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A part that holds nothing but parts of its own, such as one for each width, as those."""
    found: dict[str, dict[str, Any]] = {}
    for name, part in parts.items():
        inner = bool(part) and all(isinstance(value, dict) for value in part.values())
        found |= {f"{name} {key}": value for key, value in part.items()} if inner else {name: part}
    return found


def _plain(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _change(before: Any, after: Any, words: Callable[[Any], str]) -> str:
    return words(after) if before is None else f"{words(before)} -> {words(after)}"


def _labels(recipes: Sequence[dict[str, Any]]) -> list[str]:
    """What each of these settings has that the others do not, as key=value."""
    flat = [_flat(recipe) for recipe in recipes]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    # what only some have goes with a name that is told already: a PatchTST has no hidden neurons
    apart = [k for k in keys if len({json.dumps(f[k], sort_keys=True) for f in flat if k in f}) > 1]
    return [",".join(f"{short(key)}={word(f[key])}" for key in apart if key in f) for f in flat]


def _flat(tables: dict[str, Any], where: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{where}{key}.")
        else:
            found[f"{where}{key}"] = value
    return found
