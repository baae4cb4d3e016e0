"""What the answers of a stream's network cost and are worth, task by task."""

from collections.abc import Mapping, Sequence
from typing import Any

from coppice.experiments.page.panel import Figure, Panel, Words
from coppice.experiments.page.style import INK, axis, bars

Tasks = Sequence[Mapping[str, Any]]


def energy_panel(tasks: Tasks, costs: Mapping[str, Any]) -> Panel:
    """Energy and operations of an answer to each task, when just learned and at the end."""
    names = list(costs)
    then = {task["task"]: task["costs"] for task in tasks if task.get("costs")}
    figures = []
    for key, title, scale in (
        ("energy_compute_pj", "energy of the arithmetic, nJ", 1000),
        ("synaptic_operations", "synaptic operations", 1),
    ):
        data = []
        if all(name in then for name in names):
            before = [then[name][key] / scale for name in names]
            data.append(bars("when just learned", names, before, 5, hovertemplate="%{y:,.4g}"))
        after = [costs[name][key] / scale for name in names]
        data.append(bars("at the end of the stream", names, after, 0, hovertemplate="%{y:,.4g}"))
        layout = {"xaxis": axis("", type="category"), "yaxis": axis(""), "barmode": "group"}
        told = ", ".join(f"{name} {value:,.4g}" for name, value in zip(names, after, strict=True))
        figures.append(Figure(f"{title} of an answer at the end: {told}.", data, layout, 300, title=title))
    footprint = next(iter(costs.values()))
    words = (
        "What an answer takes, all modules that it needs at work, mean over test inputs; 45 nm. The network takes "
        f"{footprint['footprint']:,} bytes, {footprint['footprint_packed']:,} without its dead synapses."
    )
    return Panel("energy", "Energy and operations", words, figures)


def grown_panel(modules: Mapping[str, Any]) -> Panel:
    """Synapses of each module, with the dead and without."""
    names = list(modules)
    data = [
        bars("grown", names, [modules[name]["grown"] for name in names], 5, hovertemplate="%{y:,}"),
        bars(
            "alive",
            names,
            [modules[name]["synapses"] for name in names],
            0,
            hovertemplate="%{y:,}",
        ),
    ]
    grown, alive = (sum(modules[name][key] for name in names) for key in ("grown", "synapses"))
    words = f"Of {grown:,} synapses that grew, {alive:,} are alive, {100 * alive / grown:.0f} %."
    layout = {"xaxis": axis("", type="category"), "yaxis": axis("synapses"), "barmode": "group"}
    return Panel("grown", "Synapses, grown and alive", words, [Figure(words, data, layout, 300)])


def untold_panel(accuracy: Mapping[str, Any], inferred: Mapping[str, Any]) -> Panel:
    """How much is named right when nobody says which task it is."""
    names, by_task = accuracy["tasks"], inferred["by_task"]
    data = [
        bars("when told the task", names, accuracy["rows"][-1], 5, hovertemplate="%{y:.1%}"),
        bars("when not told", names, [by_task[name]["class"] for name in names], 0, hovertemplate="%{y:.1%}"),
    ]
    words = (
        f"Share of test samples named right. Without being told the task, {100 * inferred['class']:.1f} % of the classes "
        f"and {100 * inferred['task']:.1f} % of the tasks."
    )
    layout = {
        "xaxis": axis("", type="category"),
        "yaxis": axis("named right", tickformat=".0%", range=[0, 1.02]),
        "barmode": "group",
    }
    return Panel("untold", "Without being told the task", words, [Figure(words, data, layout, 300)])


def loop_panel(looped: Mapping[str, Mapping[str, float]]) -> Panel:
    """Returns of the policies in their environments, beside the controllers they are clones of."""
    names = list(looped)
    shares = [looped[name]["share"] for name in names]
    told = [f"{100 * share:.1f} %" for share in shares]
    drawn = bars("share", names, shares, 2, hovertemplate="%{x}: %{y:.1%}<extra></extra>", showlegend=False)
    data = [
        {**drawn, "text": told, "textposition": "outside", "textfont": {"color": INK}, "cliponaxis": False}
    ]
    words = "Policies in the loop: 0 % is chance, 100 % the controller that was cloned."
    keys = ("policy", "controller", "random")
    lines = [[name, *(f"{looped[name][key]:,.1f}" for key in keys)] for name in names]
    reach = [1.2 * min(0.0, *shares), 1.15 * max(1.0, *shares)]
    heights = axis("share", tickformat=".0%", range=reach)
    layout = {"xaxis": axis("", type="category"), "yaxis": heights, "bargap": 0.5}
    table = Words(("task", *keys), lines, "mean return of the same seeded episodes")
    return Panel("loop", "In the loop", words, [Figure(words, data, layout, 260)], tables=[table])


def time_panel(clock: Mapping[str, Mapping[str, float]]) -> Panel:
    """Seconds of learning, by task."""
    seconds = [found["seconds"] for found in clock.values()]
    data = [
        bars("seconds", clock, seconds, 0, hovertemplate="%{x}: %{y:.3g} s<extra></extra>", showlegend=False)
    ]
    words = f"Seconds of learning, task by task; {sum(seconds):.3g} s in all."
    layout = {"xaxis": axis("", type="category"), "yaxis": axis("seconds")}
    return Panel("time", "Time of each task", words, [Figure(words, data, layout, 260)])
