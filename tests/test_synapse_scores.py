import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from coppice.parts.selection import weakest
from coppice.parts.synapse_scores import (
    SYNAPSE_SCORES,
    activity,
    chance,
    fan_in,
    gathered,
    lamp,
    magnitude,
    uniform,
)
from reference import synaptic_pruning as reference

ALL = torch.ones(2, 2, dtype=torch.bool)
W = tensor([[1.0, -2.0], [0.0, 3.0]])


def test_magnitude_and_fan_in_by_hand():
    assert magnitude(W, ALL).tolist() == [[1, 2], [0, 3]]
    assert fan_in(torch.ones(5, 4), torch.ones(5, 4, dtype=torch.bool)).unique().tolist() == [2]
    assert fan_in(torch.ones(5, 4, 2, 2), torch.ones(5, 4, 2, 2, dtype=torch.bool)).unique().tolist() == [4]


def test_lamp_by_hand():
    # squares 1, 4, 0, 9: 0/14, 1/14, 4/13, 9/9
    assert lamp(W, ALL).flatten().tolist() == pytest.approx([1 / 14, 4 / 13, 0, 1])


@given(st.lists(st.floats(-3, 3).map(lambda v: round(v, 1)), min_size=1, max_size=30))
def test_lamp_is_its_twin(values: list[float]) -> None:
    if not any(values):
        values = [*values, 1.0]
    weight = tensor(values, dtype=torch.float64)
    expected = reference.lamp(values)
    assert lamp(weight, torch.ones_like(weight, dtype=torch.bool)).tolist() == pytest.approx(expected)


def test_lamp_counts_the_living_only():
    alive = tensor([[True, True], [True, False]])
    assert lamp(W, alive).flatten().tolist()[:3] == pytest.approx([1 / 5, 1, 0])


def test_uniform_takes_the_same_share_of_every_tensor():
    scores = {"small": torch.rand(20, 10) / 100, "large": torch.rand(30, 10) * 100}
    alive = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    for share in (0.25, 0.5, 0.9):  # step by step: the dead count from the full size
        ranks = {name: uniform(scores[name], alive[name]) for name in scores}
        doomed = weakest(ranks, alive, share)
        alive = {name: alive[name] & ~doomed[name] for name in scores}
        for mask in alive.values():
            assert 1 - mask.double().mean() == pytest.approx(share, abs=1 / mask.numel())


def test_uniform_ranks_equal_weights_by_position():
    assert uniform(torch.ones(4), torch.ones(4, dtype=torch.bool)).tolist() == [0.125, 0.375, 0.625, 0.875]


def test_activity_by_hand():
    assert activity(W, ALL, tensor([10.0, 1.0])).tolist() == [[10, 2], [0, 3]]
    kernel = torch.ones(1, 2, 1, 1)
    assert activity(kernel, kernel.bool(), tensor([3.0, 4.0])).flatten().tolist() == [3, 4]


@pytest.mark.parametrize("score", [activity, gathered])
def test_without_evidence_there_is_no_score(score) -> None:
    with pytest.raises(ValueError, match="train at least one step"):
        score(W, ALL, None)


def test_chance_knows_nothing_of_the_weights():
    torch.manual_seed(0)
    first = chance(W, ALL)
    torch.manual_seed(0)
    assert torch.equal(first, chance(W * 5, ALL))
    assert not torch.equal(first, chance(W, ALL))


@pytest.mark.parametrize("name", sorted(SYNAPSE_SCORES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_one_finite_score_a_synapse(name: str, dtype: torch.dtype) -> None:
    weight = torch.randn(6, 4).to(dtype)
    evidence = torch.rand(4) if name == "activity" else torch.rand(6, 4)
    score = SYNAPSE_SCORES[name](weight, torch.rand(6, 4) > 0.5, evidence)
    assert score.shape == weight.shape
    assert torch.isfinite(score).all()
    assert not score.requires_grad
