"""Records: written whole, told apart by a fingerprint that knows no clock, refused once they were altered."""

import json
import math
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from coppice.experiments import record

SAMPLE: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "recipe": {"model": {"hidden": [40]}},
    "result": {"final": {"test": 0.93, "parameters": 12}},
    "timing": {"seconds": 1.5},
    "command": "coppice run tiny",
    "machine": "here",
    "commit": "abc",
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "record.json"
    record.write(path, SAMPLE)
    return path


def test_what_is_written_comes_back_with_format_and_fingerprint(written: Path) -> None:
    back = record.read(written)
    assert back.pop("format") == record.FORMAT
    assert len(back.pop("fingerprint")) == 32
    assert back == SAMPLE
    assert [file.name for file in written.parent.iterdir()] == ["record.json"]  # nothing half-written is left


def test_tuples_count_as_the_lists_they_become(tmp_path: Path) -> None:
    record.write(tmp_path / "a.json", {**SAMPLE, "result": {"widths": (3, 2)}})
    assert record.read(tmp_path / "a.json")["result"]["widths"] == [3, 2]


def test_a_number_that_is_not_finite_becomes_null_for_json_has_no_word_for_it(tmp_path: Path) -> None:
    def foreign(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    result = {"curve": [{"loss": math.nan}, {"loss": 0.5}], "range": (-math.inf, math.inf), "none": None}
    record.write(tmp_path / "record.json", {**SAMPLE, "result": result})
    text = (tmp_path / "record.json").read_text()
    assert json.loads(text, parse_constant=foreign)["result"] == {
        "curve": [{"loss": None}, {"loss": 0.5}],
        "range": [None, None],
        "none": None,
    }
    assert record.read(tmp_path / "record.json")["result"]["range"] == [None, None]


def test_a_record_of_before_with_nan_in_it_is_still_read(tmp_path: Path) -> None:
    before = {"format": 1, **SAMPLE, "result": {"loss": math.nan}}
    before["fingerprint"] = record.fingerprint(before)
    (tmp_path / "record.json").write_text(json.dumps(before))
    assert math.isnan(record.read(tmp_path / "record.json")["result"]["loss"])


@pytest.mark.parametrize("key", sorted(set(record.VOLATILE) - {"fingerprint"}))
def test_the_fingerprint_does_not_know_the_clock(key: str) -> None:
    assert record.fingerprint({**SAMPLE, key: "otherwise"}) == record.fingerprint(SAMPLE)


@pytest.mark.parametrize("key", sorted(set(SAMPLE) - set(record.VOLATILE)))
def test_the_fingerprint_knows_everything_else(key: str) -> None:
    assert record.fingerprint({**SAMPLE, key: "otherwise"}) != record.fingerprint(SAMPLE)


def test_a_number_improved_by_hand_is_noticed(written: Path) -> None:
    text = written.read_text()
    assert text.count("0.93") == 1
    written.write_text(text.replace("0.93", "0.99"))
    with pytest.raises(ValueError, match="changed after it was written"):
        record.read(written)


def test_damage_and_newer_formats_are_named(written: Path) -> None:
    whole = written.read_text()
    written.write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"record\.json is not a run's record, or is damaged"):
        record.read(written)
    written.write_text("[]")
    with pytest.raises(ValueError, match="not a run's record"):
        record.read(written)
    written.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a run's record"):
        record.read(written)
    written.write_text(json.dumps({**json.loads(whole), "format": 99}))
    with pytest.raises(ValueError, match=r"format 99; this coppice reads format 1"):
        record.read(written)


def test_the_command_can_be_pasted_into_a_shell_and_hides_where_the_program_lies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/coppice", "run", "tiny", "--set", 'a.b=["c d"]'])
    assert record.command() == """coppice run tiny --set 'a.b=["c d"]'"""


def test_versions_name_what_a_result_depends_on() -> None:
    assert {"python", "torch", "numpy"} <= record.versions().keys()


def test_versions_name_the_packages_of_series_and_rivals_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"pandas": "2.2", "statsmodels": "0.14", "torch-pruning": "1.6"}

    def version(package: str) -> str:
        if package not in there:
            raise metadata.PackageNotFoundError(package)
        return there[package]

    monkeypatch.setattr(metadata, "version", version)
    found = record.versions()
    assert found.pop("python")
    assert found == there
