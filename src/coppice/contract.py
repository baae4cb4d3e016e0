"""What a method promises and what a loop provides. Read me first.

There are two kinds of method, and neither is bent into the other:

- A `Method` lives inside a training loop and acts at five moments, marked here in the loop that gives them:

      method.begin_task(model, optimizer, task)             attach masks, grow modules
      for epoch in range(epochs):
          for x, y in task.batches(epoch):
              task.loss(model(x), y).backward()
              method.after_backward(model, clock)           read gradients
              optimizer.step(); optimizer.zero_grad()
              method.after_step(model, clock)               prune, inhibit
          method.end_epoch(model, score, clock)             True: mature, end the task early
      method.end_task(model, task)                          settle, consolidate

  None of the five is a must. A method that is to work in loops which know nothing of it sits on the optimizer's own
  step hooks and takes the first and the last moment only, to get in and out again: synaptic pruning does, which also
  makes a step a step where several batches are accumulated.

- A `Process` is a whole procedure at work, which may wrap training: it advances by units (an epoch, a cut with its
  retraining), and between any two of them its whole state can be stored and brought back, to the same bits.
  Training with a `Method` is a Process too, so one runner serves every method.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from coppice.parts.fitness import Score


class Clock(NamedTuple):
    """When it is: optimizer steps since the start, epoch within the task (from 0), epochs planned."""

    step: int
    epoch: int
    epochs: int


class Task(NamedTuple):
    """What is to be learned.

    batches: epoch -> (x, y) pairs; the same epoch gives the same batches in the same order
    loss:    (output, y) -> scalar
    score:   model -> validation score, higher = better, as anything `Score.of` takes
    chance:  the score of guessing, or None when unknown
    steps:   optimizer steps planned in all, or None when unknown
    """

    name: str
    batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]]
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[nn.Module], Score | Tensor | float]
    chance: float | None = None
    steps: int | None = None


class Method:
    """A rule by which a network changes its own structure while it learns. This one changes nothing.

    A method is a dataclass of hyper-parameters whose `__init__` only stores; work starts in `begin_task`. It keeps
    no tensor that `state_dict` does not return.
    """

    def begin_task(self, model: nn.Module, optimizer: Optimizer, task: Task) -> None: ...
    def after_backward(self, model: nn.Module, clock: Clock) -> None: ...
    def after_step(self, model: nn.Module, clock: Clock) -> None: ...
    def end_epoch(self, model: nn.Module, score: Score, clock: Clock) -> bool:
        return False

    def end_task(self, model: nn.Module, task: Task) -> None: ...

    @property
    def settled(self) -> bool:
        """False while the structure is still on its way: only a settled epoch's weights are worth keeping."""
        return True

    def summary(self) -> dict[str, Any]:
        """What the record keeps of it beside the curve: JSON values that depend on recipe and seed only."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Progress(NamedTuple):
    """Where a process stands: what it does, how far (0 to 1) if known, current parameters and validation score.

    synapses: the living ones, where some may be dead among the parameters
    """

    doing: str
    done: float | None
    parameters: int
    score: float | None
    synapses: int | None = None


class Process(Protocol):
    """A procedure at work on a model, resumable between any two units."""

    model: nn.Module

    def advance(self) -> bool:
        """Do one unit of work; False when there was nothing left to do."""
        ...

    def progress(self) -> Progress: ...

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as a tree of tensors and JSON values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def summary(self) -> dict[str, Any]:
        """What the record keeps: JSON values that depend on recipe and seed only, never on the clock.

        Between any two units it is what there is of them so far, for whoever looks on.
        """
        ...

    def timing(self) -> dict[str, Any]:
        """What the clock said: seconds, by phase."""
        ...
