"""Local kernels: they fade, die with all their taps, and give their masses."""

import pytest
import torch

from coppice.parts.kernels import LocalConv


def test_a_kernel_dies_with_all_its_taps_and_for_good() -> None:
    layer = LocalConv(2, 3, (3, 1))
    assert layer.taps == 3
    assert layer.alive.all()
    doomed = torch.zeros(3, 2, dtype=torch.bool)
    doomed[1, 0] = doomed[2, 1] = True
    assert layer.prune(doomed) == 2
    assert layer.prune(doomed) == 0
    assert torch.equal(layer.alive, ~doomed)
    assert not layer.weight[1, 0].any()
    assert layer.weight[0].all()
    layer.alive.fill_(False)  # a copy: the mask itself is changed by pruning only
    assert torch.equal(layer.alive, ~doomed)


def test_masses_by_hand() -> None:
    layer = LocalConv(1, 1, (1, 1))
    with pytest.raises(RuntimeError, match="there is no gradient"):
        layer.masses()
    with torch.no_grad():
        layer.weight.fill_(-3.0)
    layer(torch.full((1, 1, 1, 1), 2.0)).sum().backward()
    assert layer.masses().tolist() == [[6.0]]


def test_inhibition_is_written_through_q() -> None:
    layer = LocalConv(1, 1, (3, 3))
    x = torch.randn(1, 1, 4, 4)
    whole = layer(x)
    layer.q[0, 0] = 0.75
    torch.testing.assert_close(layer(x), whole / 4)


def expecting(mean: float = 0.5) -> LocalConv:
    """Two inputs, three outputs, 3 x 3 taps, of inputs whose mean is known."""
    torch.manual_seed(0)
    layer = LocalConv(2, 3, (3, 3)).eval()
    layer.expect(torch.full((2, 4, 5), mean))
    return layer


def test_what_is_expected_is_the_mean_input_at_each_tap() -> None:
    mean = torch.arange(40.0).view(2, 4, 5)
    layer = expecting()
    layer.expect(mean)
    for i, dy, dx in [(0, 0, 0), (1, 1, 1), (1, 2, 0)]:
        seen = [
            float(mean[i, y + dy - 1, x + dx - 1]) if 0 <= y + dy - 1 < 4 and 0 <= x + dx - 1 < 5 else 0.0
            for y in range(4)
            for x in range(5)
        ]
        assert float(layer.expected[i, dy, dx]) == pytest.approx(sum(seen) / 20)


def test_who_loses_kernels_keeps_the_mean_current() -> None:
    """Of inputs that are always their mean, nothing is lost in the mean over places, whatever dies."""
    layer, x = expecting(), torch.full((1, 2, 4, 5), 0.5)
    whole = layer(x).mean((0, 2, 3))
    doomed = torch.tensor([[True, False], [True, True], [False, False]])
    layer.q.copy_(0.7 * doomed)
    torch.testing.assert_close(layer(x).mean((0, 2, 3)), whole)  # fading
    layer.q.zero_()
    layer.prune(doomed)
    torch.testing.assert_close(layer(x).mean((0, 2, 3)), whole)
    assert layer(x)[0, 1].std() < 1e-6  # the mean is all that is left there
    tonic = layer.tonic.clone()
    layer.prune(doomed)  # who is dead already leaves nothing more
    assert torch.equal(layer.tonic, tonic)


def test_what_is_lost_without_a_kernel_is_what_its_inhibition_changes() -> None:
    """dL/dq by autograd is W (E[x] dL/dI - dL/dW) by hand; with L the sum of outputs weighted by fixed numbers."""
    layer, x = expecting(0.3), torch.rand(2, 2, 4, 5)
    layer.inhibition.requires_grad_()
    layer.tonic.requires_grad_()
    loss = (layer(x) * torch.rand(2, 3, 4, 5)).sum()
    by_q, by_weight, by_current = torch.autograd.grad(loss, (layer.inhibition, layer.weight, layer.tonic))
    for o in range(3):
        for i in range(2):
            varied = layer.expected[i] * by_current[o] - by_weight[o, i]
            torch.testing.assert_close(by_q[o, i, 0, 0], (layer.weight[o, i] * varied).sum())


def test_in_training_nothing_is_made_up_for() -> None:
    layer, x = expecting(), torch.rand(1, 2, 4, 5)
    whole = layer(x)
    layer.tonic.fill_(3.0)
    torch.testing.assert_close(layer(x), whole + 3)
    torch.testing.assert_close(layer.train()(x), whole)
