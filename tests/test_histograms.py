import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn, tensor

from coppice.contract import Task
from coppice.methods.synaptic_pruning import LOOKS, SynapticPruning
from coppice.parts.histograms import BINS, histogram


def test_counts_by_hand() -> None:
    strength = tensor([0.0, 0.1, 0.29, 1.5, 3.0])
    living = tensor([False, True, True, True, True])
    after = tensor([False, False, True, True, True])
    found = histogram({"w": (strength, living)}, {"w": after}, threshold=True)
    assert found["threshold"] == pytest.approx(0.1)
    told = found["tensors"]["w"]
    assert told["edge"] == 3.0
    assert [(i, n) for i, n in enumerate(told["alive"]) if n] == [(2, 1), (15, 1), (29, 1)]
    assert [(i, n) for i, n in enumerate(told["died"]) if n] == [(1, 1)]


def test_the_threshold_is_that_of_all_tensors_and_of_magnitude_alone() -> None:
    before = {"a": (tensor([1.0, 2.0]), tensor([True, True])), "b": (tensor([0.5]), tensor([True]))}
    after = {"a": tensor([False, True]), "b": tensor([False])}
    assert histogram(before, after, threshold=True)["threshold"] == 1.0
    assert histogram(before, after, threshold=False)["threshold"] is None
    nobody = {name: mask for name, (_, mask) in before.items()}
    assert histogram(before, nobody, threshold=True)["threshold"] is None


def test_a_tensor_without_a_living_synapse_has_empty_bins() -> None:
    dead = tensor([False, False])
    found = histogram({"w": (tensor([0.0, 0.0]), dead)}, {"w": dead}, threshold=True)
    assert found["tensors"]["w"] == {"edge": 0.0, "alive": [0] * BINS, "died": [0] * BINS}


@given(st.lists(st.tuples(st.floats(0, 10, width=32), st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_every_living_synapse_is_counted_once(drawn: list[tuple[float, bool, bool]]) -> None:
    strength, living, stays = (tensor(column) for column in zip(*drawn, strict=True))
    told = histogram({"w": (strength, living)}, {"w": living & stays}, threshold=True)["tensors"]["w"]
    assert sum(told["alive"]) == int((living & stays).sum())
    assert sum(told["died"]) == int((living & ~stays).sum())


def pruned(method: SynapticPruning, steps: int = 200, stop: int | None = None) -> SynapticPruning:
    torch.manual_seed(0)
    model = nn.Linear(20, 20)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    x = torch.randn(8, 20)
    method.begin_task(model, optimizer, Task("t", lambda _: [], nn.MSELoss(), lambda _: 0.0, None, steps))
    for _ in range(stop or steps):
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return method


def test_a_task_keeps_a_look_at_the_start_at_each_tenth_of_the_ramp_and_at_its_end() -> None:
    looks = pruned(SynapticPruning(0.9, start=0.1, end=0.6, every=1)).summary()["histograms"]
    assert [look["step"] for look in looks] == list(range(20, 121, 10))
    assert len(looks) == LOOKS
    assert looks[-1]["sparsity"] == 0.9
    died = [sum(look["tensors"]["weight"]["died"]) for look in looks]
    living = [sum(look["tensors"]["weight"]["alive"]) for look in looks]
    assert living[-1] == 40
    assert living == sorted(living, reverse=True)
    assert sum(died) < 360  # most die between two looks
    thresholds = [look["threshold"] for look in looks if look["threshold"] is not None]
    assert thresholds == sorted(thresholds)


def test_one_shot_has_one_look_and_whole_neurons_none() -> None:
    assert len(pruned(SynapticPruning(0.5, start=0.5, end=0.5)).summary()["histograms"]) == 1
    assert SynapticPruning(0.5, unit="neuron").summary() == {}
    assert SynapticPruning(0.5).summary() == {}  # not at work


def test_looks_survive_an_interruption() -> None:
    method = SynapticPruning(0.9, start=0.1, end=0.6, every=1)
    whole, half = pruned(method), pruned(SynapticPruning(0.9, start=0.1, end=0.6, every=1), stop=100)
    state = half.state_dict()
    assert state["histograms"] == whole.summary()["histograms"][: len(state["histograms"])]
    assert len(state["histograms"]) == 9
