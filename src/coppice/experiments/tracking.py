"""Runs told to an experiment tracker: the numbers of each unit out of a record, finished or not, each of them once."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from coppice.experiments import record
from coppice.experiments.batch import Job, Outcome, Watch
from coppice.experiments.folder import Folder

Ended = Literal["finished", "failed", "stopped"]
Numbers = dict[str, float]


class Book(Protocol):
    """Where a tracker writes one run down."""

    def row(self, step: int, numbers: Numbers) -> None: ...

    def close(self, how: Ended, results: Numbers, text: str | None) -> None:
        """results: what it came to; text: of the record's file, None for a run that did not finish."""
        ...


class Tracker(Protocol):
    """Opens a book for each run: `recipe` it is of, `name` within the batch, `choices` of the recipe.

    look: the command that shows what it was told
    """

    look: str

    def open(self, recipe: str, name: str, choices: dict[str, str]) -> Book: ...


class Tracking:
    """Tells a tracker of a batch whose runs keep unfinished records.

    A run that goes on after an interruption is told again from its beginning, in a book of its own; one that had finished
    before is told no more. What the tracker fails at becomes a warning, and the runs go on without it.
    """

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name, self.tracker = name, tracker
        self.warning: str | None = None
        self._begun: set[Path] = set()  # folders of runs
        self._books: dict[Path, Book] = {}
        self._told: dict[Path, int] = {}  # rows
        self._seen: dict[Path, int] = {}  # when the unfinished record was written

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """What to call while the batch runs; a book still open at the end is closed as that of a run stopped."""
        try:
            yield Watch(
                progress=lambda job, _: self._spared(lambda: self._progress(job)),
                end=lambda outcome: self._spared(lambda: self._end(outcome)),
            )
        finally:
            # also after a failure, or a server goes on to show them as running
            for book in self._books.values():
                self._tried(partial(book.close, "stopped", {}, None))
            self._books.clear()

    def _spared(self, tell: Callable[[], None]) -> None:
        """Tell it, unless it has failed before."""
        if self.warning is None:
            self._tried(tell)

    def _tried(self, tell: Callable[[], None]) -> None:
        """Spare the runs what goes wrong in that; what failed first is the warning."""
        try:
            tell()
        except Exception as error:
            self.warning = self.warning or f"{self.name} was told no more, for it failed: {error}"

    def _progress(self, job: Job) -> None:
        self._begun.add(job.folder)
        file = Folder(job.folder).live
        try:
            changed = file.stat().st_mtime_ns
            if self._seen.get(job.folder) == changed:
                return
            found = record.read(file)
        except (OSError, ValueError):  # the run has ended meanwhile, or the next one will be whole
            return
        self._seen[job.folder] = changed
        self._tell(job, found)

    def _end(self, outcome: Outcome) -> None:
        job, found = outcome.job, outcome.record
        if found is not None and job.folder in self._begun:
            self._tell(job, found)
            text = Folder(job.folder).record.read_text()
            self._books[job.folder].close("finished", results(found), text)
        elif job.folder in self._books:
            self._books[job.folder].close("failed", {}, None)
        self._books.pop(job.folder, None)  # not before: what could not be closed is tried once more

    def _tell(self, job: Job, found: dict[str, Any]) -> None:
        if job.folder not in self._books:
            self._books[job.folder] = self.tracker.open(found["name"], job.name, choices(found))
        units, told = rows(found["result"]), self._told.get(job.folder, 0)
        for step, numbers in enumerate(units[told:], told):
            self._books[job.folder].row(step, numbers)
        self._told[job.folder] = max(told, len(units))


def choices(found: Mapping[str, Any]) -> dict[str, str]:
    """What makes a run the run it is, as flat text: recipe.table.key, seed, versions."""
    chosen = {
        "seed": found["seed"],
        "device": found["device"],
        **found["recipe"],
        "versions": found["versions"],
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in _flat(chosen, ".")}


def results(found: Mapping[str, Any]) -> Numbers:
    """What a finished run came to, as flat numbers."""
    result = found["result"]
    measures = result.get("accuracy", {}).get("measures", {})
    told = {
        **{key: result[key] for key in ("final", "initial", "naive", "in_the_loop") if key in result},
        **{key: result[key] for key in ("validation", "best_epoch") if key in result},
        "measures": {name: measure["value"] for name, measure in measures.items()},
        "seconds": found["timing"].get("seconds"),
    }
    return _numbers(_flat(told, "/"))


def rows(result: Mapping[str, Any]) -> list[Numbers]:
    """The numbers of each unit so far, in order: epochs; epochs and cuts of a search; parts of a study. Rows that were
    there stay as they are while the run goes on.
    """
    if "parts" in result:
        parts = result["parts"].items()  # a part's own numbers; where it is a table of tables, theirs
        return [_numbers(_flat({name: _top(part) or part}, "/")) for name, part in parts]
    if "tasks" in result:
        return _rows_of_stream(result)
    if "path" in result:
        return _rows_of_search(result)
    return [_of_epoch(unit) | {"parameters": result["parameters"]} for unit in result.get("curve", [])]


def _rows_of_search(result: Mapping[str, Any]) -> list[Numbers]:
    path, size = result["path"], result["parameters"]
    before = path[0]["parameters"] if path else size
    found = [{"score": score, "parameters": before} for score in result["pretraining"]]
    for step in path:
        kept = ("score", "error", "parameters", "flops", "fitness", "stability", "change")
        found.append(_numbers({key: step[key] for key in kept}.items()) | {"neurons": sum(step["widths"])})
    tuned = {"parameters": size, **({"neurons": result["neurons"]} if "neurons" in result else {})}
    return [*found, *({"score": score, **tuned} for score in result["tuning"])]


def _rows_of_stream(result: Mapping[str, Any]) -> list[Numbers]:
    found: list[Numbers] = []
    names, tests = result["accuracy"]["tasks"], result["accuracy"]["rows"]
    for number, task in enumerate(
        [*result["tasks"], *([result["learning"]] if "learning" in result else [])]
    ):
        for unit in task["curve"]:
            found.append({"task": float(number), **_of_epoch(unit)})
        if number < len(tests):  # learned: all tasks so far have been tested
            found[-1] |= {f"test/{name}": score for name, score in zip(names, tests[number], strict=False)}
    return found


def _of_epoch(unit: Mapping[str, Any]) -> Numbers:
    """Numbers of an epoch; of those told for each module or layer, the sum too where it means something."""
    named = {"sparsity": unit["layers"]} if "layers" in unit else {}
    counted = {key: unit[key] for key in ("synapses", "kernels") if key in unit}
    sums = {key: float(sum(of_each.values())) for key, of_each in counted.items()}
    return _numbers([*_top(unit).items(), *_flat({**named, **counted}, "/"), *sums.items()])


def _top(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in table.items() if key != "epoch" and not isinstance(value, (dict, list))
    }


def _flat(table: Mapping[str, Any], between: str, before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, between, f"{before}{key}{between}")
        else:
            yield f"{before}{key}", value


def _numbers(pairs: Any) -> Numbers:
    """Those that are numbers: null stands for what is not finite, or was not measured."""
    return {
        key: float(value)
        for key, value in pairs
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
