"""Own worth, measured at once and in turn: by hand, and by a twin that takes kernels out for real."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import Tensor
from torch.nn.functional import cross_entropy

from coppice.methods.td_mcl import LearningTask, learn
from coppice.methods.td_mcl_options import TDMCL
from coppice.methods.td_mcl_own import LEFT, LOT, PASSES, STAGES, at_once, in_turn
from coppice.models.modular_snn import ModularSNN
from coppice.parts.kernels import LocalConv
from reference import td_mcl as twin
from test_td_mcl import PLAN, SHORT, STRONG, TASKS


def layer(outputs: int, inputs: int) -> LocalConv:
    return LocalConv(inputs, outputs, (1, 1))


def parts(samples: int) -> tuple[Tensor, ...]:
    return torch.arange(samples).split(7)


def test_at_once_is_one_pass_over_all_parts() -> None:
    one = layer(1, 3)
    at_once([one], parts(20), lambda given: [torch.tensor([[1.0, 2.0, 3.0]]) * len(torch.cat(list(given)))])
    assert one.own.tolist() == [[20.0, 40.0, 60.0]]


def test_of_two_that_stand_in_for_each_other_the_second_is_needed() -> None:
    """Kernels 0 and 1 do the same, 2 a little of its own, 3 to 9 nothing: at once 0 and 1 look idle."""

    def masses(given: Sequence[Tensor]) -> list[Tensor]:
        out = torch.zeros(1, 10)
        there = one.q[0] == 0
        out[0, 0], out[0, 1] = 5.0 * (not there[1]), 5.0 * (not there[0])
        out[0, 2] = 1.0
        return [out * there * len(given)]

    one = layer(1, 10)
    at_once([one], parts(LOT * STAGES), masses)
    assert one.own[0, :2].tolist() == [0.0, 0.0]
    in_turn([one], parts(LOT * STAGES), masses)
    assert one.own[0, 0] == 0  # first of equals
    assert one.own[0, 1] > one.own[0, 2] > 0
    assert one.own[0, 3:].tolist() == [0.0] * 7
    assert one.own[0, 1] == 5.0 * STAGES  # as of a whole pass over the lots


def test_masses_rise_in_the_order_of_going() -> None:
    """One kernel goes first, when it weighs 3; what stays weighs less in what is left, but counts no less."""
    one, seen = layer(1, 2), []

    def masses(given: Sequence[Tensor]) -> list[Tensor]:
        seen.append(one.q[0].tolist())
        return [torch.tensor([[3.0, 4.0]] if one.q[0, 0] == 0 else [[0.0, 1.0]]) * len(given)]

    in_turn([one], parts(LOT), masses)
    assert seen[0] == [0.0, 0.0]
    assert seen[-1] == [1.0, 0.0]
    assert one.own.tolist() == [[3.0, 3.0]]


@given(
    outputs=st.integers(1, 4), inputs=st.integers(1, 5), samples=st.integers(1, 60), seed=st.integers(0, 99)
)
def test_every_living_kernel_is_measured_and_nothing_else_changes(
    outputs: int, inputs: int, samples: int, seed: int
) -> None:
    chance = torch.Generator().manual_seed(seed)
    one = layer(outputs, inputs)
    one.prune(torch.rand(outputs, inputs, generator=chance) < 0.3)
    weight, alive = one.weight.detach().clone(), one.alive
    taken: list[int] = []

    def masses(given: Sequence[Tensor]) -> list[Tensor]:
        assert all(1 <= len(lot) <= LOT for lot in given)
        taken.append(int((one.q > 0).sum()))
        return [(0.1 + torch.rand(outputs, inputs, generator=chance)) * (one.q == 0)]

    in_turn([one], parts(samples), masses)
    assert len(taken) == STAGES
    assert taken == sorted(taken)
    assert taken[-1] == int(alive.sum()) - math.ceil(LEFT * int(alive.sum()))
    assert bool((one.own > 0).eq(alive).all())
    assert not one.inhibition.any()
    assert torch.equal(one.weight, weight)
    assert torch.equal(one.alive, alive)


def test_in_turn_is_what_the_twin_finds_by_taking_kernels_out_for_real() -> None:
    network = ModularSNN(PLAN)
    process = LearningTask(TDMCL(own="in turn", refine=0.7), network, TASKS[0], SHORT)
    while process.advance():
        pass
    network.eval()
    found = [local.layer for local in network.module(0).locals()]
    model = copy.deepcopy(network)
    layers = [local.layer for local in model.module(0).locals()]
    for one in layers:
        one.tonic.requires_grad_()
    x, y = process.school.learned
    lots = torch.cat(list(process.school.parts(SHORT.epochs))).split(LOT)
    each = math.ceil(PASSES * len(lots) / STAGES)
    own = [np.zeros(one.own.shape) for one in layers]
    standing = [one.alive.numpy().copy() for one in layers]
    born = [mask.sum() for mask in standing]
    for stage in range(STAGES):
        batches: list[Any] = [[] for _ in layers]
        for number in range(stage * each, (stage + 1) * each):
            lot = lots[number % len(lots)]
            loss = cross_entropy(model(x[lot], 0), y[lot])
            weights, currents = [one.weight for one in layers], [one.tonic for one in layers]
            by_weight = torch.autograd.grad(loss, weights, retain_graph=True)
            by_current = torch.autograd.grad(loss, currents)
            for batch, weight, g, c in zip(batches, weights, by_weight, by_current, strict=True):
                batch.append((weight.detach().numpy().copy(), g.numpy(), c.numpy()))
        for k, one in enumerate(layers):
            found_mass = twin.lost(batches[k], one.expected.numpy())
            mass = np.maximum(found_mass * len(lots) / each, own[k].max())
            here = [place for place in np.ndindex(*mass.shape) if standing[k][place]]
            stay = 0 if stage == STAGES - 1 else math.ceil(born[k] * LEFT ** ((stage + 1) / (STAGES - 1)))
            for place in sorted(here, key=lambda place: mass[place])[: len(here) - stay]:
                own[k][place], standing[k][place] = mass[place], False
                with torch.no_grad():
                    one.tonic[place[0]] += (one.weight[place] * one.expected[place[1]]).sum()
                    one.weight[place] = 0.0
    for one, expected in zip(found, own, strict=True):
        assert_allclose(one.own, expected, rtol=1e-3, atol=1e-7)
        assert expected.any()


def test_how_own_is_measured_changes_nothing_of_the_task_itself() -> None:
    ways = {}
    for way in ("at once", "in turn"):
        network = ModularSNN(PLAN)
        learn(network, TASKS[0], TDMCL(own=way), SHORT)  # type: ignore[arg-type]
        ways[way] = {name: value for name, value in network.state_dict().items() if ".own" not in name}
    assert all(torch.equal(value, ways["in turn"][name]) for name, value in ways["at once"].items())


def masses(
    process: LearningTask, layers: Sequence[LocalConv], taken: Sequence[LocalConv], given: Sequence[Tensor]
) -> list[Tensor]:
    """Of kernels of old layers, for the second task, by hand; those inhibited in `taken` are out."""
    x, y = process.school.learned
    sums = [torch.zeros_like(layer.own) for layer in layers]
    for layer, other in zip(layers, taken, strict=True):
        layer.weight.requires_grad_(True)
        layer.q.copy_(other.q)
        layer.tonic.requires_grad_()
    for part in given:
        loss = cross_entropy(process.network(x[part], 1), y[part])
        by_weight = torch.autograd.grad(loss, [layer.weight for layer in layers], retain_graph=True)
        by_current = torch.autograd.grad(loss, [layer.tonic for layer in layers])
        for total, layer, g, c in zip(sums, layers, by_weight, by_current, strict=True):
            varied = g - layer.expected * c[:, None, None, None]  # of those who are not out
            total += (layer.weight.detach() * varied).sum((2, 3)).abs()
    return sums


@pytest.mark.parametrize("way", ["at once", "in turn"])
def test_what_a_later_task_reads_becomes_dearer_by_what_it_needs_of_it(way: Any) -> None:
    """The second task reads the first one's module; the third, without links, none."""
    processes = {}
    for protect in ("every task", "own task"):
        network = ModularSNN(PLAN)
        learn(network, TASKS[0], TDMCL(own=way), SHORT)
        before = [local.layer.own.clone() for local in network.module(0).locals()]
        method = TDMCL(own=way, protect=protect, **STRONG)  # type: ignore[arg-type]
        process = processes[protect] = LearningTask(method, network, TASKS[1], SHORT)
        while process.advance():
            pass
        assert network.needed(1) == [0]
    both, alone = (process.network for process in processes.values())
    for name, value in alone.state_dict().items():  # type: ignore[attr-defined]
        assert ".own" in name or torch.equal(value, both.state_dict()[name])  # type: ignore[attr-defined]
    layers = [local.layer for local in alone.module(0).locals()]
    assert all(torch.equal(layer.own, own) for layer, own in zip(layers, before, strict=True))
    alone.eval()
    taken = copy.deepcopy(layers)
    if way == "in turn":
        in_turn(
            taken, process.school.parts(SHORT.epochs), lambda given: masses(process, layers, taken, given)
        )
        added = [layer.own for layer in taken]
    else:
        added = masses(process, layers, taken, process.school.parts(SHORT.epochs))
    mine = [local.layer.own.clone() for local in both.module(0).locals()]
    for own, old, more in zip(mine, before, added, strict=True):
        assert_allclose(own, old + more, rtol=1e-4, atol=1e-7)
        assert more.any()
    learn(both, TASKS[2], TDMCL(own=way, protect="every task", evolution="none", inhibit=0.0), SHORT)
    assert both.needed(2) == []
    assert all(
        torch.equal(local.layer.own, own) for local, own in zip(both.module(0).locals(), mine, strict=True)
    )


def test_layers_that_a_later_task_does_not_hear_stay_as_dear_as_they_were() -> None:
    """The read-out of the second task keeps no link, so that the last block of the first one's module speaks to nobody."""
    network = ModularSNN(PLAN)
    learn(network, TASKS[0], TDMCL(), SHORT)
    process = LearningTask(
        TDMCL(protect="every task", inhibit=0.0, evolution="all"), network, TASKS[1], SHORT
    )
    process.advance()
    network.keep_links(1, {1: [0]})
    before = [local.layer.own.clone() for local in network.module(0).locals()]
    while process.advance():
        pass
    assert network.needed(1) == [0]
    same = [
        torch.equal(local.layer.own, own)
        for local, own in zip(network.module(0).locals(), before, strict=True)
    ]
    assert same[-1]


def test_another_way_is_refused() -> None:
    with pytest.raises(ValueError, match="own is 'by chance', but must be one of at once, in turn"):
        TDMCL(own="by chance")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="protect is 'nobody', but must be one of own task, every task"):
        TDMCL(protect="nobody")  # type: ignore[arg-type]


def test_who_dies_in_a_later_task_leaves_the_mean_of_what_it_gave_in_its_own() -> None:
    for homeostasis in (True, False):
        network = ModularSNN(PLAN)
        learn(network, TASKS[0], TDMCL(homeostasis=homeostasis), SHORT)
        layers = [local.layer for local in network.module(0).locals()]
        weights = [layer.weight.detach().numpy().copy() for layer in layers]
        assert all(not layer.tonic.any() for layer in layers)  # who died young has been learned without
        learn(network, TASKS[1], TDMCL(homeostasis=homeostasis, **STRONG), SHORT)
        for layer, weight in zip(layers, weights, strict=True):
            died = (weight[:, :, 0, 0] != 0) & ~layer.alive.numpy()
            assert died.any()
            left = np.zeros(len(weight))
            for o, i in zip(*np.nonzero(died), strict=True):
                left[o] += (weight[o, i] * layer.expected[i].numpy()).sum()
            assert_allclose(layer.tonic, left, rtol=1e-4, atol=1e-6)
            assert layer.tonic.any() == homeostasis


def test_what_is_expected_is_the_mean_spike_of_the_tasks_samples() -> None:
    """The middle tap of a kernel sees each place once; LocalConv's own tests tell of the others."""
    network = ModularSNN(PLAN)
    process = LearningTask(TDMCL(inhibit=0.0), network, TASKS[0], SHORT)
    while process.advance():
        pass
    x, _ = process.school.learned
    with torch.no_grad():
        spikes = network.activity(x, 0)[0].spikes[0]
    expected = network.module(0).locals()[0].layer.expected
    assert_allclose(expected[:, 1, 1], spikes.mean((0, 2, 3)), rtol=1e-5)
    assert expected.max() > 0.05
