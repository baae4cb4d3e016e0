import copy
import random

import numpy as np
import pytest
import torch
from torch import nn, tensor

from coppice.parts import snapshot, storage
from coppice.parts.layers import ShrunkLayerNorm
from coppice.parts.masks import Masks
from coppice.parts.neurons import populations
from coppice.parts.surgery import keep_neurons

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "adam fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
}


def make(norm: type[nn.Module] = nn.LayerNorm) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), norm(6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 3))


def train(model, optimizer, steps=3):
    """Draws its data from all three generators."""
    losses = []
    for _ in range(steps):
        x = torch.randn(8, 4) * random.random() + np.random.rand()  # noqa: NPY002 - the global one is to be tested
        loss = (model(x) - 1).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.equal(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def cut(model, optimizer, kept=(0, 2, 5)):
    keep_neurons(model, populations(model)[0], tensor(kept), optimizer, count_silent=True)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.BatchNorm1d])
def test_a_restored_run_repeats_to_the_bit(name: str, norm: type[nn.Module]):
    model = make(norm)
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer)
    moment = snapshot.take(model, optimizer)
    losses, after = train(model, optimizer), snapshot.take(model, optimizer)
    for _ in range(2):  # twice: the first time must not have worn the snapshot out
        snapshot.restore(model, optimizer, moment)
        assert same(snapshot.take(model, optimizer), moment)
        assert train(model, optimizer) == losses
        assert same(snapshot.take(model, optimizer), after)


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.BatchNorm1d])
@pytest.mark.parametrize("name", ["sgd", "adamw", "adam fused"])
def test_shapes_come_back_from_small_to_large_and_large_to_small(name: str, norm: type[nn.Module]):
    model = make(norm)
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer)
    large = snapshot.take(model, optimizer)
    large_losses = train(model, optimizer)
    cut(model, optimizer)
    train(model, optimizer)
    small = snapshot.take(model, optimizer)
    small_losses = train(model, optimizer)
    for _ in range(2):
        for moment, width, losses in ((large, 6, large_losses), (small, 3, small_losses)):
            snapshot.restore(model, optimizer, moment)
            assert (model[0].out_features, model[4].in_features) == (width, width)
            assert same(snapshot.take(model, optimizer), moment)
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            assert held == {id(p) for p in model.parameters()}
            assert len(optimizer.state) == len(held)
            assert train(model, optimizer) == losses


def test_the_layer_norm_is_plain_or_shrunken_as_it_was():
    model = make()
    norm = model[1]
    before = snapshot.take(model, None)
    cut(model, None)
    after = snapshot.take(model, None)
    snapshot.restore(model, None, before)
    assert model[1] is norm
    assert type(norm) is nn.LayerNorm
    assert norm.normalized_shape == (6,)
    snapshot.restore(model, None, after)
    assert type(norm) is ShrunkLayerNorm
    assert (int(norm.silent), norm.normalized_shape) == (3, (3,))


def test_masks_come_and_go_with_the_snapshot():
    model = make()
    bare = snapshot.take(model, None)
    masks = Masks.attach(model)
    masks.prune({"0.weight": torch.eye(6, 4, dtype=torch.bool)})
    cut(model, None)
    masked = snapshot.take(model, None)
    snapshot.restore(model, None, bare)
    assert len(masks) == 0
    snapshot.restore(model, None, masked)
    assert masks["0.weight"].sum() == 3 * 4 - 2
    masks.check()


def test_a_fresh_model_takes_a_shrunken_snapshot():
    model = make()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    train(model, optimizer)
    cut(model, optimizer)
    train(model, optimizer)
    moment = snapshot.take(model, optimizer)
    losses = train(model, optimizer)
    fresh = make()
    fresh_optimizer = OPTIMIZERS["adamw"](fresh.parameters())
    snapshot.restore(fresh, fresh_optimizer, moment)
    assert train(fresh, fresh_optimizer) == losses


def test_a_snapshot_survives_the_disk(tmp_path):
    model = make()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    train(model, optimizer)
    moment = snapshot.take(model, optimizer)
    losses = train(model, optimizer)
    storage.write(tmp_path / "moment", moment)
    read = storage.read(tmp_path / "moment")
    assert same(read, moment)
    snapshot.restore(model, optimizer, read)
    assert train(model, optimizer) == losses


def test_later_training_does_not_alter_the_snapshot():
    model = make()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    train(model, optimizer)
    moment = snapshot.take(model, optimizer)
    kept = copy.deepcopy(moment)
    train(model, optimizer)
    assert same(moment, kept)
    snapshot.restore(model, optimizer, moment)
    train(model, optimizer)
    cut(model, optimizer)
    train(model, optimizer)
    assert same(moment, kept)


def test_each_modules_mode_comes_back():
    model = make(nn.BatchNorm1d)
    model.train()
    model[1].eval()
    moment = snapshot.take(model, None)
    model.eval()
    snapshot.restore_model(model, moment)
    assert [m.training for m in model.modules()] == [True, True, False, True, True, True]


def test_restore_model_leaves_the_generators_alone():
    model = make()
    moment = snapshot.take(model, None)
    torch.rand(1)
    now = snapshot.random_state()
    snapshot.restore_model(model, moment)
    assert same(snapshot.random_state(), now)


def test_gradients_of_the_time_after_are_dropped():
    model = make()
    moment = snapshot.take(model, None)
    cut(model, None)
    model(torch.randn(2, 4)).sum().backward()
    snapshot.restore(model, None, moment)
    assert all(p.grad is None for p in model.parameters())


def test_random_states_come_back_in_the_middle_of_a_pair():
    random.gauss(0, 1)  # leaves a second value in store
    np.random.standard_normal()  # noqa: NPY002
    state = snapshot.random_state()

    def draw():
        return [
            random.gauss(0, 1), random.random(),
            float(np.random.standard_normal()), float(np.random.rand()),  # noqa: NPY002
            torch.rand(3).tolist(), torch.randperm(9).tolist(),
        ]  # fmt: skip

    first = draw()
    assert draw() != first
    snapshot.set_random_state(state)
    assert draw() == first


def test_a_compiled_model_and_its_inner_share_snapshots():
    torch._dynamo.reset()
    inner = make()
    model = torch.compile(inner, backend="eager")
    moment = snapshot.take(model, None)
    assert list(moment["model"]) == list(inner.state_dict())
    with torch.no_grad():
        inner[0].weight.zero_()
    cut(model, None)
    model.eval()
    snapshot.restore(model, None, moment)
    assert same(snapshot.take(inner, None)["model"], moment["model"])
    assert model.training
    assert inner.training


def test_a_snapshot_of_another_network_is_refused_and_nothing_changed():
    model = make()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    train(model, optimizer)
    other = snapshot.take(make(nn.BatchNorm1d), None)
    before = snapshot.take(model, optimizer)
    with pytest.raises(ValueError, match=r"are not of one build: only one of them has '1\.running_mean'"):
        snapshot.restore(model, optimizer, other)
    assert same(snapshot.take(model, optimizer), before)
