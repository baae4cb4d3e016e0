"""Records of every kind that a page shows, and what stands in a page."""

import base64
import copy
import gzip
import json
import re
from pathlib import Path
from typing import Any

from coppice.experiments import recipe, record
from coppice.experiments.folder import Folder
from coppice.experiments.run import run

RESULTS = Path(__file__).parent.parent / "results"
Record = dict[str, Any]


def committed(pattern: str) -> list[Record]:
    """Records under results/, by a pattern of their folders."""
    found = [record.read(file / "record.json") for file in sorted(RESULTS.glob(pattern))]
    assert found, f"no record matches {pattern}"
    return found


def pruned(folder: Path, epochs: int = 8) -> Record:
    """A forecaster that loses nine tenths of its synapses, learned now: committed records keep no histograms."""
    return run(recipe.load("forecast", [f"training.epochs={epochs}", "model.hidden=8"]), 0, Folder(folder))


def drawn(page: str) -> dict[str, Any]:
    """The figures and pictures of a page by their addresses."""
    ((kind, text),) = re.findall(
        r'<script type="application/(\w+)" id="data">(.*?)</script>', page, re.DOTALL
    )
    return dict(json.loads(gzip.decompress(base64.b64decode(text)) if kind == "gzip" else text))


def figure(page: str, name: str) -> dict[str, Any]:
    """The one figure or picture whose address ends so."""
    (found,) = (spec for address, spec in drawn(page).items() if address.endswith(name))
    return dict(found)


def trace(spec: dict[str, Any], name: str) -> dict[str, Any]:
    """The one trace of this name, or that begins so."""
    (found,) = (trace for trace in spec["data"] if trace.get("name", "").startswith(name))
    return dict(found)


def unfinished(of: Record, result: Record, **standing: Any) -> Record:
    """The record as it was while the run went on."""
    found = copy.deepcopy(of) | {
        "result": result,
        "unfinished": {"doing": "at work", "done": None, **standing},
    }
    found.pop("timing", None)
    return found
