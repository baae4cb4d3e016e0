"""The code blocks of README and docs, and how `test_docs.py` runs them.

A page is run from top to bottom, in a folder of its own: its python blocks share one namespace, its sh blocks go through
the command line. Comments in the page, which no reader sees, say what it needs and what comes out:

    <!-- setup: NAME -->     what the reader has already, from `docs_setups.SETUPS`
    <!-- output -->          the text block that follows is what the block before it prints
"""

import contextlib
import functools
import io
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer

import docs_setups as setups
from coppice import cli
from coppice.cli.app import app
from coppice.cli.learning import options as learner_options
from coppice.cli.running import parse_seeds
from coppice.experiments import recipe as recipes
from coppice.learner import Learner

ROOT = Path(__file__).parent.parent
PIECE = re.compile(
    r"^<!-- (?P<mark>setup: (?P<setup>\w+)|output) -->$|^```(?P<language>\S*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SHOWN_ONLY = {"", "text", "csv", "{eval-rst}"}  # languages of blocks that are no code to run
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
TOLERANCE = 0.3  # relative, or absolute for small numbers: other versions of torch end a little elsewhere


class Piece(NamedTuple):
    """A block of code, a setup, or the mark that an output follows; `line`: where it stands in the page."""

    kind: str
    text: str
    line: int


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def pieces(page: Path) -> Iterator[Piece]:
    text = page.read_text()
    for found in PIECE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if found["mark"]:
            yield Piece("setup" if found["setup"] else "output", found["setup"] or "", line)
        else:
            yield Piece(found["language"], found["code"], line)


def run_page(page: Path) -> None:
    """Run all of a page in the working directory. Raises what its code raises."""
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    printed, compare = io.StringIO(), False
    for piece in pieces(page):
        where = f"{page.relative_to(ROOT)}:{piece.line}"
        if piece.kind == "setup":
            setups.SETUPS[piece.text](namespace)
        elif piece.kind == "output":
            compare = True
        elif piece.kind == "python":
            printed = io.StringIO()
            lines = "\n" * piece.line + piece.text  # so that a traceback names the line of the page
            with contextlib.redirect_stdout(printed):
                exec(compile(lines, str(page), "exec"), namespace)
        elif piece.kind == "sh":
            printed = io.StringIO()
            for words in command_lines(piece.text):
                with contextlib.redirect_stdout(printed):
                    run_line(words, where)
        elif piece.kind == "toml":
            Path("recipe.toml").write_text(piece.text)
            recipes.load("recipe.toml")
        elif compare:
            assert_alike(piece.text, printed.getvalue(), where)
            compare = False
        else:
            assert piece.kind in SHOWN_ONLY, f"{where}: nobody knows how to run a block of '{piece.kind}'"
    assert not compare, f"{page}: an output is announced, but no block follows"


def command_lines(text: str) -> Iterator[list[str]]:
    """The commands of a block, as words, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def run_line(words: list[str], where: str) -> None:
    """Run a command of coppice, or check it where `setups.CHECKED_ONLY` says why; check what is not coppice's."""
    line = shlex.join(words)
    if words[0] == "coppice":
        check_command(words[1:], where)
        if any(line.startswith(begin) for begin in setups.CHECKED_ONLY):
            return
        extra = next((more for begin, more in setups.SHORTER.items() if line.startswith(begin)), [])
        assert cli.main([*words[1:], *extra]) == 0, f"{where}: {line} failed"
        return
    known = [check for begin, check in setups.NOT_COPPICE.items() if line.startswith(begin)]
    assert known, f"{where}: nobody knows how to test '{line}'; see docs_setups.NOT_COPPICE"
    for check in known:
        check(words)


def check_command(words: list[str], where: str) -> None:
    """Whether the command line takes these words, and the recipe or learner its options; nothing is run."""
    taken: dict[str, Any] = {}
    probe = typer.Typer(pretty_exceptions_enable=False)
    for command in app.registered_commands:
        assert command.callback is not None
        probe.command(command.name)(_stub(command.callback, taken))
    code = probe(args=words, prog_name="coppice", standalone_mode=False)
    assert not code, f"{where}: coppice {shlex.join(words)} is refused"
    if words[0] == "run":
        recipes.load(taken["recipe"], taken["set_"] or [])
        parse_seeds(taken["seeds"])
    if words[0] == "learn":
        learner_options(Learner(), taken["set_"] or [])


def _stub(command: Callable[..., Any], taken: dict[str, Any]) -> Callable[..., None]:
    """A command of the same signature that only notes what it is given."""

    @functools.wraps(command)
    def note(**given: Any) -> None:
        taken.update(given)

    return note


def assert_alike(told: str, printed: str, where: str) -> None:
    """The same words in the same places, and numbers that are nearly the same."""
    ours, theirs = _flat(told), _flat(printed)
    numbers = [[float(n.replace(",", "")) for n in NUMBER.findall(text)] for text in (ours, theirs)]
    same = NUMBER.sub("#", ours) == NUMBER.sub("#", theirs) and len(numbers[0]) == len(numbers[1])
    near = all(abs(a - b) <= TOLERANCE * max(abs(a), abs(b), 0.1) for a, b in zip(*numbers, strict=False))
    if not (same and near):
        raise AssertionError(f"{where}: the page shows\n{told}\nbut its code prints\n{printed}")


def _flat(text: str) -> str:
    return "\n".join(re.sub(r"\s+", " ", line).strip() for line in text.strip().splitlines())
