"""Eq. 1-7 of Zhao et al. 2017 on nets that fit on a napkin."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from coppice.experiments.loop import per_sample_score
from coppice.parts import scores
from coppice.parts.fitness import (
    AccuracyStability,
    PublishedFitness,
    Score,
    Step,
    mean_weight,
    relative_change,
    stability,
)
from coppice.parts.neurons import populations
from reference import bdnn_sp as slow

# 2-3-2:  into neuron 0: 1 -2   1: .5 .5   2: -3 0      out of neuron 0: 1 0   1: -1 4   2: 2 -.5
W1 = torch.tensor([[1.0, -2.0], [0.5, 0.5], [-3.0, 0.0]])
W2 = torch.tensor([[1.0, -1.0, 2.0], [0.0, 4.0, -0.5]])


def net_232() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2), nn.Sigmoid())
    net[0].weight.data, net[2].weight.data = W1.clone(), W2.clone()
    nn.init.constant_(net[0].bias, 100.0)  # biases must not count anywhere
    nn.init.constant_(net[2].bias, -100.0)
    return net


def step(**values: float | None) -> Step:
    return Step(index=0, widths=(3,), parameters=17, flops=None, error=None, **values)  # type: ignore[arg-type]


# --- Eq. 1: importance --------------------------------------------------------------------------------------


def test_importance_is_the_sum_of_absolute_weights_in_and_out():
    net = net_232()
    (population,) = populations(net)
    # 0: 1+2 + 1+0 = 4     1: .5+.5 + 1+4 = 6     2: 3+0 + 2+.5 = 5.5
    assert scores.total(net, population).tolist() == [4.0, 6.0, 5.5]


def test_balanced_importance_divides_each_side_by_its_mean():
    net = net_232()
    (population,) = populations(net)
    # in: 3 1 3, mean 7/3     out: 1 5 2.5, mean 8.5/3
    expected = [9 / 7 + 3 / 8.5, 3 / 7 + 15 / 8.5, 9 / 7 + 7.5 / 8.5]
    assert scores.balanced(net, population).tolist() == pytest.approx(expected, abs=1e-12)


def test_balanced_importance_of_a_silent_population_is_finite():
    net = net_232()
    nn.init.zeros_(net[2].weight)
    (population,) = populations(net)
    assert scores.balanced(net, population).tolist() == pytest.approx([9 / 7, 3 / 7, 9 / 7])


# --- Eq. 2: accuracy ----------------------------------------------------------------------------------------


def test_accuracy_is_right_over_all_with_its_binomial_error():
    x, y = torch.eye(4), torch.tensor([0, 1, 2, 0])  # three of four right: the net says which one is hot
    score = Score.of(per_sample_score("classification", x, y)(nn.Identity()))
    assert score.value == 0.75
    assert score.error == pytest.approx(math.sqrt(0.75 * 0.25 / 4), abs=1e-15)
    assert score.samples == 4


def test_r_squared_is_the_mean_of_its_parts():
    y = torch.tensor([[1.0], [2.0], [3.0], [6.0]])  # mean 3, squares 4 1 0 9 = 14
    guess = torch.tensor([[1.0], [2.0], [4.0], [4.0]])  # errors 0 0 1 4 = 5
    assert Score.of(per_sample_score("regression", guess, y)(nn.Identity())).value == pytest.approx(
        1 - 5 / 14
    )


@pytest.mark.parametrize("given_score", [0.9, torch.tensor(0.9), np.float64(0.9), Score(0.9)])
def test_a_plain_number_has_no_error(given_score):
    assert Score.of(given_score) == (pytest.approx(0.9), None, None)


def test_a_score_with_an_error_is_taken_as_it_is():
    assert Score.of(Score(-3.5, 0.2)) == (-3.5, 0.2, None)


def test_right_and_wrong_may_be_booleans():
    assert Score.of(torch.tensor([True, False])).value == 0.5


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (float("nan"), "validation score is nan"),
        (float("inf"), "validation score is inf"),
        (torch.tensor([1.0, float("nan")]), "validation score is nan"),
        (torch.ones(2, 3), r"shape \[2, 3\]"),
        (torch.ones(0), r"shape \[0\]"),
        (Score(0.5, float("nan")), "standard error is nan"),
        (Score(0.5, -0.1), r"standard error is -0\.1"),
    ],
)
def test_a_score_that_cannot_be_compared_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        Score.of(bad)


# --- Eq. 3-5: stability -------------------------------------------------------------------------------------


def moved_by(*p: float) -> tuple[float, float]:
    """S and overflow when p, half of it in each of two layers, is what retraining did."""
    before = [torch.tensor([[0.25, -1.0]]), torch.tensor([[3.0], [-7.0]])]
    changes = [torch.tensor([[p[0], -p[1]]]), torch.tensor([[-p[2]], [p[3]]])]
    return stability(before, [b + c for b, c in zip(before, changes, strict=True)])


def test_stability_by_hand():
    # t = -p log2 p: 1/2 -> 1/2, 1/4 -> 1/2, 1/8 -> 3/8, 1 -> 0;  H = 11/8, max 1/2, N = 4:  S = (11/8) / 2
    assert moved_by(0.5, 0.25, 0.125, 1.0) == (11 / 16, 0.0)


def test_equal_changes_are_perfectly_stable():
    assert moved_by(0.25, 0.25, 0.25, 0.25) == (1.0, 0.0)


def test_a_network_that_did_not_move_has_stability_zero():
    assert moved_by(0.0, 0.0, 0.0, 0.0) == (0.0, 0.0)


def test_synapses_that_did_not_move_count_in_n_but_add_nothing():
    assert moved_by(0.5, 0.0, 0.0, 0.0) == (0.25, 0.0)  # H = 1/2, max 1/2, N = 4


def test_a_change_of_two_turns_stability_negative():
    # 2 -> -2, three times 1/4 -> 1/2: H = -1/2, max 2, N = 4
    assert moved_by(2.0, 0.25, 0.25, 0.25) == (-1 / 16, 0.25)


def test_changes_of_exactly_one_are_worth_nothing_and_are_no_overflow():
    assert moved_by(1.0, 1.0, 1.0, 1.0) == (0.0, 0.0)


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="diverged"):
        moved_by(float("nan"), 0.0, 0.0, 0.0)


weights = st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4)


@given(weights, weights)
def test_stability_lies_between_minus_one_and_one_and_follows_the_twin(before, after):
    w_p, w_r = torch.tensor(before).reshape(2, 2), torch.tensor(after).reshape(2, 2)
    s, overflow = stability([w_p], [w_r])
    assert -1 - 1e-12 <= s <= 1 + 1e-12
    assert 0 <= overflow <= 1
    none = np.zeros((0, 0))
    old, new = (slow.Net(w.double().numpy(), none, none, none, []) for w in (w_p, w_r))
    assert s == pytest.approx(slow.stability(old, new), abs=1e-12)


def test_stability_is_summed_in_float64():
    # in float32 the sum of so many equal terms is wrong in the seventh digit
    size = 3_000_000
    before, after = torch.zeros(1, size), torch.full((1, size), 0.1)
    assert stability([before], [after])[0] == pytest.approx(1.0, abs=1e-12)


# --- Eq. 6: mean weight -------------------------------------------------------------------------------------


def test_mean_weight_of_the_little_net():
    # n = 2 inputs, m = 3 hidden. Per hidden neuron |in| sums to 3 1 3: mean 7/3. Per output |in| sums to 4, 4.5: mean 17/4.
    assert mean_weight([W1, W2]) == pytest.approx((7 / 3 + 17 / 4) / (2 + 3), abs=1e-12)


def test_mean_weight_counts_the_kernel_of_a_convolution_as_inputs():
    conv, dense = torch.full((2, 3, 3, 3), 0.5), torch.full((4, 2), -2.0)
    assert mean_weight([conv, dense]) == pytest.approx((27 * 0.5 + 2 * 2.0) / 29)


def test_relative_change_is_free_of_scale():
    before, after = [torch.tensor([[1.0, -3.0]])], [torch.tensor([[1.5, -3.5]])]
    assert relative_change(before, after) == 0.25  # (.5 + .5) / 4
    tenfold = [10 * w for w in before], [10 * w for w in after]
    assert relative_change(*tenfold) == pytest.approx(0.25)
    assert relative_change([torch.zeros(2)], [torch.ones(2)]) == 0.0  # nothing to compare with


# --- Eq. 7: fitness -----------------------------------------------------------------------------------------


def test_published_fitness_is_the_mean_of_three():
    assert PublishedFitness()(step(score=0.9, stability=0.3, mean_weight=0.6)) == pytest.approx(0.6)
    assert PublishedFitness(0.5, 2.0, 0.0)(step(score=0.9, stability=0.3, mean_weight=9.0)) == pytest.approx(
        1.05
    )


def test_published_fitness_is_undefined_before_the_first_cut():
    assert PublishedFitness()(step(score=0.9, mean_weight=0.6)) is None


@pytest.mark.parametrize("score", [-0.1, 1.1])
def test_published_fitness_refuses_what_is_no_accuracy(score):
    with pytest.raises(ValueError, match="AccuracyStability"):
        PublishedFitness()(step(score=score, stability=0.0, mean_weight=0.0))


def test_accuracy_stability_takes_any_score():
    assert AccuracyStability()(step(score=-2.0, change=0.25)) == pytest.approx(-1.25)
    assert AccuracyStability(weight=2.0)(step(score=0.5, change=0.25)) == pytest.approx(2.0)
    assert AccuracyStability()(step(score=0.5)) is None


def test_neurons_are_those_of_all_populations():
    assert Step(0, (3, 4), 1, None, 0.0, None).neurons == 7
