"""When has a network shrunk enough, and which size was the best? Small rules over the path of sizes; pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from coppice.parts.fitness import Step


class Choice(NamedTuple):
    """A step of the path, why it was chosen, and what to know about that."""

    step: int
    reason: str
    warnings: tuple[str, ...] = ()


class Stop(Protocol):
    """`finished` gives the reason to stop cutting, or None; `choose` picks a step of the whole path."""

    def finished(self, path: Sequence[Step]) -> str | None: ...
    def choose(self, path: Sequence[Step]) -> Choice: ...


def smoothed(values: Sequence[float], width: int) -> list[float]:
    """Centred moving mean; at the ends over what there is."""
    half = width // 2
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [math.fsum(window) / len(window) for window in windows]


@dataclass(frozen=True)
class OneStandardError:
    """The smallest network whose smoothed score is within `errors` standard errors of the best; the default.

    Cutting stops early once the smoothed score was below best - `give_up` errors for `patience` steps in a row.
    The standard error is that of the best step's score. Single scores are as noisy as one standard error, hence the mean over `smooth` steps.
    """

    errors: float = 1.0
    smooth: int = 3
    give_up: float = 3.0
    patience: int = 3

    def __post_init__(self) -> None:
        _at_least("errors", self.errors, 0)
        _at_least("patience", self.patience, 1)
        if self.smooth < 1 or self.smooth % 2 == 0:
            raise ValueError(
                f"smooth is {self.smooth}, but the centred mean needs an odd number of steps: 1, 3, 5 ..."
            )
        if self.give_up < self.errors:
            raise ValueError(f"give_up is {self.give_up}, which is less than errors = {self.errors}.")

    def check(self, error: float | None) -> float:
        """The standard error of a score. Raises ValueError where it has none."""
        if error is None:
            raise ValueError(
                "OneStandardError needs the score's standard error: let the score function return one number a sample "
                "([sample], such as 1 for right and 0 for wrong) or Score(value, error); or take a rule that needs none, "
                "stop=Tolerance(0.005) of coppice.parts.stopping."
            )
        return error

    def finished(self, path: Sequence[Step]) -> str | None:
        scores, best, error = self._best(path)
        low = [score < scores[best] - self.give_up * error for score in scores]
        if len(low) > self.patience and all(low[-self.patience :]):
            return f"score under best - {self.give_up:g} standard errors for {self.patience} steps"
        return None

    def choose(self, path: Sequence[Step]) -> Choice:
        scores, best, error = self._best(path)
        bar = scores[best] - self.errors * error
        index = max(i for i, score in enumerate(scores) if score >= bar)
        return Choice(
            index, f"smallest with smoothed score >= {bar:.4f} = best - {self.errors:g} standard error"
        )

    def plateau(self, path: Sequence[Step]) -> tuple[int, int]:
        """Fewest and most neurons among the steps within the bar: the sizes the data cannot tell apart."""
        scores, best, error = self._best(path)
        sizes = [
            s.neurons
            for s, score in zip(path, scores, strict=True)
            if score >= scores[best] - self.errors * error
        ]
        return min(sizes), max(sizes)

    def _best(self, path: Sequence[Step]) -> tuple[list[float], int, float]:
        scores = smoothed([step.score for step in path], self.smooth)
        best = max(range(len(scores)), key=scores.__getitem__)
        return scores, best, self.check(path[best].error)


@dataclass(frozen=True)
class Peak:
    """The step of greatest fitness F, the rule of Algorithm 1.   Zhao et al. 2017.

    The paper gives no patience and no floor. Here: the whole path is run, and the global maximum taken over steps
    with at least `floor` neurons and a score of at least `alive` of the best score (dead networks are passed over;
    where the best score is below 0, by as much under it).
    """

    floor: int = 20
    alive: float = 0.8

    def __post_init__(self) -> None:
        _at_least("floor", self.floor, 1)
        if not 0 <= self.alive <= 1:
            raise ValueError(f"alive is {self.alive}, but must lie in [0, 1]; 0.8 is 80 % of the best score.")

    def finished(self, path: Sequence[Step]) -> str | None:
        self._refuse_small(path)  # after the first cut, not after the last
        return None

    def choose(self, path: Sequence[Step]) -> Choice:
        self._refuse_small(path)
        best = max(step.score for step in path)
        bar = best - (1 - self.alive) * abs(best)
        living = [s for s in path if s.fitness is not None and s.score >= bar]
        candidates = [s for s in living if s.neurons >= self.floor]
        if not candidates:
            raise ValueError(
                f"every network with {self.floor} neurons or more is dead: none scores {bar:.3g}, which is "
                f"{self.alive:.0%} of the best. Lower the learning rate, the width of the start, or `floor`."
            )
        peak = max(candidates, key=lambda s: (s.fitness, -s.index))
        smallest = min(candidates, key=lambda s: s.neurons)
        warnings: tuple[str, ...] = ()
        if peak is smallest:
            warnings = (
                f"the fitness had no interior peak: it was still rising at the smallest living network allowed "
                f"({peak.neurons} neurons, floor {self.floor}), so the floor chose the size, not the fitness.",
            )
        return Choice(peak.index, f"fitness {peak.fitness:.4f} is the greatest of the path", warnings)

    def _refuse_small(self, path: Sequence[Step]) -> None:
        if not any(s.neurons >= self.floor and s.fitness is not None for s in path):
            raise ValueError(
                f"no step of the path has {self.floor} neurons or more and a fitness: lower `floor`."
            )


@dataclass(frozen=True)
class Tolerance:
    """The smallest network whose smoothed score is at most `loss` under the best."""

    loss: float = 0.005
    smooth: int = 3
    patience: int = 3

    def __post_init__(self) -> None:
        _at_least("loss", self.loss, 0)
        _at_least("patience", self.patience, 1)
        if self.smooth < 1 or self.smooth % 2 == 0:
            raise ValueError(
                f"smooth is {self.smooth}, but the centred mean needs an odd number of steps: 1, 3, 5 ..."
            )

    def finished(self, path: Sequence[Step]) -> str | None:
        scores = smoothed([step.score for step in path], self.smooth)
        low = [score < max(scores) - 3 * self.loss for score in scores]
        if len(low) > self.patience and all(low[-self.patience :]):
            return f"score more than {3 * self.loss:g} under the best for {self.patience} steps"
        return None

    def choose(self, path: Sequence[Step]) -> Choice:
        scores = smoothed([step.score for step in path], self.smooth)
        bar = max(scores) - self.loss
        index = max(i for i, score in enumerate(scores) if score >= bar)
        return Choice(index, f"smallest with smoothed score >= {bar:.4f} = best - {self.loss:g}")


@dataclass(frozen=True)
class Budget:
    """The largest network within a budget of parameters, of operations a forward pass, or of both."""

    parameters: int | None = None
    flops: int | None = None

    def __post_init__(self) -> None:
        if self.parameters is None and self.flops is None:
            raise ValueError("Budget needs a bound: parameters=..., flops=..., or both.")
        _at_least("parameters", self.parameters if self.parameters is not None else 1, 1)
        _at_least("flops", self.flops if self.flops is not None else 1, 1)

    def fits(self, step: Step) -> bool:
        """Whether this step is within every bound given."""
        if self.flops is not None and step.flops is None:
            raise ValueError("a budget of flops needs an example input: pass example= to the search.")
        in_parameters = self.parameters is None or step.parameters <= self.parameters
        return in_parameters and (self.flops is None or (step.flops or 0) <= self.flops)

    def finished(self, path: Sequence[Step]) -> str | None:
        return "within the budget" if self.fits(path[-1]) else None

    def choose(self, path: Sequence[Step]) -> Choice:
        for step in path:
            if self.fits(step):
                return Choice(step.index, "largest within the budget")
        smallest = path[-1]
        raise ValueError(
            f"no network on the path fits {self}: the smallest has {smallest.parameters} parameters. "
            "Raise the budget or lower min_width."
        )


STOPS: dict[str, type[OneStandardError] | type[Peak] | type[Tolerance] | type[Budget]] = {
    "one_standard_error": OneStandardError,
    "peak": Peak,
    "tolerance": Tolerance,
    "budget": Budget,
}


def _at_least(name: str, value: float, bound: float) -> None:
    if not value >= bound:
        raise ValueError(f"{name} is {value}, but must be at least {bound}.")
