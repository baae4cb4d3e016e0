"""The table of runs at work: what it shows, on any width and height."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from coppice.cli.board import BESIDE, LEVELS, PLAIN_LEVELS, Board, clock_text, sparkline
from coppice.contract import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def screen(width: int, height: int = 24, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=file, force_terminal=True, width=width, height=height, color_system=None, _environ={})


def drawn(board: Board) -> list[str]:
    """Its lines on a console like its own, without the spaces at their ends."""
    console = screen(board.console.width, board.console.height, board.console.encoding)
    with console.capture() as capture:
        console.print(board)
    return [line.rstrip() for line in capture.get().splitlines()]


def search(console: Console, runs: int = 1, jobs: int = 1) -> Board:
    """Runs that have shrunk by half in each of eight units, after 75 s."""
    clock = Clock()
    board = Board(console, jobs, clock)
    for number in range(runs):
        board.start(f"seed {number}")
        for unit in range(8):
            now = Progress("shrinking, 84 neurons", None, 50_000 >> unit, 0.5 + unit / 20)
            board.rows[f"seed {number}"].add(now)
    clock.now = 75.0
    return board


def test_at_200_columns_everything_is_there() -> None:
    head, row = drawn(search(screen(200)))
    assert head.split() == ["run", "doing", "done", "parameters", "score", "time"]
    assert row.split() == [
        *("seed", "0", "shrinking,", "84", "neurons", "━" * 20),
        *("390", "█▄▃▂▁▁▁▁", "0.8500", "▁▂▃▄▅▆▇█", "1:15"),
    ]


def test_at_80_columns_it_is_narrower_and_whole() -> None:
    head, row = drawn(search(screen(80)))
    assert head.split() == ["run", "doing", "done", "parameters", "score", "time"]
    assert row.split() == [
        *("seed", "0", "shrinking,", "84", "neurons", "━━━━━━", "390", "█▄▂▁▁▁", "0.8500", "▁▂▄▅▆█", "1:15")
    ]
    assert "…" not in row


def test_what_is_done_fills_the_bar_and_living_synapses_are_the_size() -> None:
    board = Board(screen(80), clock=Clock())
    board.start("seed 3")
    assert drawn(board)[1].split() == ["seed", "3", "starting", "━━━━━━", "0:00"]
    board.rows["seed 3"].add(Progress("training", 0.0, 900, None))
    board.rows["seed 3"].add(Progress("training", 0.5, 900, 0.25, 400))
    board.rows["seed 3"].add(Progress("training", 0.75, 900, -0.25, 300))
    head, row = drawn(board)
    assert "synapses" in head
    assert "parameters" not in head
    assert row.split() == ["seed", "3", "training", "━━━━╸", "300", "█▁", "-0.2500", "█▁", "0:00"]


@given(
    width=st.integers(20, 250),
    runs=st.integers(1, 9),
    doing=st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z", "M")), min_size=1, max_size=80),
    name=st.text("abc=.019/", min_size=1, max_size=60),
    parameters=st.integers(0, 10**10),
)
def test_no_width_breaks_a_line(width: int, runs: int, doing: str, name: str, parameters: int) -> None:
    board = Board(screen(width), runs, Clock())
    for number in range(runs):
        board.start(f"{name} seed {number}")
        board.rows[f"{name} seed {number}"].add(Progress(doing, 0.5, parameters, -12345.678))
    lines = drawn(board)
    assert len(lines) == 1 + runs + (runs > 1)
    assert max(cell_len(line) for line in lines) <= width


@pytest.mark.parametrize(("height", "shown"), [(24, 20), (10, 6), (5, 1), (2, 1)])
def test_more_runs_than_lines_are_counted(height: int, shown: int) -> None:
    lines = drawn(search(screen(80, height), runs=30, jobs=100))
    assert [line.split()[1] for line in lines[1 : 1 + shown]] == [str(n) for n in range(shown)]
    assert lines[1 + shown :] == [f"and {30 - shown} more at work", "all runs: 0 of 100 ended, 1:15"]
    assert len(lines) <= max(height - 1, BESIDE)


def test_a_terminal_without_blocks_gets_letters() -> None:
    row = drawn(search(screen(80, encoding="ascii")))[1]
    assert row.isascii()
    assert " @=.___ 0.8500 _.=+*@ " in row


def test_a_run_that_ended_leaves_a_line_and_no_row() -> None:
    console, clock = screen(80), Clock()
    board = Board(console, 2, clock)
    with board:
        board.start("seed 0")
        board.start("seed 1")
        board.show("seed 0", Progress("growing", None, 7, 0.5))
        board.end("seed 0", "seed 0: done [bold], 3 s")
        clock.now = 3700.0
        assert [line.split()[0] for line in drawn(board)] == ["run", "seed", "all"]
        assert drawn(board)[-1] == "all runs: 1 of 2 ended, 1:01:40"
    console.file.flush()
    told = console.file.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert "seed 0: done [bold], 3 s" in told


def test_short_units_are_not_all_drawn() -> None:
    clock, redrawn = Clock(), []
    board = Board(screen(80), clock=clock)
    board.live.refresh = lambda: redrawn.append(clock.now)  # type: ignore[method-assign]
    board.start("one")
    for unit in range(100):
        clock.now = unit / 64
        board.show("one", Progress("training", None, 1, None))
    assert redrawn == [n * 7 / 64 for n in range(15)]
    assert len(board.rows["one"].sizes) == 100


# --- sparklines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([], 5, ""),
        ([1.0], 0, ""),
        ([3.0], 5, "▅"),
        ([2.0, 2.0, 2.0], 5, "▅▅▅"),
        ([0.0, 7.0], 5, "▁█"),
        (list(range(8)), 8, "▁▂▃▄▅▆▇█"),
        ([7, 6, 5, 4, 3, 2, 1, 0], 8, "█▇▆▅▄▃▂▁"),
        ([-1.0, 0.0, 1.0], 3, "▁▅█"),
        ([0, 0, 4, 4, 8, 8], 3, "▁▅█"),
        ([0, 2, 4, 4, 10], 2, "▁█"),  # means 1 and 6
    ],
)
def test_sparklines_by_hand(values: list[float], width: int, line: str) -> None:
    assert sparkline(values, width) == line


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200),
    width=st.integers(1, 60),
    levels=st.sampled_from([LEVELS, PLAIN_LEVELS]),
)
def test_a_sparkline_is_as_long_as_it_may_be_and_reaches_both_ends(
    values: list[float], width: int, levels: str
) -> None:
    line = sparkline(values, width, levels)
    assert len(line) == min(width, len(values))
    assert set(line) <= set(levels)
    if len(values) <= width and max(values) > min(values):
        assert line[values.index(max(values))] == levels[-1]
        assert line[values.index(min(values))] == levels[0]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.9, "0:59"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text
