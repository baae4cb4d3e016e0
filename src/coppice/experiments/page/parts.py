"""Studies whose record is a set of parts: networks of many sizes, learned from scratch or found, and what they score."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from coppice.experiments.page.panel import Figure, Panel, Record
from coppice.experiments.page.style import COLOURS, MARKERS, axis, band, brief, line, log_axis
from coppice.experiments.report import metric, one_level
from coppice.experiments.report_forecasting import seeds_text
from coppice.experiments.statistics import mean

SIZED = re.compile(r"(.*)[/ ][\d.]+$")  # grid 40 epochs/160: one of a kind
Parts = Sequence[Mapping[str, Mapping[str, Any]]]


def panels(records: Sequence[Record]) -> list[Panel]:
    """What the parts of these runs, which differ in nothing but the seed, have to show."""
    nested = [record["result"]["parts"] for record in records]
    seeds = seeds_text([dict(record) for record in records])
    found: list[Panel] = []
    if not any(nested):  # the first part is still at work
        return found
    if all("widths" in parts and "parameters" not in parts["widths"] for parts in nested):
        found.append(_widths(records, [parts["widths"] for parts in nested], seeds))
    flat = [one_level(parts) for parts in nested]
    if any("test" in part and part.get("parameters") for part in flat[0].values()):
        found.append(_sizes(records, flat, seeds))
    if any(part.get("curves") for part in flat[0].values()):
        found += _adaptation(flat, seeds)
    return found


def _of(flat: Parts, name: str, key: str) -> list[float]:
    return [part[name][key] for part in flat if part.get(name, {}).get(key) is not None]


def _sizes(records: Sequence[Record], flat: Parts, seeds: str) -> Panel:
    """Test score against parameters: a point for each part, parts of one kind joined."""
    kinds: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for part in flat for name in part):
        if _of(flat, name, "test") and _of(flat, name, "parameters"):
            sized = SIZED.match(name)
            kinds.setdefault(sized[1] if sized else name, []).append(name)
    data, told = [], []
    for number, (kind, names) in enumerate(kinds.items()):
        scores = [mean(_of(flat, name, "test")) for name in names]
        sizes = [mean(_of(flat, name, "parameters")).value for name in names]
        order = sorted(range(len(names)), key=lambda i: sizes[i])
        halves = [scores[i].half or 0.0 for i in order]
        joined = len(names) > 1 and len(set(sizes)) > 1
        trace = line(
            kind, [sizes[i] for i in order], [scores[i].value for i in order], number,
            text=[names[i] for i in order], customdata=[scores[i].text(4) for i in order],
            error_y={"type": "data", "array": halves, "thickness": 1.2, "width": 3, "color": COLOURS[number % 7]},
            hovertemplate="%{text}: %{customdata}<br>%{x:,.0f} parameters<extra></extra>",
        )  # fmt: skip
        trace["mode"] = "lines+markers" if joined else "markers"
        trace["marker"] = {
            "symbol": MARKERS[number % 7],
            "size": 10 if len(names) == 1 else 7,
            "color": COLOURS[number % 7],
        }
        data.append(trace)
        told.append(f"{kind} {max(score.value for score in scores):.4f}")
    everything = [size for trace in data for size in trace["x"]]
    layout = {
        "xaxis": log_axis("parameters", everything),
        "yaxis": axis(f"test {metric(dict(records[0]))}"),
        "hovermode": "closest",
    }
    spread = ", mean with 95 % interval" if len(flat) > 1 else ""
    words = f"What each part of the study scores on the test set at its size{spread} ({seeds})."
    label = f"{words} The best of each kind: {', '.join(told)}."
    return Panel("sizes", "Score against size", words, [Figure(label, data, layout, 400)])


def _widths(records: Sequence[Record], found: Parts, seeds: str) -> Panel:
    """Validation score of networks of each width, from scratch."""
    widths = list(dict.fromkeys(width for part in found for width in part))
    scores = [mean([part[width]["validation"] for part in found if width in part]) for width in widths]
    x = [int(width) for width in widths]
    low, high = ([s.value + d * (s.half or 0.0) for s in scores] for d in (-1, 1))
    data = [
        line(
            "mean over the seeds" if len(found) > 1 else "one seed",
            x,
            [s.value for s in scores],
            0,
            hovertemplate="%{y:.4f}",
            showlegend=False,
        )
    ]
    if len(found) > 1:
        data.insert(0, band(x, low, high, 0, "95 % interval"))
    words = f"Validation {metric(dict(records[0]))} of networks of one width, trained from scratch ({seeds})."
    layout = {"xaxis": log_axis("hidden neurons", x), "yaxis": axis(f"validation {metric(dict(records[0]))}")}
    return Panel("widths", "Score against width", words, [Figure(words, data, layout)])


def _adaptation(flat: Parts, seeds: str) -> list[Panel]:
    """Error while new samples are learned, by network."""
    names = list(dict.fromkeys(name for part in flat for name in part))
    counts = list(dict.fromkeys(c for part in flat for one in part.values() for c in one.get("curves", {})))
    figures = []
    for count in counts:
        data = []
        for number, name in enumerate(names):
            curves = [
                part[name]["curves"][count]["error"]
                for part in flat
                if count in part.get(name, {}).get("curves", {})
            ]
            if not curves:
                continue
            x = [seen for seen, _ in curves[0]]
            y = [mean([curve[i][1] for curve in curves]).value for i in range(len(x))]
            data.append(line(name, x, y, number, hovertemplate="%{y:.2%}"))
        layout = {"xaxis": axis("new samples seen"), "yaxis": axis("validation error", tickformat=".1%")}
        label = f"Validation error while {brief(int(count))} new samples are learned."
        figures.append(Figure(label, data, layout, title=f"{int(count):,} new samples"))
    spread = ", mean of the seeds" if len(flat) > 1 else ""
    words = f"Validation error while new samples are learned{spread} ({seeds})."
    return [Panel("adaptation", "Adapting to new samples", words, figures)]
