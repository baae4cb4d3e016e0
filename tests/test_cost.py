import copy
import time

import pytest
import torch
from torch import nn

from coppice.parts.cost import Meter, forward_flops, latency, stored_bytes


def test_forward_operations_of_linear_layers_by_hand():
    model = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
    assert forward_flops(model, torch.randn(1, 7)) == 2 * (7 * 5 + 5 * 3)
    assert forward_flops(model, torch.randn(4, 7)) == 4 * 2 * (7 * 5 + 5 * 3)


def test_forward_operations_of_convolutions_by_hand():
    assert forward_flops(nn.Conv2d(2, 3, 3, padding=1), torch.randn(1, 2, 5, 4)) == 2 * (5 * 4 * 3) * (2 * 9)
    assert forward_flops(nn.Conv1d(2, 3, 2, stride=2), torch.randn(1, 2, 6)) == 2 * (3 * 3) * (2 * 2)


def test_zeros_cost_as_much_as_other_weights():
    model = nn.Linear(7, 5)
    nn.init.zeros_(model.weight)
    assert forward_flops(model, torch.randn(1, 7)) == 2 * 7 * 5


@pytest.mark.parametrize("measure", [forward_flops, lambda m, x: latency(m, x, seconds=0.001)])
def test_measuring_leaves_modes_statistics_and_gradients_alone(measure):
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    model.train()
    model[1].eval()  # frozen on purpose
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    measure(model, torch.ones(2, 4))
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert all(before[name].equal(value) for name, value in model.state_dict().items())
    assert random.equal(torch.get_rng_state())
    assert model[0].weight.grad is None
    with pytest.raises(RuntimeError):
        measure(model, torch.ones(2, 5))
    assert [m.training for m in model.modules()] == [True, True, False, True, True]


def test_compiled_models_cost_what_the_inner_ones_do():
    model = nn.Linear(7, 5)
    assert forward_flops(torch.compile(model, backend="eager"), torch.randn(1, 7)) == 70


def test_stored_bytes_by_hand():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    # floats: 12 + 3, and four times 3; one int64 counter
    assert stored_bytes(model) == 4 * (15 + 12) + 8
    assert stored_bytes(nn.Linear(4, 3).bfloat16()) == 30


def test_latency_is_the_median_second_of_a_pass():
    class Slow(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            time.sleep(0.05 if self.calls == 1 else 0.002)
            return x

    assert 0.002 <= latency(Slow(), torch.ones(1), seconds=0.01) < 0.05


def test_a_meter_counts_training_by_hand():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, meter = torch.randn(3, 1, 6), Meter()
    with meter.running(model, optimizer, 2):
        for _ in range(4):
            model(x).sum().backward()
            optimizer.step()
        model.eval()
        model(x)  # judging is no training
        model.train()
    # 3 samples: 4 places * 2 channels * 3 taps, and 8 * 5; two operations each; backward twice the forward
    assert meter.flops == 4 * 3 * (3 * 2 * (4 * 2 * 3 + 8 * 5))
    assert (meter.steps, meter.epochs) == (4, 2)
    assert meter.seconds > 0
    assert meter.cpu_seconds > 0


def test_a_meter_lets_go_after_an_error_and_adds_up():
    model = nn.Linear(2, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = Meter()

    def interrupted() -> None:
        with meter.running(model, optimizer, 1):
            model(torch.ones(1, 2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    spent = meter.seconds
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert (meter.flops, meter.steps, meter.epochs) == (36, 0, 1)
    with meter.running(model, None, 1):
        model(torch.ones(1, 2))
        optimizer.step()
    assert (meter.flops, meter.steps, meter.epochs) == (72, 0, 2)
    assert meter.seconds > spent


def test_a_meter_follows_a_cut():
    from coppice.parts.neurons import populations
    from coppice.parts.surgery import keep_neurons

    model, meter = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1)), Meter()
    with meter.running(model, None, 1):
        model(torch.ones(1, 4))
        keep_neurons(model, populations(model)[0], torch.tensor([0, 1]))
        model(torch.ones(1, 4))
    assert meter.flops == 6 * (4 * 6 + 6 * 1) + 6 * (4 * 2 + 2 * 1)


def test_a_meter_counts_the_samples_of_a_compiled_model():
    model, meter = torch.compile(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), backend="eager"), Meter()
    with meter.running(model, None, 1):
        model(torch.ones(5, 2))
        model(torch.ones(4, 2))
        model.eval()
        model(torch.ones(9, 2))  # not training
    assert meter.flops == 6 * 9 * 2 * 3
    model.train()
    model(torch.ones(5, 2))  # no longer measured
    assert meter.flops == 6 * 9 * 2 * 3


class First(nn.Module):
    """A module whose output is the first of several."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inputs = (x, x, x) if isinstance(self.inner, nn.MultiheadAttention) else (x,)
        return self.inner(*inputs)[0]


WHOLE = [
    # 4 gates read 3 inputs and 5 states; the second layer reads 5 and 5; 2 windows of 6 rows
    (nn.LSTM(3, 5, 2, batch_first=True), torch.randn(2, 6, 3), 2 * 6 * 4 * 5 * ((3 + 5) + (5 + 5))),
    (nn.GRU(3, 5, bidirectional=True), torch.randn(6, 2, 3), 2 * 6 * 2 * 3 * 5 * (3 + 5)),
    (nn.RNN(3, 5, batch_first=True), torch.randn(2, 6, 3), 2 * 6 * 5 * (3 + 5)),
    # four projections of 8 x 8 a token, and each token meets 6 twice
    (nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(2, 6, 8), 2 * 6 * (4 * 8 * 8 + 2 * 6 * 8)),
    (nn.MultiheadAttention(8, 2), torch.randn(6, 2, 8), 2 * 6 * (4 * 8 * 8 + 2 * 6 * 8)),
]


@pytest.mark.parametrize(("inner", "x", "multiplications"), WHOLE)
def test_recurrent_and_attention_modules_count(
    inner: nn.Module, x: torch.Tensor, multiplications: int
) -> None:
    model, meter = First(inner), Meter()
    assert forward_flops(model, x) == 2 * multiplications
    with meter.running(model, None, 1):
        model.train()(x)
        model.eval()(x)
    assert meter.flops == 3 * 2 * multiplications
    assert not inner._forward_hooks
