"""Many runs side by side: what each setting came to, paired differences on the same data and seeds, curves with their spread."""

from coppice.experiments import statistics
from coppice.experiments.against import against
from coppice.experiments.page.families import Family, label, size, tests
from coppice.experiments.page.panel import Figure, Panel, Trace, Words
from coppice.experiments.page.search import neurons
from coppice.experiments.page.style import COLOURS, MARKERS, axis, band, line, log_axis, rule, thin, wrapped
from coppice.experiments.page.training import score_words
from coppice.experiments.report_forecasting import p_text
from coppice.experiments.statistics import LEAST_PAIRS, Interval, mean

FEW = 4  # settings that a sentence lists
MOST = 14  # settings drawn in one figure of curves; more could not be told apart


def panels(family: Family) -> list[Panel]:
    """All that these runs allow."""
    drawn = [_results(family), _curves(family), _searches(family)] if family.runs > 1 else []
    if len(family.groups) > 1:
        drawn.append(_paired(family))
    return [panel for panel in drawn if panel is not None]


def _results(family: Family) -> Panel | None:
    """Test score against size: each run, and the mean of each group with its interval."""
    data: list[Trace] = []
    told: list[tuple[float, str]] = []
    for number, group in enumerate(family.groups):
        name, found = label(group, family.groups), tests(group)
        if not found:
            continue
        known = [record for record in group.records if record["seed"] in found]
        sizes = [size(record) for record in known]
        look = {"symbol": MARKERS[number % 7], "size": 8, "color": COLOURS[number % 7]}
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": name, "x": sizes, "y": list(found.values()),
                "opacity": 0.45 if len(known) > 1 else 1, "showlegend": len(known) == 1, "marker": {**look, "size": 7 if len(known) > 1 else 12},
                "text": [f"seed {record['seed']}" for record in known],
                "hovertemplate": f"{name}, " + "%{text}: %{y:.4f}<br>%{x:,.0f} alive<extra></extra>",
            }
        )  # fmt: skip
        if len(known) == 1 and (error := known[0]["result"]["final"].get("test_error")):
            data[-1]["error_y"] = {
                "type": "data",
                "array": [error],
                "color": COLOURS[number % 7],
                "thickness": 1.4,
                "width": 5,
            }
        centre = mean(list(found.values()))
        told.append((centre.value, f"{name} {centre.text(4)}"))
        if len(known) > 1:
            bars = {
                "type": "data",
                "array": [centre.half],
                "color": COLOURS[number % 7],
                "thickness": 2,
                "width": 5,
            }
            data.append(
                {
                    "type": "scatter", "mode": "markers", "name": name, "x": [mean(sizes).value], "y": [centre.value],
                    "error_y": bars, "marker": {**look, "size": 13, "line": {"color": "var(--card)", "width": 1.5}},
                    "hovertemplate": f"{name}, mean of {len(known)}: " + "%{y:.4f} ± %{error_y.array:.4f}<extra></extra>",
                }
            )  # fmt: skip
    if not data:
        return None
    every = [x for trace in data for x in trace["x"]]
    better = "less" if family.forecast else "more"
    layout = {
        "xaxis": log_axis("synapses or parameters alive", every),
        "yaxis": axis(f"test {family.metric} ({better} is better)"),
        "hovermode": "closest",
    }
    several = family.runs > len(family.groups)
    bar = "means with 95 % intervals" if several else "the bar is one standard error of the test samples"
    bar = bar if several or any("error_y" in trace for trace in data) else "one seed each"
    words = f"Each run on the test set, by its size; {bar}. Test {family.metric}: "
    if len(told) > FEW:
        best = min(told) if family.forecast else max(told)
        words += f"of {len(told)} settings the best is {best[1]}."
    else:
        words += "; ".join(text for _, text in told) + "."
    return Panel("results", "Score and size", words, [Figure(words, data, layout, 360)])


def _paired(family: Family) -> Panel | None:
    """Every group against the dense one, or else the first, on the seeds that both have."""
    dense = [g for g in family.groups if g.records[0]["recipe"].get("method", {}).get("kind") == "Dense"]
    reference = (dense or family.groups)[0]
    others = [group for group in family.groups if group is not reference]
    rows: list[tuple[str, Interval, list[str]]] = []
    if family.forecast:
        for group in others:
            ours, theirs = tests(group), tests(reference)
            both = sorted(ours.keys() & theirs.keys())
            if len(both) > 1:
                found = statistics.compare({s: ours[s] for s in both}, {s: theirs[s] for s in both})
                p = f"n < {LEAST_PAIRS}" if found.p is None else p_text(found.p)
                told = [found.percent.text(), f"{found.wins}/{found.runs}", p, f"{found.dz:+.2f}"]
                rows.append((label(group, family.groups), found.percent, told))
    else:
        named = {label(g, family.groups): {s: 100 * v for s, v in tests(g).items()} for g in family.groups}
        for name, row in against(named, label(reference, family.groups)).items():
            if row.points is not None:
                rows.append((name, row.points, row.words()[1:]))
    if not rows:
        return None
    unit = "%" if family.forecast else "points"
    base = label(reference, family.groups)
    names = [wrapped(name) for name, _, _ in rows]
    data = [
        {
            "type": "scatter", "mode": "markers", "y": names, "x": [i.mean for _, i, _ in rows], "showlegend": False,
            "error_x": {"type": "data", "array": [i.high - i.mean for _, i, _ in rows], "thickness": 1.6, "width": 5, "color": COLOURS[0]},
            "marker": {"size": 10, "color": COLOURS[0]}, "name": f"against {base}",
            "hovertemplate": "%{y}: %{x:+.2f} ± %{error_x.array:.2f} " + unit + "<extra></extra>",
        }
    ]  # fmt: skip
    better = "under 0 it errs less" if family.forecast else "above 0 it is better"
    layout = {
        "xaxis": axis(f"difference in test {family.metric}, {unit}"),
        "yaxis": axis("", autorange="reversed", type="category", dtick=1),
        "shapes": [rule(x=0)],
        "hovermode": "closest",
    }
    words = f"Paired differences from {base} on the same seeds, mean with 95 % interval; {better}."
    header = ("setting", f"difference, {unit} [95 %]", "wins", "p" if family.forecast else "p (Holm)", "dz")
    table = Words(header, [[name, *told] for name, _, told in rows], words)
    return Panel(
        "paired",
        "Paired comparison",
        words,
        [Figure(words, data, layout, 110 + 44 * len(rows))],
        tables=[table],
    )


def _curves(family: Family) -> Panel | None:
    """Learning curves of all runs, and the mean of each group with its 95 % interval."""
    data = []
    for number, group in enumerate(family.groups[:MOST]):
        curves = [record["result"]["curve"] for record in group.records if record["result"].get("curve")]
        if not curves:
            continue
        sign = score_words(group.records[0])[1]
        found = [[sign * epoch["score"] for epoch in curve] for curve in curves]
        name = label(group, family.groups)
        if len(found) > 1:
            length = min(map(len, found))
            centres = [mean([run[i] for run in found]) for i in range(length)]
            x = list(range(1, length + 1))
            low, high = ([c.value + d * (c.half or 0.0) for c in centres] for d in (-1, 1))
            data += [thin(name, range(1, len(run) + 1), run, number) | {"hoverinfo": "skip"} for run in found]
            data.append(band(x, low, high, number))
            words = f"{name}, mean of {len(found)}"
            data.append(
                line(words, x, [c.value for c in centres], number, hovertemplate="%{y:.4f}", mode="lines")
            )
        else:
            data.append(line(name, range(1, len(found[0]) + 1), found[0], number, hovertemplate="%{y:.4f}"))
    if len(data) < 2:
        return None
    layout = {"xaxis": axis("epoch", tickformat="d"), "yaxis": axis(f"validation {family.metric}")}
    words = f"Validation {family.metric} after each epoch"
    if any("fill" in trace for trace in data):
        words += ": thin, each run; thick, the mean of a setting; shaded, its 95 % interval"
    words += "."
    if len(family.groups) > MOST:
        words += f" The first {MOST} of {len(family.groups)} settings."
    return Panel("curves", "Learning curves", words, [Figure(words, data, layout, 380)])


def _searches(family: Family) -> Panel | None:
    """Score against size of every search, and what each chose."""
    data, every, told = [], [], []
    for number, group in enumerate(family.groups[:MOST]):
        found = [record["result"] for record in group.records if record["result"].get("path")]
        if not found:
            continue
        name, chosen = label(group, family.groups), []
        for result in found:
            sizes = [neurons(step) for step in result["path"]]
            every += sizes
            data.append(
                thin(name, sizes, [s["score"] for s in result["path"]], number)
                | {"hoverinfo": "skip", "opacity": 0.6}
            )
            chosen.append((sizes[result["chosen"]], result["path"][result["chosen"]]["score"]))
        told.append(f"{name}: {mean([size for size, _ in chosen]).text(1)} neurons")
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": f"{name}, chosen", "x": [x for x, _ in chosen], "y": [y for _, y in chosen],
                "marker": {"symbol": MARKERS[(number + 2) % 7], "size": 10, "color": COLOURS[number % 7], "line": {"color": "var(--card)", "width": 1.5}},
                "hovertemplate": "%{x:,} neurons, %{y:.4f}<extra></extra>",
            }
        )  # fmt: skip
    if sum(trace["mode"] == "lines" for trace in data) < 2:
        return None
    layout = {
        "xaxis": log_axis("neurons, after each cut", every, falling=True),
        "yaxis": axis(f"validation {family.metric}"),
        "hovermode": "closest",
    }
    words = f"Validation {family.metric} at each size of every search; marked: the size chosen."
    if len(told) <= FEW:
        words += f" Chosen on average: {'; '.join(told)}."
    return Panel("searches", "Searches side by side", words, [Figure(words, data, layout, 380)])
