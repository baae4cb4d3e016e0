"""Our docstrings, which are plain text, as reStructuredText: what `conf.py` hands to Sphinx.

`name`              code, and a link where it is one of coppice's public names
name:  words        a list of names and what they mean, aligned as the source has it
- words             a list
| cell | cell |     a table, its first row the header
deeper lines        a block of code, or of equations, kept as it stands
"""

import re
from collections.abc import Iterable, Sequence

from coppice import __all__ as PUBLIC

# the names of parameters and fields, several of one meaning together: "start, end:  of the ramp"
FIELD = re.compile(r"(?P<names>\*{0,2}[a-z_]\w*(?:, \*{0,2}[a-z_]\w*)*): +(?P<words>\S.*)")
CODE = re.compile(r"(`+)(?P<text>[^`]+)\1")
INDENT = "    "


def restructured(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring, without its indentation, as those of reStructuredText."""
    blocks: list[str] = []
    for block in _blocks(lines):
        blocks += [*_block(block), ""]
    return blocks


def inline(text: str) -> str:
    """A line of prose: code in backticks, and nothing else that reStructuredText would take for a mark."""
    pieces, end = [], 0
    for found in CODE.finditer(text):
        pieces += [_escaped(text[end : found.start()]), _code(found["text"])]
        end = found.end()
    return "".join([*pieces, _escaped(text[end:])])


def _code(text: str) -> str:
    name = text.removesuffix("()")
    return f":py:obj:`{text} <coppice.{name}>`" if name in PUBLIC else f"``{text}``"


def _escaped(text: str) -> str:
    return re.sub(r"([\\*|]|_(?!\w))", r"\\\1", text)


def _blocks(lines: Iterable[str]) -> list[list[str]]:
    """Paragraphs; where the form changes without an empty line between, as from prose to a list, it is cut too."""
    blocks: list[list[str]] = []
    kind = None
    for line in lines:
        if not line.strip():
            if kind in ("deep", "item"):
                blocks[-1].append("")  # an empty line within a block of code, or of an item that goes on
            else:
                kind = None
            continue
        deep = line.startswith(" ")
        if kind in ("field", "item") and deep:
            blocks[-1].append(line)
            continue
        now = "deep" if deep else _kind(line)
        if now == "field" and kind == "prose" and not blocks[-1][-1].endswith((".", ":")):
            now = "prose"  # a line of a sentence that happens to begin with a word and a colon
        if now == kind:
            blocks[-1].append(line)
        else:
            blocks.append([line])
        kind = now
    return blocks


def _kind(line: str) -> str:
    marks = {"- ": "item", "| ": "table", "|-": "table"}
    return marks.get(line[:2]) or ("field" if FIELD.match(line) else "prose")


def _block(block: list[str]) -> list[str]:
    first = block[0]
    if first.startswith(" "):
        return _literal(block)
    if first.startswith("- "):
        return [line for item in _items(block) for line in _item(item)]
    if first.startswith("| "):
        return _table(block)
    if FIELD.match(first):
        fields = [INDENT + line for entry in _entries(block) for line in _field(entry)]
        return [".. rst-class:: names", "", *fields]
    return [inline(line) for line in block]


def _entries(block: list[str]) -> list[list[str]]:
    """A list, entry by entry: each begins at the margin."""
    entries: list[list[str]] = []
    for line in block:
        if line.startswith(" "):
            entries[-1].append(line.strip())
        else:
            entries.append([line])
    return entries


def _items(block: list[str]) -> list[list[str]]:
    """The items of a list, each without its mark and margin."""
    items: list[list[str]] = []
    for line in block:
        if line.startswith("- "):
            items.append([])
        items[-1].append(line[2:])
    return items


def _item(item: list[str]) -> list[str]:
    """An item may hold paragraphs and blocks of its own."""
    inner = restructured(item)
    return [f"- {inner[0]}", *(f"  {line}" if line else "" for line in inner[1:])]


def _field(entry: list[str]) -> list[str]:
    found = FIELD.match(entry[0])
    assert found is not None
    names = ", ".join(f"``{name}``" for name in found["names"].split(", "))
    return [names, *(INDENT + inline(line) for line in (found["words"], *entry[1:]))]


def _table(block: list[str]) -> list[str]:
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in block
        if not line.startswith("|-")
    ]
    lines = [".. list-table::", f"{INDENT}:header-rows: 1", ""]
    for row in rows:
        lines += [
            f"{INDENT}{'* -' if place == 0 else '  -'} {inline(cell)}" for place, cell in enumerate(row)
        ]
    return lines


def _literal(block: list[str]) -> list[str]:
    while block and not block[-1]:
        block = block[:-1]
    margin = min(len(line) - len(line.lstrip()) for line in block if line)
    code = [line[margin:] for line in block]
    return [f".. code-block:: {_language(code)}", "", *(INDENT + line if line else "" for line in code)]


def _language(code: list[str]) -> str:
    try:
        compile("\n".join(code), "docstring", "exec")
    except SyntaxError:
        return "text"
    return "python"
