"""Where the documents' numbers come from: the records in results/ and the lines of the code. Imported by the tables."""

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from coppice.experiments import record

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
Record = dict[str, Any]


def records(recipe: str, cell: str = "") -> list[Record]:
    """All seeds of a recipe, or of one cell of its sweep, in order of seed."""
    found = [record.read(path) for path in (RESULTS / recipe / cell).glob("*/record.json")]
    if not found:
        raise FileNotFoundError(f"there are no records in results/{recipe}/{cell}.")
    return sorted(found, key=lambda r: r["seed"])


def found_records(recipe: str) -> list[Record]:
    """All records of a recipe, whatever cells and seeds are there; none is no error."""
    return [record.read(path) for path in sorted((RESULTS / recipe).rglob("record.json"))]


def code_lines(equations: Sequence[tuple[str, str, Any]]) -> Iterator[str]:
    """A table of places in a paper, what stands there, and the line of the code that does it."""
    yield "| paper | what | line |"
    yield "|---|---|---|"
    for place, what, code in equations:
        code = inspect.unwrap(code)  # torch.no_grad() puts a function of its own around it
        file = Path(inspect.getsourcefile(code) or "").relative_to(ROOT)
        line = inspect.getsourcelines(code)[1]
        yield f"| {place} | {what} | [`{code.__qualname__}`](../../{file}#L{line}) |"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for line in lines:
        yield "| " + " | ".join(line) + " |"
