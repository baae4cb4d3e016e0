"""The loop: which epoch is kept, what is counted, how it goes on after a stop."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coppice.contract import Clock, Method, Task
from coppice.data import Split, Splits
from coppice.experiments.loop import Fitting, Training, per_sample_score
from coppice.experiments.run import make_task
from coppice.methods.dense import Dense
from coppice.methods.synaptic_pruning import SynapticPruning
from coppice.models import MixedPatch, Model, Patch, Plan, Recurrent
from coppice.parts import storage
from coppice.parts.masks import Masks


class Scripted(Method):
    """Settled from an epoch on."""

    def __init__(self, settles: int, matures: int = 99) -> None:
        self.settles, self.matures, self.epoch = settles, matures, 0

    @property
    def settled(self) -> bool:
        return self.epoch >= self.settles

    def end_epoch(self, model: nn.Module, score: Any, clock: Clock) -> bool:
        self.epoch += 1
        return self.epoch > self.matures


def scripted(scores: list[float], method: Method) -> tuple[Fitting, Tensor]:
    """A fitting whose epochs score so; returns it finished, with its weight after each epoch."""
    torch.manual_seed(0)
    model, weights, left = nn.Linear(1, 1, bias=False), list[float](), iter(scores)
    x = torch.ones(4, 1)

    def score(network: nn.Module) -> float:
        weights.append(model.weight.item())
        return next(left)

    task = Task("scripted", lambda epoch: [(x, 2 * x)], nn.functional.mse_loss, score)
    training = Training(epochs=len(scores))
    fitting = Fitting(method, model, training.optimizer_for(model), task, training)
    while fitting.advance():
        pass
    assert len(set(weights)) == len(weights)
    return fitting, torch.tensor(weights)


def weight(fitting: Fitting) -> float:
    value: float = fitting.model.get_parameter("weight").item()
    return value


@pytest.mark.parametrize(
    ("settles", "kept"),
    [(0, 1), (1, 1), (2, 4), (4, 4), (5, 4), (99, 4)],  # the best of 0.5 0.9 0.3 0.6 0.7 among the settled
)
def test_kept_is_the_best_of_the_settled_epochs_or_else_the_last(settles: int, kept: int) -> None:
    fitting, weights = scripted([0.5, 0.9, 0.3, 0.6, 0.7], Scripted(settles))
    assert fitting.summary()["best_epoch"] == kept
    assert weight(fitting) == float(weights[kept])
    assert fitting.summary()["validation"] == [0.5, 0.9, 0.3, 0.6, 0.7][kept]


def test_a_task_that_ends_early_unsettled_keeps_its_last_epoch() -> None:
    fitting, weights = scripted([0.5, 0.9, 0.3, 0.6], Scripted(settles=99, matures=2))
    assert len(fitting.curve) == 3
    assert weight(fitting) == float(weights[2])


# --- values of a training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [-0.1, 1.0, 3.0])
def test_a_momentum_without_end_is_refused(momentum: float) -> None:
    with pytest.raises(ValueError, match=f"momentum is {momentum}, but must be at least 0 and below 1"):
        Training("sgd", momentum=momentum)
    assert Training("sgd", momentum=0.99).momentum == 0.99


@pytest.mark.parametrize("loss", ["cross_entropy", "squared", "absolute", "huber"])
def test_the_online_rule_knows_no_other_error_than_its_own(loss: Any) -> None:
    with pytest.raises(ValueError, match=f'loss is "{loss}", but online_backprop knows "half_squared" only'):
        Training("online_backprop", loss=loss)
    for fit in ("auto", "half_squared"):
        assert Training("online_backprop", loss=fit).loss == fit  # type: ignore[arg-type]


# --- learning that diverges ---------------------------------------------------------------------------------------


SIGMOIDS = Model(hidden=(5,), activation="sigmoid", output="sigmoid")


def classifying(training: Training, plan: Model) -> Fitting:
    torch.manual_seed(0)
    x, y = torch.randn(40, 6), torch.arange(40) % 3
    parts = (Split(x, y), Split(x, y), Split(x, y))
    splits = Splits(*parts, "classification", 3, ("a", "b", "c"), {})
    model = plan.build((6,), 3)
    task = make_task("t", training, splits, splits.train, splits.validation, 0)
    return Fitting(Dense(), model, training.optimizer_for(model), task, training)


def test_a_classifier_that_diverges_is_an_error_though_its_accuracy_is_a_number() -> None:
    diverging = classifying(Training("sgd", 1e30, batch=8, epochs=3), Model(hidden=(5,)))
    with pytest.raises(
        RuntimeError, match=r"the loss is nan in epoch 0: .* so lower learning_rate, 1e\+30\.$"
    ):
        diverging.advance()
    assert diverging.curve == []


def test_the_online_rule_tells_no_loss() -> None:
    plain = classifying(Training("online_backprop", 0.5, epochs=2), SIGMOIDS)
    assert plain.advance()
    assert plain.advance()
    assert [epoch["loss"] for epoch in plain.curve] == [None, None]


# --- forecasts: score and losses by hand ------------------------------------------------------------------------


def test_the_score_of_a_forecast_is_minus_its_mean_absolute_error() -> None:
    x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0], [2.0]]))  # forecasts 1 2 and 2 4
    assert per_sample_score("forecast", x, y)(model).tolist() == [-0.5, -2.0]


@pytest.mark.parametrize(
    ("loss", "value"), [("auto", 2.5), ("squared", 2.5), ("absolute", 1.5), ("huber", (0.5 + 1.5) / 2)]
)
def test_losses_of_forecasts(loss: Any, value: float) -> None:
    output, y = torch.tensor([[1.0], [2.0]]), torch.tensor([2.0, 4.0])  # off by 1 and 2
    assert float(Training(loss=loss).loss_for("forecast", 1)(output, y)) == pytest.approx(value)


@pytest.mark.parametrize("kind", ["classification", "regression", "forecast"])
def test_a_loss_of_the_other_kind_is_refused(kind: str) -> None:
    of_classes, of_values = ("cross_entropy", "half_squared"), ("squared", "absolute", "huber")
    right, wrong = (of_classes, of_values) if kind == "classification" else (of_values, of_classes)
    for loss in (*right, "auto"):
        assert callable(Training(loss=loss).loss_for(kind, 1))  # type: ignore[arg-type]
    for loss in wrong:
        with pytest.raises(
            ValueError, match=rf'loss is "{loss}", which does not measure a {kind}: choose {right[0]}'
        ):
            Training(loss=loss).loss_for(kind, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "momentum"])
def test_a_training_value_that_is_no_number_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is nan, but must be"):
        Training(**{name: math.nan})


# --- steps planned ------------------------------------------------------------------------------------------------


def windows(count: int, seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 8, 2, generator=generator)
    return Split(x, x[:, -2:, 0].sum(1, keepdim=True) / 2)


def forecasting(train: int) -> Splits:
    return Splits(windows(train), windows(40, 1), windows(40, 2), "forecast", 1, None, {})


@pytest.mark.parametrize(
    ("samples", "batch"), [(96, 32), (97, 32), (98, 32), (5, 64), (1, 64), (6, 1), (64, 64)]
)
def test_as_many_steps_are_planned_as_are_done(samples: int, batch: int) -> None:
    splits, training = forecasting(samples), Training(batch=batch, epochs=3)
    task = make_task("t", training, splits, splits.train, splits.validation, 0)
    sizes = [[len(y) for _, y in task.batches(epoch)] for epoch in range(3)]
    assert task.steps == sum(len(epoch) for epoch in sizes)
    assert all(sum(epoch) >= max(1, samples - 1) for epoch in sizes)
    if batch > 1 and samples > 1:
        assert min(min(epoch) for epoch in sizes) > 1  # batch norm cannot train on one


def test_the_online_rule_plans_no_optimizer_steps() -> None:
    splits = forecasting(10)
    training = Training(optimizer="online_backprop")
    assert make_task("t", training, splits, splits.train, splits.validation, 0).steps is None


# --- a pruned forecaster stops and goes on ------------------------------------------------------------------------

EPOCHS = 4


def fitting(plan: Plan, method: SynapticPruning) -> Fitting:
    splits = forecasting(96)
    training = Training("adam", 1e-2, weight_decay=0.0, batch=32, epochs=EPOCHS, schedule="constant")
    torch.manual_seed(3)
    model = plan.build((8, 2), 1)
    task = make_task("t", training, splits, splits.train, splits.validation, 3)
    return Fitting(method, model, training.optimizer_for(model), task, training)


CASES: list[tuple[Plan, dict[str, Any]]] = [
    (Recurrent("lstm", hidden=6, layers=2, dropout=0.2), {}),
    (Recurrent("rnn", hidden=6), {"score": "random"}),
    (Recurrent("gru", hidden=6), {"score": "movement", "regrow": 0.3}),
    (Recurrent("lstm", hidden=6), {"unit": "neuron", "final_sparsity": 0.5}),
    (Patch(width=8, heads=2, layers=1, feedforward=8, dropout=0.1), {}),
    (MixedPatch(width=8, heads=2, layers=1, feedforward=8, dropout=0.1), {"score": "activity"}),
]


@pytest.mark.parametrize(("plan", "options"), CASES, ids=lambda case: getattr(case, "name", None))
def test_stopped_after_any_epoch_it_goes_on_to_the_same_bits(
    plan: Plan, options: dict[str, Any], tmp_path: Path
) -> None:
    def method() -> SynapticPruning:
        return SynapticPruning(**{"final_sparsity": 0.8, "every": 2, **options})

    whole = fitting(plan, method())
    for unit in range(EPOCHS):
        assert whole.advance()
        storage.write(tmp_path / f"{unit}.safetensors", whole.state_dict())
    assert not whole.advance()
    for unit in range(EPOCHS):
        torch.manual_seed(99)
        resumed = fitting(plan, method())
        resumed.load_state_dict(storage.read(tmp_path / f"{unit}.safetensors"))
        while resumed.advance():
            pass
        assert resumed.summary() == whole.summary()
        ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_random_pruning_draws_anew_for_every_seed() -> None:
    def dead(seed: int) -> Tensor:
        torch.manual_seed(seed)
        model = Recurrent("rnn", hidden=6).build((8, 2), 1)
        pruning = SynapticPruning(0.5, score="random", every=1).attach(
            model, torch.optim.SGD(model.parameters(), 0.1), 1
        )
        model(torch.ones(1, 8, 2)).sum().backward()
        pruning.optimizer.step()
        return torch.cat([mask.flatten() for mask in pruning.masks.values()])

    assert torch.equal(dead(1), dead(1))
    assert not torch.equal(dead(1), dead(2))


def test_the_curve_tells_the_sparsity_and_only_a_fully_pruned_epoch_is_kept() -> None:
    done = fitting(Recurrent("lstm", hidden=6), SynapticPruning(0.8, every=2))
    while done.advance():
        pass
    curve = [epoch["sparsity"] for epoch in done.curve]
    assert curve == sorted(curve)
    assert 0 < curve[0] < 0.8
    assert curve[-1] == pytest.approx(0.8, abs=0.01)
    assert done.summary()["best_epoch"] >= 2  # the ramp ends at three quarters of four epochs
    assert Masks(done.model).sparsity == curve[-1]
    Masks(done.model).check()


def test_a_dense_training_tells_no_sparsity() -> None:
    done = fitting(Recurrent("lstm", hidden=6), Method())  # type: ignore[arg-type]
    assert done.advance()
    assert set(done.curve[0]) == {"epoch", "loss", "score", "error"}


def test_a_checkpoint_without_its_masks_is_refused() -> None:
    first = fitting(Recurrent("lstm", hidden=6), SynapticPruning(0.8, every=2))
    for _ in range(3):
        first.advance()
    state = first.state_dict()
    weights = state["now"]["model"]
    for name in [name for name in weights if name.endswith("_alive")]:
        del weights[name]
    with pytest.raises(ValueError, match="mask"):
        fitting(Recurrent("lstm", hidden=6), SynapticPruning(0.8, every=2)).load_state_dict(state)
