"""What a recipe may choose by name: models, methods and studies for one set of data, and those for a stream of tasks."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from coppice.data.streams import STREAMS
from coppice.experiments.studies import STREAM_STUDIES, STUDIES
from coppice.experiments.tables import OBJECTS, filled, named, nearest, read, validated
from coppice.methods import CATALOGUE, PRESETS, STREAMED
from coppice.models import GROWING, MODELS, ModularPlan


class Choices:
    """Model, method and study for these data: those for one set of data, or those for a stream of tasks."""

    def __init__(self, data: str, streamed: bool) -> None:
        self.data, self.streamed = data, streamed

    def model(self, table: Any) -> Any:
        chosen = table if isinstance(table, dict) else {}
        name = validated(str, chosen.get("name", "modular-snn" if self.streamed else "mlp"), "model.name")
        kind = self._fitting("model", name, MODELS, GROWING)
        if not self.streamed:
            return read(kind, table, "model")
        # rectified units are asked for by a word: TOML knows no None
        neuron = validated(Literal["lif", "none"], chosen.get("neuron", "lif"), "model.neuron")
        rest = {key: value for key, value in chosen.items() if key != "neuron"}
        plan: ModularPlan = read(kind, rest if chosen else table, "model")
        try:
            return plan if neuron == "lif" else dataclasses.replace(plan, neuron=None)
        except ValueError as error:
            raise ValueError(f"model: {error}") from error

    def method(self, table: Any) -> Any:
        table = dict(method_table({"method": table}))
        usual = "td-mcl" if self.streamed else "bdnn-sp"
        name = validated(str, table.pop("name", usual), "method.name")
        preset = validated(str | None, table.pop("preset", None), "method.preset")
        kind = self._fitting("method", name, CATALOGUE, STREAMED)
        presets = PRESETS.get(name, {})
        if preset is not None and preset not in presets:
            raise ValueError(
                f"method '{name}' has no preset '{preset}'{nearest(preset, presets or ['none'])}"
            )
        for key, choices in OBJECTS.items():
            if key in table:
                table[key] = named(choices, table[key], f"method.{key}")
        base = presets[preset] if preset else kind()
        return filled(base, table, "method", also=("name", "preset"))

    def study(self, table: Any) -> Any:
        name = table.get("name") if isinstance(table, dict) else table
        if isinstance(name, str):
            self._fitting("study", name, STUDIES, STREAM_STUDIES)
        return named(STREAM_STUDIES if self.streamed else STUDIES, table, "study")

    def _fitting(self, what: str, name: str, single: Mapping[str, Any], streamed: Mapping[str, Any]) -> Any:
        """The class of that name. Raises ValueError for one of the other kind of data."""
        here, there = (streamed, single) if self.streamed else (single, streamed)
        if name in here:
            return here[name]
        if name not in there:
            raise ValueError(f"{what}: there is no '{name}'{nearest(name, here)}")
        if self.streamed:
            raise ValueError(
                f"{what} '{name}' is for one set of data, but data.name is '{self.data}', a stream of tasks: set"
                f' {what}.name to {" or ".join(here)}, or choose other data, such as data.name = "digits".'
            )
        raise ValueError(
            f"{what} '{name}' is for a stream of tasks, but data.name is '{self.data}': set it to one of"
            f" {', '.join(STREAMS)}, or set {what}.name to another, such as {next(iter(here))}."
        )


def method_table(tables: dict[str, Any]) -> dict[str, Any]:
    """The table [method] as written. Raises ValueError where it is no table."""
    table = tables.get("method", {})
    if not isinstance(table, dict):
        raise ValueError(f"method is {table!r}, but must be a table such as {{ name = 'bdnn-sp' }}.")
    return table
