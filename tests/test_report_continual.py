"""Tables and figures of streams and of the study: numbers by hand from records made up."""

from typing import Any

import pytest

from coppice.experiments import record, report
from coppice.experiments.accuracy_matrix import AccuracyMatrix
from coppice.experiments.against import against
from coppice.experiments.figures_continual import arms_figure, continual_figures, dynamics
from coppice.experiments.report_continual import arms, percents

TASKS = ("see", "move")


def epoch(kernels: dict[str, int], mass: float) -> dict[str, Any]:
    return {"kernels": kernels, "link_mass": mass}


LEARNED: list[dict[str, Any]] = [
    {
        "task": "see",
        "group": "perception",
        "chance": 0.5,
        "synapses": 100,
        "curve": [epoch({"see": 12}, 0.0), epoch({"see": 8}, 0.0)],
        "modules": {"see": {"synapses": 100, "dead_since_own_task": 0.0, "links": 0, "link_mass": 0.0}},
    },
    {
        "task": "move",
        "group": "motor",
        "chance": 0.25,
        "synapses": 190,
        "curve": [epoch({"see": 8, "move": 12}, 2.0), epoch({"see": 6, "move": 9}, 3.0)],
        "modules": {
            "see": {"synapses": 80, "dead_since_own_task": 0.25, "links": 0, "link_mass": 0.0},
            "move": {"synapses": 110, "dead_since_own_task": 0.0, "links": 2, "link_mass": 3.0},
        },
    },
]
COSTS = {
    name: {
        "synaptic_operations": 200.0 * number,
        "effective_acs": 150.0 * number,
        "energy_compute_pj": 1000.0,
        "energy_with_memory_pj": 5000.0,
    }
    for number, name in enumerate(TASKS, 1)
}


def matrix(first: float, last: float, own: float) -> dict[str, Any]:
    return AccuracyMatrix(TASKS, [[first], [last, own]]).record()


def made_up(seed: int, result: dict[str, Any], **recipe: Any) -> dict[str, Any]:
    found = {
        "name": "mine",
        "seed": seed,
        "task": "stream",
        "device": "cpu",
        "recipe": {"data": {"name": "made-up"}, **recipe},
        "result": result,
        "timing": {
            "seconds": 1.0,
            "parts": {
                name: {"cpu_seconds": 2.0 + number} for number, name in enumerate(result.get("parts", ()))
            },
        },
    }
    return {**found, "fingerprint": record.fingerprint(found)}


def stream(seed: int, last: float = 0.7, **recipe: Any) -> dict[str, Any]:
    accuracy = matrix(0.9, last, 0.8)
    test = (last + 0.8) / 2
    final = {"parameters": 300, "synapses": 190, "bytes": 1000, "test": test}
    result = {"final": final, "accuracy": accuracy, "tasks": LEARNED, "costs": COSTS}
    return made_up(seed, {**result, "inferred": {"task": 0.5, "class": 0.4, "by_task": {}}}, **recipe)


def part(first: float, last: float, own: float, synapses: int) -> dict[str, Any]:
    return {
        "test": (last + own) / 2,
        "accuracy": matrix(first, last, own),
        "synapses": [100, synapses],
        "capacity": 1.5,
        "stored": {"this": 1500, "that": 500},
    }


def study(seed: int) -> dict[str, Any]:
    gain = 0.01 * (seed + 1)
    ours = {**part(0.9, 0.88, 0.8, 190), "dead_since_own_task": 0.25, "costs": COSTS, "tasks": LEARNED}
    return made_up(
        seed,
        {
            "parts": {
                "td-mcl": ours,
                "direct": part(0.9, 0.9, 0.7 - gain, 240),
                "ewc": part(0.9, 0.5, 0.8, 120),
            }
        },
        study={"name": "continual"},
    )


def by_title(group: report.Group) -> dict[str, report.Table]:
    tables = group.tables()
    for table in tables:
        assert all(len(line) == len(table.header) for line in table.lines)
    return {table.title: table for table in tables}


# --- a stream -------------------------------------------------------------------------------------------------


def test_a_stream_shows_its_matrix_its_formulas_and_its_modules() -> None:
    (group,) = report.grouped([stream(0), stream(1, last=0.8)])
    first, numbers, modules = group.tables()
    assert (
        first.title == "mine (n = 2, seeds 0, 1): accuracy in % on each task (column) after each task (row)"
    )
    assert first.header == ["after", "see", "move"]
    assert first.lines[0] == ["see", "90.0 ± 0.0", ""]
    assert first.lines[1][0] == "move"
    assert first.lines[1][1].startswith("75.0 ±")
    found = {line[0]: line[1:] for line in numbers.lines}
    # (70 + 80) / 2 and (80 + 80) / 2, mean 77.5; half width t(0.975, 1) * 2.5 = 12.706 * 2.5
    assert found["ACC"] == ["77.50 ± 31.77", "mean of A[N,j] over j = 1..N"]
    assert found["BWT"][0].startswith("-15.00 ±")
    assert "FWT" not in found
    loop = {"move": {"policy": 30.0, "controller": 50.0, "random": 10.0, "share": 0.5}}
    acted = stream(0)
    acted["result"]["in_the_loop"] = loop
    (group,) = report.grouped([acted])
    assert group.tables()[-1].lines == [["move", "30.0", "50.0", "10.0", "50.0"]]
    assert found["task inferred"][0] == "50.00 ± 0.00"
    assert found["class inferred"][0] == "40.00 ± 0.00"
    see, move = modules.lines
    assert see[:3] == ["see", "perception", "50.0 ± 0.0"]
    assert see[modules.header.index("its kernels dead since, %")] == "25.0 ± 0.0"
    assert see[modules.header.index("its own at the end")] == "80 ± 0"
    assert move[modules.header.index("of them additions, %")] == "75.0 ± 0.0"
    assert move[modules.header.index("nJ, with memory")] == "5.00 ± 0.00"


def test_settings_of_one_recipe_stand_side_by_side_against_the_first() -> None:
    order = {"first": ["see", "move"], "second": ["move", "see"]}
    records = [stream(s, 0.7, data={"tasks": order["first"]}) for s in range(3)]
    records += [stream(s, 0.7 - 0.02 * s, data={"tasks": order["second"]}) for s in range(3)]
    groups = report.grouped(records)
    assert [group.cell for group in groups] == ["tasks=see+move", "tasks=move+see"]
    (table,) = report.compared(groups)
    assert table.lines[0][:3] == ["tasks=see+move", "75.00 ± 0.00", ""]
    # 0, -1, -2 points
    assert table.lines[1][2].startswith("-1.00 [")
    assert table.lines[1][3:6] == ["0/3", "n < 6", "-1.00"]
    assert report.compared(groups[:1]) == []


# --- the study ------------------------------------------------------------------------------------------------


def test_arms_are_compared_with_td_mcl_on_the_same_seeds() -> None:
    (group,) = report.grouped([study(seed) for seed in range(6)])
    table, its_matrix, numbers = group.tables()
    lines = {line[0]: dict(zip(table.header, line, strict=True)) for line in table.lines}
    assert list(lines) == ["td-mcl", "direct", "ewc"]
    ours, direct, ewc = lines.values()
    against_us = "against td-mcl, points [95 %]"
    assert ours[against_us] == ours["p (Holm)"] == ""
    assert ours["ACC, %"] == "84.00 ± 0.00"
    assert ours["BWT"] == "-2.00 ± 0.00"
    # learned alone 'move' comes to 69, 68, ..., 64 %, so TD-MCL's 80 % are 11 to 16 points more
    assert ours["FWT"].startswith("13.50 ±")
    assert ours["old kernels dead, %"] == "25.0 ± 0.0"
    assert ours["operations"] == "300 ± 0"
    assert ours["time"] == "1.00 ± 0.00"
    assert direct["FWT"] == direct["old kernels dead, %"] == direct["operations"] == ""
    # (90 + 69 - s) / 2 - 84 = -4.5 - s / 2 for s = 0..5
    assert direct[against_us].startswith("-5.75 [")
    assert direct["wins"] == "0/6"
    # six pairs of one sign: p = 2 / 2^6; Holm doubles the smaller of two, and both are equal
    assert direct["p (Holm)"] == ewc["p (Holm)"] == "0.062"
    assert ewc["BWT"] == "-40.00 ± 0.00"
    assert ewc["synapses"] == "120 ± 0"
    assert ewc["time"] == "2.00 ± 0.00"
    assert ewc["kept beside, kB"] == "2.0 ± 0.0"
    assert its_matrix.title.startswith("td-mcl: accuracy in %")
    meanings = {line[0]: line[2] for line in numbers.lines}
    assert {"ACC", "BWT", "FWT", "capacity", "kept beside", "operations", "time"} <= meanings.keys()
    assert meanings["capacity"].startswith("capacity = ")


def test_five_seeds_give_an_interval_and_no_p() -> None:
    (group,) = report.grouped([study(seed) for seed in range(5)])
    direct = dict(zip(group.tables()[0].header, group.tables()[0].lines[1], strict=True))
    assert direct["p (Holm)"] == "n < 6"


def test_an_arm_that_a_seed_lacks_is_compared_on_the_others() -> None:
    records = [study(seed) for seed in range(3)]
    del records[1]["result"]["parts"]["direct"]
    assert percents(records, "direct").keys() == {0, 2}
    assert arms(records) == ["td-mcl", "direct", "ewc"]
    found = against({name: percents(records, name) for name in arms(records)}, "td-mcl")
    points = found["direct"].points
    assert points is not None
    assert points.runs == 2
    assert points.mean == pytest.approx(-5.0)  # of -4.5 and -5.5
    assert against({"direct": {0: 50.0}}, "td-mcl")["direct"].points is None


# --- figures --------------------------------------------------------------------------------------------------


def test_dynamics_go_over_the_whole_stream_and_keep_what_earlier_links_weigh() -> None:
    third = {
        "task": "meet",
        "curve": [epoch({"see": 6, "move": 9, "meet": 12}, 1.0)],
    }
    assert dynamics([*LEARNED, third]) == {
        "young": [12, 8, 12, 9, 12],
        "old": [0, 0, 8, 6, 15],
        "mass": [0.0, 0.0, 2.0, 3.0, 4.0],
    }


def test_every_seed_has_its_dynamics_and_a_study_its_arms() -> None:
    assert [name for name, _ in continual_figures([stream(0), stream(1)])] == ["dynamics-0", "dynamics-1"]
    names = [name for name, _ in continual_figures([study(0), study(1)])]
    assert names == ["dynamics-0", "dynamics-1", "arms"]
    left, right = arms_figure([study(0), study(1)]).axes
    # (90 + 69) / 2 and (90 + 68) / 2, less 84; (50 + 80) / 2 less 84
    assert [label.get_text() for label in left.get_yticklabels()] == ["ewc", "direct", "td-mcl"]
    assert [bar.lines[0].get_xdata()[0] for bar in left.containers] == pytest.approx([-19, -4.75, 0])
    assert [line.get_xdata()[0] for line in right.get_lines()] == [120, 240, 190]
    assert "left out" not in left.figure.get_suptitle()
    halved = study(1)
    del halved["result"]["parts"]["ewc"]  # one seed in common: no difference, and not one of 0 either
    left = arms_figure([study(0), halved]).axes[0]
    assert [label.get_text() for label in left.get_yticklabels()] == ["direct", "td-mcl"]
    assert left.figure.get_suptitle().endswith("; 1 arm of too few seeds left out")
    alone = arms_figure([study(0)]).axes[0]
    assert alone.get_xlabel() == "mean accuracy after the last task, %"
