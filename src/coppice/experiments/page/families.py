"""Runs that can be compared: they learned the same data. What each is called beside the others, its score and its size."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coppice.experiments.page.training import score_words
from coppice.experiments.report import Group
from coppice.experiments.tables import word


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
        # a stream's digest is of what the seed drew, and each seed has its own
        digest = None if record["task"] == "stream" else record["data"].get("sha256")
        told = json.dumps([record["task"], _asked(record), digest], sort_keys=True)
        found.setdefault(told, []).append(group)
    return [Family(_title(same, list(found.values())), same) for same in found.values()]


def _asked(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe asks of its data, but for the order of a stream's tasks, which is there to be compared."""
    asked = dict(record["recipe"]["data"])
    if record["task"] == "stream":
        asked = {key: value for key, value in record["data"]["stream"].items() if key != "order"}
        if isinstance(asked["tasks"], list):
            asked["tasks"] = sorted(asked["tasks"])
    return {key: value for key, value in asked.items() if value is not None}


def _title(groups: Sequence[Group], families: Sequence[Sequence[Group]]) -> str:
    """One setting has its own; several are on these data, and on which form of them where there is another."""
    if len(groups) == 1:
        return groups[0].title
    data = _asked(groups[0].records[0])
    others = [_asked(family[0].records[0]) for family in families]
    same = [other for other in others if _named(other) == _named(data)]
    apart = [f"{key}={word(value)}" for key, value in data.items() if any(o.get(key) != value for o in same)]
    return ", ".join([f"Runs on {_named(data)}", *apart])


def _named(data: Mapping[str, Any]) -> str:
    return str(data.get("csv") or data.get("path") or data["name"])


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
