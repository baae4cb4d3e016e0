"""What a page is made of: figures for plotly, pictures of a network, and panels that hold them with their words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Trace = dict[str, Any]
BESIDE = 4  # columns of a table that has room beside a figure
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A figure in plotly's own words; the page's script gives it the theme, a legend and, with `steps`, a slider.

    label:  what it shows, for those who do not see it
    height: px
    wide:   px that it needs; on a narrower screen it scrolls within its panel
    title:  above it, where a panel has several
    steps:  moments of a slider: {"name", "data": [what changes of each trace], "shapes", "annotations"}; the figures of a
            panel share one slider, and so the names of their moments
    start:  the moment at which it stands first
    """

    label: str
    data: Sequence[Trace]
    layout: dict[str, Any] = field(default_factory=dict)
    height: int = 340
    wide: int = 0
    title: str = ""
    steps: Sequence[dict[str, Any]] = ()
    start: int = 0

    def spec(self) -> dict[str, Any]:
        """What the script reads."""
        found = {"data": list(self.data), "layout": self.layout}
        return {**found, "steps": list(self.steps), "start": self.start} if self.steps else found


@dataclass(frozen=True)
class Group:
    """Cells of one kind in a picture of a network: the neurons of a layer, the synapses of a tensor, the kernels of a module.

    alive: at each moment, in units of `total`; None before it is there
    words: at each moment, below the picture
    """

    name: str
    total: float
    alive: Sequence[float | None]
    words: Sequence[str]


@dataclass(frozen=True)
class Link:
    """A long-range link: from and to which group, and its mass at each moment; 0 before it is there."""

    source: int
    target: int
    mass: Sequence[float]


@dataclass(frozen=True)
class Network:
    """A network through its run, drawn at the moment that a slider stands on.

    kind:   "layers" side by side, "tensors" as squares of a hundred, "modules" one below another with links between them
    unit:   what a cell is
    steps:  names of the moments
    facts:  numbers beside the picture at each moment, by name
    start:  the moment at which the slider stands first
    """

    kind: str
    unit: str
    label: str
    steps: Sequence[str]
    facts: Sequence[Mapping[str, str]]
    groups: Sequence[Group]
    links: Sequence[Link] = ()
    start: int = 0

    def spec(self) -> dict[str, Any]:
        """What the script reads."""
        return {
            "kind": self.kind,
            "unit": self.unit,
            "steps": list(self.steps),
            "facts": [list(facts.items()) for facts in self.facts],
            "groups": [
                {"name": g.name, "total": g.total, "alive": list(g.alive), "words": list(g.words)}
                for g in self.groups
            ],
            "links": [{"source": k.source, "target": k.target, "mass": list(k.mass)} for k in self.links],
        }


@dataclass(frozen=True)
class Words:
    """A table in words."""

    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    title: str = ""


@dataclass(frozen=True)
class Panel:
    """One thing to see: its name, how to read it, and what is drawn and tabled."""

    name: str  # in the page's address, unique within a section
    title: str
    words: str
    figures: Sequence[Figure] = ()
    network: Network | None = None
    tables: Sequence[Words] = ()

    @property
    def wide(self) -> bool:
        """Whether it takes the whole width of the page."""
        scrolls = any(figure.wide for figure in self.figures)
        return bool(self.network or self.tables or len(self.figures) > 1 or scrolls)

    @property
    def beside(self) -> bool:
        """Whether its tables are narrow enough to stand beside its figure."""
        return (
            len(self.figures) == 1 and bool(self.tables) and all(len(t.header) <= BESIDE for t in self.tables)
        )


@dataclass(frozen=True)
class Section:
    """Panels about one run, one group of runs or one comparison. `tiles`: name, number, remark."""

    name: str
    title: str
    words: str
    panels: Sequence[Panel]
    tiles: Sequence[tuple[str, str, str]] = ()
    closed: bool = False  # until it is asked for
