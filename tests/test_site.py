"""What the documentation site is made of beside its pages: docstrings as reStructuredText, links to code, the commands."""

import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(autouse=True)
def _its_modules_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])


def restructured(text: str) -> str:
    from docstrings import restructured as convert

    return "\n".join(convert(text.strip("\n").splitlines())).strip("\n")


def test_prose_is_kept_and_its_marks_are_escaped() -> None:
    assert restructured("I = sum_i |w_ij| * 2, of `train`, buffers `<parameter>_alive` and `Masks`.") == (
        "I = sum_i \\|w_ij\\| \\* 2, of ``train``, buffers ``<parameter>_alive`` and :py:obj:`Masks <coppice.Masks>`."
    )


def test_a_list_of_names() -> None:
    text = """
What it is.

start, end: of the ramp, as shares
            of all steps
every:      steps
"""
    assert restructured(text) == (
        "What it is.\n\n.. rst-class:: names\n\n    ``start``, ``end``\n        of the ramp, as shares\n"
        "        of all steps\n    ``every``\n        steps"
    )


def test_a_word_and_a_colon_within_a_sentence_begin_no_list() -> None:
    assert restructured("It says what it is\nfor: you and me.") == "It says what it is\nfor: you and me."


def test_blocks_of_code_and_of_equations() -> None:
    assert restructured("So:\n\n    f(x)\n\n    g(x)\nThen.") == (
        "So:\n\n.. code-block:: python\n\n    f(x)\n\n    g(x)\n\nThen."
    )
    assert restructured("    h = u + (I - u)/tau   leak").startswith(".. code-block:: text")


def test_an_item_goes_on_after_a_block_of_its_own() -> None:
    text = "- one\n  more\n\n      code()\n\n  and on\n- two"
    assert restructured(text) == (
        "- one\n  more\n\n  .. code-block:: python\n\n      code()\n\n  and on\n\n- two"
    )


def test_tables() -> None:
    assert restructured("| a | b |\n|---|---|\n| 1 | [n, 2] |") == (
        ".. list-table::\n    :header-rows: 1\n\n    * - a\n      - b\n    * - 1\n      - [n, 2]"
    )


def test_links_that_leave_the_docs_are_marked_and_others_stay() -> None:
    from source_pages import marked

    text = (
        "[a](../../src/coppice/contract.py#L3) [b](other.md) [c](../figures/demo.png) [d](https://x.org/y.py)"
    )
    assert marked(text, "methods/bdnn_sp") == (
        "[a](source:src/coppice/contract.py#L3) [b](other.md) [c](../figures/demo.png) [d](https://x.org/y.py)"
    )


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("src/coppice/contract.py", "", None),
        ("src/coppice/contract.py", "L1", None),
        ("src/coppice/contract.py", "L99999", "only L1 to L"),
        ("src/coppice/contract.py", "Method", "only L1 to L"),
        ("src/coppice/gone.py", "L1", "there is no file"),
        ("../elsewhere.py", "", "there is no file"),
        ("results/alternatives-digits", "", "there is no file"),
    ],
)
def test_a_broken_link_to_code_is_told(file: str, line: str, complaint: str | None) -> None:
    from source_pages import wrong

    found = wrong(file, line)
    assert found is None if complaint is None else complaint in (found or "")


def test_every_command_is_described_with_its_options() -> None:
    from command_line import described

    from coppice.cli.app import app

    text = described()
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"## coppice {command.name or command.callback.__name__}\n" in text
    assert "| `--set TABLE.KEY=VALUE` |" in text
    assert "| `--seeds TEXT` | One run for each: 0-4, or 0,2,5. | `0` |" in text
    assert "| `--device auto\\|cpu\\|cuda` |" in text
    assert (
        "| `--into PATH` | Folder of the learner. A new one is made for its first task. | required |" in text
    )


def test_every_page_stands_in_the_navigation_once() -> None:
    import ast

    source = ast.parse((DOCS / "conf.py").read_text())
    values = {
        target.id: ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id == "NAVIGATION"
    }
    listed = [page for pages in values["NAVIGATION"].values() for page in pages]
    there = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")} - {"index"}
    assert len(listed) == len(set(listed))
    assert there == set(listed)
