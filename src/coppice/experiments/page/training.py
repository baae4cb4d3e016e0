"""A training with a method inside: its curve, the sparsity of each tensor, how strong its synapses were as they died."""

from collections.abc import Mapping, Sequence
from typing import Any

from coppice.experiments.page.panel import Figure, Group, Network, Panel, Record
from coppice.experiments.page.style import COLOURS, INK, axis, band, line, pattern, percent_axis, upright
from coppice.experiments.report import metric

Curve = Sequence[Mapping[str, Any]]


def panels(record: Record) -> list[Panel]:
    """Whatever of a training this record holds so far."""
    result = record["result"]
    curve = result.get("curve") or []
    if not curve:
        return []
    found = [_learning(record, curve)]
    if any(max(epoch.get("layers", {}).values(), default=0) > 0 for epoch in curve):
        found = [_picture(record, curve), *found, _sparsity(curve)]
    if result.get("histograms"):
        found.append(_histograms(result["histograms"]))
    if result.get("naive") and result.get("final"):
        found.append(_naive(result))
    return found


def score_words(record: Record) -> tuple[str, float]:
    """What a validation score is, and the sign that makes it so: forecasts are judged by minus their error."""
    return ("MAE, σ", -1.0) if record["task"] == "forecast" else (metric(dict(record)), 1.0)


def _picture(record: Record, curve: Curve) -> Panel:
    words, sign = score_words(record)
    names = list(dict.fromkeys(name for epoch in curve for name in epoch.get("layers", {})))
    facts = []
    for epoch in curve:
        told = {"dead synapses": f"{100 * epoch.get('sparsity', 0):.1f} %"}
        if epoch.get("loss") is not None:
            told["loss"] = f"{epoch['loss']:.4f}"
        facts.append({**told, f"validation {words}": f"{sign * epoch['score']:.4f}"})
    dead = {name: [epoch.get("layers", {}).get(name, 0.0) for epoch in curve] for name in names}
    picture = Network(
        kind="tensors",
        unit="hundredth of the synapses",
        label=f"The {len(names)} tensors of synapses that can die, over {len(curve)} epochs",
        steps=[f"epoch {number}" for number in range(1, len(curve) + 1)],
        facts=facts,
        groups=[
            Group(name, 100, [100 * (1 - s) for s in shares], [f"{100 * s:.1f} % dead" for s in shares])
            for name, shares in dead.items()
        ],
        start=len(curve) - 1,
    )
    about = (
        "Each square is a tensor, each dot one hundredth of its synapses. Move the slider: they die for good as the network "
        "trains, those of this very epoch are marked. A record keeps how many died, not which."
    )
    return Panel("network", "Synapses die", about, network=picture)


def _learning(record: Record, curve: Curve) -> Panel:
    words, sign = score_words(record)
    epochs = list(range(1, len(curve) + 1))
    scores = [sign * epoch["score"] for epoch in curve]
    data = []
    errors = [epoch.get("error") or 0.0 for epoch in curve]
    if any(errors):
        low, high = ([s + d * e for s, e in zip(scores, errors, strict=True)] for d in (-1, 1))
        data.append(band(epochs, low, high, 0, "± one standard error"))
    data.append(line(f"validation {words}", epochs, scores, 0, hovertemplate="%{y:.4f}"))
    layout: dict[str, Any] = {"xaxis": axis("epoch", tickformat="d"), "yaxis": axis(words)}
    best = record["result"].get("best_epoch")
    about = f"Validation {words} after each epoch"
    if best is not None:
        layout |= upright(best + 1, "kept")
        about += f"; the weights of epoch {best + 1} were kept, {scores[best]:.4f}"
    figures = [Figure(f"{about}.", data, layout, 300, title=f"validation {words}")]
    losses = [epoch.get("loss") for epoch in curve]
    if any(loss is not None for loss in losses):
        told = [line("training loss", epochs, losses, 1, hovertemplate="%{y:.4g}", showlegend=False)]
        shown = {"xaxis": axis("epoch", tickformat="d"), "yaxis": axis("loss")}
        figures.append(Figure("Training loss after each epoch.", told, shown, 300, title="training loss"))
    return Panel("learning", "Learning curve", f"{about}.", figures)


def _sparsity(curve: Curve) -> Panel:
    epochs = list(range(1, len(curve) + 1))
    names = list(dict.fromkeys(name for epoch in curve for name in epoch.get("layers", {})))
    data = [
        line(
            name, epochs, [epoch.get("layers", {}).get(name) for epoch in curve], n, hovertemplate="%{y:.1%}"
        )
        for n, name in enumerate(names)
    ]
    whole = line(
        "all of them", epochs, [epoch.get("sparsity") for epoch in curve], 6, hovertemplate="%{y:.1%}"
    )
    data.append({**whole, "line": {"color": "var(--c6)", "width": 3}, "mode": "lines"})
    last = curve[-1].get("sparsity") or 0.0
    words = f"Dead share of each tensor's synapses after each epoch; of all together {100 * last:.1f} % at the end."
    layout = {"xaxis": axis("epoch", tickformat="d"), "yaxis": percent_axis("dead synapses")}
    return Panel("sparsity", "Sparsity of each tensor", words, [Figure(words, data, layout, 360)])


def _histograms(looks: Sequence[Mapping[str, Any]]) -> Panel:
    """A figure for each tensor: what lives on and what dies, and the threshold. First shown where most die."""
    start = max(
        range(len(looks)), key=lambda n: sum(sum(told["died"]) for told in looks[n]["tensors"].values())
    )
    figures = []
    for name in looks[0]["tensors"]:
        edge = max(look["tensors"][name]["edge"] for look in looks)
        steps = []
        for look in looks:
            told, threshold = look["tensors"][name], look["threshold"]
            bins = len(told["alive"])
            width = (told["edge"] or 1.0) / bins
            x = [width * (n + 0.5) for n in range(bins)]
            lines = upright(threshold, "threshold", xanchor="left") if threshold is not None else {}
            steps.append(
                {
                    "name": f"step {look['step']:,}, {100 * look['sparsity']:.1f} % dead",
                    "data": [{"x": x, "y": told[key], "width": width} for key in ("alive", "died")],
                    "shapes": lines.get("shapes", []),
                    "annotations": lines.get("annotations", []),
                }
            )
        first = steps[start]["data"]
        kinds = (("lives on", COLOURS[0], 0), ("dies now", COLOURS[1], 1))
        data = [
            {
                "type": "bar",
                "name": words,
                **values,
                "marker": {"color": colour, "pattern": pattern(shape)},
                "hovertemplate": "%{y:,} synapses of |w| about %{x:.3g}",
            }
            for (words, colour, shape), values in zip(kinds, first, strict=True)
        ]
        layout = {
            "barmode": "stack",
            "bargap": 0,
            "xaxis": axis("|w|", range=[0, 1.02 * (edge or 1.0)]),
            "yaxis": axis("living synapses"),
            "shapes": steps[start]["shapes"],
            "annotations": steps[start]["annotations"],
        }
        label = (
            f"Histogram of the strength of the living synapses of {name} at {len(looks)} moments of the ramp."
        )
        figures.append(Figure(label, data, layout, 300, title=name, steps=steps, start=start))
    words = "How strong the living synapses are as an event of the ramp begins: which of them live on, and which die now. "
    if any(look["threshold"] is not None for look in looks):
        words += "Left of the threshold nothing survives: they are ranked by |w| over all tensors together."
    else:
        words += "They are not ranked by |w| alone, so no threshold of |w| parts them."
    return Panel("histograms", "Strength of the synapses", words, figures)


def _naive(result: Mapping[str, Any]) -> Panel:
    errors = {"this network": result["final"], **result["naive"]}
    names, values = list(errors), [error["test"] for error in errors.values()]
    data = [
        {
            "type": "bar", "orientation": "h", "y": names, "x": values, "showlegend": False, "name": "test MAE, σ",
            "text": [f"{value:.4f}" for value in values], "textposition": "outside", "cliponaxis": False,
            "textfont": {"color": INK},
            "marker": {"color": [COLOURS[0], *[COLOURS[5]] * (len(names) - 1)]},
            "hovertemplate": "%{y}: %{x:.4f}<extra></extra>",
        }
    ]  # fmt: skip
    layout = {
        "xaxis": axis("test MAE, σ (less is better)", range=[0, 1.25 * max(values)]),
        "yaxis": axis("", autorange="reversed"),
        "bargap": 0.35,
    }
    words = (
        "Mean absolute error on the test set, beside forecasts that need no network, in standard deviations."
    )
    return Panel(
        "naive",
        "Beside forecasts without a network",
        words,
        [Figure(words, data, layout, 90 + 50 * len(names))],
    )
