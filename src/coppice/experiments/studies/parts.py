"""A study: several trainings in a fixed order whose results stand side by side in one record."""

import time
from collections.abc import Callable
from typing import Any

from torch import nn

from coppice.contract import Progress
from coppice.parts.surgery import count_parameters

Part = Callable[[dict[str, Any]], dict[str, Any]]  # results of the parts before -> result of this one


class Parts:
    """A Process whose unit is a whole part; each seeds itself, so a part cut short is simply done again."""

    def __init__(self, parts: dict[str, Part], model: nn.Module) -> None:
        self.parts, self.model = parts, model
        self.results: dict[str, Any] = {}
        self.clock: dict[str, dict[str, float]] = {}

    def advance(self) -> bool:
        waiting = [name for name in self.parts if name not in self.results]
        if not waiting:
            return False
        wall, cpu = time.perf_counter(), time.process_time()
        self.results[waiting[0]] = self.parts[waiting[0]](self.results)
        self.clock[waiting[0]] = {
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
        }
        return True

    def progress(self) -> Progress:
        done = len(self.results)
        doing = list(self.parts)[done] if done < len(self.parts) else "done"
        return Progress(doing, done / len(self.parts), count_parameters(self.model), None)

    def state_dict(self) -> dict[str, Any]:
        return {"results": self.results, "clock": self.clock}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.results, self.clock = dict(state["results"]), dict(state["clock"])

    def summary(self) -> dict[str, Any]:
        return {"parts": self.results}

    def timing(self) -> dict[str, Any]:
        return {
            "seconds": sum(c["seconds"] for c in self.clock.values()),
            "cpu_seconds": sum(c["cpu_seconds"] for c in self.clock.values()),
            "parts": self.clock,
        }
