"""Exported networks: who is cut out, by hand; the same spikes over many random masked networks; files."""

import copy
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from coppice.models.modular_blocks import ModularPlan, Unit
from coppice.models.modular_compact import CompactSNN
from coppice.models.modular_export import export
from coppice.models.modular_snn import ModularSNN
from coppice.parts.blueprint import save_model
from coppice.parts.spikes import LIF
from coppice.parts.synaptic_operations import measure

IMAGE, VECTOR, FRAMES = (2, 8, 8), (5,), (2, 2, 8, 6)
PLAN = ModularPlan(widths=(4, 6, 5), steps=2)


def units(network: ModularSNN) -> list[Unit]:
    return [module for module in network.modules() if isinstance(module, Unit)]


def grown(
    *shapes: tuple[int, ...], plan: ModularPlan = PLAN, seed: int = 0, dtype=torch.float32
) -> ModularSNN:
    """Lively: its weights and samples are whole numbers of 1/64, so that sums are exact in any order."""
    torch.manual_seed(seed)
    network = ModularSNN(plan)
    for number, shape in enumerate(shapes):
        network.grow(f"task {number}", shape, classes=3)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.copy_((3 * parameter * 64).round() / 64)
        for unit in units(network):
            unit.norm.running_mean.normal_(0, 0.1)
            unit.norm.running_var.uniform_(0.5, 1.5)
            unit.norm.weight.uniform_(0.5, 1.5)
            unit.norm.bias.normal_(0.3, 0.3)
    return network.to(dtype).eval()


def shrunken(network: ModularSNN, seed: int, density: float) -> ModularSNN:
    """Kernels dead at random and by whole inputs and outputs, some inhibited, links chosen at random; means made up for."""
    chance = torch.Generator().manual_seed(seed)
    for number in range(len(network.names)):
        module = network.module(number)
        for local in module.locals():
            alive = torch.rand(local.layer.own.shape, generator=chance) < density
            alive &= torch.rand(alive.shape[0], 1, generator=chance) < 0.8
            alive &= torch.rand(1, alive.shape[1], generator=chance) < 0.8
            expected = local.layer.expected
            expected.copy_(torch.randint(0, 3, expected.shape, generator=chance) / 4)
            local.layer.prune(~alive)
            local.layer.q.copy_(torch.randint(0, 5, alive.shape, generator=chance) / 4)
        keep = {
            block: [k for k in sources if torch.rand(1, generator=chance) < 0.6]
            for block, sources in module.wiring().items()
        }
        network.keep_links(number, keep)
    return network


def samples(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.randint(-64, 64, (5, *shape), generator=chance) / 16


def compare(network: ModularSNN, compact: CompactSNN, x: Tensor, task: int) -> int:
    """Spikes equal to the bit, channel by channel; how many channels were compared."""
    with torch.no_grad():
        expected, found = network.activity(x, task), compact.activity(x, task)
    assert set(found) <= set(expected)
    count = 0
    for number, activity in found.items():
        for b, spikes in enumerate(activity.spikes):
            kept = list(compact.module(number).block(b).kept)
            assert torch.equal(spikes, expected[number].spikes[b][:, kept])
            count += len(kept)
    assert len(found[task].spikes) == len(expected[task].spikes)
    torch.testing.assert_close(found[task].logits, expected[task].logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(compact(x, task), found[task].logits)
    return count


PLANS = {
    "spikes": PLAN,
    "residual": ModularPlan(widths=(4, 5), residual=1, steps=2),
    "soft reset": ModularPlan(widths=(3, 4), steps=3, neuron=LIF(tau=3.0, reset="soft")),
    "rectified": ModularPlan(widths=(4, 5), steps=1, neuron=None, residual=2),
}


def sweep(plan: ModularPlan, seeds: range, density: float) -> None:
    dtype = torch.float64 if plan.neuron is None else torch.float32  # sums of what is no spike are not exact
    for seed in seeds:
        network = shrunken(grown(IMAGE, IMAGE, IMAGE, plan=plan, seed=seed, dtype=dtype), seed, density)
        x = samples(IMAGE, seed).to(dtype)
        for tasks in (None, [0, 2]):
            compact = export(network, tasks)
            for task in tasks or range(3):
                if plan.neuron is None:
                    torch.testing.assert_close(compact(x, task), network(x, task))
                else:
                    assert compare(network, compact, x, task)
            sizes = [sum(p.numel() for p in model.parameters()) for model in (network, compact)]
            assert sizes[1] < sizes[0]


@pytest.mark.parametrize(("seed", "density"), [(0, 0.2), pytest.param(1, 0.6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_spikes_are_equal_in_random_networks(plan: ModularPlan, seed: int, density: float) -> None:
    sweep(plan, range(seed, seed + 1), density)


@pytest.mark.slow
@pytest.mark.parametrize("density", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_spikes_are_equal_in_many_random_networks(plan: ModularPlan, density: float) -> None:
    sweep(plan, range(100, 110), density)


@pytest.mark.parametrize("first", [IMAGE, VECTOR, FRAMES], ids=str)
@pytest.mark.parametrize("second", [IMAGE, VECTOR], ids=str)
def test_inputs_of_every_shape(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    network = shrunken(grown(first, second, first, dtype=torch.float64), 0, 0.4)
    compact = export(network)
    for task, shape in enumerate((first, second, first)):
        compare(network, compact, samples(shape).double(), task)


def locals_of(network: ModularSNN, task: int = 0) -> list[nn.Conv2d]:
    return [network.module(task).block(b).first.local for b in range(3)]


def still(network: ModularSNN, task: int, block: int, bias: float = -1.0) -> None:
    norm = network.module(task).block(block).first.norm
    norm.running_mean.zero_()
    with torch.no_grad():
        norm.bias.fill_(bias)


def kept(compact: CompactSNN, number: int = 0) -> list[list[int]]:
    return [list(compact.module(number).block(b).kept) for b in range(len(compact.module(number).blocks))]


def test_channels_that_nobody_reads_go_and_take_along_who_only_they_read() -> None:
    network = grown(IMAGE)
    _, second, third = locals_of(network)
    with torch.no_grad():
        third.weight[:, 2] = 0  # nobody reads channel 2 of the second block
        second.weight[:, 1] = 0
        second.weight[2, 1] = 1  # who alone read channel 1 of the first
    assert kept(export(network)) == [[0, 2, 3], [0, 1, 3, 4, 5], [0, 1, 2, 3, 4]]
    compare(network, export(network), samples(IMAGE), 0)


def test_channels_without_synapses_go_if_they_are_silent() -> None:
    network = grown(IMAGE)
    still(network, 0, 1)
    with torch.no_grad():
        locals_of(network)[1].weight[[1, 4]] = 0
    assert kept(export(network))[1] == [0, 2, 3, 5]
    compare(network, export(network), samples(IMAGE), 0)
    with torch.no_grad():  # LIF of a constant 0.4: never reaches 0.5; of 1.2: at every step
        network.module(0).block(1).first.norm.bias[1] = 0.4
        network.module(0).block(1).first.norm.bias[4] = 1.2
    assert kept(export(network))[1] == [0, 2, 3, 4, 5]
    compare(network, export(network), samples(IMAGE), 0)


def test_a_channel_whose_dead_left_it_enough_current_fires_on() -> None:
    network = grown(IMAGE)
    still(network, 0, 1)
    layer = locals_of(network)[1]
    with torch.no_grad():
        layer.weight[[1, 4]] = 1.0
    layer.expect(torch.full((4, 2, 2), 0.1))
    doomed = torch.zeros(6, 4, dtype=torch.bool)
    doomed[[1, 4]] = True
    layer.prune(doomed)
    network.module(0).block(1).first.norm.weight.data[4] = 0.0  # deaf to any current
    assert layer.tonic[1] > 1
    assert kept(export(network))[1] == [0, 1, 2, 3, 5]
    compare(network, export(network), samples(IMAGE), 0)


@pytest.mark.parametrize(("steps", "bias", "fires"), [(4, 0.55, True), (3, 0.55, False), (4, 0.53, False)])
def test_a_slow_neuron_may_fire_late_of_itself(steps: int, bias: float, fires: bool) -> None:
    network = grown(IMAGE, plan=ModularPlan(widths=(4, 6, 5), steps=steps))
    still(network, 0, 1)
    with torch.no_grad():
        locals_of(network)[1].weight[1] = 0
        network.module(0).block(1).first.norm.bias[1] = bias  # 0.55 (1 - 2^-4) = 0.516, (1 - 2^-3): 0.481
    assert (1 in kept(export(network))[1]) == fires
    compare(network, export(network), samples(IMAGE), 0)


def test_what_links_and_heads_read_stays() -> None:
    network = grown(IMAGE, IMAGE)
    network.keep_links(1, {1: [0]})
    with torch.no_grad():
        locals_of(network)[1].weight[:, 3] = 0
        network.module(1).synapses_from(1, 0)[:, :3] = 0
    whole, first, second = export(network), export(network, [0]), export(network, ["task 1"])
    assert kept(whole)[0] == [0, 1, 2, 3]
    assert whole.module(0).block(1).first.local.in_channels == 3
    assert kept(first)[0] == [0, 1, 2]
    assert first.numbers == [0]
    assert kept(second) == [[3]]  # of module 0 one channel of one block
    assert second.module(0).head is None
    for compact, tasks in ((whole, (0, 1)), (first, (0,)), (second, (1,))):
        for task in tasks:
            compare(network, compact, samples(IMAGE), task)


def test_those_read_by_the_next_block_come_first() -> None:
    network = grown(IMAGE, IMAGE)
    network.keep_links(1, {1: [0]})
    with torch.no_grad():
        locals_of(network)[1].weight[:, [0, 2]] = 0
    assert kept(export(network))[0] == [1, 3, 0, 2]
    compare(network, export(network), samples(IMAGE), 1)


def test_modules_that_no_task_reads_go() -> None:
    network = grown(IMAGE, IMAGE, IMAGE)
    network.keep_links(1, {})
    network.keep_links(2, {3: [1]})
    assert export(network, [2]).numbers == [1, 2]
    assert export(network, [0]).numbers == [0]
    network.module(2).synapses_from(3, 1).data.zero_()
    assert export(network, [2]).numbers == [2]
    compare(network, export(network, [2]), samples(IMAGE), 2)


def test_blocks_in_which_all_is_dead_go_on_as_they_did() -> None:
    for dead, bias in ((0, -1.0), (1, -1.0), (1, 1.0), (2, -1.0)):
        network = grown(IMAGE, IMAGE)
        still(network, 0, dead, bias)
        with torch.no_grad():
            locals_of(network)[dead].weight.zero_()
        for task in (0, 1):
            compare(network, export(network), samples(IMAGE), task)


def test_inhibition_becomes_part_of_the_weights() -> None:
    network = grown(IMAGE)
    network.module(0).locals()[0].layer.expected.fill_(0.25)
    network.module(0).locals()[0].layer.q[:, 1] = 1
    network.module(0).locals()[0].layer.q[:, 0] = 0.5
    assert 1 not in kept(export(network))[0]
    compare(network, export(network), samples(IMAGE), 0)


def test_files_are_smaller_and_come_back_bit_for_bit(tmp_path: Path) -> None:
    plan = ModularPlan(widths=(16, 24), steps=2)
    network = shrunken(grown(IMAGE, VECTOR, plan=plan), 0, 0.5)
    compact = export(network)
    compact.save(tmp_path / "compact.safetensors")
    save_model(network, tmp_path / "masked.safetensors")
    sizes = {name: (tmp_path / f"{name}.safetensors").stat().st_size for name in ("compact", "masked")}
    assert sizes["compact"] < 0.9 * sizes["masked"]
    before = torch.get_rng_state()
    loaded = CompactSNN.load(tmp_path / "compact.safetensors")
    assert torch.equal(before, torch.get_rng_state())
    assert loaded.names == compact.names
    assert loaded.structure == compact.structure
    for name, value in compact.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    for task, shape in ((0, IMAGE), ("task 1", VECTOR)):
        assert torch.equal(loaded(samples(shape), task), compact(samples(shape), task))
    double = export(network.double())
    double.save(tmp_path / "double.safetensors")
    back = CompactSNN.load(tmp_path / "double.safetensors")
    assert torch.equal(back(samples(IMAGE).double(), 0), double(samples(IMAGE).double(), 0))


def test_the_network_stays_as_it_is() -> None:
    network = shrunken(grown(IMAGE, IMAGE), 0, 0.5).train()
    state, modes = copy.deepcopy(network.state_dict()), [m.training for m in network.modules()]
    random = torch.get_rng_state()
    compact = export(network)
    with torch.no_grad():
        for parameter in compact.parameters():
            parameter.zero_()
    assert [m.training for m in network.modules()] == modes
    assert torch.equal(random, torch.get_rng_state())
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])


def test_costs_are_counted_as_of_any_network() -> None:
    network = grown(IMAGE)
    x = samples(IMAGE)
    whole = measure(network, x, call=lambda x: network(x, 0))
    for local in network.module(0).locals():
        local.layer.prune(torch.rand(local.layer.own.shape) < 0.5)
    compact = export(network)
    cut = measure(compact, x, call=lambda x: compact(x, 0))
    assert cut.spiking
    assert cut.effective_acs < 0.8 * whole.effective_acs
    masked = measure(network, x, call=lambda x: network(x, 0))
    assert (
        cut.effective_acs == masked.effective_acs
    )  # of dead and unread channels nothing was counted, or it would be less


def test_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    network = grown(IMAGE, IMAGE)
    with pytest.raises(ValueError, match="no task 'third'"):
        export(network, ["third"])
    with pytest.raises(ValueError, match="must be a list"):
        export(network, "task 1")
    with pytest.raises(ValueError, match="no task to export"):
        export(network, [])
    with pytest.raises(ValueError, match="no task to export"):
        export(ModularSNN(PLAN))
    compact = export(network, [1])
    with pytest.raises(ValueError, match="task 0 was not exported: there are task 1"):
        compact(samples(IMAGE), 0)
    with pytest.raises(ValueError, match="'task 0' was not exported"):
        compact(samples(IMAGE), "task 0")
    with pytest.raises(ValueError, match="the samples have shape"):
        compact(samples(VECTOR), 1)
    with pytest.raises(RuntimeError, match="cannot be trained"):
        compact.train()
    assert not compact.eval().training
    assert not compact(samples(IMAGE).requires_grad_(), 1).requires_grad
    save_model(nn.Sequential(nn.Linear(2, 2)), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no exported spiking network"):
        CompactSNN.load(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError):
        CompactSNN.load(tmp_path / "missing.safetensors")
    network.module(0).locals()[0].layer.prune(torch.ones(6, 4, dtype=torch.bool))
    with torch.no_grad():
        cast(nn.Parameter, network.module(0).locals()[0].layer.weight)[0, 0, 0, 0] = 1.0
    with pytest.raises(RuntimeError, match="dead synapses"):
        export(network)
