import pytest
import torch
import torch_pruning
from hypothesis import given, settings
from torch import nn, tensor
from torch.testing import assert_close

from coppice.parts.neurons import populations
from coppice.parts.scores import IMPORTANCES, balanced, chance, total
from strategies import Plan, plans


def by_hand() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.copy_(tensor([[1.0, -2], [0, 0.5], [-1, -1]]))
        model[0].bias.fill_(100)  # biases are no synapses
        model[2].weight.copy_(tensor([[1.0, 0, -4], [-2, 3, 0]]))
    return model


def test_equation_1_by_hand():
    model = by_hand()
    # |1| + |-2| and |1| + |-2|; |0.5| and |3|; |-1| + |-1| and |-4|
    assert total(model, populations(model)[0]).tolist() == [6.0, 3.5, 6.0]


def test_balanced_by_hand():
    model = by_hand()
    # incoming 3, 0.5, 2: mean 5.5 / 3; outgoing 3, 3, 4: mean 10 / 3
    expected = tensor([9 / 5.5 + 0.9, 1.5 / 5.5 + 0.9, 6 / 5.5 + 1.2], dtype=torch.float64)
    assert_close(balanced(model, populations(model)[0]), expected)


def test_a_channel_counts_all_its_places():
    model = nn.Sequential(nn.Conv1d(1, 2, 2), nn.Flatten(), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.copy_(tensor([[[1.0, 2]], [[3, 4]]]))
        model[2].weight.copy_(tensor([[10.0, 20, -30, 40]]))
    assert total(model, populations(model)[0]).tolist() == [33.0, 77.0]


def test_balanced_of_a_silent_side_ranks_by_the_other():
    model = by_hand()
    with torch.no_grad():
        model[2].weight.zero_()
    score = balanced(model, populations(model)[0])
    assert score.isfinite().all()
    assert score.argsort().tolist() == [1, 2, 0]


@settings(max_examples=25, deadline=None)
@given(plans())
def test_both_sides_of_balanced_weigh_one_on_average(plan: Plan):
    model = plan.build()
    for population in populations(model):
        score = balanced(model, population)
        assert score.shape == (population.width(model),)
        assert_close(score.mean(), tensor(2.0, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_equation_1_equals_torch_pruning(kind: str, seed: int):
    torch.manual_seed(seed)
    if kind == "mlp":
        model = nn.Sequential(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
        example = torch.randn(2, 7)
    else:
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
        )
        example = torch.randn(2, 1, 6, 6)
    graph = torch_pruning.DependencyGraph().build_dependency(model, example)
    theirs = torch_pruning.importance.GroupMagnitudeImportance(p=1, group_reduction="sum", normalizer=None)
    for population in populations(model):
        layer = model.get_submodule(population.incoming)
        cut = (
            torch_pruning.prune_linear_out_channels
            if isinstance(layer, nn.Linear)
            else torch_pruning.prune_conv_out_channels
        )
        with torch.no_grad():
            layer.bias.zero_()  # theirs counts biases
        group = graph.get_pruning_group(layer, cut, list(range(population.width(model))))
        # relative, for sums of up to 40 float32 terms
        assert_close(total(model, population), theirs(group).double(), atol=1e-6, rtol=1e-6)


def test_chance_is_a_draw_from_torchs_generator():
    model = by_hand()
    (population,) = populations(model)
    torch.manual_seed(3)
    first, second = chance(model, population), chance(model, population)
    torch.manual_seed(3)
    assert chance(model, population).equal(first)
    assert not second.equal(first)
    assert ((first >= 0) & (first < 1)).all()


def test_scores_read_a_half_precision_model_in_float64_and_change_nothing():
    model = by_hand().bfloat16()
    before = model[0].weight.clone()
    for importance in IMPORTANCES.values():
        score = importance(model, populations(model)[0])
        assert score.dtype == torch.float64
        assert not score.requires_grad
    assert model[0].weight.equal(before)
