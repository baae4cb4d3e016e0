"""A network of modules: shapes of every kind of input, links, closure, and a literal twin of its forward pass."""

import copy
import json
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from coppice.models.modular_blocks import Block, Field, ModularPlan, field_of, planes, resampled
from coppice.models.modular_module import TaskModule
from coppice.models.modular_snn import ModularSNN
from coppice.parts.spikes import LIF
from reference.spikes import lif as literal_lif

SMALL = ModularPlan(widths=(3, 4, 5), steps=2)
SHAPES: dict[str, tuple[int, ...]] = {
    "image": (2, 8, 8),
    "vector": (4,),
    "sequence": (12, 3),
    "frames": (2, 2, 8, 6),
}


def grown(*shapes: Sequence[int], plan: ModularPlan = SMALL, seed: int = 0) -> ModularSNN:
    torch.manual_seed(seed)
    network = ModularSNN(plan)
    for number, shape in enumerate(shapes):
        network.grow(f"task {number}", shape, classes=3)
    return network.eval()


def lively(network: ModularSNN) -> ModularSNN:
    """With weights large enough that every block fires."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    return network


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_kind_of_input_gives_logits_and_binary_spikes(shape: tuple[int, ...]) -> None:
    network = lively(grown(shape))
    x = torch.randn(6, *shape)
    spikes, logits = network.activity(x, "task 0")[0]
    assert logits.shape == (6, 3)
    assert len(spikes) == 3
    for block in spikes:
        assert len(block) == 2 * 6
        assert ((block == 0) | (block == 1)).all()
    assert any(block.any() for block in spikes)


def test_fields_shrink_by_half_where_there_is_room() -> None:
    image, vector, sequence = (grown(SHAPES[kind]).module(0) for kind in ("image", "vector", "sequence"))
    assert [block.after for block in blocks(image)] == [Field(3, 4, 4), Field(4, 2, 2), Field(5, 2, 2)]
    assert [block.after for block in blocks(vector)] == [Field(3, 1, 1), Field(4, 1, 1), Field(5, 1, 1)]
    assert [block.after for block in blocks(sequence)] == [Field(3, 6, 1), Field(4, 3, 1), Field(5, 3, 1)]
    assert image.block(0).first.local.kernel_size == (3, 3)
    assert vector.block(0).first.local.kernel_size == (1, 1)
    assert sequence.block(0).first.local.kernel_size == (3, 1)


def blocks(module: TaskModule) -> list[Block]:
    return [module.block(number) for number in range(len(module.blocks))]


def fired(current: Tensor, neuron: LIF) -> Tensor:
    """One neuron at a time."""
    flat = current.detach().flatten(1).T.tolist()
    spikes = [literal_lif(row, 0.0, neuron.tau, neuron.threshold, neuron.reset)[1] for row in flat]
    return torch.tensor(spikes, dtype=current.dtype).T.reshape(current.shape)


def literal(network: ModularSNN, x: Tensor, task: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The equations at the head of the file, step by step, for images of one shape and LIF of the defaults."""
    module, steps, plan = network.module(task), network.plan.steps, network.plan
    assert plan.neuron is not None
    others = {k: literal(network, x, k)[0] for modules in module.wiring().values() for k in modules}
    before: list[Tensor] = [x] * steps
    found = []
    for number, block in enumerate(blocks(module)):
        currents = []
        for n in range(steps):
            current = nn.functional.conv2d(before[n], block.first.local.weight, padding=1)
            for k in module.wiring().get(number, []):
                far = torch.from_numpy(others[k][number - 1][n])
                current = current + nn.functional.conv2d(
                    far, cast(nn.Conv2d, module.links[f"{number}_{k}"]).weight
                )
            currents.append(block.first.norm(current))
        spikes = fired(torch.stack(currents), plan.neuron)
        before = [nn.functional.max_pool2d(s, block.pool) for s in spikes]
        found.append(np.stack([s.numpy() for s in before]))
    logits = module.head(torch.from_numpy(found[-1]).mean((0, 3, 4)))
    for k in module.wiring().get(len(module.blocks), []):
        logits = logits + module.links[f"{len(module.blocks)}_{k}"](
            torch.from_numpy(others[k][-1]).mean((0, 3, 4))
        )
    return found, logits.detach().numpy()


def test_forward_is_what_its_equations_say() -> None:
    shape = SHAPES["image"]
    network = lively(grown(shape, shape, shape)).double()
    x = torch.randn(4, *shape, dtype=torch.float64)
    spikes, logits = network.activity(x, 2)[2]
    expected, expected_logits = literal(network, x, 2)
    for ours, theirs in zip(spikes, expected, strict=True):
        assert np.array_equal(ours.detach().unflatten(0, (2, 4)).numpy(), theirs)
        assert theirs.any()
    np.testing.assert_allclose(logits.detach().numpy(), expected_logits, rtol=1e-9)


def test_an_input_that_stands_still_is_the_same_frame_again_and_again() -> None:
    network = lively(grown(SHAPES["image"])).double()
    x = torch.randn(5, *SHAPES["image"], dtype=torch.float64)
    frames = copy.deepcopy(network)
    frames.module(0).shape = (2, *SHAPES["image"])
    assert torch.equal(network(x, 0), frames(x[:, None].repeat(1, 2, 1, 1, 1), 0))


def test_links_are_grown_to_all_earlier_modules_and_kept_by_name() -> None:
    shape = SHAPES["image"]
    network = grown(shape, shape, shape)
    assert network.module(2).wiring() == {1: [0, 1], 2: [0, 1], 3: [0, 1]}
    network.keep_links("task 2", {2: [1]})
    assert network.module(2).wiring() == {2: [1]}
    assert network.needed(2) == [0, 1]  # module 1 itself reads module 0
    network.keep_links("task 1", {})
    assert network.needed(2) == [1]


def test_what_is_needed_is_found_in_one_pass_however_many_modules_read_each_other() -> None:
    """Every module reads all earlier ones: paths double with each task."""
    network = grown(*[(4,)] * 24, plan=ModularPlan(widths=(2,), steps=1))
    asked = []
    network.module = lambda task, find=network.module: asked.append(task) or find(task)  # type: ignore[method-assign]
    assert network.needed(23) == [*range(23)]
    assert len(asked) == 24
    assert network.needed(23, known=range(20, 23)) == [*range(23)]
    assert network.needed(23, links={1: [5]}, known=[5]) == [5]
    assert network.needed(23, links={1: [5]}) == [0, 1, 2, 3, 4, 5]


def test_a_module_grows_as_those_before_it() -> None:
    network = grown(SHAPES["image"]).double()
    network.grow("next", SHAPES["image"], classes=3)
    assert network.eval()(torch.randn(2, *SHAPES["image"], dtype=torch.float64), 1).dtype == torch.float64
    structure, x = network.structure(), torch.randn(2, *SHAPES["image"], dtype=torch.float64)
    network.rebuild(structure)
    assert network.eval()(x, 1).dtype == torch.float64


def test_only_the_links_in_use_are_heard() -> None:
    shape = SHAPES["image"]
    network = lively(grown(shape, shape, shape))
    x = torch.randn(3, *shape)
    some = network(x, 2, links={1: [0], 3: [1]})
    assert not torch.equal(some, network(x, 2))
    network.keep_links(2, {1: [0], 3: [1]})
    assert torch.equal(some, network(x, 2))
    assert torch.equal(network(x, 2, links={}), network.activity(x, 2, links={})[2].logits)
    assert set(network.activity(x, 2, links={})) == {2}


@pytest.mark.parametrize("first", SHAPES)
@pytest.mark.parametrize("second", ["image", "vector", "sequence"])
def test_a_module_listens_to_one_that_grew_for_inputs_of_another_shape(first: str, second: str) -> None:
    network = lively(grown(SHAPES[first], SHAPES[second], SHAPES[first]))
    x = torch.randn(4, *SHAPES[second])
    logits = network(x, 1)
    assert logits.shape == (4, 3)
    senses = set(network.module(1).senses)
    assert senses == (set() if field_of(SHAPES[first]) == field_of(SHAPES[second]) else {"0"})
    network.train()
    network(torch.randn(4, *SHAPES[first]), 2).sum().backward()
    for parameter in network.module(2).parameters():
        assert parameter.grad is not None


def test_senses_go_with_the_last_link_that_needs_them() -> None:
    network = grown(SHAPES["image"], SHAPES["vector"])
    assert set(network.module(1).senses) == {"0"}
    network.keep_links(1, {1: [0]})
    assert set(network.module(1).senses) == {"0"}
    network.keep_links(1, {})
    assert not network.module(1).senses


def test_only_the_youngest_module_trains() -> None:
    network = grown(SHAPES["image"], SHAPES["image"])
    network.train()
    assert network.training
    assert not network.module(0).training
    assert network.module(1).training
    before = copy.deepcopy(network.module(0).state_dict())
    network(torch.randn(8, *SHAPES["image"]), 1)
    for name, value in network.module(0).state_dict().items():
        assert torch.equal(value, before[name])
    network.grow("third", SHAPES["image"], 2)
    assert not network.module(1).training
    assert network.module(2).training


def test_inhibition_fades_kernels() -> None:
    network = lively(grown(SHAPES["image"]))
    x = torch.randn(4, *SHAPES["image"])
    faded = copy.deepcopy(network)
    for block in blocks(faded.module(0)):
        block.first.local.inhibition[:, 0] = 1
    cut = copy.deepcopy(network)
    with torch.no_grad():
        for block in blocks(cut.module(0)):
            block.first.local.weight[:, 0] = 0
    assert torch.equal(faded(x, 0), cut(x, 0))
    assert not torch.equal(faded(x, 0), network(x, 0))


def test_residual_units_keep_spikes_spikes_and_rectified_twins_add() -> None:
    plan = ModularPlan(widths=(3, 4), residual=2, steps=2)
    network = lively(grown(SHAPES["image"], plan=plan))
    for block in network.activity(torch.randn(4, *SHAPES["image"]), 0)[0].spikes:
        assert ((block == 0) | (block == 1)).all()
    twin = lively(grown(SHAPES["image"], plan=ModularPlan(widths=(3, 4), residual=1, steps=1, neuron=None)))
    first = twin.module(0).block(0)
    x = torch.randn(4, *SHAPES["image"])
    rectified = first.first(x, None, True)
    assert torch.equal(
        first(x, None, True), nn.functional.max_pool2d(rectified + first.residual[0](rectified), 2)
    )


def test_nothing_of_a_pass_is_kept() -> None:
    network = lively(grown(SHAPES["image"], SHAPES["image"]))
    x = torch.randn(4, *SHAPES["image"])
    keys = set(network.state_dict())
    once = network(x, 1)
    assert torch.equal(once, network(x, 1))
    assert set(network.state_dict()) == keys
    assert not any("membrane" in key or "state" in key for key in keys)


@pytest.mark.parametrize(
    ("before", "size"),
    [((4, 4), (2, 2)), ((2, 2), (4, 4)), ((4, 1), (2, 3)), ((1, 1), (4, 4)), ((5, 7), (3, 2))],
)
def test_resampling_keeps_spikes_spikes_and_loses_none_of_a_pile(
    before: tuple[int, int], size: tuple[int, int]
) -> None:
    x = (torch.rand(3, 2, *before) > 0.7).float()
    y = resampled(x, *size)
    assert y.shape == (3, 2, *size)
    assert ((y == 0) | (y == 1)).all()
    assert torch.equal(x.flatten(2).amax(2), y.flatten(2).amax(2))


def test_a_network_rebuilt_from_its_structure_takes_its_weights() -> None:
    network = lively(grown(SHAPES["image"], SHAPES["vector"], SHAPES["image"]))
    network.grow("narrow", SHAPES["image"], 4, width=0.4)
    network.keep_links(2, {1: [0], 3: [1]})
    network.keep_links(1, {})
    other = grown(SHAPES["frames"], seed=1)
    other.rebuild(json.loads(json.dumps(network.structure())))
    other.load_state_dict(network.state_dict())
    assert other.structure() == network.structure()
    x = torch.randn(3, *SHAPES["image"])
    for task in ("task 2", "narrow"):
        assert torch.equal(other.eval()(x, task), network.eval()(x, task))


def test_a_sketch_counts_what_would_grow() -> None:
    network = grown(SHAPES["image"])
    sketch = network.sketch(SHAPES["vector"], 3, width=0.5)
    assert all(p.is_meta for p in sketch.parameters())
    real = network.grow("real", SHAPES["vector"], 3, width=0.5)
    assert [(n, p.shape) for n, p in sketch.named_parameters()] == [
        (n, p.shape) for n, p in real.named_parameters()
    ]


def test_a_module_inherits_the_blocks_that_fit_and_neither_deaths_nor_inhibition() -> None:
    network = lively(grown(SHAPES["image"], (1, 8, 8)))
    first, second = network.module(0), network.module(1)
    local = first.block(1).first.local
    local.prune(torch.eye(4, 3, dtype=torch.bool))
    local.inhibition.fill_(0.5)
    local.own.fill_(2)
    assert second.inherit(first) == [1, 2]  # another number of input channels: the first block does not fit
    mine = second.block(1).first.local
    assert torch.equal(mine.weight, local.weight)
    assert mine.alive.all()
    assert not mine.inhibition.any()
    assert not mine.own.any()
    assert torch.equal(second.block(2).first.norm.running_var, first.block(2).first.norm.running_var)


def test_local_synapses_are_listed_without_those_that_read_the_input() -> None:
    network = grown(SHAPES["image"], plan=ModularPlan(widths=(3, 4), residual=1, steps=2))
    found = network.module(0).locals()
    assert [(local.name, local.block, local.read) for local in found] == [
        ("blocks.0.residual.0.0.local", 0, False),
        ("blocks.0.residual.0.1.local", 0, True),
        ("blocks.1.first.local", 1, True),
        ("blocks.1.residual.0.0.local", 1, False),
        ("blocks.1.residual.0.1.local", 1, True),
    ]
    for local in found:
        assert network.module(0).get_submodule(local.name) is local.layer


def test_what_cannot_be_meant_is_refused() -> None:
    network = grown(SHAPES["image"])
    with pytest.raises(ValueError, match="there is a task 'task 0' already"):
        network.grow("task 0", (4,), 3)
    with pytest.raises(ValueError, match="has 1 classes"):
        network.grow("new", (4,), 1)
    with pytest.raises(ValueError, match="has 5 frames a sample, but the network takes 2"):
        network.grow("new", (5, 2, 8, 8), 3)
    with pytest.raises(ValueError, match=r"shape \[2, 0, 8\]"):
        network.grow("new", (2, 0, 8), 3)
    with pytest.raises(ValueError, match=r"width is 0"):
        network.grow("new", (4,), 3, width=0.0)
    assert network.names == ["task 0"]
    with pytest.raises(ValueError, match="there is no task 'flying': there are task 0"):
        network(torch.zeros(1, *SHAPES["image"]), "flying")
    with pytest.raises(ValueError, match=r"the samples have shape \[2, 8, 7\]"):
        network(torch.zeros(1, 2, 8, 7), 0)
    for wrong in (
        {"widths": ()},
        {"widths": (0,)},
        {"steps": 0},
        {"residual": -1},
        {"neuron": None, "steps": 4},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong)) if len(wrong) == 1 else "steps is 4"):
            ModularPlan(**wrong)


def test_sequences_are_laid_along_the_height() -> None:
    x = torch.arange(24.0).reshape(2, 4, 3)
    assert torch.equal(planes(x, (4, 3))[..., 0], x.transpose(1, 2))
    assert field_of((4, 3)) == Field(3, 4, 1)


def test_a_wider_leak_fires_less() -> None:
    """The neuron of the plan is the one at work."""
    x = torch.randn(4, *SHAPES["image"])
    rates = []
    for tau in (1.5, 8.0):
        network = lively(grown(SHAPES["image"], plan=ModularPlan(widths=(8,), steps=2, neuron=LIF(tau=tau))))
        rates.append(float(network.activity(x, 0)[0].spikes[0].detach().mean()))
    assert rates[0] > rates[1]
