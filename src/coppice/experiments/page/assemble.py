"""From records to the sections of a page: what is compared first, then run by run."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from coppice.experiments import report_continual, report_forecasting
from coppice.experiments.page import continual, forecasting, groups, parts, search, stream, training
from coppice.experiments.page.families import families_of
from coppice.experiments.page.overview import overview
from coppice.experiments.page.panel import Figure, Panel, Record, Section
from coppice.experiments.page.style import COLOURS, INK, axis
from coppice.experiments.page.tiles import cost_table, tiles
from coppice.experiments.report import Group, grouped
from coppice.experiments.report_forecasting import Cell

OPEN = 6  # sections of single runs that stand open; of more, each opens when asked for
DETAILED = 100  # single runs shown one by one; of more, the first seed of each setting


def split(records: Sequence[Record]) -> tuple[list[Group], list[Record]]:
    """The finished runs by setting, and those that go on."""
    ended = [dict(record) for record in records if not record.get("unfinished")]
    return grouped(ended), [record for record in records if record.get("unfinished")]


def sections(found: Sequence[Group], going: Sequence[Record]) -> list[Section]:
    """Every section with something to see, in order."""
    (runs, left), compared = (
        _runs(found),
        [*_families(found), *_forecasting_study(found), *_other_studies(found)],
    )
    # of a few runs each is of interest itself; of many, what they say together
    made = [*_running(going), *(runs + compared if len(runs) <= OPEN else compared + runs)]
    shown = [section for section in made if section.panels or section.tiles]
    return sorted([*shown, *left], key=lambda section: section.closed)


def _running(going: Sequence[Record]) -> list[Section]:
    made: list[Section] = []
    for record in going:
        made.append(
            Section(
                f"going-{len(made)}",
                f"{record['name']}, seed {record['seed']}",
                _standing(record["unfinished"]),
                run_panels(record),
            )
        )
    return made


def _standing(told: dict[str, Any]) -> str:
    """Where an unfinished run stands: at work, unless its `state` says that it has failed or waits."""
    done = "" if told.get("done") is None else f"{100 * told['done']:.0f} %"
    if told.get("state", "working") == "working":
        return f"Still at work: {told['doing']}{done and f', {done}'}."
    doing = told["doing"].rstrip(".")
    return f"{doing[:1].upper()}{doing[1:]}{done and f'; {done} was done'}."


def _families(found: Sequence[Group]) -> list[Section]:
    families = [family for family in families_of(found) if family.runs > 1]
    apart = [
        Section(
            f"family-{number}",
            family.title,
            f"{family.runs} runs on the same data.",
            groups.panels(family),
            closed=len(families) > OPEN,
        )
        for number, family in enumerate(families)
    ]
    if len(families) <= OPEN:
        return apart
    words = f"{sum(family.runs for family in families)} runs on {len(families)} sets of data."
    return [Section("families", "Every setting", words, overview(families)), *apart]


def _forecasting_study(found: Sequence[Group]) -> list[Section]:
    studies: dict[str, list[Record]] = {}
    for group in found:
        if report_forecasting.is_study(group.records[0]):
            studies.setdefault(group.name, []).extend(group.records)
    made = []
    for number, (name, records) in enumerate(studies.items()):
        table = report_forecasting.cells([dict(record) for record in records])
        words = f"{len(records)} runs in {len(table)} cells: a data set, a model and a window length, each with its seeds."
        made.append(Section(f"study-{number}", f"The study {name}", words, forecasting.panels(records)))
        for record, *_ in table.values():
            panel = forecasting.sparsity_panel(record)
            if panel is not None:
                title = f"{Cell.of(dict(record)).title}, seed {record['seed']}"
                place = f"cell-{number}-{len(made)}"
                made.append(Section(place, title, f"One run of {name}.", [panel], closed=len(table) > 1))
    return made


def _other_studies(found: Sequence[Group]) -> list[Section]:
    made = []
    for number, group in enumerate(found):
        record = group.records[0]
        if "parts" not in record["result"] or report_forecasting.is_study(record):
            continue
        of = continual if report_continual.is_study(record) else parts
        seeds = report_forecasting.seeds_text(group.records)
        count = len(record["result"]["parts"])
        words = f"{count} part{'s' if count > 1 else ''}, each learned on the same data; {seeds}."
        made.append(Section(f"study-of-{number}", group.title, words, of.panels(group.records)))
    return [replace(section, closed=number >= OPEN) for number, section in enumerate(made)]


def _runs(found: Sequence[Group]) -> tuple[list[Section], list[Section]]:
    """A section for each run, or the first of each setting; and one that says how many have none."""
    plain = [
        (group, record) for group in found for record in group.records if "parts" not in record["result"]
    ]
    count = len(plain)
    if count > DETAILED:
        plain = [(group, record) for group, record in plain if record is group.records[0]]
    left = []
    if less := count - len(plain):
        words = (
            f"Of {count} single runs {less} have no section of their own: with more than {DETAILED}, only the first seed of "
            "each setting has one. The comparisons have them all, and so has How it was made."
        )
        left.append(Section("left-out", "Runs without a section", words, []))
    made = [
        Section(
            f"run-{number}",
            f"{group.title}, seed {record['seed']}",
            "",
            run_panels(record),
            tiles(record),
            closed=len(plain) > OPEN,
        )
        for number, (group, record) in enumerate(plain)
    ]
    return made, left


def run_panels(record: Record) -> list[Panel]:
    """All that one run, finished or not, has to show."""
    if "parts" in record["result"]:
        if report_forecasting.is_study(dict(record)):
            grown = forecasting.sparsity_panel(record)
            return [*forecasting.panels([record]), *([grown] if grown else [])]
        of = continual if report_continual.is_study(dict(record)) else parts
        return of.panels([record])
    if record["task"] == "stream":
        return stream.panels(record)
    found = search.panels(record) if "path" in record["result"] or "pretraining" in record["result"] else []
    found += training.panels(record)
    cost = _cost(record)
    return [*found[:1], cost, *found[1:]] if cost is not None else found


def _cost(record: Record) -> Panel | None:
    table = cost_table(record)
    if table is None:
        return None
    result, latency = record["result"], record["timing"].get("latency", {})
    initial, final = result["initial"], result["final"]
    kept: dict[str, float] = {}
    for key in ("parameters", "bytes", "flops"):
        if initial.get(key) and final.get(key):
            kept[{"flops": "operations"}.get(key, key)] = 100 * final[key] / initial[key]
    if latency.get("initial") and latency.get("final"):
        kept["latency"] = 100 * latency["final"] / latency["initial"]
    names, values = list(kept), list(kept.values())
    bar: dict[str, Any] = {
        "type": "bar", "orientation": "h", "y": names, "x": values, "showlegend": False, "name": "of before",
        "text": [f"{value:.1f} %" for value in values], "textposition": "outside", "cliponaxis": False,
        "textfont": {"color": INK}, "marker": {"color": COLOURS[2]}, "hovertemplate": "%{y}: %{x:.2f} % of before<extra></extra>",
    }  # fmt: skip
    layout = {
        "xaxis": axis("% of before", range=[0, max(115.0, 1.2 * max(values))]),
        "yaxis": axis("", autorange="reversed"),
        "bargap": 0.35,
    }
    words = "What the chosen network costs, in percent of the network before the first cut."
    told = ", ".join(f"{name} {value:.1f} %" for name, value in kept.items())
    figure = Figure(f"{words} {told}.", [bar], layout, 80 + 42 * len(names))
    return Panel("cost", "Before and after", words, [figure], tables=[table])
