"""The study of a stream: every arm against TD-MCL on the same seeds, how many synapses it needs, what TD-MCL remembers."""

from collections.abc import Sequence
from typing import Any

from coppice.experiments.accuracy_matrix import AccuracyMatrix
from coppice.experiments.against import Against, against
from coppice.experiments.page.panel import Figure, Panel, Record
from coppice.experiments.page.stream import dynamics_panels, matrix_panel
from coppice.experiments.page.style import GREY, axis, log_axis, rule
from coppice.experiments.report_continual import arms, percents
from coppice.experiments.report_forecasting import seeds_text
from coppice.experiments.statistics import mean
from coppice.experiments.studies.continual import REFERENCE, SIZED, VARIANTS

KINDS = (
    (REFERENCE, "var(--c1)", "diamond"),
    (f"forms of {REFERENCE}", "var(--c0)", "circle"),
    ("a network for each task", "var(--c2)", "square"),
    ("one network, other learners", GREY, "triangle-up"),
)


def panels(records: Sequence[Record]) -> list[Panel]:
    """The arms side by side, then the reference more closely."""
    plain = [dict(record) for record in records]
    names = arms(plain)
    found = []
    if len(names) > 1:
        found.append(_arms(plain, names))
    reference = [r["result"]["parts"][REFERENCE] for r in plain if REFERENCE in r["result"]["parts"]]
    if reference:
        matrices = [AccuracyMatrix.from_record(part["accuracy"]) for part in reference]
        found.append(matrix_panel(matrices, f"What {REFERENCE} remembers"))
        found += dynamics_panels(reference[0].get("tasks") or [])
    return found


def _kind(arm: str) -> int:
    if arm == REFERENCE:
        return 0
    if arm in VARIANTS:
        return 1
    return 2 if arm in (*SIZED, "direct", "warm-start") else 3


def _arms(records: Sequence[dict[str, Any]], names: Sequence[str]) -> Panel:
    found = {name: percents(records, name) for name in names}
    rows = against(found, REFERENCE)
    paired = any(row.points is not None for row in rows.values())
    # beside differences there is no place for an arm that has none
    drawn = [name for name in names if not paired or name == REFERENCE or rows[name].points is not None]
    order = sorted(drawn, key=lambda name: _middle(rows[name], paired))
    height = 110 + 20 * len(order)
    sizes = {
        name: mean(
            [r["result"]["parts"][name]["synapses"][-1] for r in records if name in r["result"]["parts"]]
        ).value
        for name in order
    }
    title = f"accuracy against {REFERENCE}, points" if paired else "accuracy after the last task, %"
    left, right = [], []
    for number, (words, colour, symbol) in enumerate(KINDS):
        mine = [name for name in order if _kind(name) == number]
        if not mine:
            continue
        look: Any = {"type": "scatter", "mode": "markers", "name": words, "y": mine}
        look["marker"] = {"color": colour, "symbol": symbol, "size": 9}
        left.append(
            {
                **look,
                "x": [_middle(rows[name], paired) for name in mine],
                "error_x": {"type": "data", "array": [_half(rows[name], paired) for name in mine], "color": colour,
                            "thickness": 1.4, "width": 3},
                "hovertemplate": "%{y}: %{x:.2f} ± %{error_x.array:.2f}<extra></extra>",
            }
        )  # fmt: skip
        right.append(
            {**look, "x": [sizes[name] for name in mine], "hovertemplate": "%{y}: %{x:,.0f} synapses<extra></extra>",
             "showlegend": False}
        )  # fmt: skip
    rows_axis = axis("", categoryorder="array", categoryarray=order, dtick=1, type="category")
    best = order[-1]
    spread = ", 95 % intervals" if len(records) > 1 else ""
    told = f"{best} is highest" + (f", {REFERENCE} is 0" if paired else "")
    figures = [
        Figure(
            f"{title}, {len(order)} arms{spread}; {told}.",
            left,
            {
                "xaxis": axis("points" if paired else "%"),
                "yaxis": rows_axis,
                "hovermode": "closest",
                "shapes": [rule(x=0)] if paired else [],
            },
            height,
            title=title,
        ),
        Figure(
            "Living synapses of each arm after the last task.",
            right,
            {
                "xaxis": log_axis("living synapses", sizes.values()),
                "yaxis": rows_axis,
                "hovermode": "closest",
            },
            height,
            title="living synapses",
        ),
    ]
    words = (
        f"Each arm of the study ({seeds_text(records)}): accuracy after the last task, as the mean of the differences from "
        f"{REFERENCE} on the same seeds with its 95 % interval, and how many synapses live then."
        if paired
        else f"Each arm of the study ({seeds_text(records)}): accuracy after the last task, and how many synapses live then."
    )
    if unpaired := [name for name in names if name not in drawn]:
        words += f" Not drawn, with fewer than two seeds in common with {REFERENCE}: {', '.join(unpaired)}."
    return Panel("arms", "The arms side by side", words, figures)


def _middle(row: Against, paired: bool) -> float:
    if not paired:
        return row.accuracy.value
    return row.points.mean if row.points else 0.0  # of the reference itself


def _half(row: Against, paired: bool) -> float:
    if not paired:
        return row.accuracy.half or 0.0
    return row.points.high - row.points.mean if row.points else 0.0
