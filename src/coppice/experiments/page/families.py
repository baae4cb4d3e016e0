"""Runs that can be compared: they learned the same data. What each is called beside the others, its score and its size."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coppice.experiments.page.training import score_words
from coppice.experiments.report import Group


class Family(NamedTuple):
    """Groups whose runs learned the same data."""

    title: str
    groups: list[Group]

    @property
    def forecast(self) -> bool:
        return bool(self.groups[0].records[0]["task"] == "forecast")

    @property
    def metric(self) -> str:
        """What the test score is called."""
        if self.groups[0].records[0]["task"] == "stream":
            return "mean accuracy"
        return score_words(self.groups[0].records[0])[0]

    @property
    def runs(self) -> int:
        return sum(len(group.records) for group in self.groups)


def families_of(groups: Sequence[Group]) -> list[Family]:
    """The groups of plain runs, no studies, by the data that they learned."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        record = group.records[0]
        if "parts" in record["result"] or "final" not in record["result"]:
            continue
        told = record["data"].get("stream", {}).get("name") or record["data"].get("sha256")
        split = {
            key: record["recipe"]["data"].get(key)
            for key in ("train", "classes", "length", "target", "series")
        }
        found.setdefault(json.dumps([record["task"], told, split], sort_keys=True), []).append(group)
    return [Family(_title(same), same) for same in found.values()]


def _title(groups: Sequence[Group]) -> str:
    if len(groups) == 1:
        return groups[0].title
    data = groups[0].records[0]["recipe"]["data"]
    return f"Runs on {data.get('csv') or data.get('path') or data['name']}"


def label(group: Group, among: Sequence[Group]) -> str:
    """What a group is called beside the others: no more than it takes to tell them apart."""
    if len({other.name for other in among}) == 1 and group.cell:
        return group.cell
    return group.title


def tests(group: Group) -> dict[int, float]:
    """Test score by seed: the error of a forecast, else a share."""
    found = {record["seed"]: record["result"]["final"].get("test") for record in group.records}
    return {seed: value for seed, value in found.items() if value is not None}


def size(record: Mapping[str, Any]) -> float:
    """Living synapses, or parameters alive, or parameters: what the run's table calls its size."""
    final = record["result"]["final"]
    return float(final.get("synapses") or final.get("alive") or final["parameters"])
