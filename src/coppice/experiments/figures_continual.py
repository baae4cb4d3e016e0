"""Pictures of streams: how local kernels and links come and go, and what the arms of a study make of their synapses."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from coppice.experiments.against import Against, against
from coppice.experiments.figures import COLOURS, GREY, house_style, plain_log_ticks
from coppice.experiments.report_continual import Record, arms, is_study, percents
from coppice.experiments.report_forecasting import seeds_text
from coppice.experiments.statistics import mean
from coppice.experiments.studies.continual import REFERENCE, SIZED, VARIANTS


def continual_figures(records: Sequence[Record]) -> Iterator[tuple[str, Figure]]:
    """Every figure that these runs of one setting allow, with a name: one of each seed, and one of the arms."""
    for record in records:
        tasks = learned(record)
        if tasks:
            title = f"{record['name']}, seed {record['seed']}"
            yield f"dynamics-{record['seed']}", dynamics_figure(title, tasks)
    if is_study(records[0]) and len(arms(records)) > 1:
        yield "arms", arms_figure(records)


def learned(record: Record) -> list[dict[str, Any]]:
    """What became of each task, of TD-MCL; empty for a study without it."""
    if is_study(record):
        return list(record["result"]["parts"].get(REFERENCE, {}).get("tasks", []))
    return list(record["result"]["tasks"])


def dynamics(tasks: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Over the epochs of the whole stream: living local kernels of the module at work, of the earlier ones, and mass of links.

    mass: the sum of |V| over all links there are; those of earlier modules as they were when their task ended.
    """
    found: dict[str, list[float]] = {"young": [], "old": [], "mass": []}
    before = 0.0
    for task in tasks:
        for epoch in task["curve"]:
            young = epoch["kernels"][task["task"]]
            found["young"].append(young)
            found["old"].append(sum(epoch["kernels"].values()) - young)
            found["mass"].append(before + epoch["link_mass"])
        before = found["mass"][-1]
    return found


def dynamics_figure(title: str, tasks: Sequence[Mapping[str, Any]]) -> Figure:
    """One stream: above, local kernels, which grow with each task and are then refined and inhibited; below, links."""
    series = dynamics(tasks)
    # what stands between two epochs is how the later of them left it
    epochs = range(len(series["mass"]) + 1)
    series = {name: [*values[:1], *values] for name, values in series.items()}
    with house_style():
        figure = Figure(figsize=(9, 6.4), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        above.stackplot(
            epochs,
            series["old"],
            series["young"],
            labels=["of earlier modules", "of the module that learns"],
            colors=[COLOURS[0], COLOURS[4]],
            alpha=0.75,
            step="pre",
        )
        above.set(ylabel="living local kernels")
        above.set_ylim(bottom=0)
        above.legend(loc="upper left")
        below.step(epochs, series["mass"], where="pre", color=COLOURS[1], lw=1.6)
        below.set(xlabel="epochs of the whole stream", ylabel="mass of long-range links, sum of |V|")
        below.set_ylim(0, 1.15 * max(series["mass"]) or 1)  # room for the names of the tasks
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        start = 0
        for task in tasks:
            for axes in (above, below):
                axes.axvline(start, color=GREY, ls="--", lw=0.8)
            below.annotate(
                task["task"],
                (start, 1),
                xycoords=("data", "axes fraction"),
                xytext=(3, -3),
                textcoords="offset points",
                va="top",
                fontsize=8,
            )
            start += len(task["curve"])
        figure.suptitle(title, fontsize=12)
    return figure


def arms_figure(records: Sequence[Record]) -> Figure:
    """Each arm against TD-MCL: accuracy after the last task, as differences on the same seeds, and living synapses then.

    Without TD-MCL on two seeds or more there are no differences, and the accuracies themselves are shown. Arms that have fewer
    seeds in common with it are left out, and the title says so.
    """
    names = arms(records)
    found = {name: percents(records, name) for name in names}
    rows = against(found, REFERENCE)
    paired = any(row.points is not None for row in rows.values())
    shown = [name for name in names if not paired or name == REFERENCE or rows[name].points is not None]
    few = len(names) - len(shown)
    missing = f"; {few} arm{'' if few == 1 else 's'} of too few seeds left out" if few else ""
    order = sorted(shown, key=lambda name: _middle(rows[name], paired))
    with house_style():
        figure = Figure(figsize=(9, 1.6 + 0.24 * len(order)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
        for place, name in enumerate(order):
            row = rows[name]
            half = row.points.high - row.points.mean if row.points else None if paired else row.accuracy.half
            look: dict[str, Any] = {
                "color": _colour(name),
                "marker": "D" if name == REFERENCE else "o",
                "ms": 5,
            }
            left.errorbar(
                _middle(row, paired), place, xerr=half, ls="none", elinewidth=1.0, capsize=2, **look
            )
            parts = [r["result"]["parts"][name] for r in records if name in r["result"]["parts"]]
            right.plot(mean([part["synapses"][-1] for part in parts]).value, place, ls="none", **look)
        left.set_yticks(range(len(order)), order)
        left.tick_params(axis="y", labelsize=9)
        if paired:
            left.axvline(0, color="black", lw=1.2, zorder=0)
        left.set_xlabel(
            f"accuracy against {REFERENCE}, points" if paired else "mean accuracy after the last task, %"
        )
        right.set_xscale("log")
        plain_log_ticks(right.xaxis)
        right.set_xlabel("living synapses")
        for colour, words in (
            (COLOURS[0], f"forms of {REFERENCE}"),
            (COLOURS[2], "a network for each task"),
            (GREY, "one network, other learners"),
        ):
            left.plot([], [], "o", ms=5, color=colour, label=words)
        figure.legend(loc="outside lower center", ncols=3)
        figure.suptitle(
            f"{records[0]['name']} ({seeds_text(records)}); bars: 95 % intervals{missing}", fontsize=12
        )
    return figure


def _middle(row: Against, paired: bool) -> float:
    if not paired:
        return row.accuracy.value
    return row.points.mean if row.points else 0.0  # of the reference itself


def _colour(arm: str) -> str:
    """TD-MCL, its own forms, networks of a task's own, other learners."""
    if arm == REFERENCE:
        return COLOURS[1]
    if arm in VARIANTS:
        return COLOURS[0]
    return COLOURS[2] if arm in (*SIZED, "direct", "warm-start") else GREY
