"""How every figure looks. A colour is named, var(--c0); the page knows it in light and in dark."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from coppice.experiments.page.panel import Trace

# Okabe and Ito's seven, which colour-blind readers can tell apart, the last of them ink; see page.css
COLOURS = tuple(f"var(--c{number})" for number in range(7))
SOFT = tuple(f"var(--c{number}-soft)" for number in range(7))
GREY, INK = "var(--quiet)", "var(--ink)"
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
PATTERNS = ("", "/", ".", "x", "-", "\\", "+")
NEAR = 4  # times that the greatest is the smallest on an axis, under which it need not be logarithmic
MARKED = 45  # points of a line, above which it has no markers


def line(name: str, x: Iterable[Any], y: Iterable[Any], number: int = 0, **more: Any) -> Trace:
    """A line whose colour, dash and marker are its own: number by number."""
    x, y = list(x), list(y)
    return {
        "type": "scatter",
        "mode": "lines" if len(y) > MARKED else "lines+markers",
        "name": name,
        "x": x,
        "y": y,
        "line": {"color": COLOURS[number % 7], "dash": DASHES[number % 6], "width": 2},
        "marker": {"symbol": MARKERS[number % 7], "size": 6},
        **more,
    }


def thin(name: str, x: Iterable[Any], y: Iterable[Any], number: int = 0) -> Trace:
    """One of many runs, behind their mean."""
    return line(
        name, x, y, number, mode="lines", opacity=0.35, showlegend=False,
        line={"color": COLOURS[number % 7], "width": 1},
    )  # fmt: skip


def band(
    x: Sequence[Any], low: Sequence[float], high: Sequence[float], number: int = 0, name: str = ""
) -> Trace:
    """The area between two lines."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*x, *reversed(x)],
        "y": [*high, *reversed(low)],
        "fill": "toself",
        "fillcolor": SOFT[number % 7],
        "line": {"width": 0, "color": SOFT[number % 7]},
        "hoverinfo": "skip",
        "name": name,
        "showlegend": bool(name),
    }


def point(name: str, x: Any, y: Any, number: int = 1, symbol: str = "diamond") -> Trace:
    """One point to be seen first."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [x],
        "y": [y],
        "marker": {
            "symbol": symbol,
            "size": 13,
            "color": COLOURS[number],
            "line": {"color": "var(--card)", "width": 1.5},
        },
    }


def bars(name: str, x: Iterable[Any], y: Iterable[Any], number: int = 0, **more: Any) -> Trace:
    """Bars with a colour and a pattern of their own."""
    return {
        "type": "bar",
        "name": name,
        "x": list(x),
        "y": list(y),
        "marker": {
            "color": COLOURS[number % 7],
            "pattern": pattern(number),
        },
        **more,
    }


def pattern(number: int) -> dict[str, Any]:
    """Strokes over a colour, for those who do not tell colours apart."""
    return {
        "shape": PATTERNS[number % 7],
        "fillmode": "overlay",
        "fgcolor": "var(--card)",
        "size": 7,
        "solidity": 0.25,
    }


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis that makes room for its own words."""
    named = {"title": {"text": title, "standoff": 10}} if title else {}
    return {**named, "automargin": True, **more}


def log_axis(title: str, values: Iterable[float | None], falling: bool = False) -> dict[str, Any]:
    """A logarithmic axis with whole numbers beside it, not powers; `falling`: the greatest value on the left.

    Where the values lie close together it is an ordinary one, which then has more numbers to read.
    """
    known = [value for value in values if value is not None and value > 0] or [1.0]
    low, high = min(known) / 1.15, max(known) * 1.15
    if high / low < NEAR:
        return axis(title, range=[high, low] if falling else [low, high])
    steps = (1, 2, 5) if high / low < 2000 else (1,)
    ticks = [
        s * 10.0**k
        for k in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for s in steps
    ]
    ticks = [tick for tick in ticks if low <= tick <= high] or [known[0]]
    ends = [math.log10(low), math.log10(high)]
    return axis(
        title,
        type="log",
        range=ends[::-1] if falling else ends,
        tickmode="array",
        tickvals=ticks,
        ticktext=[brief(tick) for tick in ticks],
    )


def wrapped(name: str, width: int = 22) -> str:
    """A long name on several lines, broken where a word ends."""
    lines = [""]
    for piece in re.split(r"(?<=[,+/ ])", name):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "<br>".join(line.strip() for line in lines)


def brief(value: float) -> str:
    """1500 as 1.5k: short enough for a narrow axis."""
    value = float(f"{value:.3g}")  # first, or 999.9 would be 1e+03
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def percent_axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis of shares, 0 to 1."""
    return axis(title, tickformat=".0%", range=[-0.03, 1.03], **more)


def rule(*, x: float | None = None, y: float | None = None, dash: str = "solid") -> dict[str, Any]:
    """A grey line through the whole figure, upright at x or level at y: a shape of a layout."""
    place: dict[str, Any] = {"yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1}
    if y is not None:
        place = {"xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y}
    return {"type": "line", **place, "line": {"color": GREY, "width": 1.2, "dash": dash}}


def upright(x: float, words: str = "", **more: Any) -> dict[str, Any]:
    """A vertical line through the whole figure, with a word at its top: {"shapes", "annotations"} of a layout."""
    note = {"x": x, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False, "text": words, **more}
    return {"shapes": [rule(x=x, dash="dash")], "annotations": [note] if words else []}
