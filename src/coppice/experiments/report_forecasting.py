"""Records of the forecasting study to tables: each method against the dense network of the same seeds. Pure.

A cell is one data set, model and window length; its records are its seeds. Wins and losses are shown alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from coppice.experiments import statistics
from coppice.experiments.statistics import LEAST_PAIRS, LEVEL, Comparison, Mean, Ranking

Record = dict[str, Any]
REFERENCE = "dense"
BORROWED = ("MC dropout",)  # forecasts with another method's network, so its clock holds no training
HEADER = [
    "method",
    "test MAE, σ",
    "in the target's unit",
    "against dense, % [95 %]",
    "wins",
    "p (Holm)",
    "dz",
    "alive",
    "bytes",
    "training time, dense = 1",
]


class Cell(NamedTuple):
    """What the seeds of a cell have in common."""

    data: str
    model: str
    length: int

    @property
    def title(self) -> str:
        return f"{self.data}, {self.model}, length {self.length}"

    @classmethod
    def of(cls, record: Record) -> "Cell":
        data, model = record["recipe"]["data"], record["recipe"]["model"]
        return cls(data.get("csv") or data["name"], model["name"], data["length"])


@dataclass(frozen=True)
class Row:
    """One method in one cell: means over its seeds, and its pairs with the dense network."""

    method: str
    test: Mean  # mean absolute error, in standard deviations of the training targets
    unit: Mean | None  # in the target's unit
    against: Comparison | None  # None for the reference itself, and with fewer than two pairs
    holm: float | None  # of all comparisons with the reference in the cell; None under LEAST_PAIRS pairs
    alive: Mean | None
    bytes: Mean | None
    time: Mean | None  # CPU time of the training over that of the reference, pair by pair

    def words(self) -> list[str]:
        pairs = self.against
        return [
            self.method,
            self.test.text(4),
            "" if self.unit is None else f"{self.unit.value:.4g}",
            "" if pairs is None else pairs.percent.text(),
            "" if pairs is None else f"{pairs.wins}/{pairs.runs}",
            "" if pairs is None else f"n < {LEAST_PAIRS}" if self.holm is None else p_text(self.holm),
            "" if pairs is None else f"{pairs.dz:+.2f}",
            "" if self.alive is None else f"{self.alive.value:,.0f}",
            "" if self.bytes is None else f"{self.bytes.value:,.0f}",
            "" if self.time is None else self.time.text(2),
        ]


def is_study(record: Record) -> bool:
    """Whether this is a record of the forecasting study."""
    return record["task"] == "forecast" and "parts" in record["result"]


def table(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Header and lines: of a study one line a method, of plain runs one line a seed and their mean."""
    if is_study(records[0]):
        return HEADER, [row.words() for row in rows(records)]
    finals = [record["result"]["final"] for record in records]
    naive = [record["result"].get("naive", {}) for record in records]
    header = [
        "seed",
        "test MAE, σ",
        "in the target's unit",
        *naive[0],
        "parameters",
        "alive",
        "bytes",
        "latency, µs",
    ]
    columns: list[tuple[list[float | None], int]] = [
        ([final["test"] for final in finals], 4),
        ([final.get("test_unit") for final in finals], 4),
        *(([errors[name]["test"] for errors in naive], 4) for name in naive[0]),
        *(([final[key] for final in finals], 0) for key in ("parameters", "alive", "bytes")),
        ([1e6 * record["timing"]["latency"]["final"] for record in records], 0),
    ]
    words = [[statistics.mean([v]).text(d) if v is not None else "" for v in values] for values, d in columns]
    found = [[str(record["seed"]), *line] for record, *line in zip(records, *words, strict=True)]
    if len(records) > 1:
        known = [([v for v in values if v is not None], digits) for values, digits in columns]
        found.append(["mean", *(statistics.mean(v).text(d) if v else "" for v, d in known)])
    return header, found


def remark(records: Sequence[Record]) -> str:
    """What belongs beside the table of plain runs: that a rule without a network does as well. Empty where none does."""
    naive = [record["result"].get("naive", {}) for record in records]
    if any(record["result"]["final"]["test"] is None for record in records):  # it was not finite
        return ""
    means = {name: sum(errors[name]["test"] for errors in naive) / len(naive) for name in naive[0]}
    mine = sum(record["result"]["final"]["test"] for record in records) / len(records)
    best = min(means, key=means.__getitem__, default=None)
    if best is None or mine < means[best]:
        return ""
    levels = records[0]["recipe"]["data"].get("transform", "auto") in ("auto", "none")
    change = "data.transform=difference, which forecasts the change, " if levels else ""
    return (
        f"no better than {best}, {mine:.4f} against {means[best]:.4f}: {change}more rows or more training.epochs may"
        " help; in some series, such as prices, there is nothing more to find."
    )


def cells(records: Iterable[Record]) -> dict[Cell, list[Record]]:
    """Records of the study by cell, each in order of seed. Raises ValueError for a seed that a cell has twice."""
    found: dict[Cell, dict[int, Record]] = {}
    for record in records:
        seeds = found.setdefault(Cell.of(record), {})
        if record["seed"] in seeds:
            raise ValueError(
                f"{Cell.of(record).title}: there are two records of seed {record['seed']}, so their settings differ or one "
                "was run again; show them apart."
            )
        seeds[record["seed"]] = record
    return {cell: [seeds[seed] for seed in sorted(seeds)] for cell, seeds in found.items()}


def methods(records: Sequence[Record]) -> list[str]:
    """Every method that any of these records has, in the study's order."""
    return list(dict.fromkeys(name for record in records for name in record["result"]["parts"]))


def errors(records: Sequence[Record], method: str, key: str = "test") -> dict[int, float]:
    """One number of a method by seed, for the seeds that have it."""
    parts = {record["seed"]: record["result"]["parts"].get(method, {}) for record in records}
    return {seed: part[key] for seed, part in parts.items() if part.get(key) is not None}


def against(records: Sequence[Record], method: str, reference: str = REFERENCE) -> Comparison | None:
    """The method's test error against the reference's on the seeds that have both; None with fewer than two."""
    pairs = paired(records, method, reference)
    return statistics.compare(*pairs) if len(pairs[0]) > 1 else None


def paired(
    records: Sequence[Record], method: str, reference: str = REFERENCE
) -> tuple[dict[int, float], dict[int, float]]:
    """Test errors of both, by the seeds that have both."""
    ours, theirs = errors(records, method), errors(records, reference)
    both = [seed for seed in ours if seed in theirs]
    return {seed: ours[seed] for seed in both}, {seed: theirs[seed] for seed in both}


def rows(records: Sequence[Record]) -> list[Row]:
    """The methods of one cell. Holm's family is every comparison with the dense network in the cell."""
    names = methods(records)
    compared = {name: against(records, name) for name in names if name != REFERENCE}
    adjusted = statistics.holm({k: c.p for k, c in compared.items() if c is not None and c.p is not None})
    return [
        Row(
            method=name,
            test=statistics.mean(list(errors(records, name).values())),
            unit=_mean(errors(records, name, "test_unit")),
            against=compared.get(name),
            holm=adjusted.get(name),
            alive=_mean(errors(records, name, "alive")),
            bytes=_mean(errors(records, name, "bytes")),
            time=_mean(time_ratios(records, name)),
        )
        for name in names
        if errors(records, name)  # none was finite
    ]


def time_ratios(records: Sequence[Record], method: str) -> dict[int, float]:
    """CPU time of a method's training over the dense one's, by seed; empty where it trained nothing itself."""
    found = {}
    for record in records:
        part, clock = record["result"]["parts"].get(method, {}), record["timing"]["parts"]
        if "epochs" in part and method not in BORROWED and {method, REFERENCE} <= clock.keys():
            found[record["seed"]] = clock[method]["cpu_seconds"] / clock[REFERENCE]["cpu_seconds"]
    return found


def blocks(table: Mapping[Cell, Sequence[Record]]) -> tuple[dict[Cell, dict[str, float]], list[str]]:
    """For `statistics.rank`: per cell the mean test error of each method that all cells have; and those left out."""
    names = methods([record for records in table.values() for record in records])
    means = {
        cell: {
            name: statistics.mean(list(found.values())).value
            for name in names
            if (found := errors(records, name))
        }
        for cell, records in table.items()
    }
    common = [name for name in names if all(name in row for row in means.values())]
    left_out = [name for name in names if name not in common]
    return {cell: {name: row[name] for name in common} for cell, row in means.items()}, left_out


def ranking(table: Mapping[Cell, Sequence[Record]]) -> Ranking:
    """Mean ranks over cells, by mean errors over seeds. Raises ValueError as `statistics.rank` does."""
    return statistics.rank(blocks(table)[0])


def p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def seeds_text(records: Sequence[Record]) -> str:
    """n = 10, seeds 0-9."""
    seeds = [record["seed"] for record in records]
    run = seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    listed = f"{seeds[0]}-{seeds[-1]}" if run and len(seeds) > 2 else ", ".join(map(str, seeds))
    return f"n = {len(seeds)}, seed{'s' if len(seeds) > 1 else ''} {listed}"


def about(records: Sequence[Record]) -> str:
    """Cell, seeds, and how to read the table."""
    words = f"{Cell.of(records[0]).title} ({seeds_text(records)})"
    if is_study(records[0]):
        words += "; against dense on the same seeds, under 0 is better; p: Wilcoxon, Holm over this table"
        words += powerless(records)
    return words


def powerless(records: Sequence[Record]) -> str:
    """A warning where no data whatever could be significant: so many comparisons ask for more seeds."""
    count, least = len(methods(records)) - 1, 2 / 2 ** len(records)
    if len(records) < LEAST_PAIRS or least * count < LEVEL:
        return ""
    return f" (with {len(records)} seeds no p can fall under {LEVEL}: Holm asks that of {count} comparisons)"


def _mean(values: Mapping[int, float]) -> Mean | None:
    return statistics.mean(list(values.values())) if values else None
