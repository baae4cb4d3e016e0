"""Zeros stay exact under every optimizer of torch.optim that takes dense parameters, in every usual loop."""

import inspect

import pytest
import torch
from torch import nn

from coppice import prune_synapses

STEPS = 20
NOT_OURS = {"SparseAdam"}  # takes sparse gradients only, which embeddings have and synapses do not
FOUND = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
}
DENSE = sorted(FOUND.keys() - NOT_OURS)
CLOSING = {"LBFGS"}  # evaluates its loss itself, several times a step
# Where a loop's option goes by another name. Momentum of Adam's kind is on by default.
MORE = {
    "momentum": {"SGD": {"momentum": 0.9, "nesterov": True}, "RMSprop": {"momentum": 0.9, "centered": True}},
    "amsgrad": {name: {"amsgrad": True} for name in ("Adam", "AdamW")},
    "fused": {name: {"fused": True} for name in ("Adam", "AdamW", "SGD", "Adagrad")},
    "foreach": {
        name: {"foreach": True} for name in DENSE if "foreach" in inspect.signature(FOUND[name]).parameters
    },
    "weight decay": {
        name: {"weight_decay": 0.3}
        for name in DENSE
        if "weight_decay" in inspect.signature(FOUND[name]).parameters
    },
}


class Forecaster(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cells, self.norm, self.head = nn.LSTM(3, 6, batch_first=True), nn.LayerNorm(6), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.norm(self.cells(x)[0][:, -1]))


def make(name, model, **options):
    held = [p for p in model.parameters() if p.dim() == 2 or name != "Muon"]  # Muon takes matrices only
    return FOUND[name](held, lr=0.01, **options)


def batches(steps=STEPS):
    draw = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 5, 3, generator=draw), torch.randn(8, 2, generator=draw)) for _ in range(steps)]


class Zeros:
    """Looks at the dead after every step: all of them at plus zero, none ever alive again."""

    def __init__(self, pruning):
        self.pruning, self.before, self.looks = pruning, {}, 0

    def look(self):
        for name, alive in self.pruning.masks.items():
            dead = self.pruning.model.get_parameter(name).detach()[~alive]
            assert torch.equal(dead.view(torch.int32), torch.zeros_like(dead, dtype=torch.int32)), name
            if name in self.before:
                assert not (alive & ~self.before[name]).any(), name
            self.before[name] = alive.clone()
            self.looks += len(dead)

    def finish(self, share):
        masks = self.pruning.masks
        assert self.pruning.done
        assert masks.size - masks.alive == round(share * masks.size)
        assert self.looks > masks.size
        for name, alive in masks.items():  # and it learned: none of the living stands at zero
            assert self.pruning.model.get_parameter(name).detach()[alive].all()


def train(name, *, clip=None, scale=False, accumulate=1, schedule=False, share=0.8, **options):
    model = Forecaster()
    optimizer = make(name, model, **options)
    pruning = prune_synapses(model, optimizer, steps=STEPS, final_sparsity=share, every=1, quiet=True)
    scheduler = (
        torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, STEPS, cycle_momentum=False)
        if schedule
        else None
    )
    scaler = torch.amp.GradScaler("cpu", enabled=scale, init_scale=2.0**127, growth_interval=4)
    zeros, skipped = Zeros(pruning), 0

    def loss(x, y):
        with torch.autocast("cpu", torch.bfloat16, enabled=scale):
            return nn.functional.mse_loss(
                model(x).float(), 8 * y if scale else y
            )  # large gradients, to overflow

    work = batches(STEPS * 3)
    while pruning.step != STEPS:
        rows, work = work[:accumulate], work[accumulate:]
        if name in CLOSING:

            def closure(rows=rows):
                model.zero_grad()
                total = sum(loss(x, y) for x, y in rows)
                total.backward()
                if clip:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                return total

            optimizer.step(closure)
        else:
            before = pruning.step
            model.zero_grad()
            for x, y in rows:
                scaler.scale(loss(x, y)).backward()
            if clip:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            scaler.step(optimizer)
            scaler.update()
            skipped += pruning.step == before
        if scheduler:
            scheduler.step()
        zeros.look()
    zeros.finish(share)
    assert bool(skipped) == scale  # the scale began so high that some steps overflowed and did not count
    return model


def test_the_sweep_finds_them_all():
    assert len(DENSE) >= 13
    assert {"SGD", "Adam", "AdamW", "LBFGS", "RMSprop"} <= set(DENSE)
    assert FOUND.keys() >= NOT_OURS
    for turned in MORE.values():
        assert turned.keys() <= set(DENSE)


@pytest.mark.parametrize("name", DENSE)
def test_plain(name):
    train(name)


@pytest.mark.parametrize(
    ("more", "name"), [(more, name) for more, those in MORE.items() for name in sorted(those)]
)
def test_with_more(more, name):
    train(name, **MORE[more][name])


@pytest.mark.parametrize("name", DENSE)
def test_clipped_accumulated_and_scheduled(name):
    train(name, clip=0.01, accumulate=2, schedule=True)


@pytest.mark.parametrize("name", sorted(set(DENSE) - CLOSING))  # GradScaler takes no closure
def test_autocast_with_a_gradient_scaler(name):
    train(name, scale=True)
    train(name, scale=True, clip=0.1)


@pytest.mark.parametrize("name", sorted(MORE["fused"]))
def test_fused_with_a_gradient_scaler(name):
    train(name, scale=True, fused=True)


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("score", ["taylor", "movement"])
def test_scores_from_gradients_see_those_of_the_step(score, name):
    """Against gradients taken by hand, wherever the loop computes them: before the step, or in its closure."""
    one, two = Forecaster(), Forecaster()
    for model, inside in ((one, True), (two, False)):
        optimizer = make(name, model)
        pruning = prune_synapses(model, optimizer, steps=STEPS, score=score, start=1.0, end=1.0, quiet=True)
        expected = torch.zeros(2, 6)
        for x, y in batches(3):
            by_hand = torch.autograd.grad(nn.functional.mse_loss(model(x), y), model.head.weight)[0]
            product = (model.head.weight * by_hand).detach()
            expected = 0.99 * expected + 0.01 * product.abs() if score == "taylor" else expected - product

            def closure(model=model, optimizer=optimizer, x=x, y=y):
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(x), y)
                loss.backward()
                return loss

            if inside or name in CLOSING:
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
        torch.testing.assert_close(pruning.body.evidence.seen["head.weight"], expected)


@pytest.mark.parametrize("score", ["taylor", "movement"])
@pytest.mark.parametrize("fused", [False, True])
def test_scores_from_gradients_do_not_see_the_scale(fused, score):
    seen = []
    for scale in (1.0, 2.0**100):
        model = Forecaster()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=fused)
        pruning = prune_synapses(model, optimizer, steps=STEPS, score=score, start=1.0, end=1.0, quiet=True)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)
        for x, y in batches(4):
            optimizer.zero_grad()
            scaler.scale(nn.functional.mse_loss(model(x), y)).backward()
            scaler.step(optimizer)
            scaler.update()
        assert pruning.step == 4
        seen.append(pruning.body.evidence.seen)
    for name in seen[0]:
        torch.testing.assert_close(seen[0][name], seen[1][name])


@pytest.mark.parametrize("fused", [False, True])
def test_regrowth_survives_an_overflow_at_its_event(fused):
    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=fused)
    pruning = prune_synapses(model, optimizer, steps=STEPS, regrow=0.3, newborn=0.2, every=1, quiet=True)
    scaler = torch.amp.GradScaler(
        "cpu", init_scale=2.0**127, growth_interval=2
    )  # overflows at every third step or so
    tries = 0
    for x, y in batches(STEPS * 3):
        if pruning.step == STEPS:
            break
        tries += 1
        optimizer.zero_grad()
        scaler.scale(nn.functional.mse_loss(model(x), 8 * y)).backward()
        scaler.step(optimizer)
        scaler.update()
        pruning.masks.check()
    assert tries > STEPS
    assert sum(event["regrown"] for event in pruning.events) > 0
    assert pruning.masks.size - pruning.masks.alive == round(0.7 * pruning.masks.size)


def test_without_the_hooks_the_dead_wake():
    # The fault itself: what the sweep looks for does happen once the hooks are out.
    model = Forecaster()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    pruning = prune_synapses(model, optimizer, steps=5, every=1, quiet=True)
    for number, (x, y) in enumerate(batches(8)):
        if number == 6:
            Zeros(pruning).look()
            pruning.remove()
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    with pytest.raises(AssertionError):
        Zeros(pruning).look()


def test_an_optimizer_of_accelerate_is_looked_through():
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = Forecaster()
    model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters(), lr=0.01))
    pruning = prune_synapses(model, optimizer, steps=STEPS, final_sparsity=0.8, every=1, quiet=True)
    zeros = Zeros(pruning)
    for x, y in batches(2 * STEPS):
        with accelerator.accumulate(model):
            accelerator.backward(nn.functional.mse_loss(model(x), y))
            optimizer.step()
            optimizer.zero_grad()
        zeros.look()
    assert pruning.step == STEPS
    zeros.finish(0.8)
