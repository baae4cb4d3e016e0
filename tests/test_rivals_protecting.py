"""EWC, PackNet, WSN and GPM on tiny tasks: what each paper promises, and its numbers by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from coppice.experiments.continual.ewc import EWC, fisher
from coppice.experiments.continual.gpm import GPM, extended, project
from coppice.experiments.continual.packnet import PackNet
from coppice.experiments.continual.wsn import WSN, Strongest, strongest
from coppice.methods.td_mcl_options import Schooling
from coppice.methods.td_mcl_school import DRAWS, School
from rival_tasks import DENSE, HEAD, PLAN, QUICK, TASKS

# --- EWC --------------------------------------------------------------------------------------------------------


def test_the_springs_pull_by_hand() -> None:
    learner = EWC(PLAN, Schooling(momentum=0.5), strength=4.0)
    weight = nn.Parameter(torch.tensor([1.0, 1.0, 5.0]))
    learner.trunk = type("T", (), {"shared": [weight]})()
    learner.pull(0.25)  # no task yet: no springs
    assert weight.tolist() == [1.0, 1.0, 5.0]
    # the first: stiffness 0.5 around 6 and 1.0 around 0; the second: none; the third: 2.0 around where it is
    learner.stiffness, learner.anchors = [torch.tensor([1.5, 0.0, 2.0])], [torch.tensor([3.0, 0.0, 10.0])]
    learner.pull(0.25)  # force 4 * 0.25 / (1 - 0.5) = 2: (1 + 2 * 3) / (1 + 2 * 1.5)
    assert weight.tolist() == [1.75, 1.0, 5.0]


def test_springs_and_a_steady_gradient_rest_where_the_whole_loss_does() -> None:
    strength, stiffness, old, slope = 3.0, 0.5, 2.0, -1.2
    learner = EWC(PLAN, Schooling(), strength=strength)
    weight = nn.Parameter(torch.tensor([old], dtype=torch.float64))
    learner.trunk = type("T", (), {"shared": [weight]})()
    learner.stiffness = [torch.tensor([stiffness], dtype=torch.float64)]
    learner.anchors = [torch.tensor([stiffness * old], dtype=torch.float64)]
    optimizer = torch.optim.SGD([weight], 0.01, 0.9, nesterov=True)
    for _ in range(300):
        weight.grad = torch.tensor([slope], dtype=torch.float64)
        optimizer.step()
        learner.pull(0.01)
    # slope + strength * stiffness * (w - old) = 0, but for the one step by which the pull comes late
    assert weight.item() == pytest.approx(old - slope / (strength * stiffness), abs=0.15)


def test_fisher_information_is_that_of_labels_the_network_draws() -> None:
    layer = nn.Linear(2, 3, bias=False)
    x = torch.tensor([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0], [2.0, 2.0]])
    found = fisher(layer, [layer.weight], x, torch.Generator().manual_seed(3))[0]
    chance = torch.Generator().manual_seed(3)
    expected = torch.zeros(3, 2)
    for one in x:
        p = (layer.weight.detach() @ one).softmax(0)
        label = int(torch.multinomial(p, 1, generator=chance))
        for c in range(3):
            for i in range(2):
                expected[c, i] += ((p[c] - float(c == label)) * one[i]) ** 2 / 4
    torch.testing.assert_close(found, expected)
    # over many draws: p (1 - p) x^2
    many = fisher(layer, [layer.weight], x[:1].repeat(1000, 1), torch.Generator().manual_seed(0))[0]
    p = layer(x[0]).detach().softmax(0)
    torch.testing.assert_close(many, (p * (1 - p))[:, None] * x[0] ** 2, rtol=0.25, atol=0)


def test_springs_of_all_tasks_add_up_and_hold() -> None:
    learner = EWC(PLAN, QUICK, strength=1e12, samples=5)
    learner.learn(TASKS[0])
    old = [weight.detach().clone() for weight in learner.trunk.shared]
    school = School(QUICK, TASKS[0], 0, 0)
    once = fisher(
        lambda x: learner.trunk(x, 0), learner.trunk.shared, school.learned[0][:5], school.chance(DRAWS)
    )
    assert all(torch.equal(a, b) for a, b in zip(once, learner.stiffness, strict=True))
    learner.learn(TASKS[1])
    for before, weight, stiffness in zip(old, learner.trunk.shared, once, strict=True):
        stiff = stiffness > 1e-6
        assert stiff.any()
        torch.testing.assert_close(weight[stiff], before[stiff], rtol=1e-3, atol=1e-4)
        assert not torch.equal(weight, before) or stiff.all()
    assert all((b >= a).all() for a, b in zip(once, learner.stiffness, strict=True))
    assert learner.stored() == {
        "Fisher information, summed": 4 * DENSE,
        "the same times old weights": 4 * DENSE,
    }


# --- PackNet ----------------------------------------------------------------------------------------------------


def test_packnet_gives_each_task_its_share_of_what_is_free() -> None:
    learner = PackNet(PLAN, QUICK)
    for one in TASKS[:2]:
        learner.learn(one)
    # 72 and 216: the first task prunes half, the second three quarters of 36 and 108
    owned = [[int((owner == k).sum()) for k in (0, 1, 2)] for owner in learner.owners]
    assert owned == [[27, 36, 9], [81, 108, 27]]
    assert learner.synapses() == 36 + 9 + 108 + 27 + 2 * HEAD
    for weight, owner in zip(learner.trunk.shared, learner.owners, strict=True):
        assert torch.equal(weight == 0, owner == 0)
    first, second = learner.masks(0), learner.masks(1)
    assert all((~one | two).all() for one, two in zip(first, second, strict=True))
    # of the three symbols the most frequent takes a bit an entry, the others two
    bits = (36 + 2 * (27 + 9)) + (108 + 2 * (81 + 27))
    assert learner.capacity() == (180 + bits / 32) / DENSE
    assert learner.stored() == {"owners of synapses": 2 * DENSE}


def test_packnet_prunes_the_smallest_and_retrains_the_rest() -> None:
    learner = PackNet(PLAN, QUICK)
    seen: list[list[Tensor]] = []
    train = learner._train

    def watched(*arguments: Any) -> None:
        seen.append([weight.detach().clone() for weight in learner.trunk.shared])
        train(*arguments)
        seen.append([weight.detach().clone() for weight in learner.trunk.shared])

    learner._train = watched  # type: ignore[method-assign]
    learner.learn(TASKS[0])
    _, trained, pruned, retrained = seen
    for before, after, last, owner in zip(trained, pruned, retrained, learner.owners, strict=True):
        kept = owner == 1
        assert before[kept].abs().min() >= before[~kept].abs().max()
        assert torch.equal(after, before * kept)
        assert (last[~kept] == 0).all()
        assert (last[kept] != before[kept]).any()


# --- WSN --------------------------------------------------------------------------------------------------------


def test_a_winning_mask_has_exactly_its_count() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.3], [0.8, 0.2, 0.7]])
    assert strongest(scores, 0.5).tolist() == [[False, True, False], [True, False, True]]
    assert int(strongest(scores, 0.01).sum()) == 1
    assert strongest(scores, 1.0).all()
    assert int(strongest(torch.ones(10), 0.3).sum()) == 3


def test_gradients_pass_the_choice_straight() -> None:
    score = torch.tensor([0.5, -2.0, 1.0], requires_grad=True)
    weight = torch.tensor([3.0, 5.0, 7.0], requires_grad=True)
    mask = Strongest.apply(score.abs(), 1 / 3)
    (mask * weight * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert mask.tolist() == [0.0, 1.0, 0.0]
    assert weight.grad is not None
    assert weight.grad.tolist() == [0.0, 10.0, 0.0]
    assert score.grad is not None
    assert score.grad.tolist() == [3.0, -50.0, 700.0]


def test_wsn_freezes_what_was_used_and_may_use_it_again() -> None:
    learner = WSN(PLAN, QUICK, density=0.25)
    learner.learn(TASKS[0])
    old, scores = ([p.detach().clone() for p in ps] for ps in (learner.trunk.shared, learner.scores))
    learner.learn(TASKS[1])
    for number, size in enumerate((72, 216)):
        first, second = (learner.masks(k)[number] for k in (0, 1))
        assert int(first.sum()) == int(second.sum()) == size / 4
        assert (first & second).any()
        weight = learner.trunk.shared[number].detach()
        assert torch.equal(weight[first], old[number][first])
        assert not torch.equal(weight[~first], old[number][~first])
        assert not torch.equal(learner.scores[number], scores[number])
    union = sum(int((a | b).sum()) for a, b in zip(learner.masks(0), learner.masks(1), strict=True))
    assert learner.synapses() == union + 2 * HEAD
    assert union / DENSE < learner.capacity() <= (union + 2 * DENSE / 32) / DENSE
    assert learner.stored() == {"masks, a byte an entry": 2 * DENSE, "scores": 4 * DENSE}


# --- GPM --------------------------------------------------------------------------------------------------------


def test_a_projected_gradient_has_nothing_in_the_directions_kept() -> None:
    chance = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(3, 2, 2, 2, generator=chance))
    weight.grad = torch.randn(3, 2, 2, 2, generator=chance)
    gradient = weight.grad.clone()
    basis = torch.linalg.qr(torch.randn(8, 3, generator=chance))[0]
    project([weight], [basis], 0.1)
    left = weight.grad.flatten(1)
    torch.testing.assert_close(left @ basis, torch.zeros(3, 3), atol=1e-6, rtol=0)
    whole = (gradient + 0.1 * weight.detach()).flatten(1)
    torch.testing.assert_close(left + (whole @ basis) @ basis.T, whole)
    project([weight], [torch.zeros(8, 0)], 0.0)
    assert torch.equal(weight.grad.flatten(1), left)


def test_the_basis_takes_as_few_directions_as_the_threshold_needs() -> None:
    none = torch.zeros(4, 0, dtype=torch.float64)
    energy = torch.diag(torch.tensor([1.0, 10.0, 5.0, 4.0], dtype=torch.float64))  # of 20: 10, 15, 19, 20
    ranks = [(0.4, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.9, 3), (0.96, 4), (1.0, 4)]
    for threshold, rank in ranks:
        assert extended(none, energy, threshold).shape == (4, rank)
    first = extended(none, energy, 0.75)
    assert first.abs().tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]
    # the next task speaks where the first did, 9 of 12, and aside: 2 and 1
    later = torch.diag(torch.tensor([2.0, 4.0, 5.0, 1.0], dtype=torch.float64))
    assert torch.equal(extended(first, later, 0.75), first)
    assert extended(first, later, 0.76)[:, 2].abs().tolist() == [1, 0, 0, 0]
    assert extended(first, later, 1.0).shape == (4, 4)
    assert torch.equal(extended(first, torch.zeros_like(later), 1.0), first)  # a silent layer


def test_the_basis_stays_orthonormal_when_it_must_hold_everything() -> None:
    chance = torch.Generator().manual_seed(0)
    basis = torch.zeros(8, 0, dtype=torch.float64)
    for rank in (2, 4, 6, 8):
        inputs = torch.randn(8, 2, generator=chance, dtype=torch.float64)
        basis = extended(basis, inputs @ inputs.T, 1.0)
        assert basis.shape[1] >= rank  # rounding may ask for more
        torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]).double(), atol=1e-12, rtol=0)


def test_the_basis_is_that_of_singular_vectors() -> None:
    chance = torch.Generator().manual_seed(1)
    inputs = torch.randn(6, 40, generator=chance, dtype=torch.float64) * torch.arange(1, 7)[:, None]
    basis = torch.linalg.qr(torch.randn(6, 2, generator=chance, dtype=torch.float64))[0]
    found = extended(basis, inputs @ inputs.T, 0.9)
    aside = inputs - basis @ basis.T @ inputs
    u, s, _ = torch.linalg.svd(aside, full_matrices=False)
    held = 1 - (s**2).sum() / (inputs**2).sum()
    count = 0
    while held < 0.9:
        held += s[count] ** 2 / (inputs**2).sum()
        count += 1
    assert 0 < count < 4
    assert found.shape == (6, 2 + count)
    torch.testing.assert_close((found[:, 2:].T @ u[:, :count]).abs(), torch.eye(count, dtype=torch.float64))
    torch.testing.assert_close(found.T @ found, torch.eye(2 + count, dtype=torch.float64))


def test_gpm_moves_weights_only_where_old_inputs_are_silent() -> None:
    learner = GPM(PLAN, QUICK, threshold=0.9, samples=10)
    learner.learn(TASKS[0])
    old = [weight.detach().clone() for weight in learner.trunk.shared]
    bases = learner.bases
    school = School(QUICK, TASKS[0], 0, 0)
    x = school.learned[0][torch.randperm(36, generator=school.chance(DRAWS))[:10]]
    expected = torch.zeros(18, 18, dtype=torch.float64)
    for one in x:  # the first layer sees the input, once
        for column in unfold(one[None], (3, 3), padding=1)[0].T.double():
            expected += torch.outer(column, column)
    energies = learner._energies(x, 0)
    torch.testing.assert_close(energies[0], expected, rtol=1e-4, atol=1e-4)
    spikes = learner.trunk.branch(0)(x, {}, {}).spikes[0].detach()  # of both steps
    seen = unfold(spikes, (3, 3), padding=1).transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(energies[1], seen @ seen.T)
    for basis, energy in zip(bases, energies, strict=True):
        assert torch.equal(basis, extended(basis[:, :0], energy, 0.9))
        assert 0 < basis.shape[1] < len(basis)
    learner.learn(TASKS[1])
    for weight, before, basis in zip(learner.trunk.shared, old, bases, strict=True):
        moved = (weight.detach() - before).flatten(1).double()
        assert moved.abs().max() > 1e-2
        torch.testing.assert_close(
            moved @ basis, torch.zeros(len(moved), basis.shape[1]).double(), atol=1e-5, rtol=0
        )
    assert all(len(b.T) > len(a.T) for a, b in zip(bases, learner.bases, strict=True))
    assert learner.stored() == {"bases": 8 * sum(basis.numel() for basis in learner.bases)}
