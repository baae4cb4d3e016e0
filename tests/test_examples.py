"""The scripts that readers copy run as they stand."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


class Promise(NamedTuple):
    says: str
    leaves: str | None = None


PROMISES = {
    "own_model": Promise("parameters ->", leaves="digits.safetensors"),
    "own_loop": Promise("Masks(3 tensors, 3830 of 4256 synapses dead)", leaves="pruned.pt"),
    "lightning_callback": Promise("Masks(2 tensors, 634 of 704 synapses dead)"),
    "neuralforecast_pruning": Promise("LSTM Masks(4 tensors, 3696 of 5280"),
}


def test_every_example_has_its_promise() -> None:
    assert [path.stem for path in EXAMPLES] == sorted(PROMISES)


HEAVY = ("own_model", "lightning_callback", "neuralforecast_pruning")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in HEAVY else [])
        for path in EXAMPLES
    ],
)
def test_it_runs(script: Path, tmp_path: Path) -> None:
    promise = PROMISES[script.stem]
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    assert promise.says in ran.stdout
    if promise.leaves:
        assert (tmp_path / promise.leaves).is_file()
