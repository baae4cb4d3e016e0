"""The page of a report: where it goes, writing and opening it."""

import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAME = "report.html"


def place(runs: Sequence[Path]) -> Path:
    """Where a page of these runs goes that was given no name: beside the only one, else in the current folder."""
    if len(runs) > 1:
        return Path(NAME)
    return (runs[0] if runs[0].is_dir() else runs[0].parent) / NAME


def write(records: Sequence[dict[str, Any]], file: Path, title: str, skipped: Sequence[str] = ()) -> None:
    """Write the page of these records and say so. Raises FileExistsError for a file that is no report of coppice."""
    from coppice.experiments.page import render, save

    save(file, render(records, title=title, skipped=skipped))
    print(f"report: {file}")


def show(file: Path) -> None:
    """Open it in the browser; where there is none, say so."""
    if not webbrowser.open(file.resolve().as_uri()):
        print(f"no browser was found: open {file} in one.", file=sys.stderr)
