"""A search for a network's size: how it shrank, what it scored at each size, how fit it was, which size was chosen."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from coppice.experiments.page.panel import Figure, Group, Network, Panel, Record, Trace
from coppice.experiments.page.style import axis, band, bars, line, log_axis, point, rule, upright
from coppice.experiments.report import metric, widths_text

Steps = Sequence[Mapping[str, Any]]


def panels(record: Record) -> list[Panel]:
    """Whatever of a search this record holds so far."""
    result = record["result"]
    path = result.get("path") or []
    found = []
    if path:
        found.append(_picture(record, path))
        if len(path) > 1:
            found += [_score(record, path), _sizes(record, path)]
        if any(step.get("fitness") is not None for step in path):
            found.append(_fitness(record, path))
    if result.get("pretraining"):
        found.append(_training(record))
    if path and len(record.get("timing", {}).get("steps", [])) == len(path) > 1:
        found.append(_time(record, path))
    return found


def neurons(step: Mapping[str, Any]) -> int:
    """All neurons that could be cut."""
    return sum(step["widths"])


def _picture(record: Record, path: Steps) -> Panel:
    chosen = record["result"].get("chosen")
    names = ["before the first cut", *(f"cut {number}" for number in range(1, len(path)))]
    facts = []
    for number, step in enumerate(path):
        told = {
            "neurons": f"{neurons(step):,}",
            "parameters": f"{step['parameters']:,}",
            f"validation {metric(dict(record))}": f"{step['score']:.4f}",
        }
        if step.get("fitness") is not None:
            told["fitness"] = f"{step['fitness']:.4f}"
        facts.append({**told, "chosen": "yes" if number == chosen else "no"} if chosen is not None else told)
    layers = list(zip(*(step["widths"] for step in path), strict=True))
    picture = Network(
        kind="layers",
        unit="neuron",
        label=f"The hidden layers of the network, from {widths_text(path[0]['widths'])} neurons "
        f"to {widths_text(path[-1]['widths'])}",
        steps=names,
        facts=facts,
        groups=[
            Group(f"layer {n}", widths[0], widths, [f"{width:,} of {widths[0]:,}" for width in widths])
            for n, widths in enumerate(layers, 1)
        ],
        start=len(path) - 1 if chosen is None else chosen,
    )
    words = (
        "Each dot is a neuron of a hidden layer. Move the slider: neurons that a cut removed fall dark, those of this very "
        "cut are marked. A record keeps how many died, not which, so the survivors are drawn in the middle."
    )
    return Panel("network", "The network shrinks", words, network=picture)


def _score(record: Record, path: Steps) -> Panel:
    result, name = record["result"], metric(dict(record))
    sizes, scores = [neurons(step) for step in path], [step["score"] for step in path]
    chosen, plateau = result.get("chosen"), result.get("plateau")
    data: list[Trace] = []
    if all(step.get("error") is not None for step in path):
        low = [step["score"] - step["error"] for step in path]
        high = [step["score"] + step["error"] for step in path]
        data.append(band(sizes, low, high, 0, "± one standard error"))
    words = f"validation {name}"
    data.append(
        line(
            words, sizes, scores, 0,
            customdata=[[n, step["parameters"], widths_text(step["widths"])] for n, step in enumerate(path)],
            hovertemplate="cut %{customdata[0]}: %{x:,} neurons (%{customdata[2]})<br>%{customdata[1]:,} parameters"
            "<br>" + words + " %{y:.4f}<extra></extra>",
        )
    )  # fmt: skip
    layout: dict[str, Any] = {
        "xaxis": log_axis("neurons, after each cut", sizes, falling=True),
        "yaxis": axis(words),
        "hovermode": "closest",
        "shapes": [rule(y=scores[0], dash="dash")],
    }
    about = f"The dashed line is the un-pruned network, {scores[0]:.4f}."
    if plateau:
        wide = [plateau[0] / 1.03, plateau[1] * 1.03]
        layout["shapes"].append(
            {
                "type": "rect", "x0": wide[0], "x1": wide[1], "yref": "paper", "y0": 0, "y1": 1,
                "fillcolor": "var(--c2-soft)", "line": {"width": 0}, "layer": "below",
            }
        )  # fmt: skip
        about += f" Shaded: from {plateau[0]:,} to {plateau[1]:,} neurons, the sizes within one standard error of the best."
    if chosen is not None:
        data.append(point(f"chosen: {sizes[chosen]:,} neurons", sizes[chosen], scores[chosen]))
        about = f"Chosen: {sizes[chosen]:,} neurons with {scores[chosen]:.4f}; {result.get('reason', '')}. {about}"
    label = f"Validation {name} from {sizes[0]:,} to {sizes[-1]:,} neurons. {about}"
    return Panel("score", "Score against size", about, [Figure(label, data, layout)])


def _sizes(record: Record, path: Steps) -> Panel:
    chosen = record["result"].get("chosen")
    layers = list(zip(*(step["widths"] for step in path), strict=True))
    end = len(path) - 1 if chosen is None else chosen
    data = [
        line(
            f"layer {n + 1}: {widths[0]:,} to {widths[end]:,}",
            range(len(path)),
            widths,
            n,
            hovertemplate="%{y:,}",
        )
        for n, widths in enumerate(layers)
    ]
    layout: dict[str, Any] = {
        "xaxis": axis("cuts", tickformat="d"),
        "yaxis": log_axis("neurons", [width for widths in layers for width in widths]),
    }
    if chosen is not None:
        layout |= upright(chosen, "chosen")
    label = f"Neurons of {len(layers)} layers over {len(path) - 1} cuts."
    words = "How many neurons each layer has after each cut, on a logarithmic scale."
    return Panel("sizes", "Size of each layer", words, [Figure(label, data, layout)])


def _fitness(record: Record, path: Steps) -> Panel:
    options = record["recipe"].get("method", {}).get("fitness", {})
    published = options.get("kind") == "PublishedFitness"
    chosen = record["result"].get("chosen")
    sizes = [neurons(step) for step in path]
    known = [n for n, step in enumerate(path) if step.get("fitness") is not None]
    peak = max(known, key=lambda n: path[n]["fitness"])
    parts: list[tuple[str, list[Any]]] = [
        (f"A, validation {metric(dict(record))}", [s["score"] for s in path])
    ]
    if published:
        weights = [options.get(name, math.nan) for name in ("alpha", "beta", "gamma")]
        formula = "F = {:.3g} A + {:.3g} S + {:.3g} E, Eq. 7 of Zhao et al. 2017".format(*weights)
    else:
        weight = options.get("weight", 1.0)
        factor = "" if weight == 1 else f"{weight:.3g} "
        formula = f"F = A + {factor}(1 − ρ); S and E, of which the published F is made, beside it"
        moved = [None if s.get("change") is None else 1 - s["change"] for s in path]
        parts.append(("1 − ρ, how little retraining moved the weights", moved))
    parts.append(("S, stability", [s.get("stability") for s in path]))
    parts.append(("E, mean weight", [s.get("mean_weight") for s in path]))
    data = [line(name, sizes, y, n, hovertemplate="%{y:.4f}") for n, (name, y) in enumerate(parts)]
    whole = line("F, fitness", sizes, [s.get("fitness") for s in path], 6, hovertemplate="%{y:.4f}")
    data.append(
        {**whole, "line": {"color": "var(--c6)", "width": 3}, "marker": {"symbol": "star", "size": 8}}
    )
    greatest = path[peak]["fitness"]
    words = f"{formula}. The greatest F is {greatest:.4f}, at {sizes[peak]:,} neurons"
    if chosen is not None and peak == chosen:
        data.append(point("greatest F, and chosen", sizes[peak], greatest))
        words += ", which is the size chosen."
    else:
        data.append(point("greatest F", sizes[peak], greatest, 1, "triangle-down"))
        if chosen is not None and path[chosen].get("fitness") is not None:
            data.append(point("chosen", sizes[chosen], path[chosen]["fitness"], 2))
            words += f"; the size chosen, by the rule of the recipe, is {sizes[chosen]:,}."
        else:
            words += "."
    layout = {
        "xaxis": log_axis("neurons, after each cut", sizes, falling=True),
        "yaxis": axis("fitness and its parts"),
    }
    return Panel("fitness", "Fitness and its parts", words, [Figure(f"Fitness. {words}", data, layout, 380)])


def _training(record: Record) -> Panel:
    result, name = record["result"], metric(dict(record))
    before, after = result["pretraining"], result.get("tuning") or []
    data = [line("before the first cut", range(1, len(before) + 1), before, 0, hovertemplate="%{y:.4f}")]
    if after:
        data.append(
            line("tuning of the size chosen", range(1, len(after) + 1), after, 1, hovertemplate="%{y:.4f}")
        )
    words = f"Validation {name} after each epoch before the first cut" + (
        ", and after each epoch of the final tuning." if after else "."
    )
    layout = {"xaxis": axis("epoch", tickformat="d"), "yaxis": axis(f"validation {name}")}
    return Panel("training", "Before and after the cuts", words, [Figure(words, data, layout, 300)])


def _time(record: Record, path: Steps) -> Panel:
    timing = record["timing"]
    names = ["growing", *(f"cut {number}" for number in range(1, len(path)))]
    data = [
        bars(
            "seconds",
            names,
            timing["steps"],
            0,
            hovertemplate="%{x}: %{y:.3g} s<extra></extra>",
            showlegend=False,
        )
    ]
    phases = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in timing.get("phases", {}).items())
    words = f"Seconds of training at each size; the first bar is what came before the first cut. By phase: {phases}."
    layout = {"xaxis": axis("", tickangle=-45), "yaxis": axis("seconds")}
    return Panel("time", "Time of each step", words, [Figure(words, data, layout, 280)])
