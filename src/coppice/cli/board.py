"""The table of runs at work, drawn again and again on a terminal: how far each is, its size and score, and their way."""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # imports torch
    from coppice.contract import Progress

LEVELS, PLAIN_LEVELS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
WIDE, MIDDLE, NARROW = 120, 70, 45  # columns of a terminal
BESIDE = 4  # lines of the table that are no run
REDRAW = 0.1  # seconds, at least: units may be much shorter


@dataclass
class Row:
    """A run at work."""

    name: str
    begun: float
    now: "Progress | None" = None
    scores: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)

    @property
    def size(self) -> int | None:
        if self.now is None:
            return None
        return self.now.parameters if self.now.synapses is None else self.now.synapses

    def add(self, now: "Progress") -> None:
        if self.now is not None and (self.now.synapses is None) != (now.synapses is None):
            self.sizes.clear()  # of another kind
        self.now = now
        self.sizes.append(float(self.size or 0))
        if now.score is not None and math.isfinite(now.score):
            self.scores.append(now.score)


class Board:
    """A row for each run at work, as many as fit, and a line for the whole where there are several runs."""

    def __init__(self, console: Console, jobs: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.jobs, self.clock = console, jobs, clock
        self.rows: dict[str, Row] = {}
        self.ended, self.begun, self.drawn = 0, clock(), -math.inf
        self.live = Live(self, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Board":
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def start(self, name: str) -> None:
        self.rows = {**self.rows, name: Row(name, self.clock())}  # the thread that draws has the old one

    def show(self, name: str, now: "Progress") -> None:
        self.rows[name].add(now)
        if self.clock() - self.drawn >= REDRAW:
            self.live.refresh()
            self.drawn = self.clock()

    def end(self, name: str, told: str) -> None:
        """Its row goes, and the line that tells how it ended stays."""
        self.rows = {other: row for other, row in self.rows.items() if other != name}
        self.ended += 1
        self.live.console.print(Text(told))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = list(self.rows.values())
        shown = rows[: max(1, console.height - BESIDE)]
        if rows:
            yield self._table(shown, options)
        if len(rows) > len(shown):
            yield Text(f"and {len(rows) - len(shown)} more at work", style="dim")
        if self.jobs > 1:
            whole = f"all runs: {self.ended} of {self.jobs} ended, {clock_text(self.clock() - self.begun)}"
            yield Text(whole, style="bold", no_wrap=True, overflow="ellipsis")

    def _table(self, rows: Sequence[Row], options: ConsoleOptions) -> Table:
        """Columns are left out where the terminal is narrow, the least telling first."""
        width = options.max_width
        wide, middle, narrow = width >= WIDE, width >= MIDDLE, width >= NARROW
        line, levels = 20 if wide else 6, PLAIN_LEVELS if options.ascii_only else LEVELS
        alive = any(row.now is not None and row.now.synapses is not None for row in rows)
        table = Table(box=None, pad_edge=False, padding=(0, 1 if not wide else 2, 0, 0))
        table.add_column("run", no_wrap=True, overflow="ellipsis", max_width=max(8, width // 5))
        table.add_column("doing")  # the one that gives way
        if narrow:
            table.add_column("done", width=20 if wide else 6)
        table.add_column("synapses" if alive else "parameters", justify="right", no_wrap=True)
        if middle:
            table.add_column("", width=line)
        table.add_column("score", justify="right", no_wrap=True)
        if middle:
            table.add_column("", width=line)
        if narrow:
            table.add_column("time", justify="right", no_wrap=True)
        for row in rows:
            doing = Text(row.now.doing if row.now else "starting", no_wrap=True, overflow="ellipsis")
            cells: list[Text | ProgressBar | str] = [row.name, doing]
            if narrow:
                cells.append(self._bar(row))
            cells.append("" if row.size is None else f"{row.size:,}")
            if middle:
                cells.append(Text(sparkline(row.sizes, line, levels), style="magenta"))
            score = row.now.score if row.now else None
            cells.append("" if score is None else f"{score:.4f}")
            if middle:
                cells.append(Text(sparkline(row.scores, line, levels), style="green"))
            if narrow:
                cells.append(clock_text(self.clock() - row.begun))
            table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
        return table

    def _bar(self, row: Row) -> ProgressBar:
        done = row.now.done if row.now else None
        if done is None:  # nobody knows how long a search goes on
            return ProgressBar(total=None, pulse=True, animation_time=self.clock())
        return ProgressBar(total=1.0, completed=done)


def sparkline(values: Sequence[float], width: int, levels: str = LEVELS) -> str:
    """The way of a number as a line of characters from its least to its greatest value; a constant lies in the middle.

    Of more values than `width`, each character is the mean of those that fall to it.
    """
    if not values or width < 1:
        return ""
    count = min(width, len(values))
    edges = [len(values) * i // count for i in range(count + 1)]
    means = [math.fsum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    if not high > low:
        return levels[len(levels) // 2] * count
    top = len(levels) - 1
    return "".join(levels[round((mean - low) / (high - low) * top)] for mean in means)


def clock_text(seconds: float) -> str:
    """0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
