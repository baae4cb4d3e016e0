"""Sections to HTML. Every word of a record is escaped; figures and pictures travel as JSON."""

import base64
import functools
import gzip
import json
import re
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from coppice.data.extras import need
from coppice.experiments.page.assemble import sections, split
from coppice.experiments.page.panel import Record, Section
from coppice.experiments.page.provenance import origin
from coppice.experiments.report import Group, Table, compared
from coppice.parts.storage import write_bytes

EXTRA = "html"
LONG = 500_000  # letters of figures above which they are packed: many runs would be too large for a page
MARK = '<meta name="generator" content="coppice'  # how a page of ours begins, within HEAD bytes
HEAD = 1000
NUMBER = re.compile(r"[-+−\d.,±e%<> \[\]/x–]*|n < \d+")  # stands to the right in a table
SHORT = 3  # sections whose panels the table of contents names too


def render(
    records: Sequence[Record], *, title: str, refresh: int | None = None, skipped: Sequence[str] = ()
) -> str:
    """The whole page. Raises ValueError for no record, ModuleNotFoundError where plotly or jinja2 is missing.

    records: finished ones, or such with "unfinished": {"doing": str, "done": float | None} and what there is of `result`
    refresh: seconds after which the page loads itself again
    skipped: what could not be read, and why
    """
    if not records:
        raise ValueError("there is no record to show: give at least one.")
    plotly = _plotly()
    template = _environment().get_template("page.html")
    groups, going = split(records)
    found = sections(groups, going)
    data = _json({key: value for section in found for key, value in _drawn(section).items()})
    packed = len(data) > LONG
    warnings = [
        (f"{record['name']}, seed {record['seed']}", text)
        for record in records
        for text in record.get("result", {}).get("warnings", [])
    ]
    return template.render(
        title=title,
        version=metadata.version("coppice"),
        made=f"{datetime.now():%Y-%m-%d %H:%M}",
        refresh=refresh,
        runs=len(records),
        sections=[_numbered(section) for section in found],
        closed=sum(section.closed for section in found),
        panels_listed=len(found) <= SHORT,
        going=[(record, record["unfinished"]) for record in going],
        warnings=warnings,
        skipped=skipped,
        tables=_tables(groups),
        origins=[origin(record) for record in records],
        style=_file("page.css"),
        script=_file("page.js"),
        plotly=plotly,
        data=base64.b64encode(gzip.compress(data.encode(), mtime=0)).decode() if packed else data,
        packed=packed,
    )


def save(path: Path, page: str) -> None:
    """Write a page, whole or not at all. Raises FileExistsError where the file is no page of coppice."""
    refuse_other(path)
    write_bytes(path, page.encode())


def refuse_other(path: Path) -> None:
    """Raise FileExistsError for a file that coppice did not write as a report."""
    if path.is_dir():
        raise FileExistsError(
            f"{path} is a folder: name a file for the page, such as {path / 'report.html'}."
        )
    if path.exists():
        with path.open("rb") as file:
            begins = file.read(HEAD).decode(errors="replace")
        if MARK not in begins:
            raise FileExistsError(
                f"{path} is there and is no report of coppice: choose another file or folder."
            )


def _numbered(section: Section) -> dict[str, Any]:
    """A section with the addresses of all that is drawn in it."""
    panels = []
    halves = [panel for panel in section.panels if not panel.wide]
    alone = halves[-1:] if len(halves) % 2 else []  # has no neighbour, and so the whole width
    for panel in section.panels:
        place = f"{section.name}-{panel.name}"
        panels.append(
            {
                "id": place,
                "panel": panel,
                "wide": panel.wide or panel in alone,
                "figures": [(f"{place}-figure-{n}", figure) for n, figure in enumerate(panel.figures)],
                "moved": [f"{place}-figure-{n}" for n, figure in enumerate(panel.figures) if figure.steps],
            }
        )
    return {"section": section, "panels": panels}


def _drawn(section: Section) -> dict[str, Any]:
    """Figures and pictures of a section by their addresses."""
    found: dict[str, Any] = {}
    for panel in section.panels:
        place = f"{section.name}-{panel.name}"
        found |= {f"{place}-figure-{n}": figure.spec() for n, figure in enumerate(panel.figures)}
        if panel.network is not None:
            found[f"{place}-network"] = panel.network.spec()
    return found


def _tables(groups: Sequence[Group]) -> list[tuple[Table, bool]]:
    """The tables that a terminal prints; with each, whether its numbers are means over seeds."""
    made = [(table, len(group.records) > 1) for group in groups for table in group.tables()]
    return [*made, *((table, False) for table in compared(groups))]


def _json(value: Any) -> str:
    """JSON that can stand in a script element, numbers with six digits or all those before the point."""
    text = json.dumps(_short(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _short(value: Any) -> Any:
    if isinstance(value, float):
        if value - value != 0:
            return None  # what JSON has no word for is drawn as a gap
        return float(f"{value:.6g}") if abs(value) < 1e6 else float(round(value))
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    return [_short(inner) for inner in value] if isinstance(value, (list, tuple)) else value


@functools.cache
def _environment() -> Any:
    jinja = need("jinja2", EXTRA)
    loader = jinja.FunctionLoader(_file)
    found = jinja.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    found.tests["wordy"] = lambda cell: NUMBER.fullmatch(cell) is None
    return found


@functools.cache
def _plotly() -> str:
    return str(need("plotly.offline", EXTRA).get_plotlyjs())


@functools.cache
def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
