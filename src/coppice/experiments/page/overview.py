"""Every setting in a row: what it scored, and how large it was."""

from collections.abc import Sequence

from coppice.experiments.page.families import Family, size, tests
from coppice.experiments.page.panel import Figure, Panel
from coppice.experiments.page.style import COLOURS, axis, line, log_axis, wrapped
from coppice.experiments.statistics import Mean, mean


def overview(found: Sequence[Family]) -> list[Panel]:
    """Every setting of every family in a row: its test score and its size; of several seeds means with 95 % intervals."""
    made: list[Panel] = []
    for metric in dict.fromkeys(family.metric for family in found):
        rows = [
            (group.title, mean(list(tests(group).values())), mean([size(record) for record in group.records]))
            for family in found
            if family.metric == metric
            for group in family.groups
            if tests(group)
        ]
        names = [wrapped(name, 30) for name, *_ in rows]
        several = any(row[1].half is not None for row in rows)
        figures = []
        for place, title in enumerate((f"test {metric}", "synapses or parameters alive"), 1):
            centres: list[Mean] = [row[place] for row in rows]  # type: ignore[misc]
            halves = [centre.half or 0.0 for centre in centres]
            values = [centre.value for centre in centres]
            # on a logarithmic axis an interval may reach beyond 0
            reach = [end for v, h in zip(values, halves, strict=True) for end in (max(v - h, 0.7 * v), v + h)]
            trace = line("mean", values, names, place - 1, mode="markers", showlegend=False)
            trace["error_x"] = {
                "type": "data",
                "array": halves,
                "thickness": 1.6,
                "width": 4,
                "color": COLOURS[place - 1],
            }
            half = " ± %{error_x.array:,.4g}" if several else ""
            trace["hovertemplate"] = f"%{{y}}: %{{x:,.4g}}{half}<extra></extra>"
            layout = {
                "xaxis": log_axis("", reach) if place == 2 else axis(""),
                "yaxis": axis("", autorange="reversed", type="category", dtick=1),
                "hovermode": "closest",
            }
            label = f"{title} of {len(rows)} settings{', means with 95 % intervals' if several else ''}."
            figures.append(Figure(label, [trace], layout, 90 + 38 * len(rows), title=title))
        how = ", the mean of its seeds with its 95 % interval" if several else ", one seed"
        words = f"Each setting{how}: test {metric}, and its size."
        made.append(Panel(f"overview-{len(made)}", f"Every setting: {metric}", words, figures))
    return made
