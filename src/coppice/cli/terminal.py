"""How things look on the terminal: tables, progress, warnings. Without a terminal: plain lines."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # these import torch
    from coppice.cli.board import Board
    from coppice.experiments import report
    from coppice.experiments.batch import Outcome, Watch

WIDE = 1000  # columns when nobody's window limits them
NUMBER = re.compile(r"[-+\d.,±e> ]*$")
SHOWN = 20  # answers printed; a file has all
ALIKE = 40  # warnings that begin alike differ only in their numbers

# what the test score of a run is, by its task
MEASURES = {
    "classification": "test accuracy",
    "regression": "test R2",
    "forecast": "test MAE in σ",
    "stream": "mean test accuracy",
}


def console() -> Console:
    """Standard output, square brackets taken as they are."""
    return _console(None if sys.stdout.isatty() else WIDE)


@cache  # one for all, or what is printed while a board is drawn would run into it
def _console(width: int | None) -> Console:
    return Console(width=width, markup=False, highlight=False, emoji=False)


def print_table(title: str, header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Print a table; columns of numbers to the right."""
    lines = list(lines)
    screen = console()
    if title:
        screen.print(Text(title, style="bold"))
    table = Table(box=box.SIMPLE_HEAD)
    for number, name in enumerate(header):
        numeric = all(NUMBER.match(line[number]) for line in lines)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for line in lines:
        table.add_row(*line, style="bold" if line[0] == "mean" else None)
    screen.print(table)


def print_first(title: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A table of the first SHOWN, and how many more there are."""
    print_table(title, header, lines[:SHOWN])
    if len(lines) > SHOWN:
        print(f"and {len(lines) - SHOWN} more")


def print_groups(groups: Iterable["report.Group"]) -> None:
    """The tables of a report."""
    from coppice.experiments.report import compared

    groups = list(groups)
    for group in groups:
        for table in group.tables():
            print_table(*table)
        if remark := group.remark():
            console().print(remark)
        if len(group.records) > 1:
            console().print("mean ± half the width of its 95 % interval (Student's t over the seeds)")
    for table in compared(groups):
        print_table(*table)


def print_warnings(texts: Iterable[str]) -> None:
    """Each warning once, however many runs gave it, on standard error."""
    seen: dict[str, list[str]] = {}
    for text in texts:
        seen.setdefault(text[:ALIKE], []).append(text)
    for same in seen.values():
        runs = f" ({len(same)} runs)" if len(same) > 1 else ""
        print(f"warning: {same[0]}{runs}", file=sys.stderr)


@contextmanager
def watching(jobs: int) -> Iterator["Watch"]:
    """Callbacks for a batch: a table on a terminal, else a line when a run starts and one when it ends."""
    from coppice.experiments.batch import Watch

    if not drawable():
        yield Watch(
            start=lambda job: print(f"{job.name}: started", flush=True),
            end=lambda outcome: print(ending(outcome), flush=True),
        )
        return
    with board(jobs) as rows:
        yield Watch(
            start=lambda job: rows.start(job.name),
            progress=lambda job, now: rows.show(job.name, now),
            end=lambda outcome: rows.end(outcome.job.name, ending(outcome)),
        )


def drawable() -> bool:
    """Whether a table can be drawn again and again."""
    screen = console()
    return screen.is_terminal and not screen.is_dumb_terminal


def board(jobs: int = 1) -> "Board":
    """The table of runs at work, to be entered."""
    from coppice.cli.board import Board

    return Board(console(), jobs)


def ending(outcome: "Outcome") -> str:
    """How a run ended, in one line."""
    record = outcome.record
    if record is None:
        return f"{outcome.job.name}: failed"
    words = [f"{outcome.job.name}: done, {record['timing']['seconds']:.1f} s of training"]
    final = record["result"].get("final")
    if final:
        initial = record["result"].get("initial")
        before = f"{initial['parameters']:,} -> " if initial else ""
        measure = MEASURES.get(record["task"], "test score")
        words += [f"{before}{final['parameters']:,} parameters", f"{measure} {final['test']:.4f}"]
    return ", ".join(words)
