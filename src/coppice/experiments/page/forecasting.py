"""The forecasting study: mean ranks, differences from the dense network in every cell, error against sparsity."""

from collections.abc import Mapping, Sequence
from typing import Any

from coppice.experiments.page.panel import Figure, Panel, Record
from coppice.experiments.page.style import COLOURS, GREY, INK, axis, line, percent_axis, rule
from coppice.experiments.report_forecasting import REFERENCE, Cell, cells, errors, methods, paired, ranking
from coppice.experiments.report_forecasting import Record as Plain
from coppice.experiments.statistics import (
    LEAST_BLOCKS,
    LEVEL,
    Interval,
    Ranking,
    interval,
    mean,
    relative_differences,
)

SPARSITIES = (0.5, 0.7, 0.9, 0.95)
BY_TENSOR = "pruned 0.9"
Table = Mapping[Cell, Sequence[Plain]]


def panels(records: Sequence[Record]) -> list[Panel]:
    """All that these records of the study allow."""
    table = cells([dict(record) for record in records])
    found = []
    for length in dict.fromkeys(cell.length for cell in table):
        same = {cell: of for cell, of in table.items() if cell.length == length}
        several = f", length {length}" if len({cell.length for cell in table}) > 1 else ""
        if len(same) >= LEAST_BLOCKS:
            found.append(ranks_panel(ranking(same), f"ranks-{length}", f"Mean ranks{several}"))
        if differences := _differences(same, f"differences-{length}", several):
            found.append(differences)
        if curves := _error(same, f"error-{length}", several):
            found.append(curves)
    return found


def ranks_panel(ranking: Ranking, name: str, title: str) -> Panel:
    """The critical-difference diagram, one method a row: what a bar on the right joins does not differ.   Demsar 2006"""
    order = list(ranking.mean_ranks)
    ranks = list(ranking.mean_ranks.values())
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "markers+text", "x": ranks, "y": order, "name": "mean rank", "showlegend": False,
            "text": [f"{rank:.1f}" for rank in ranks], "textposition": "middle left", "textfont": {"color": INK},
            "marker": {"size": 11, "color": [_ranked_colour(method) for method in order]}, "cliponaxis": False,
            "hovertemplate": "%{y}: mean rank %{x:.2f}<extra></extra>",
        }
    ]  # fmt: skip
    found, gap = cliques(ranking), 0.05 * (max(ranks) - min(ranks) or 1)
    for number, (first, last) in enumerate(found):
        x = max(ranks) + gap * (1 + number)
        data.append(
            {
                "type": "scatter", "mode": "lines", "x": [x, x], "y": [order[first], order[last]], "showlegend": False,
                "name": f"{order[first]} to {order[last]}", "line": {"color": INK, "width": 5}, "hoverinfo": "name",
            }
        )  # fmt: skip
    p = "p < 0.001" if ranking.p < 0.001 else f"p = {ranking.p:.3f}"
    words = (
        f"Mean rank over {ranking.blocks} cells, 1 is the lowest error. A bar on the right joins methods that do not differ: "
        f"the critical difference is {ranking.critical_difference:.2f} (Friedman χ² = {ranking.chi_square:.1f}, {p}; Nemenyi)."
    )
    layout = {
        "xaxis": axis(
            "mean rank",
            side="top",
            range=[min(ranks) - 5 * gap, max(ranks) + gap * (2 + len(found))],
            zeroline=False,
        ),
        "yaxis": axis("", categoryorder="array", categoryarray=order[::-1], type="category", dtick=1),
        "hovermode": "closest",
    }
    told = ", ".join(f"{method} {rank:.2f}" for method, rank in ranking.mean_ranks.items())
    return Panel(name, title, words, [Figure(f"{words} {told}.", data, layout, 120 + 26 * len(order))])


def cliques(ranking: Ranking) -> list[tuple[int, int]]:
    """First and last of each greatest run of methods, in order of rank, of which no two differ."""
    order = list(ranking.mean_ranks)
    found: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = first
        while last + 1 < len(order) and all(
            ranking.pairwise[order[last + 1]][order[k]] >= LEVEL for k in range(first, last + 1)
        ):
            last += 1
        if last > first and not any(f <= first and last <= t for f, t in found):
            found.append((first, last))
    return found


def _ranked_colour(method: str) -> str:
    if method.startswith(("pruned", "neurons")):
        return COLOURS[0]
    return COLOURS[1] if method == "vos2025" else INK if method == REFERENCE else GREY


def _differences(table: Table, name: str, several: str) -> Panel | None:
    """Methods by cells: how much more a method errs than the dense network on the same seeds."""
    names = [m for m in methods([r for records in table.values() for r in records]) if m != REFERENCE]
    found: dict[str, list[Interval | None]] = {
        method: [_percent(of, method) for of in table.values()] for method in names
    }
    found = {method: row for method, row in found.items() if any(row)}
    if not found:
        return None
    top = [f"{cell.data}<br>{cell.model}" for cell in table]
    middles = [[None if i is None else i.mean for i in row] for row in found.values()]
    data = [
        {
            "type": "heatmap", "x": top, "y": list(found), "z": middles, "xgap": 2, "ygap": 2, "name": "against dense",
            "zmid": 0, "zmin": -12, "zmax": 12, "hoverongaps": False, "showscale": False,
            "colorscale": [[0, "#0072B2"], [0.5, "#F4F4F0"], [1, "#D55E00"]],
            "text": [["" if v is None else f"{v:+.1f}" for v in row] for row in middles], "texttemplate": "%{text}",
            "customdata": [["" if i is None else f"{i.text()} %, n = {i.runs}" for i in row] for row in found.values()],
            "hovertemplate": "%{y}, %{x}<br>%{customdata}<extra></extra>",
        }
    ]  # fmt: skip
    layout = {
        "xaxis": axis("", side="top", showgrid=False, tickangle=-90, type="category"),
        "yaxis": axis("", autorange="reversed", showgrid=False, type="category", dtick=1),
        "hovermode": "closest",
    }
    wins = sum(i.high < 0 for row in found.values() for i in row if i)
    losses = sum(i.low > 0 for row in found.values() for i in row if i)
    words = (
        "Test error against the dense network in percent, mean of the differences on the same seeds: under 0 (blue) the method "
        f"errs less. The 95 % interval lies under 0 in {wins} and above 0 in {losses} of the "
        f"{sum(i is not None for row in found.values() for i in row)} comparisons; tap a number to read it."
    )
    figure = Figure(words, data, layout, 230 + 26 * len(found), wide=140 + 42 * len(top))
    return Panel(name, f"Every method in every cell{several}", words, [figure])


def _percent(records: Sequence[Plain], method: str) -> Interval | None:
    """The method's error against the dense network's, mean of the differences; None with fewer than two pairs."""
    ours, theirs = paired(records, method)
    return interval(relative_differences(ours, theirs)) if len(ours) > 1 else None


def _error(table: Table, name: str, several: str) -> Panel | None:
    """For each data set, the error of pruned networks against the dense one at each sparsity, by model."""
    figures = []
    models = list(dict.fromkeys(cell.model for cell in table))
    for data_set in dict.fromkeys(cell.data for cell in table):
        data = []
        for number, model in enumerate(models):
            for cell, records in table.items():
                if (cell.data, cell.model) != (data_set, model):
                    continue
                drawn = [(i, _percent(records, f"pruned {s:g}")) for i, s in enumerate(SPARSITIES)]
                points = [(i + 0.08 * (number - 1), percent) for i, percent in drawn if percent]
                if not points:
                    continue
                dense = mean(list(errors(records, REFERENCE).values()))
                high = [percent.high - percent.mean for _, percent in points]
                intervals = {
                    "type": "data",
                    "array": high,
                    "color": COLOURS[number % 7],
                    "thickness": 1.4,
                    "width": 4,
                }
                x, y = [x for x, _ in points], [percent.mean for _, percent in points]
                words = f"{model} (dense {dense.value:.3f} σ, n = {dense.runs})"
                hover = "%{y:+.1f} ± %{error_y.array:.1f} %"
                data.append(line(words, x, y, number, error_y=intervals, hovertemplate=hover))
        if data:
            dead = [f"{100 * s:g} %" for s in SPARSITIES]
            layout = {
                "xaxis": axis(
                    "dead synapses", tickmode="array", tickvals=list(range(len(dead))), ticktext=dead
                ),
                "yaxis": axis("test MAE against dense, %"),
                "shapes": [rule(y=0)],
                "hovermode": "closest",
            }
            label = (
                f"{data_set}: test error of pruned networks against the dense one, in percent, by sparsity."
            )
            figures.append(Figure(label, data, layout, 320, title=data_set))
    if not figures:
        return None
    words = "Paired differences from the dense network with their 95 % interval; the line at 0 is the dense one, below it is better."
    return Panel(name, f"Error against sparsity{several}", words, figures)


def sparsity_panel(record: Record) -> Panel | None:
    """One run of the study: how each method's sparsity grew with the steps, and each tensor's of one method."""
    parts = {
        name: part
        for name, part in record["result"]["parts"].items()
        if part.get("layers") and any(sparsity for _, sparsity in part.get("curve", []))
    }
    if not parts:
        return None
    data, tensors = [], []
    for number, (name, part) in enumerate(parts.items()):
        steps, sparsity = zip(*part["curve"], strict=True)
        data.append(line(name, [0, *steps], [0, *sparsity], number, hovertemplate="%{y:.1%}"))
        if name == BY_TENSOR:
            tensors = [
                line(tensor, [0, *steps], [0, *values], n, hovertemplate="%{y:.1%}")
                for n, (tensor, values) in enumerate(part.get("layer_curve", {}).items())
            ]
    layout = {"xaxis": axis("optimizer steps"), "yaxis": percent_axis("dead synapses")}
    figures = [
        Figure(
            "Dead share of all synapses by optimizer step, method by method.", data, layout, title="by method"
        )
    ]
    if tensors:
        label = f"Dead share of each tensor of {BY_TENSOR} by optimizer step."
        figures.append(Figure(label, tensors, layout, title=f"each tensor of {BY_TENSOR}"))
    return Panel(
        "sparsity", "Sparsity as it grew", "How the share of dead synapses grew with the steps.", figures
    )
