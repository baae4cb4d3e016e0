"""What TD-MCL can be told: the hyper-parameters of the method, and how a task is schooled."""

from dataclasses import dataclass
from typing import Literal

EVOLUTIONS = ("overgrow", "logits", "paper", "all", "random", "none")
WORTHS = ("gated", "own", "feedback", "magnitude", "random")


@dataclass
class TDMCL:
    """Hyper-parameters of TD-MCL. Its numbers are ours: the paper's equations and tables were not at hand.

    Long-range links, from modules that grew before into the new one:
    evolution:      "overgrow": all grow, then each block keeps those without which held-out samples fare worst;
                    "logits", "paper": drawn for each mini-batch by probabilities that evolve, see `parts.wiring`;
                    "all", "random", "none": all stay, some at random, none; what the others are held against
    links:          a block, and the read-out, keeps
    search:         share of the epochs after which links are chosen
    gamma:          step of the probabilities
    strengthen:     factor on the learning rate of the chosen links

    Local kernels of the new module:
    refine:         density it keeps in each layer, by what its own task needs; 1: all
    refine_start, refine_end: of the cubic ramp there, shares of the epochs: early, so that rates are high enough to heal

    Local kernels of old modules:
    inhibit:        share of an old layer's living kernels that a later task inhibits, then prunes; 0: none
    cap:            the same at most, where the share follows from elsewhere: "survival", and strict growth
    inhibit_start:  share of the epochs after which inhibition rises, linearly, to 1 at the end; "rank" only
    own_budget:     share of a layer's own mass that may die after its own task, over all later tasks together
    expected_tasks: in all; each later one may spend own_budget / (expected_tasks - 1)
    kappa:          weight of feedback against own worth
    own:            how a kernel's own mass is measured when its task ends: "at once", all in one pass; "in turn": the least
                    are taken out for a while, and each is measured in what is left
    protect:        whose need of a kernel counts as own mass: "own task": of the task that it grew for; "every task": of
                    each that reads it as well, added when that has been learned, so that the own mass bounds what any of
                    them can lose
    homeostasis:    a neuron that loses a kernel keeps the mean of what it got through it, as its own task gave it, as a
                    current: what is lost is what varied, and own masses are measured so
    worth:          by what kernels are ranked: "gated": own worth and feedback; "own", "feedback": one of them alone;
                    "magnitude", "random": blind to both, what the others are held against. Both bounds hold for all: with
                    own_budget = 1 and expected_tasks = 2 it is the share alone that binds
    inhibition:     "rank": the kernels of least worth; "survival": those whose survival value falls below 0 (the form of
                    Han et al. 2022 to 2024)

    old_weights:    "isolated": a new task does not train them; "inhibited": only kernels inhibited by more than half;
                    "full": all local ones, at a tenth of the learning rate. The own mass bounds damage by pruning, not by
                    training
    inherit:        a new module starts from the blocks of the old one whose spikes tell the new classes apart best
    growth:         "full": full width; "strict": as narrow as need be that the network has never more living synapses after
                    a task than it had after the first
    """

    evolution: Literal["overgrow", "logits", "paper", "all", "random", "none"] = "overgrow"
    links: int = 2
    search: float = 0.35
    gamma: float = 0.05
    strengthen: float = 2.0
    refine: float = 0.4
    refine_start: float = 0.1
    refine_end: float = 0.5
    inhibit: float = 0.1
    cap: float = 0.15
    inhibit_start: float = 0.7
    own_budget: float = 0.02
    expected_tasks: int = 10
    kappa: float = 0.1
    own: Literal["at once", "in turn"] = "in turn"
    protect: Literal["own task", "every task"] = "every task"
    homeostasis: bool = True
    worth: Literal["gated", "own", "feedback", "magnitude", "random"] = "gated"
    inhibition: Literal["rank", "survival"] = "rank"
    old_weights: Literal["isolated", "inhibited", "full"] = "isolated"
    inherit: bool = True
    growth: Literal["full", "strict"] = "full"

    def __post_init__(self) -> None:
        for name, choices in (
            ("evolution", EVOLUTIONS),
            ("own", ("at once", "in turn")),
            ("protect", ("own task", "every task")),
            ("worth", WORTHS),
            ("inhibition", ("rank", "survival")),
            ("old_weights", ("isolated", "inhibited", "full")),
            ("growth", ("full", "strict")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(choices)}."
                )
        for name, least in (("links", 1), ("expected_tasks", 2)):
            _whole(name, getattr(self, name), least)
        for name in ("search", "refine"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be a share in (0, 1].")
        for name in ("refine_start", "refine_end", "inhibit", "cap", "inhibit_start", "own_budget"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be a share in [0, 1].")
        for name in ("gamma", "strengthen"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}, but must be a finite number above 0.")
        if not 0 <= self.kappa < float("inf"):
            raise ValueError(f"kappa is {self.kappa}, but must be a finite number, 0 or more.")
        for name in ("homeostasis", "inherit"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be True or False.")
        if not self.refine_start < self.refine_end:
            raise ValueError(
                f"refinement goes from refine_start = {self.refine_start} to refine_end = {self.refine_end}, but must"
                " end after it starts: 0.1 and 0.5 by default."
            )
        if self.inhibit > self.cap:
            raise ValueError(
                f"inhibit is {self.inhibit}, above cap, {self.cap}, which no layer may pass: lower it, or raise cap."
            )

    @property
    def task_budget(self) -> float:
        """Share of a layer's own mass that one later task may let die."""
        return self.own_budget / (self.expected_tasks - 1)


@dataclass(frozen=True)
class Schooling:
    """How each task is learned: SGD with Nesterov's momentum, the rate falling to 0 by epoch as a cosine does.

    epochs:        of a task
    batch:         samples in a step, at most
    learning_rate: at the start
    momentum, weight_decay: of the new module; old weights, where they learn, have neither
    """

    epochs: int = 30
    batch: int = 50
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        _whole("epochs", self.epochs, 1)
        _whole("batch", self.batch, 3)  # of 2, an odd count leaves a batch of one, whose norm is nothing
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate is {self.learning_rate}, but must be a finite number above 0.")
        if not 0 < self.momentum < 1:
            raise ValueError(
                f"momentum is {self.momentum}, but Nesterov's must lie between 0 and 1; 0.9 by default."
            )
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay is {self.weight_decay}, but must be a finite number, 0 or more.")


def _whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}, but must be a whole number, {least} or more.")
