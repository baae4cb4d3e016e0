"""Records of streams to tables: the accuracy matrix with its formulas, modules and costs, arms against TD-MCL. Pure.

Accuracies and differences of accuracies are in percent and points. Wins and losses are shown alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from coppice.experiments import statistics
from coppice.experiments.accuracy_matrix import FORMULAS, AccuracyMatrix
from coppice.experiments.against import against
from coppice.experiments.continual.learner import FORMULA
from coppice.experiments.report_forecasting import powerless, seeds_text
from coppice.experiments.studies.continual import REFERENCE

Record = dict[str, Any]
Words = tuple[str, list[str], list[list[str]]]  # title, header, lines
ALONE = "direct"  # the arm whose accuracies are D[j] of FWT
LATE = "joint"  # the arm whose learning passes while it is tested


def is_study(record: Record) -> bool:
    """Whether this is a record of the study of a stream."""
    return record["task"] == "stream" and "parts" in record["result"]


def tables(title: str, records: Sequence[Record]) -> list[Words]:
    """The tables of runs that differ in nothing but the seed: of a stream, or of a study of one."""
    title = f"{title} ({seeds_text(records)})"
    if is_study(records[0]):
        return _study_tables(title, records)
    matrices = [AccuracyMatrix.from_record(record["result"]["accuracy"]) for record in records]
    found = [matrix_table(title, matrices), _measures_table(matrices, untold(records)), _tasks_table(records)]
    if looped := [
        record["result"]["in_the_loop"] for record in records if record["result"].get("in_the_loop")
    ]:
        found.append(_loop_table(looped))
    return found


def _loop_table(looped: Sequence[Mapping[str, Mapping[str, float]]]) -> Words:
    """Returns of the spiking policies, beside those of the controllers that they are clones of."""
    lines = []
    for name in looped[0]:
        returns = [found[name] for found in looped]
        words = [_text([found[key] for found in returns], 1) for key in ("policy", "controller", "random")]
        lines.append([name, *words, _text([100 * found["share"] for found in returns], 1)])
    return (
        "policies in the loop: mean return of the same seeded episodes; share: 0 % is chance, 100 % the controller",
        ["task", "policy", "controller", "random actions", "share, %"],
        lines,
    )


def untold(records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """How well streams do when nobody says which task a sample is of: name, value, formula of each measure."""
    found = [record["result"]["inferred"] for record in records]
    return [
        (
            f"{what} inferred",
            _text([100 * one[what] for one in found], 2),
            f"share of test samples whose {meant} is named right when no task is told, mean over the tasks",
        )
        for what, meant in (("task", "task"), ("class", "class, of all tasks' classes,"))
    ]


def cells_table(title: str, cells: Mapping[str, Sequence[Record]]) -> Words:
    """Streams that differ in a setting, such as the order of the tasks, against the first of them."""
    accuracies = {
        name: {record["seed"]: 100 * record["result"]["final"]["test"] for record in records}
        for name, records in cells.items()
    }
    first = next(iter(cells))
    lines = []
    for name, row in against(accuracies, first).items():
        matrices = [AccuracyMatrix.from_record(record["result"]["accuracy"]) for record in cells[name]]
        last = statistics.mean([100 * matrix.rows[-1][-1] for matrix in matrices])
        synapses = statistics.mean([record["result"]["final"]["synapses"] for record in cells[name]])
        lines.append([name, *row.words(), last.text(2), _bwt(matrices), synapses.text(0)])
    header = ["setting", "ACC, %", "against the first, points [95 %]", "wins", "p (Holm)", "dz"]
    return title, [*header, "last task, %", "BWT", "synapses"], lines


def percents(records: Sequence[Record], arm: str) -> dict[int, float]:
    """Mean accuracy after the last task, by seed, for the seeds that have the arm."""
    parts = {record["seed"]: record["result"]["parts"].get(arm) for record in records}
    return {seed: 100 * part["test"] for seed, part in parts.items() if part is not None}


def arms(records: Sequence[Record]) -> list[str]:
    """Every arm that any of these records has, in the study's order."""
    return list(dict.fromkeys(name for record in records for name in record["result"]["parts"]))


def _study_tables(title: str, records: Sequence[Record]) -> list[Words]:
    names = arms(records)
    rows = against({name: percents(records, name) for name in names}, REFERENCE)
    header = ["arm", "ACC, %", f"against {REFERENCE}, points [95 %]", "wins", "p (Holm)", "dz"]
    header += [
        "BWT",
        "forgetting",
        "FWT",
        "synapses",
        "old kernels dead, %",
        "capacity",
        "kept beside, kB",
        "operations",
        "time",
    ]
    lines = []
    for name, row in rows.items():
        parts = [record["result"]["parts"][name] for record in records if name in record["result"]["parts"]]
        matrices = [AccuracyMatrix.from_record(part["accuracy"]) for part in parts]
        dead = [100 * part["dead_since_own_task"] for part in parts if "dead_since_own_task" in part]
        lines.append(
            [
                name,
                *row.words(),
                _bwt(matrices),
                _text([100 * matrix.forgetting() for matrix in matrices if len(matrix.rows) > 1], 2),
                _text(_transfers(records, name), 2),
                _text([part["synapses"][-1] for part in parts], 0),
                _text(dead, 1),
                _text([part["capacity"] for part in parts], 3),
                _text([sum(part["stored"].values()) / 1000 for part in parts], 1),
                _text([_operations(part["costs"]) for part in parts if part.get("costs")], 0),
                _text(_times(records, name), 2),
            ]
        )
    title += f"; p: Wilcoxon, Holm over this table{powerless(records)}"
    legend = [
        ("FWT", _text(_transfers(records, REFERENCE), 2), f"{FORMULAS['FWT']}; D: the arm '{ALONE}'"),
        ("operations", "", "synaptic operations an input, mean over the tasks at the end, of test inputs"),
        (
            "time",
            "",
            f"of learning alone, on the CPU its CPU time, {REFERENCE} = 1; none of {LATE}, which learns when asked",
        ),
        ("kept beside", "", "the network and its masks: of earlier tasks, to learn or to answer on"),
        ("capacity", "", FORMULA),
    ]
    found: list[Words] = [(title, header, lines)]
    learned = [
        record["result"]["parts"][REFERENCE] for record in records if REFERENCE in record["result"]["parts"]
    ]
    if learned:
        matrices = [AccuracyMatrix.from_record(part["accuracy"]) for part in learned]
        found += [matrix_table(REFERENCE, matrices), _measures_table(matrices, legend)]
    return found


def matrix_table(title: str, matrices: Sequence[AccuracyMatrix]) -> Words:
    """A[i,j], the mean over the seeds."""
    tasks = matrices[0].tasks
    lines = []
    for number, task in enumerate(tasks):
        row = [
            statistics.mean([100 * matrix.rows[number][j] for matrix in matrices]).text(1)
            for j in range(number + 1)
        ]
        lines.append([task, *row, *[""] * (len(tasks) - len(row))])
    return f"{title}: accuracy in % on each task (column) after each task (row)", ["after", *tasks], lines


def _measures_table(matrices: Sequence[AccuracyMatrix], more: Sequence[tuple[str, str, str]]) -> Words:
    """Numbers read from the matrix, each beside its formula; `more`: further lines."""
    found = [matrix.measures() for matrix in matrices]
    lines = [
        [name, _text([100 * numbers[name] for numbers in found if name in numbers], 2), formula]
        for name, formula in FORMULAS.items()
        if name in found[0]
    ]
    lines += [list(words) for words in more]
    return (
        "in points; A[i,j]: accuracy on task j after task i, N tasks",
        ["measure", "value", "formula"],
        lines,
    )


def _tasks_table(records: Sequence[Record]) -> Words:
    """What became of each module, and what an answer to its task takes, at the end."""
    header = [
        "task",
        "function",
        "chance, %",
        "synapses then",
        "its own at the end",
        "its kernels dead since, %",
    ]
    header += [
        "links",
        "link mass",
        "operations",
        "of them additions, %",
        "nJ, arithmetic",
        "nJ, with memory",
    ]
    lines = []
    for number, task in enumerate(records[0]["result"]["tasks"]):
        name = task["task"]
        then = [record["result"]["tasks"][number] for record in records]
        module = [record["result"]["tasks"][-1]["modules"][name] for record in records]
        costs = [record["result"]["costs"][name] for record in records]
        lines.append(
            [
                name,
                task["group"],
                _text([100 * found["chance"] for found in then], 1),
                _text([found["synapses"] for found in then], 0),
                _text([found["synapses"] for found in module], 0),
                _text([100 * found["dead_since_own_task"] for found in module], 1),
                _text([found["links"] for found in module], 0),
                _text([found["link_mass"] for found in module], 1),
                _text([found["synaptic_operations"] for found in costs], 0),
                _text([100 * found["effective_acs"] / found["synaptic_operations"] for found in costs], 1),
                _text([found["energy_compute_pj"] / 1000 for found in costs], 2),
                _text([found["energy_with_memory_pj"] / 1000 for found in costs], 2),
            ]
        )
    return "modules, and what an answer takes at the end, all modules at work counted", header, lines


def _transfers(records: Sequence[Record], arm: str) -> list[float]:
    """FWT of an arm in points, where the same record has the tasks learned alone."""
    found = []
    for record in records:
        parts = record["result"]["parts"]
        if arm in parts and ALONE in parts and arm != ALONE and len(parts[arm]["accuracy"]["rows"]) > 1:
            alone = [row[-1] for row in parts[ALONE]["accuracy"]["rows"]]
            found.append(100 * AccuracyMatrix.from_record(parts[arm]["accuracy"]).fwt(alone))
    return found


def _times(records: Sequence[Record], arm: str) -> list[float]:
    found = []
    for record in records:
        clock, key = record["timing"]["parts"], "cpu_seconds" if record["device"] == "cpu" else "seconds"
        if arm in clock and REFERENCE in clock and arm != LATE:
            found.append(clock[arm][key] / clock[REFERENCE][key])
    return found


def _operations(costs: Mapping[str, Any]) -> float:
    return statistics.mean([found["synaptic_operations"] for found in costs.values()]).value


def _bwt(matrices: Sequence[AccuracyMatrix]) -> str:
    return _text([100 * matrix.bwt() for matrix in matrices if len(matrix.rows) > 1], 2)


def _text(values: Sequence[float], digits: int) -> str:
    return statistics.mean(values).text(digits) if values else ""
