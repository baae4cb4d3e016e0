"""Online back-propagation written out by hand against autograd, and against the twin's loops."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coppice.experiments.backprop import online_backprop, online_backprop_together
from coppice.models.mlp import mlp
from reference import bdnn_sp as slow


def net(inputs: int = 7, hidden: int = 5, outputs: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return mlp([inputs], [hidden], outputs, "sigmoid", "none", "sigmoid")


def samples(count: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 7, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(3, (count,), generator=generator)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_each_sample_is_one_sgd_step_on_half_the_squared_error(dtype, tolerance, rate):
    ours = net().to(dtype)
    theirs = copy.deepcopy(ours)
    x, y = samples(20, dtype)
    online_backprop(ours, [(x, y)], rate)
    sgd = torch.optim.SGD(theirs.parameters(), rate)
    for sample, label in zip(x, y, strict=True):
        loss = 0.5 * (theirs(sample[None])[0] - F.one_hot(label, 3)).square().sum()
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight, theirs.get_parameter(name), atol=tolerance, rtol=0)


def test_the_order_and_the_batches_samples_come_in():
    x, y = samples(6)
    whole, parts, turned = net(), net(), net()
    online_backprop(whole, [(x, y)], 1.0)
    online_backprop(parts, [(x[:2], y[:2]), (x[2:], y[2:])], 1.0)
    online_backprop(turned, [(x.flip(0), y.flip(0))], 1.0)
    assert torch.equal(whole[1].weight, parts[1].weight)  # batches are only parcels
    assert not torch.equal(whole[1].weight, turned[1].weight)


def test_it_follows_the_twin():
    model = net().double()
    first, second = model[1], model[3]
    twin = slow.Net(
        first.weight.detach().numpy().T.copy(),
        first.bias.detach().numpy().copy(),
        second.weight.detach().numpy().T.copy(),
        second.bias.detach().numpy().copy(),
        list(range(5)),
    )
    x, y = samples(50, torch.float64)
    online_backprop(model, [(x, y)], 1.0)
    for sample, label in zip(x.numpy(), y.numpy(), strict=True):
        slow.learn(twin, sample, label, 1.0)
    np.testing.assert_allclose(first.weight.detach().numpy().T, twin.w1, atol=1e-12, rtol=0)
    np.testing.assert_allclose(second.weight.detach().numpy().T, twin.w2, atol=1e-12, rtol=0)
    np.testing.assert_allclose(first.bias.detach().numpy(), twin.b1, atol=1e-12, rtol=0)
    np.testing.assert_allclose(second.bias.detach().numpy(), twin.b2, atol=1e-12, rtol=0)


def test_images_are_flattened():
    flat, images = net(), net()
    x, y = samples(4)
    online_backprop(flat, [(x, y)], 1.0)
    online_backprop(images, [(x.reshape(4, 1, 7, 1), y)], 1.0)
    assert torch.equal(flat[1].weight, images[1].weight)


def test_parameters_stay_trainable_and_the_same_objects():
    model = net()
    before = [id(p) for p in model.parameters()]
    online_backprop(model, [samples(3)], 1.0)
    assert [id(p) for p in model.parameters()] == before
    model(samples(2)[0]).sum().backward()  # tensors made in inference mode would refuse this
    assert all(p.grad is not None for p in model.parameters())


def test_operations_are_three_passes_of_two_per_synapse_and_sample():
    assert online_backprop(net(), [samples(4), samples(6)], 1.0) == 3 * 2 * 10 * (7 * 5 + 5 * 3)
    assert online_backprop(net(), [], 1.0) == 0


WRONG = {
    "Linear, Sigmoid, Linear, Sigmoid": lambda: net()[1:],
    "Flatten, Linear, ReLU, Linear, Sigmoid": lambda: mlp([7], [5], 3, "relu", "none", "sigmoid"),
    "Flatten, Linear, Sigmoid, Linear": lambda: mlp([7], [5], 3, "sigmoid", "none", "linear"),
    "Flatten, Linear, Sigmoid, Linear, Sigmoid, Linear, Sigmoid": lambda: mlp(
        [7], [5, 4], 3, "sigmoid", "none", "sigmoid"
    ),
    "Flatten, Linear, BatchNorm1d, Sigmoid, Linear, Sigmoid": lambda: mlp(
        [7], [5], 3, "sigmoid", "batch", "sigmoid"
    ),
}


@pytest.mark.parametrize("kinds", WRONG)
def test_another_model_is_refused_by_the_names_of_its_layers(kinds):
    model = WRONG[kinds]()
    with pytest.raises(ValueError, match=f"the model is {kinds}\\."):
        online_backprop(model, [samples(2)], 1.0)


def test_a_layer_without_biases_is_refused():
    model = net()
    model[3] = nn.Linear(5, 3, bias=False)
    with pytest.raises(ValueError, match="bias=True"):
        online_backprop(model, [samples(2)], 1.0)


def test_several_networks_together_learn_what_each_learns_alone():
    torch.manual_seed(1)
    together = [three_layers(width) for width in (3, 7, 1)]
    alone = copy.deepcopy(together)
    x, y = torch.rand(60, 1, 2, 3, dtype=torch.float64), torch.randint(0, 4, (60,))
    batches = [(x[:20], y[:20]), (x[20:], y[20:])]
    online_backprop_together(together, batches, 0.7)
    for one, other in zip(together, alone, strict=True):
        online_backprop(other, batches, 0.7)
        for mine, its in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-12)


def three_layers(width: int) -> nn.Sequential:
    return mlp((1, 2, 3), (width,), 4, "sigmoid", output="sigmoid").double()
