import copy
import gc
import io
import math
import pickle
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, tensor
from torch.nn.utils import clip_grad_norm_

from coppice.parts.masks import Masks

ELEMENTWISE = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "sgd nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "sgd fused": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "sgd foreach": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adam fused": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "adam foreach": lambda p: torch.optim.Adam(p, lr=0.1, foreach=True),
    "adam decay": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1),
    "adam amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.5),
    "adamw fused amsgrad": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.5, amsgrad=True, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, centered=True, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "adagrad fused": lambda p: torch.optim.Adagrad(p, lr=0.1, fused=True),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.1),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.1),
    "adadelta": lambda p: torch.optim.Adadelta(p),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.1),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.1, t0=2),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.1),
}
COUPLED = {  # one synapse's update depends on the others: weights alone are promised
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=2),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.1),
    "muon": lambda p: torch.optim.Muon([q for q in p if q.dim() == 2], lr=0.1),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


class Forecaster(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(6, 5, num_layers=2, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.cells(x.unsqueeze(1).expand(-1, 4, -1))[0][:, -1])


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(
            self.norm(self.conv(x[:, :4].unsqueeze(1).unsqueeze(-1).expand(-1, 1, 4, 4))).flatten(1)
        )


X = torch.randn(16, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 3, (16,), generator=torch.Generator().manual_seed(2))


def learn(model, optimizer, steps=3, set_to_none=True):
    def closure():
        optimizer.zero_grad(set_to_none=set_to_none)
        loss = nn.functional.cross_entropy(model(X).float(), Y)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)


def half(masks, share=0.5):
    seed = torch.Generator().manual_seed(3)
    return {name: torch.rand(mask.shape, generator=seed) < share for name, mask in masks.items()}


def dead_moments(masks, optimizer):
    """Every state entry of the dead, by key, for state in the parameter's shape."""
    for name, alive in masks.items():
        parameter = masks.model.get_parameter(name)
        for key, value in optimizer.state[parameter].items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                yield key, value[~alive]


def assert_asleep(masks, optimizer):
    masks.check()
    seen = 0
    for key, values in dead_moments(masks, optimizer):
        if key == "step_size":
            continue  # Rprop's own learning rate of a synapse, no moment
        floor = 1e-8 if key == "exp_inf" else 0.0  # Adamax adds its eps to every norm
        assert (values.abs() <= floor).all(), key
        seen += values.numel()
    return seen


# The view


def test_masks_stand_beside_the_weights_under_their_names():
    model = network()
    names = [name for name, _ in model.named_parameters()]
    masks = Masks.attach(model)
    assert [name for name, _ in model.named_parameters()] == names
    assert list(masks) == ["0.weight", "2.weight"]
    assert masks["0.weight"] is model[0].weight_alive
    assert (masks.size, masks.alive, masks.sparsity, len(masks)) == (72, 72, 0.0, 2)
    assert "0.weight_alive" in model.state_dict()
    assert "0.bias" not in masks
    assert "elsewhere.weight" not in masks
    assert repr(masks) == "Masks(2 tensors, 0 of 72 synapses dead)"
    assert Masks(nn.Linear(2, 2)).sparsity == 0


def test_prune_on_a_napkin():
    model = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5)
    with torch.no_grad():
        model.weight.copy_(tensor([[1.0, -2.0, 3.0]]))
    model(tensor([[1.0, 1.0, 1.0]])).sum().backward()
    optimizer.step()  # weights 0 -3 2, momentum 1 1 1
    masks = Masks.attach(model)
    assert masks.prune({"weight": tensor([[False, True, False]])}, optimizer) == 1
    assert masks.prune({"weight": tensor([[True, True, False]])}, optimizer) == 1  # the dead are passed over
    assert masks["weight"].tolist() == [[False, False, True]]
    assert model.weight.tolist() == [[0.0, 0.0, 2.0]]
    assert math.copysign(1, model.weight[0, 1].item()) == 1  # zero, not minus zero
    assert model.weight.grad.tolist() == [[0.0, 0.0, 1.0]]
    assert optimizer.state[model.weight]["momentum_buffer"].tolist() == [[0.0, 0.0, 1.0]]
    assert masks.sparsity == pytest.approx(2 / 3)
    assert masks.regrow({"weight": tensor([[True, False, True]])}, optimizer) == 1
    assert masks["weight"].tolist() == [[True, False, True]]
    assert model.weight.tolist() == [[0.0, 0.0, 2.0]]


def test_attach_keeps_masks_already_there():
    model = network()
    Masks.attach(model, where=lambda name, _: name == "0.weight").prune({"0.weight": torch.ones(8, 6).bool()})
    masks = Masks.attach(model)
    assert not masks["0.weight"].any()
    assert masks["2.weight"].all()


def test_tied_weights_are_masked_once():
    model = network()
    model.append(nn.Linear(8, 3))
    model[3].weight = model[2].weight
    assert list(Masks.attach(model)) == ["0.weight", "2.weight"]
    assert list(Masks(copy.deepcopy(model))) == ["0.weight", "2.weight"]


def test_recurrent_weights_are_found_and_pruned():
    masks = Masks.attach(model := Forecaster())
    assert list(masks)[:2] == ["cells.weight_ih_l0", "cells.weight_hh_l0"]
    assert model.cells.weight_hh_l0_alive.shape == (20, 5)
    assert masks.size == 20 * 6 + 3 * 20 * 5 + 15


def test_infinite_and_nan_values_of_the_dead_become_zero():
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        model = nn.Linear(3, 1, bias=False).to(dtype)
        masks = Masks.attach(model)
        masks.prune({"weight": tensor([[True, True, False]])})
        with torch.no_grad():
            model.weight.copy_(tensor([[math.nan, -math.inf, math.nan]]))
        masks.enforce()
        assert model.weight[0, :2].tolist() == [0, 0]
        assert model.weight[0, 2].isnan()


def test_check_names_the_parameter_and_the_count():
    masks = Masks.attach(model := network())
    masks.prune({"2.weight": torch.ones(3, 8, dtype=torch.bool)})
    masks.check()
    with torch.no_grad():
        model[2].weight[0, :5] = 1
    with pytest.raises(RuntimeError, match=r"5 dead synapses of '2\.weight' are non-zero.*enforce"):
        masks.check()


# The dead stay dead


@pytest.mark.parametrize("make", [network, Forecaster, Convolutions])
@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_weights_and_moments_of_the_dead_are_zero(kind, make):
    model = make()
    optimizer = ELEMENTWISE[kind](model.parameters())
    learn(model, optimizer)  # moments to forget
    masks = Masks.attach(model)
    masks.guard(optimizer)
    masks.prune(half(masks), optimizer)
    for set_to_none in (True, False):
        learn(model, optimizer, set_to_none=set_to_none)
        seen = assert_asleep(masks, optimizer)
        assert seen or kind == "sgd"
    masks.prune(half(masks, 0.7), optimizer)
    assert masks.sparsity == pytest.approx(0.7, abs=0.1)
    learn(model, optimizer)
    assert_asleep(masks, optimizer)
    alive = torch.cat([model.get_parameter(name).detach()[mask] for name, mask in masks.items()])
    assert (alive != 0).all()


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_muting_and_forgetting_alone_keep_an_elementwise_optimizer_asleep(kind):
    model = network()
    optimizer = ELEMENTWISE[kind](model.parameters())
    learn(model, optimizer)
    masks = Masks.attach(model)
    masks.prune(half(masks), optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), Y).backward()
        masks.mute_gradients()
        optimizer.step()
    assert_asleep(masks, optimizer)


@pytest.mark.parametrize("kind", COUPLED)
def test_weights_of_the_dead_are_zero_under_coupled_optimizers(kind):
    model = network()
    optimizer = COUPLED[kind](list(model.parameters()))
    learn(model, optimizer)
    masks = Masks.attach(model)
    masks.guard(optimizer)
    masks.prune(half(masks), optimizer)
    learn(model, optimizer)
    masks.check()


def test_without_guard_momentum_wakes_the_dead():
    # The fault itself: what the other tests guard against does happen.
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    learn(model, optimizer)
    masks = Masks.attach(model)
    masks.prune(half(masks))
    learn(model, optimizer, steps=1)
    with pytest.raises(RuntimeError, match="dead synapses"):
        masks.check()
    masks.enforce(optimizer)
    assert assert_asleep(masks, optimizer)


@given(share=st.floats(0, 1), steps=st.integers(1, 4), kind=st.sampled_from(sorted(ELEMENTWISE)))
@settings(max_examples=25, deadline=None)
def test_masks_equal_multiplication_by_the_mask(share, steps, kind):
    """A guarded net and a net whose forward multiplies by the mask learn the same, synapse by synapse."""
    model, twin = network(), network()
    masks = Masks.attach(model)
    masks.prune(half(masks, share))
    kept = {name: mask.float() for name, mask in masks.items()}
    with torch.no_grad():
        for name, mask in kept.items():
            twin.get_parameter(name).mul_(mask)
    optimizer, other = (ELEMENTWISE[kind](net.parameters()) for net in (model, twin))
    masks.guard(optimizer)
    for mine, its in zip(optimizer.param_groups, other.param_groups, strict=True):
        its["fused"] = mine.get("fused")  # the guard chooses the fused kernel, whose rounding differs
    for _ in range(steps):
        learn(model, optimizer, steps=1)
        other.zero_grad()
        full = {name: p * kept.get(name, 1) for name, p in twin.named_parameters()}
        nn.functional.cross_entropy(torch.func.functional_call(twin, full, X), Y).backward()
        other.step()
    for one, two in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_the_guard_takes_the_fused_kernel_where_the_user_left_the_choice_open(make):
    model = network()
    masks = Masks.attach(model)
    optimizer = make(model.parameters(), lr=0.1)
    learn(model, optimizer)  # a state that began without it
    guard = masks.guard(optimizer)
    assert [group["fused"] for group in optimizer.param_groups] == [True]
    masks.prune(half(masks), optimizer)
    learn(model, optimizer)
    masks.check()
    guard.remove()
    assert [group["fused"] for group in optimizer.param_groups] == [None]
    learn(model, optimizer)


def test_the_choice_is_given_back_although_a_stored_state_was_loaded():
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    guard = Masks.attach(model).guard(optimizer)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # its groups are new ones now
    guard.remove()
    assert [group["fused"] for group in optimizer.param_groups] == [None]


def test_detached_it_is_a_plain_model_again():
    model, optimizer, masks, guard = guarded()
    masks.prune(half(masks), optimizer)
    learn(model, optimizer)
    guard.remove()
    before = model.state_dict()
    masks.detach()
    masks.detach()
    plain = network()
    plain.load_state_dict(model.state_dict())  # strictly: torch's own keys
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())
    assert len(masks) == 0
    assert masks.sparsity == 0


@pytest.mark.parametrize("choice", [{"fused": False}, {"foreach": True}, {"foreach": False}])
def test_the_guard_leaves_a_choice_that_the_user_made(choice):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), **choice)
    before = dict(optimizer.param_groups[0])
    Masks.attach(model).guard(optimizer)
    assert {key: optimizer.param_groups[0][key] for key in ("fused", "foreach")} == {
        key: before[key] for key in ("fused", "foreach")
    }


def test_the_clipping_norm_counts_the_living_only():
    model = network()
    masks = Masks.attach(model)
    nn.functional.cross_entropy(model(X), Y).backward()
    kept = half(masks)
    masks.guard(torch.optim.SGD(model.parameters()))
    # Weights are kept, so that both passes have the same gradients: only the masks change.
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    masks.prune(kept)
    alive_sum = 0.0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    model.zero_grad()
    plain = network()
    nn.functional.cross_entropy(plain(X), Y).backward()
    for name, parameter in plain.named_parameters():
        gradient = parameter.grad.double()
        alive_sum += float((gradient[masks[name]] if name in masks else gradient).square().sum())
    nn.functional.cross_entropy(model(X), Y).backward()
    norm = clip_grad_norm_(model.parameters(), 1e-3)
    torch.testing.assert_close(float(norm), math.sqrt(alive_sum), rtol=1e-6, atol=0)
    assert float(norm) < float(clip_grad_norm_(plain.parameters(), 1e-3))


def test_accumulated_gradients_are_muted():
    model = network()
    masks = Masks.attach(model)
    masks.prune(half(masks))
    masks.guard(torch.optim.SGD(model.parameters()))
    for part in X.split(4):
        model(part).sum().backward()
        for name, alive in masks.items():
            gradient = model.get_parameter(name).grad
            assert not gradient[~alive].any()
            assert gradient[alive].any()


def test_a_gradient_that_carries_a_graph_is_muted_too():
    model = network()
    masks = Masks.attach(model)
    masks.prune(half(masks))
    masks.guard(torch.optim.SGD(model.parameters()))
    with pytest.warns(UserWarning, match="create_graph"):  # torch's own, about the cycle
        model(X).pow(2).sum().backward(create_graph=True)
    gradient = model[0].weight.grad
    assert gradient.requires_grad
    assert not gradient[~masks["0.weight"]].any()
    (second,) = torch.autograd.grad(gradient[~masks["0.weight"]].sum(), model[2].weight)
    assert not second.any()  # muted in the graph too
    model.zero_grad()  # breaks the cycle


@pytest.mark.parametrize("fused", [False, True])
def test_a_scaled_bfloat16_loop_keeps_the_dead_asleep(fused):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    masks = Masks.attach(model)
    masks.guard(optimizer)
    masks.prune(half(masks), optimizer)
    before = model[0].weight.detach().clone()
    for _ in range(4):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(model(X), Y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        assert_asleep(masks, optimizer)
    assert not torch.equal(model[0].weight, before)


def test_an_overflow_among_the_dead_skips_no_step():
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    masks = Masks.attach(model)
    masks.prune({"weight": tensor([[True, False]])})
    masks.guard(optimizer)
    before = model.weight[0, 1].item()
    scaler.scale(model(tensor([[1e38, 1.0]])).sum()).backward()  # the dead one's gradient overflows
    scaler.step(optimizer)
    assert model.weight[0, 1].item() == pytest.approx(before - 0.1)


def test_bfloat16_weights():
    model = network().bfloat16()
    masks = Masks.attach(model)
    assert masks["0.weight"].dtype == torch.bool
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    masks.guard(optimizer)
    masks.prune(half(masks), optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X.bfloat16()).float(), Y).backward()
        optimizer.step()
    assert assert_asleep(masks, optimizer)


@pytest.mark.parametrize("kind", ["rprop", "adagrad start", "adam"])
def test_the_regrown_begin_like_new(kind):
    makes = {**ELEMENTWISE, "adagrad start": lambda p: torch.optim.Adagrad(p, initial_accumulator_value=0.5)}
    first = {"step_size": 0.1, "sum": 0.5}
    model = network()
    optimizer = makes[kind](model.parameters())
    masks = Masks.attach(model)
    masks.guard(optimizer)
    learn(model, optimizer)
    masks.prune(half(masks), optimizer)
    learn(model, optimizer)
    newborn = {name: ~mask for name, mask in masks.items()}
    state = copy.deepcopy({name: optimizer.state[model.get_parameter(name)] for name in masks})
    assert masks.regrow(newborn, optimizer) == sum(int(mask.sum()) for mask in newborn.values())
    assert masks.sparsity == 0
    for name, new in newborn.items():
        assert not model.get_parameter(name)[new].any()
        for key, old in state[name].items():
            if old.shape == new.shape:
                now = optimizer.state[model.get_parameter(name)][key]
                assert (now[new] == torch.tensor(first.get(key, 0.0))).all()
                assert torch.equal(now[~new], old[~new])
    learn(model, optimizer, steps=1)
    assert all(model.get_parameter(name)[new].any() for name, new in newborn.items())


# Copies, checkpoints, compilers


def guarded():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    masks = Masks.attach(model)
    guard = masks.guard(optimizer)
    masks.prune(half(masks), optimizer)
    learn(model, optimizer)
    return model, optimizer, masks, guard


@pytest.mark.parametrize("way", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("make", [network, Forecaster])
def test_copies_carry_the_masks_and_no_guard(way, make):
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    masks = Masks.attach(model)
    masks.guard(optimizer)
    masks.prune(half(masks), optimizer)
    learn(model, optimizer)
    model(X).sum().backward()
    twin = way(model)
    assert Masks(twin).sparsity == masks.sparsity > 0
    assert all(
        torch.equal(mask, masks[name]) and mask is not masks[name] for name, mask in Masks(twin).items()
    )
    assert torch.equal(twin(X), model(X))
    way(optimizer)
    fresh = torch.optim.Adam(twin.parameters(), lr=0.1)
    Masks(twin).guard(fresh)  # not guarded yet: nothing is refused
    learn(twin, fresh)
    Masks(twin).check()


def test_state_dict_resumes_bit_by_bit():
    model, optimizer, masks, _ = guarded()
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    stored = torch.load(file, weights_only=True)
    other = network()
    again = torch.optim.Adam(other.parameters(), lr=0.1)
    others = Masks.attach(other)
    others.guard(again)
    other.load_state_dict(stored["model"])
    again.load_state_dict(stored["optimizer"])
    learn(model, optimizer)
    learn(other, again)
    assert_asleep(others, again)
    assert others.alive == masks.alive
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_plain_and_masked_checkpoints_meet():
    model, *_ = guarded()
    plain = network()
    with pytest.raises(RuntimeError, match="weight_alive"):  # never silently without its masks
        plain.load_state_dict(model.state_dict())
    report = plain.load_state_dict(model.state_dict(), strict=False)
    assert report.unexpected_keys == ["0.weight_alive", "2.weight_alive"]
    assert torch.equal(plain(X), model(X))
    masked = network()
    masks = Masks.attach(masked)
    masks.prune(half(masks))
    assert masked.load_state_dict(network().state_dict(), strict=False).missing_keys == report.unexpected_keys
    with pytest.raises(RuntimeError, match="non-zero"):
        masks.check()


def test_assigned_checkpoints_and_exchanged_parameters_stay_guarded():
    model, optimizer, masks, guard = guarded()
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)  # new Parameter and buffer objects
    with pytest.raises(RuntimeError, match=r"0\.weight.*exchanged.*old tensors"):
        guard.refresh()
    optimizer.param_groups[0]["params"] = list(model.parameters())  # what surgery does
    learn(model, optimizer)  # notices by itself
    assert_asleep(masks, optimizer)
    guard.refresh()
    model(X).sum().backward()
    assert not model[0].weight.grad[~masks["0.weight"]].any()


def test_an_exchange_is_noticed_before_the_moments_learn_of_the_dead():
    model, optimizer, masks, _ = guarded()
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    optimizer.param_groups[0]["params"] = list(model.parameters())
    model(X).sum().backward()  # no hook on the new parameters yet
    optimizer.step()
    assert assert_asleep(masks, optimizer)


def test_regrow_begins_at_zero_whatever_stood_there():
    masks = Masks.attach(model := network())
    everything = {"2.weight": torch.ones(3, 8, dtype=torch.bool)}
    masks.prune(everything)
    nn.init.ones_(model[2].weight)
    masks.regrow(everything)
    assert not model[2].weight.any()


def test_autograd_sees_that_weights_were_zeroed():
    masks = Masks.attach(model := network())
    loss = model[0].weight.square().sum()
    masks.prune(half(masks))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_cut_layer_goes_on_with_its_cut_mask():
    model, optimizer, masks, _ = guarded()
    kept = tensor([0, 2, 5])
    small = {
        "0.weight": model[0].weight[kept],
        "0.bias": model[0].bias[kept],
        "2.weight": model[2].weight[:, kept],
    }
    for name, value in small.items():
        layer, stem = model[int(name[0])], name[2:]
        setattr(layer, stem, nn.Parameter(value.detach().clone()))
    model[0].weight_alive = masks["0.weight"][kept]
    with pytest.raises(
        RuntimeError, match=r"mask of shape \(3, 8\) stands beside a parameter of shape \(3, 3\)"
    ):
        masks.enforce()
    model[2].weight_alive = masks["2.weight"][:, kept]
    optimizer.param_groups[0]["params"] = list(model.parameters())
    optimizer.state.clear()
    learn(model, optimizer)
    assert masks.size == 3 * 6 + 3 * 3
    assert assert_asleep(masks, optimizer)


def test_a_compiled_model_is_guarded_too():
    model, optimizer, masks, _ = guarded()
    compiled = torch.compile(model, backend="aot_eager")
    assert next(iter(Masks(compiled))).endswith("0.weight")
    learn(compiled, optimizer)
    assert assert_asleep(masks, optimizer)
    masks.prune({name: torch.ones_like(mask) for name, mask in masks.items()}, optimizer)
    torch.testing.assert_close(compiled(X), model[2].bias.expand(16, 3))  # masks changed: no stale graph


# The guard


def test_remove_takes_every_hook_out():
    model, optimizer, masks, guard = guarded()
    guard.remove()
    guard.remove()
    learn(model, optimizer)
    with pytest.raises(RuntimeError, match="non-zero"):
        masks.check()
    masks.guard(optimizer).remove()


def test_a_second_guard_is_refused():
    _, optimizer, masks, _ = guarded()
    with pytest.raises(RuntimeError, match="Adam has a guard already"):
        masks.guard(optimizer)


def test_a_guard_needs_an_optimizer_of_this_model():
    masks = Masks.attach(network())
    with pytest.raises(ValueError, match="SGD trains no masked parameter of Sequential"):
        masks.guard(torch.optim.SGD(network().parameters()))
    with pytest.raises(ValueError, match="no masked parameter"):
        Masks(model := network()).guard(torch.optim.SGD(model.parameters()))


def test_two_optimizers_share_a_model():
    model = network()
    masks = Masks.attach(model)
    pair = [torch.optim.SGD(model[i].parameters(), lr=0.1, momentum=0.9) for i in (0, 2)]
    for optimizer in pair:
        masks.guard(optimizer)
    masks.prune(half(masks))
    model(X).sum().backward()
    for optimizer in pair:
        optimizer.step()
    masks.check()


def test_frozen_parameters_are_left_in_peace():
    model = network()
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    masks = Masks.attach(model)
    masks.guard(optimizer)
    masks.prune(half(masks), optimizer)
    learn(model, optimizer)
    masks.check()


def test_a_guarded_model_is_freed():
    model, optimizer, masks, guard = guarded()
    gone = weakref.ref(model)
    del model, optimizer, masks, guard
    gc.collect()
    assert gone() is None


def test_masks_attached_later_are_guarded_after_refresh():
    model = network()
    masks = Masks.attach(model, where=lambda name, _: name == "0.weight")
    guard = masks.guard(optimizer := torch.optim.Adam(model.parameters()))
    Masks.attach(model)
    guard.refresh()
    masks.prune(half(masks), optimizer)
    learn(model, optimizer)
    assert_asleep(masks, optimizer)


# Doors


@pytest.mark.parametrize("act", [Masks.prune, Masks.regrow])
@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"0.bias": torch.ones(8).bool()}, r"'0.bias' has no mask; masked are \['0.weight', '2.weight'\]"),
        ({"0.weight": torch.ones(6, 8).bool()}, r"'0.weight' is .*bool of shape \(6, 8\).*\(8, 6\)"),
        ({"0.weight": torch.ones(8, 6)}, r"'0.weight' is torch.float32"),
    ],
)
def test_refuses_choices_that_do_not_fit_before_anything_changes(act, choice, words):
    masks = Masks.attach(network())
    good = {"2.weight": torch.ones(3, 8, dtype=torch.bool)}
    with pytest.raises(ValueError, match=words):
        act(masks, {**good, **choice})
    assert masks.sparsity == 0


def test_attach_refuses_what_cannot_be_masked():
    with pytest.raises(ValueError, match="none of the parameters of Sequential"):
        Masks.attach(network(), where=lambda *_: False)
    model = network()
    model[0].weight_alive = 3
    with pytest.raises(ValueError, match=r"'0\.weight_alive' is not a mask"):
        Masks.attach(model)
    assert len(Masks(model)) == 0
    model = network()
    model[2].register_buffer("weight_alive", torch.ones(3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"mask of '2\.weight'.*\(3, 3\).*\(3, 8\)"):
        Masks.attach(model)
    model = nn.Linear(2, 2, dtype=torch.complex64)
    with pytest.raises(ValueError, match="complex64, but only float"):
        Masks.attach(model, where=lambda *_: True)


def test_sparse_gradients_are_refused_by_name():
    model = nn.Embedding(5, 3, sparse=True)
    masks = Masks.attach(model)
    model(tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=r"'weight' is sparse.*sparse=False"):
        masks.mute_gradients()
