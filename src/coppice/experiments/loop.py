"""The training loop, to be read in a minute; copy it when yours must differ."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from coppice.contract import Clock, Method, Progress, Task
from coppice.experiments.backprop import online_backprop
from coppice.parts import snapshot
from coppice.parts.cost import Meter
from coppice.parts.fitness import Score
from coppice.parts.masks import Masks
from coppice.parts.surgery import count_parameters

OF_VALUES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": F.mse_loss,
    "absolute": F.l1_loss,
    "huber": F.huber_loss,
}
OF_CLASSES = ("cross_entropy", "half_squared")


@dataclass(frozen=True)
class Training:
    """Recipe table [training].

    optimizer:     "adamw", "adam", "sgd", or "online_backprop": the plain rule of 2017, one sample at a time
    learning_rate: for all of them
    weight_decay:  decoupled for adamw, L2 for the others
    momentum:      for sgd
    batch:         samples a step
    loss:          "auto": cross entropy for classes, mean squared error for values and forecasts; "half_squared" on
                   one-hot classes, the only one of online_backprop; for the others also "absolute", and "huber", squared within 1
    epochs:        for a method that lives inside the loop; a search counts its own
    schedule:      "linear" lets the learning rate fall to 0 over the epochs, "constant" does not
    """

    optimizer: Literal["adamw", "adam", "sgd", "online_backprop"] = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    momentum: float = 0.0
    batch: int = 64
    loss: Literal["auto", "cross_entropy", "half_squared", "squared", "absolute", "huber"] = "auto"
    epochs: int = 30
    schedule: Literal["linear", "constant"] = "linear"

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}, but must be above 0.")
        for name, bound in (("weight_decay", 0), ("batch", 1), ("epochs", 1)):
            if not getattr(self, name) >= bound:  # nor is nan
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least {bound}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}, but must be at least 0 and below 1.")
        if self.optimizer == "online_backprop" and self.loss not in ("auto", "half_squared"):
            raise ValueError(
                f'loss is "{self.loss}", but online_backprop knows "half_squared" only: set that or auto, or another optimizer.'
            )

    def optimizer_for(self, model: nn.Module) -> Optimizer:
        """A fresh optimizer on the model's parameters."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimizer == "adamw":
            return torch.optim.AdamW(model.parameters(), rate, weight_decay=decay)
        if self.optimizer == "adam":
            return torch.optim.Adam(model.parameters(), rate, weight_decay=decay)
        momentum = self.momentum if self.optimizer == "sgd" else 0.0
        return torch.optim.SGD(model.parameters(), rate, momentum=momentum, weight_decay=decay)

    def loss_for(self, kind: str, outputs: int) -> Any:
        """(output, y) -> scalar, for a task of classes, of values or of forecasts.

        Raises ValueError where the loss is of the other kind.
        """
        name = self.loss
        if name == "auto":
            name = "cross_entropy" if kind == "classification" else "squared"
        if (kind == "classification") == (
            name in OF_VALUES
        ):  # torch would take some of these, and learn nothing
            fit = OF_CLASSES if kind == "classification" else OF_VALUES
            raise ValueError(
                f'loss is "{name}", which does not measure a {kind}: choose {", ".join(fit)} or auto.'
            )
        if name == "cross_entropy":
            return F.cross_entropy
        if name in OF_VALUES:
            return lambda output, y: OF_VALUES[name](output, y.reshape(output.shape))
        return lambda output, y: 0.5 * (output - F.one_hot(y, outputs)).square().sum(1).mean()


def train_epoch(
    model: nn.Module, task: Task, optimizer: Optimizer, method: Method, clock: Clock
) -> tuple[float, Clock]:
    """One epoch with the method's moments; returns the mean loss and the clock afterwards."""
    model.train()
    total, count = torch.zeros(()), 0
    for x, y in task.batches(clock.epoch):
        loss = task.loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        method.after_backward(model, clock)
        optimizer.step()
        clock = clock._replace(step=clock.step + 1)
        method.after_step(model, clock)
        total, count = total + loss.detach() * len(y), count + len(y)
    return float(total) / max(count, 1), clock


def retrain(
    model: nn.Module, task: Task, training: Training, optimizer: Optimizer, first: int, epochs: int
) -> int | None:
    """Train for some epochs, the first of them number `first`, with nothing changing the structure meanwhile."""
    spent = 0
    for epoch in range(first, first + epochs):
        if training.optimizer == "online_backprop":
            spent += online_backprop(model, task.batches(epoch), optimizer.param_groups[0]["lr"])
        else:
            train_epoch(model, task, optimizer, Method(), Clock(0, epoch, first + epochs))
    return spent or None


class Fitting:
    """Training with a `Method` inside, as a Process whose unit is an epoch.

    Kept are the weights with the best validation score among the epochs that end settled: before that, the best
    would be a network that is not yet what the method promises. Where no epoch does, the last one counts.
    """

    def __init__(
        self, method: Method, model: nn.Module, optimizer: Optimizer, task: Task, training: Training
    ) -> None:
        self.method, self.model, self.optimizer = method, model, optimizer
        self.task, self.training = task, training
        self.clock = Clock(0, 0, training.epochs)
        self.curve: list[dict[str, Any]] = []
        self.best: tuple[float, int, dict[str, Any]] | None = None  # score, epoch, snapshot
        self.meter = Meter()
        self.finished = False
        method.begin_task(model, optimizer, task)

    def advance(self) -> bool:
        if self.finished:
            return False
        self._train_epoch()
        score = Score.of(self.task.score(self.model))
        self.curve[-1] |= {"score": score.value, "error": score.error or 0.0}
        if len(masks := Masks(self.model)):
            self.curve[-1] |= {"sparsity": masks.sparsity, "layers": masks.layers()}
        if self.method.settled and (self.best is None or score.value >= self.best[0]):
            self._keep(score)
        mature = self.method.end_epoch(self.model, score, self.clock)
        ends = mature or self.clock.epoch + 1 >= self.clock.epochs
        if ends and self.best is None:
            self._keep(score)
        self.clock = self.clock._replace(epoch=self.clock.epoch + 1)
        if ends and self.best is not None:
            self.method.end_task(self.model, self.task)
            snapshot.restore(self.model, self.optimizer, self.best[2])
            self.finished = True
        return True

    def _keep(self, score: Score) -> None:
        self.best = (score.value, self.clock.epoch, snapshot.take(self.model, self.optimizer))

    def _train_epoch(self) -> None:
        training, clock = self.training, self.clock
        if training.schedule == "linear":
            for group in self.optimizer.param_groups:
                group["lr"] = training.learning_rate * (1 - clock.epoch / clock.epochs)
        loss: float | None = None  # the plain rule of 2017 tells none
        with self.meter.running(self.model, self.optimizer, 1):
            if training.optimizer == "online_backprop":
                rate = self.optimizer.param_groups[0]["lr"]
                self.meter.flops += online_backprop(self.model, self.task.batches(clock.epoch), rate)
            else:
                loss, self.clock = train_epoch(self.model, self.task, self.optimizer, self.method, clock)
        # a score of classes is finite whatever the weights are, and would pass for a bad network
        if loss is not None and not math.isfinite(loss):
            raise RuntimeError(
                f"the loss is {loss} in epoch {clock.epoch}: learning has diverged, so lower learning_rate, "
                f"{training.learning_rate}."
            )
        self.curve.append({"epoch": clock.epoch, "loss": loss})

    def progress(self) -> Progress:
        score = self.curve[-1]["score"] if self.curve else None
        done, alive = self.clock.epoch / self.clock.epochs, Masks(self.model).alive or None
        return Progress("training", done, count_parameters(self.model), score, alive)

    def state_dict(self) -> dict[str, Any]:
        return {
            "now": snapshot.take(self.model, self.optimizer),
            "clock": list(self.clock),
            "curve": self.curve,
            "best": None if self.best is None else list(self.best),
            "meter": dataclasses.asdict(self.meter),
            "finished": self.finished,
            "method": self.method.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        snapshot.restore(self.model, self.optimizer, state["now"])
        self.clock, self.curve = Clock(*state["clock"]), list(state["curve"])
        self.finished = state["finished"]
        self.best = None if state["best"] is None else tuple(state["best"])
        self.meter = Meter(**state["meter"])
        self.method.load_state_dict(state["method"])

    def summary(self) -> dict[str, Any]:
        return {
            "curve": self.curve,
            "validation": self.best[0] if self.best else None,
            "best_epoch": self.best[1] if self.best else None,
            "parameters": count_parameters(self.model),
            "training_flops": {"train": self.meter.flops},
            "optimizer_steps": {"train": self.meter.steps},
            **self.method.summary(),
        }

    def timing(self) -> dict[str, Any]:
        return {"seconds": self.meter.seconds, "cpu_seconds": self.meter.cpu_seconds}


def per_sample_score(kind: str, x: Tensor, y: Tensor, size: int = 4096) -> Any:
    """model -> one score a sample, [sample], whose mean is the accuracy; R^2 for values; minus the mean absolute error
    of forecasts, in the units of y.

    A sample's part in R^2 = 1 - sum (y - f)^2 / sum (y - mean y)^2 is 1 - (y - f)^2 / var(y).
    """
    spread = y.double().var(0, unbiased=False).sum() if kind == "regression" else None

    @torch.no_grad()
    def score(model: nn.Module) -> Tensor:
        model.eval()
        output = torch.cat([model(part) for part in x.split(size)])
        if kind == "classification":
            return (output.argmax(1) == y).float()
        residual = output.double() - y.double().reshape(output.shape)
        return -residual.abs().mean(1) if spread is None else 1 - residual.square().sum(1) / spread

    return score
