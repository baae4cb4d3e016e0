"""Every code block of README and docs runs; what needs hours or downloads is checked, and `docs_setups.py` says which."""

import re
import warnings
from pathlib import Path

import pytest

import docs_blocks
import docs_setups
import test_every_method as contract
from coppice import data
from coppice.methods import CATALOGUE

ROOT = Path(__file__).parent.parent
PAGES = docs_blocks.pages()
HEAVY = {
    "learner",
    "deploy",
    "find_size",
    "synaptic_pruning",
    "add_a_task",
    "study",
    "sparsity",
    "images",
    "researcher",
}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] if page.stem in HEAVY else [])
        for page in PAGES
        if any(piece.kind in ("python", "sh", "toml") for piece in docs_blocks.pieces(page))
    ],
)
def test_its_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    docs_blocks.run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_fence_is_found(page: Path) -> None:
    """A block that no test sees would rot: fences are counted once more, by a cruder rule."""
    fences = [line for line in page.read_text().splitlines() if line.lstrip().startswith("```")]
    blocks = [piece for piece in docs_blocks.pieces(page) if piece.kind not in ("setup", "output")]
    assert len(fences) == 2 * len(blocks)


def test_every_exception_is_used() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    lines = [
        " ".join(words)
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for words in docs_blocks.command_lines(block)
    ]
    for begin in (*docs_setups.CHECKED_ONLY, *docs_setups.SHORTER, *docs_setups.NOT_COPPICE):
        assert any(line.startswith(begin) for line in lines), f"no page has '{begin}' any more"
    for setup in docs_setups.SETUPS:
        assert f"<!-- setup: {setup} -->" in text


@pytest.mark.parametrize(
    ("told", "printed", "alike"),
    [
        ("3 of 4 dead", "3 of  4 dead\n", True),
        ("1,000 bytes", "1,200 bytes", True),
        ("1,000 bytes", "1,500 bytes", False),
        ("1,000 bytes", "1,000 octets", False),
        ("a 1", "a 1\nb 2", False),
    ],
)
def test_outputs_are_compared_by_words_and_nearly_by_numbers(told: str, printed: str, alike: bool) -> None:
    if alike:
        docs_blocks.assert_alike(told, printed, "here")
    else:
        with pytest.raises(AssertionError, match="here"):
            docs_blocks.assert_alike(told, printed, "here")


@pytest.mark.parametrize(
    ("page", "match"),
    [
        ("```python\nraise ValueError('from the page')\n```\n", "from the page"),
        ("```sh\ncoppice run bdnn-mnist --sead 3\n```\n", "--sead"),
        ("```sh\ncoppice run bdnn-mnist --set method.shar=3\n```\n", "share"),
        ("```sh\nrm -r everything\n```\n", "nobody knows how to test"),
        ("```rust\n```\n", "rust"),
        ("```python\nprint(1)\n```\n<!-- output -->\n```text\n2\n```\n", "its code prints"),
        ("<!-- output -->\n", "no block follows"),
    ],
)
def test_a_bad_page_is_noticed(
    page: str, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(docs_blocks, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(Exception, match=match):
        docs_blocks.run_page(tmp_path / "page.md")


def test_the_fourth_method_passes_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs/how-to/fourth_method.md"
    first = next(piece for piece in docs_blocks.pieces(page) if piece.kind == "python")
    namespace = {"__name__": "cuts"}
    exec(compile(first.text, str(page), "exec"), namespace)
    monkeypatch.setitem(CATALOGUE, "cuts", namespace["Cuts"])
    monkeypatch.setitem(contract.EVERY, "cuts", namespace["Cuts"])
    splits = data.load(contract.tiny("dense").data, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        contract.test_defaults_construct_and_compare("cuts")
        contract.test_every_number_out_of_bounds_is_refused_by_name("cuts")
        contract.test_seeded_runs_repeat("cuts", splits)
        contract.test_another_seed_is_another_run("cuts", splits)
        contract.test_stopped_after_any_unit_it_goes_on_to_the_same_bits("cuts", splits, tmp_path)
        contract.test_outputs_keep_their_shape("cuts", splits)
        contract.test_progress_is_told_at_every_unit("cuts", splits)
        contract.test_it_learns("cuts", splits)
