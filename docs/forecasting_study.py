"""The benchmark of synaptic pruning as its page sees it: which cells are planned, which have records, what changed."""

import statistics as means
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sources import RESULTS, Record, found_records

from coppice.experiments import report_forecasting as report
from coppice.experiments import statistics
from coppice.experiments.recipe import load
from coppice.experiments.report_forecasting import Cell
from coppice.experiments.statistics import Interval

LENGTH = 14  # of the windows, where no other is said


class Missing(Exception):
    """What a claim needs has no records, or too few."""


@dataclass(frozen=True)
class Study:
    """The records of the benchmark, by cell; `data` and `models` are those its recipe plans."""

    records: Sequence[Record]
    data: Sequence[str]
    models: Sequence[str]
    benchmark: Path = RESULTS / "benchmarks" / "synaptic.json"
    cells: dict[Cell, list[Record]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", report.cells(self.records))

    def at(self, data: str, model: str, length: int = LENGTH) -> list[Record]:
        """The seeds of a planned cell. Raises Missing for fewer than two."""
        found = self.cells.get(Cell(data, model, length), [])
        if len(found) < 2:
            raise Missing(
                f"{data}, {model}, length {length}: {len(found) or 'no'} record{'s' * (len(found) != 1)}"
            )
        return found

    @property
    def finance(self) -> list[str]:
        return [name for name in self.data if name == "bitcoin" or name.startswith("sp500")]

    @property
    def stocks(self) -> str:
        return next(name for name in self.data if name.startswith("sp500"))

    def change(self, data: str, model: str, form: str, reference: str) -> Interval:
        """Paired change of the test error in percent, over seeds."""
        found = report.against(self.at(data, model), form, reference)
        if found is None:
            raise Missing(f"{data}, {model}: too few seeds with {form} and {reference}")
        return found.percent

    def mean_change(self, model: str, form: str, reference: str) -> Interval:
        """The same, averaged over all planned data sets seed by seed, on the seeds that all have."""
        by_seed: dict[int, list[float]] = {}
        for data in self.data:
            ours, theirs = report.paired(self.at(data, model), form, reference)
            for seed, change in zip(sorted(ours), statistics.relative_differences(ours, theirs), strict=True):
                by_seed.setdefault(seed, []).append(change)
        whole = [means.mean(changes) for changes in by_seed.values() if len(changes) == len(self.data)]
        if len(whole) < 2:
            raise Missing(f"{model}: {len(whole)} seeds with {form} and {reference} on every data set")
        return statistics.interval(whole)

    def parts(self, form: str) -> list[tuple[Record, Record]]:
        """(record, part) of a form, over everything recorded."""
        found = [(r, r["result"]["parts"][form]) for r in self.records if form in r["result"]["parts"]]
        if not found:
            raise Missing(f"no records with {form}")
        return found


def recorded() -> Study:
    """All records of the benchmark, and what its recipe plans."""
    sweep = load("forecasting").sweep
    return Study(found_records("forecasting"), sweep["data.name"], sweep["model.name"])
