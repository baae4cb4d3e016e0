"""A study: several trainings in a fixed order whose results stand side by side in one record."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn

from coppice.contract import Process, Progress
from coppice.parts.surgery import count_parameters

# Results of the parts before -> result of this one. Its entry "clock", if any, is no result, but the seconds and
# cpu_seconds to be counted instead of all that passed.
Part = Callable[[dict[str, Any]], dict[str, Any]]


class LongPart(NamedTuple):
    """A part that is a Process, so that it can be stored and brought back in its midst."""

    begin: Callable[[], Process]
    told: Callable[[Any], dict[str, Any]]  # the process, at its end -> result


@contextmanager
def timed(clock: dict[str, float]) -> Iterator[None]:
    """Adds the seconds and cpu_seconds that pass inside."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    clock["seconds"] = clock.get("seconds", 0.0) + time.perf_counter() - wall
    clock["cpu_seconds"] = clock.get("cpu_seconds", 0.0) + time.process_time() - cpu


class Parts:
    """A Process whose unit is a whole part, or a unit of a long one; each seeds itself, so a part that is no process
    is simply done again when it was cut short.
    """

    def __init__(self, parts: Mapping[str, Part | LongPart], model: nn.Module) -> None:
        self.parts, self.model = parts, model
        self.results: dict[str, Any] = {}
        self.clock: dict[str, dict[str, float]] = {}
        self.within: Process | None = None  # the long part at work

    @property
    def _next(self) -> str | None:
        return next((name for name in self.parts if name not in self.results), None)

    def advance(self) -> bool:
        name = self._next
        if name is None:
            return False
        part = self.parts[name]
        result, clock = None, self.clock.setdefault(name, {})
        with timed(clock):
            if not isinstance(part, LongPart):
                result = part(self.results)
            else:
                if self.within is None:
                    self.within = part.begin()
                if not self.within.advance():
                    result, self.within = part.told(self.within), None
        if result is not None:
            self.clock[name] = result.pop("clock", clock)
            self.results[name] = result
        return True

    def progress(self) -> Progress:
        done, name = len(self.results), self._next
        if self.within is None:
            return Progress(name or "done", done / len(self.parts), count_parameters(self.model), None)
        now = self.within.progress()
        return now._replace(doing=f"{name}: {now.doing}", done=(done + (now.done or 0.0)) / len(self.parts))

    def state_dict(self) -> dict[str, Any]:
        within = None if self.within is None else self.within.state_dict()
        return {"results": self.results, "clock": self.clock, "within": within}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.results, self.clock = dict(state["results"]), dict(state["clock"])
        self.within, name = None, self._next
        if state.get("within") is not None and name is not None:
            part = self.parts[name]
            assert isinstance(part, LongPart)
            self.within = part.begin()
            self.within.load_state_dict(state["within"])

    def summary(self) -> dict[str, Any]:
        return {"parts": self.results}

    def timing(self) -> dict[str, Any]:
        return {
            "seconds": sum(c["seconds"] for c in self.clock.values()),
            "cpu_seconds": sum(c["cpu_seconds"] for c in self.clock.values()),
            "parts": self.clock,
        }
