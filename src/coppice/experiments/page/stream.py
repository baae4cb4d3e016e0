"""A stream of tasks: modules that grow, link and shrink; what is remembered; what an answer costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from coppice.experiments.accuracy_matrix import FORMULAS, AccuracyMatrix
from coppice.experiments.page.answers import energy_panel, grown_panel, loop_panel, time_panel, untold_panel
from coppice.experiments.page.modules import epochs_of, module_picture
from coppice.experiments.page.panel import Figure, Panel, Record, Words
from coppice.experiments.page.style import COLOURS, axis, line, pattern, rule
from coppice.experiments.statistics import mean

SHORT, FEW = 10, 8  # letters of a task's name, and tasks, that have room below an axis

Tasks = Sequence[Mapping[str, Any]]


def panels(record: Record) -> list[Panel]:
    """Whatever of a stream this record holds so far."""
    result = record["result"]
    tasks = result.get("tasks") or []
    # a task that is half learned has a curve, and nothing that is counted at its end
    found = dynamics_panels([*tasks, result["learning"]] if result.get("learning") else tasks)
    accuracy = result.get("accuracy") or {}
    if accuracy.get("rows"):
        found.append(matrix_panel([AccuracyMatrix(accuracy["tasks"], accuracy["rows"])]))
    if result.get("costs"):
        found.append(energy_panel(tasks, result["costs"]))
    if tasks and tasks[-1].get("modules"):
        found.append(grown_panel(tasks[-1]["modules"]))
    if result.get("inferred", {}).get("by_task") and accuracy.get("rows"):
        found.append(untold_panel(accuracy, result["inferred"]))
    if result.get("in_the_loop"):
        found.append(loop_panel(result["in_the_loop"]))
    clock = record.get("timing", {}).get("tasks")
    if clock:
        found.append(time_panel(clock))
    return found


def dynamics_panels(tasks: Tasks) -> list[Panel]:
    """The picture of the modules, and their sizes and scores over the epochs of the whole stream."""
    told = epochs_of(tasks)
    if not told:
        return []
    return [module_picture(tasks), _sizes(tasks), _learning(tasks)]


def task_axis(tasks: Tasks) -> dict[str, Any]:
    """An x axis of epochs, named by the task that was learned in them: {"xaxis", "shapes"} of a layout."""
    middles, shapes, start = [], [], 0
    for task in tasks:
        length = len(task["curve"])
        middles.append(start + (length + 1) / 2)
        if start:
            shapes.append(rule(x=start + 0.5, dash="dot"))
        start += length
    names, title = [task["task"] for task in tasks], ""
    if max(map(len, names)) > SHORT or len(names) > FEW:  # they would be turned, and some left out
        names, title = [str(number) for number in range(1, len(names) + 1)], "task, by number"
    named = axis(
        title, tickmode="array", tickvals=middles, ticktext=names, range=[0.5, start + 0.5], showgrid=False
    )
    return {"xaxis": named, "shapes": shapes}


def _sizes(tasks: Tasks) -> Panel:
    told = epochs_of(tasks)
    x = [
        epoch + 0.5 for epoch in range(len(told) + 1)
    ]  # what lies between two epochs is how the later left it
    names = [task["task"] for task in tasks]
    kernels = [
        {
            **line(name, x, _stairs([epoch["kernels"].get(name, 0) for _, epoch in told]), n, hovertemplate="%{y:,}"),
            "mode": "lines", "stackgroup": "all", "line": {"color": COLOURS[n % 7], "width": 1, "shape": "vh"},
            "fillcolor": COLOURS[n % 7], "fillpattern": pattern(n), "legendgroup": name,
        }
        for n, name in enumerate(names)
    ]  # fmt: skip
    mass, before = [], 0.0
    for task in tasks:
        mass += [before + epoch.get("link_mass", 0.0) for epoch in task["curve"]]
        before = mass[-1] if mass else 0.0
    links = line(
        "mass of all links", x, _stairs(mass), 1, mode="lines", hovertemplate="%{y:.4g}", showlegend=False
    )
    links["line"] = {**links["line"], "shape": "vh", "dash": "solid"}
    first = sum(told[0][1]["kernels"].values())
    last = sum(told[-1][1]["kernels"].values())
    words = (
        "The living local kernels of each module, which grow with each task and are then refined and inhibited; and the mass "
        "of the long-range links, the sum of |V| over all there are."
    )
    figures = [
        Figure(
            f"Living local kernels by module, {first:,} after the first epoch and {last:,} after the last.",
            kernels, {**task_axis(tasks), "yaxis": axis("kernels", rangemode="tozero")}, 340, title="living local kernels",
        ),
        Figure(
            f"Mass of long-range links, {mass[-1]:.4g} after the last epoch.",
            [links], {**task_axis(tasks), "yaxis": axis("sum of |V|", rangemode="tozero")}, 260, title="mass of long-range links",
        ),
    ]  # fmt: skip
    return Panel("sizes", "Modules and links over the stream", words, figures)


def _stairs(values: Sequence[float]) -> list[float]:
    return [*values[:1], *values]


def _learning(tasks: Tasks) -> Panel:
    data, start = [], 0
    for n, task in enumerate(tasks):
        x = range(start + 1, start + len(task["curve"]) + 1)
        data.append(line(task["task"], x, [e["score"] for e in task["curve"]], n, hovertemplate="%{y:.1%}"))
        start += len(task["curve"])
    words = "Validation accuracy on the task that is being learned, after each epoch."
    layout = {**task_axis(tasks), "yaxis": axis("validation accuracy", tickformat=".0%")}
    return Panel("learning", "Learning curves", words, [Figure(words, data, layout, 320)])


def matrix_panel(matrices: Sequence[AccuracyMatrix], title: str = "What is remembered") -> Panel:
    """The accuracy matrix as a map, the mean over the seeds, and every number read from it with its formula."""
    tasks = matrices[0].tasks
    rows = min(len(matrix.rows) for matrix in matrices)
    cells = [
        [
            mean([100 * matrix.rows[i][j] for matrix in matrices]).value if j <= i else None
            for j in range(len(tasks))
        ]
        for i in range(rows)
    ]
    known = [value for row in cells for value in row if value is not None]
    floor = max(0.0, 10 * (min(known) // 10))
    data = [
        {
            "type": "heatmap", "x": list(tasks), "y": list(tasks[:rows]), "z": cells, "xgap": 2, "ygap": 2,
            "text": [["" if v is None else f"{v:.1f}" for v in row] for row in cells], "texttemplate": "%{text}",
            "zmin": floor, "zmax": 100, "colorscale": "Cividis", "hoverongaps": False, "showscale": False, "name": "accuracy",
            "hovertemplate": "on %{x} after %{y}: %{z:.2f} %<extra></extra>",
        }
    ]  # fmt: skip
    layout = {
        "xaxis": axis("accuracy on", side="top", showgrid=False, tickangle=-90, type="category"),
        "yaxis": axis("after learning", autorange="reversed", showgrid=False, type="category"),
        "hovermode": "closest",
    }
    found = [matrix.measures() for matrix in matrices]
    lines = [
        [name, mean([100 * numbers[name] for numbers in found if name in numbers]).text(2), FORMULAS[name]]
        for name in FORMULAS
        if name in found[0]
    ]
    told = ", ".join(f"{name} {value}" for name, value, _ in lines)
    over = f", mean of {len(matrices)} seeds" if len(matrices) > 1 else ""
    label = f"Test accuracy in percent on each task after each task{over}. {told}."
    words = (
        f"Test accuracy in percent{over}: a row after each task learned, a column for each task tested. Read a column "
        "downwards to see what later tasks left of it."
    )
    table = Words(
        ("measure", "in points", "formula"), lines, "A[i,j]: accuracy on task j after task i, N tasks"
    )
    letters = max(map(len, tasks))
    height, wide = 90 + 7 * letters + 38 * rows, 45 + round(6.2 * letters) + 34 * len(tasks)
    figure = Figure(label, data, layout, height, wide)
    return Panel("matrix", title, words, [figure], tables=[table])
