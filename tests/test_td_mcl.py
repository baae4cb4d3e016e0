"""TD-MCL on three tiny tasks: what must hold whatever is learned, resumption to the bit, and twins of its sums."""

import copy
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from coppice.data.splits import Split
from coppice.data.tasks import TaskData
from coppice.methods.td_mcl import LearningTask, learn
from coppice.methods.td_mcl_growth import fitting_width, predecessor, settled_size, surplus_kernels
from coppice.methods.td_mcl_inhibition import Inhibition, feedback_by_layer, old_layers
from coppice.methods.td_mcl_network import accuracy_of, loss_of, synapses
from coppice.methods.td_mcl_options import EVOLUTIONS, TDMCL, WORTHS, Schooling
from coppice.methods.td_mcl_wiring import Evolution
from coppice.models.modular_blocks import ModularPlan
from coppice.models.modular_snn import ModularSNN
from coppice.parts import storage
from coppice.parts.feedback import call, condemned, feedback, traces, worth
from coppice.parts.masks import Masks
from trees import tensors

SHAPE = (2, 6, 6)
MARK = 0.48828125  # exact in float32; stands in every sample and, as a weight, nowhere
PLAN = ModularPlan(widths=(4, 6), steps=2)
SHORT = Schooling(epochs=4, batch=20, learning_rate=0.1)
# enough of it that old kernels do die in so small a network
STRONG = {"inhibit": 0.3, "cap": 0.5, "own_budget": 0.6, "expected_tasks": 3}
SPARING = {"refine": 1.0, "inhibit": 0.0}


def task(name: str, seed: int, like: int | None = None, samples: int = 60) -> TaskData:
    """Three classes of noisy patterns; `like`: the patterns of another seed."""
    patterns = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(seed if like is None else like))
    chance = torch.Generator().manual_seed(100 + seed)

    def split(size: int) -> Split:
        y = torch.arange(size) % 3
        x = patterns[y] + 0.5 * torch.randn(size, *SHAPE, generator=chance)
        x[:, 0, 0, 0] = MARK
        return Split(x, y)

    return TaskData(name, split(samples), split(30), split(30), ("a", "b", "c"))


TASKS = [task("see", 1), task("move", 2), task("meet", 3)]


def learned(method: TDMCL, count: int, schooling: Schooling = SHORT) -> ModularSNN:
    network = ModularSNN(PLAN)
    for one in TASKS[:count]:
        learn(network, one, method, schooling)
    return network


@pytest.fixture(scope="module")
def two() -> ModularSNN:
    """A network that has learned two tasks; to be copied."""
    return learned(TDMCL(**STRONG), 2)


def epochs_of(process: LearningTask) -> Iterator[int]:
    while process.advance():
        yield process.epoch


def assert_same(one: LearningTask, other: LearningTask) -> None:
    assert one.summary() == other.summary()
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_three_tasks_are_learned_and_told_of_in_json() -> None:
    network = ModularSNN(PLAN)
    for number, one in enumerate(TASKS):
        summary = learn(network, one, TDMCL(), SHORT)
        assert json.loads(json.dumps(summary)) == summary
        assert (summary["number"], len(summary["curve"])) == (number, 4)
        assert summary["synapses"] == synapses(network) == int(network.module(number).total)
        assert summary["validation"] == accuracy_of(network, number, *one.validation, 7)
    assert not any(layer.inhibition.any() for _, _, layer in old_layers(network, 3))
    with pytest.raises(ValueError, match="there is a task 'see' already"):
        learn(network, TASKS[0], TDMCL(), SHORT)


def test_a_task_is_learned_well_with_half_of_the_kernels() -> None:
    network = ModularSNN(ModularPlan(widths=(8, 16), steps=2))
    learn(network, TASKS[0], TDMCL(refine=0.5), Schooling(epochs=6, batch=10))
    assert int(network.module(0).locals()[0].layer.alive.sum()) == 64
    assert accuracy_of(network, 0, *TASKS[0].test, 50) >= 0.8


@pytest.mark.parametrize("evolution", ["overgrow", "logits"])
def test_isolated_and_unpruned_old_tasks_give_the_same_bits(evolution: Any) -> None:
    method = TDMCL(evolution=evolution, **SPARING)
    network = learned(method, 1)
    x = TASKS[0].test.x
    before = network.eval()(x, "see")
    for one in TASKS[1:]:
        learn(network, one, method, SHORT)
    assert torch.equal(network.eval()(x, "see"), before)


@pytest.mark.parametrize("bound", ["kernels", "mass"])
@pytest.mark.parametrize("inhibition", ["rank", "survival"])
def test_old_kernels_fade_and_die_within_both_bounds(two: ModularSNN, inhibition: Any, bound: str) -> None:
    settings = STRONG if bound == "kernels" else {**STRONG, "inhibit": 0.9, "cap": 0.9, "own_budget": 0.2}
    network, method = copy.deepcopy(two), TDMCL(inhibition=inhibition, **settings)
    before = {old.key: old.layer.alive for old in old_layers(network, 2)}
    spent = {old.key: dead_mass(old.layer) for old in old_layers(network, 2)}
    process = LearningTask(method, network, TASKS[2], Schooling(epochs=12, batch=60))
    seen, last = [], before
    for epoch in epochs_of(process):
        for key, _, layer in old_layers(network, 2):
            assert not (layer.alive & ~last[key]).any()
            assert ((layer.q >= 0) & (layer.q <= 1)).all()
            assert not layer.q[~layer.alive].any() or epoch < 12
            own = float(layer.own.double().sum())
            faded = float((layer.q.double() * layer.own * layer.alive).sum())
            assert dead_mass(layer) - spent[key] + faded <= method.task_budget * own * (1 + 1e-6)
            assert dead_mass(layer) <= method.own_budget * own * (1 + 1e-6)
            most = method.inhibit if inhibition == "rank" else method.cap
            gone = int((before[key] & ~layer.alive).sum()) + int((layer.q[layer.alive] > 0).sum())
            assert gone <= most * int(before[key].sum())
        last = {old.key: old.layer.alive for old in old_layers(network, 2)}
        seen.append(max(float(old.layer.q.max()) for old in old_layers(network, 2)))
    assert sum(process.summary()["died_in_old"].values()) > 0
    assert sum(process.summary()["died_in_old"].values()) == sum(
        int((before[key] & ~last[key]).sum()) for key in before
    )
    assert any(0 < q < 1 for q in seen)
    assert seen[-1] == 0
    Masks(network).check()


def dead_mass(layer: Any) -> float:
    return float(layer.own.double()[~layer.alive].sum())


@pytest.mark.parametrize("bound", ["kernels", "mass"])
def test_what_a_task_has_taken_counts_against_both_bounds(two: ModularSNN, bound: str) -> None:
    network = copy.deepcopy(two)
    share, budget = (0.5, 1.0) if bound == "kernels" else (0.9, 0.4)
    method = TDMCL(inhibit=share, cap=share, own_budget=budget, expected_tasks=2)
    inhibition = Inhibition(method, network, 2)
    before = inhibition.forecast()
    layer = network.module(1).locals()[0].layer
    most, mass = int(share * int(layer.alive.sum())), float(layer.own.double().sum())
    doomed = condemned(layer.own, layer.own, layer.alive, most, budget * mass)
    assert (int(doomed.sum()) == most) == (bound == "kernels")
    assert layer.prune(doomed) == int(doomed.sum()) > 1
    assert inhibition.forecast() == before - int(doomed.sum()) * layer.taps


@pytest.mark.parametrize("measure", WORTHS)
def test_old_kernels_die_in_the_order_of_the_measure_and_as_many_by_each(
    two: ModularSNN, measure: Any
) -> None:
    network = copy.deepcopy(two)
    torch.manual_seed(0)
    network.grow("meet", SHAPE, 3)
    x, share = TASKS[2].train.x[:20], 0.3
    method = TDMCL(worth=measure, inhibit=share, cap=share, own_budget=1.0, expected_tasks=2)
    inhibition = Inhibition(method, network, 2)
    fed = feedback_by_layer(network, 2, x, 7)
    inhibition.condemn(x, 7, torch.Generator().manual_seed(5))
    chance = torch.Generator().manual_seed(5)
    for old in old_layers(network, 2):
        layer = old.layer
        asked = [int(kernel) for kernel in layer.alive.flatten().nonzero()]
        value = {
            "gated": worth(layer.own, fed[old.key], layer.alive, method.kappa),
            "own": layer.own,
            "feedback": fed[old.key],
            "magnitude": layer.weight.detach().abs().sum((2, 3)),
            "random": torch.rand(layer.own.shape, generator=chance),
        }[measure].flatten()
        asked.sort(key=lambda kernel: float(value[kernel]))
        chosen = asked[: int(share * len(asked))]
        assert sorted(chosen) == [int(kernel) for kernel in layer.q.flatten().nonzero()]
        assert chosen


def test_inhibition_by_rank_rises_to_1_with_the_last_step(
    two: ModularSNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = []
    ramp = Inhibition.ramp
    monkeypatch.setattr(Inhibition, "ramp", lambda self, level: (levels.append(level), ramp(self, level)))
    process = LearningTask(TDMCL(**STRONG, inhibit_start=0.5), copy.deepcopy(two), TASKS[2], SHORT)
    inhibited = [process.curve[-1]["inhibited"] for _ in epochs_of(process)]
    assert levels == pytest.approx([step / 6 for step in range(1, 7)])  # two epochs of three batches
    assert [count > 0 for count in inhibited] == [False, False, True, False]


def test_refinement_leaves_the_density_asked_for_and_the_dead_dead() -> None:
    network = ModularSNN(PLAN)
    process = LearningTask(TDMCL(refine=0.4, refine_start=0.35, refine_end=0.75), network, TASKS[0], SHORT)
    layer, counts = None, []
    for _ in epochs_of(process):
        layer = network.module(0).locals()[0].layer
        counts.append(int(layer.alive.sum()))
        assert (layer.weight.flatten(2).any(2) == layer.alive).all()
    # 24 kernels; sparsity 0.6 * cubic(0, 3/8, 1, 1)
    assert counts == [24, 24 - round(24 * 0.6 * (1 - (5 / 8) ** 3)), 10, 10]
    assert layer is not None
    assert not layer.own[~layer.alive].any()
    assert not layer.inhibition.any()
    assert process.curve[-1]["kernels"] == {"see": 10}


def test_own_is_what_its_equation_says() -> None:
    network = ModularSNN(PLAN)
    process = LearningTask(TDMCL(own="at once"), network, TASKS[0], SHORT)
    while process.advance():
        pass
    layer = network.module(0).locals()[0].layer
    layer.tonic.requires_grad_()  # the current of an output
    expected = torch.zeros_like(layer.own)
    network.eval()
    for x, y in process.school.batches(4):
        gradient, current = torch.autograd.grad(cross_entropy(network(x, 0), y), (layer.weight, layer.tonic))
        for o in range(6):
            for i in range(4):
                varied = gradient[o, i] - layer.expected[i] * current[o]
                expected[o, i] += (layer.weight[o, i] * varied).sum().abs().detach()
    torch.testing.assert_close(layer.own, expected)
    assert layer.own.any()


def test_feedback_is_gathered_over_all_links_and_batches(two: ModularSNN) -> None:
    network = copy.deepcopy(two)
    torch.manual_seed(0)
    network.grow("meet", SHAPE, 3)
    network.keep_links(2, {1: [0], 2: [0, 1]})
    network.eval()
    x = TASKS[2].train.x[:10]
    found = feedback_by_layer(network, 2, x, batch=4)
    activity = network.activity(x, 2)
    assert network.module(1).wiring() == {1: [0], 2: [0]}
    last = {k: traces(activity[k].spikes[1].unflatten(0, (2, 10))) for k in range(3)}
    said = {k: traces(activity[k].logits.softmax(1).repeat(2, 1, 1)) for k in (1, 2)}
    readers = {0: [(1, 0), (2, 0)], 1: [(2, 1)]}  # the first layer of block 1 is read by read-outs alone
    for k, reading in readers.items():
        called = sum(
            call(network.module(reader).synapses_from(2, source), last[source], said[reader])
            for reader, source in reading
        )
        rate = activity[k].spikes[0].mean((0, 2, 3))
        layer = network.module(k).locals()[0].layer
        assert isinstance(called, Tensor)
        torch.testing.assert_close(
            found[f"{k}.blocks.1.first.local"], feedback(layer.weight, rate, called).detach()
        )
    network.keep_links(2, {1: [0]})
    assert (
        set(feedback_by_layer(network, 2, x, batch=4)) == set()
    )  # nobody reads what drives the last block of module 0


def test_tasks_of_other_shapes_and_residual_units_are_learned_alike() -> None:
    network = ModularSNN(ModularPlan(widths=(4, 6), residual=1, steps=2))
    learn(network, TASKS[0], TDMCL(), Schooling(epochs=1))
    x, y = TASKS[1].train
    vectors = TASKS[1]._replace(
        train=Split(x[:, 0, 0], y), validation=Split(TASKS[1].validation.x[:, 0, 0], TASKS[1].validation.y)
    )
    summary = learn(network, vectors, TDMCL(**STRONG), Schooling(epochs=2))
    assert summary["inherited"] == {"from": "see", "blocks": []}
    assert summary["died_in_old"]["see"] > 0
    fed = feedback_by_layer(network, 1, vectors.train.x, 30)
    # the hidden layer of a residual unit drives what no link reads
    assert set(fed) == {f"0.blocks.{name}.local" for name in ("0.residual.0.1", "1.first", "1.residual.0.1")}


@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_stopped_between_any_two_epochs_it_goes_on_to_the_same_bits(
    two: ModularSNN, evolution: Any, tmp_path: Any
) -> None:
    inhibition = "survival" if evolution == "logits" else "rank"
    method = TDMCL(evolution=evolution, links=1, inhibition=inhibition, **STRONG)
    whole = LearningTask(method, copy.deepcopy(two), TASKS[2], SHORT, seed=7)
    states = [whole.state_dict()]
    for _ in epochs_of(whole):
        states.append(whole.state_dict())
    assert [state["epoch"] for state in states] == [0, 1, 2, 3, 4]
    for state, following in itertools.pairwise(states):  # each epoch in a new process: so any number of them
        path = tmp_path / f"{state['epoch']}"
        storage.write(path, state)
        torch.manual_seed(state["epoch"])
        other = LearningTask(method, ModularSNN(PLAN), TASKS[2], SHORT, seed=7)
        other.load_state_dict(storage.read(path))
        assert other.advance()
        assert_same_tree(other.state_dict(), following)
    other.load_state_dict(states[-1])
    assert not other.advance()
    assert_same(whole, other)


def assert_same_tree(ours: Any, theirs: Any, place: str = "") -> None:
    """But for the clock and for generators that nobody asked for."""
    assert type(ours) is type(theirs), place
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), place
        for key in set(ours) - {"random", "seconds", "cpu_seconds"}:
            assert_same_tree(ours[key], theirs[key], f"{place}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), place
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same_tree(one, other, f"{place}.{number}")
    elif isinstance(ours, Tensor):
        assert torch.equal(ours, theirs), place
    else:
        assert ours == theirs, place


def test_a_state_of_another_task_or_method_is_refused(two: ModularSNN) -> None:
    state = LearningTask(TDMCL(), copy.deepcopy(two), TASKS[2], SHORT).state_dict()
    for other in (
        LearningTask(TDMCL(links=1), ModularSNN(PLAN), TASKS[2], SHORT),
        LearningTask(TDMCL(), ModularSNN(PLAN), TASKS[1], SHORT),
        LearningTask(TDMCL(), ModularSNN(PLAN), TASKS[2], SHORT, seed=1),
        LearningTask(TDMCL(), ModularSNN(PLAN), TASKS[2], Schooling(epochs=5)),
        LearningTask(TDMCL(), ModularSNN(replace(PLAN, steps=3)), TASKS[2], SHORT),
        LearningTask(TDMCL(), ModularSNN(PLAN), task("meet", 3, samples=63), SHORT),
    ):
        with pytest.raises(
            ValueError, match=r"the state is of another (method|task|seed|schooling|plan|samples)"
        ):
            other.load_state_dict(state)


def test_bringing_back_a_state_leaves_the_callers_chance_alone(two: ModularSNN) -> None:
    process = LearningTask(TDMCL(**STRONG), copy.deepcopy(two), TASKS[2], SHORT)
    process.advance()
    state = process.state_dict()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    LearningTask(TDMCL(**STRONG), ModularSNN(PLAN), TASKS[2], SHORT).load_state_dict(state)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("widths", "refine"), [((1, 1), 0.4), ((2, 2), 0.1)])
def test_refinement_leaves_each_layer_a_kernel(widths: tuple[int, ...], refine: float) -> None:
    network = ModularSNN(replace(PLAN, widths=widths))
    method = TDMCL(refine=refine, inhibit=0.0)
    foreseen = settled_size(method, network.sketch(SHAPE, 3))
    learn(network, TASKS[0], method, SHORT)
    assert [int(local.layer.alive.sum()) for local in network.module(0).locals()] == [1] * len(
        network.module(0).locals()
    )
    assert synapses(network) == foreseen


def test_chance_comes_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    runs = []
    for seed in (0, 0, 1):
        runs.append(LearningTask(TDMCL(), ModularSNN(PLAN), TASKS[0], SHORT, seed))
        while runs[-1].advance():
            pass
        assert torch.equal(torch.get_rng_state(), before)
    assert_same(runs[0], runs[1])
    assert runs[2].summary() != runs[0].summary()


def test_validation_and_test_samples_teach_nothing(two: ModularSNN) -> None:
    other = TASKS[2]._replace(validation=TASKS[0].validation, test=TASKS[1].test)
    runs = [LearningTask(TDMCL(), copy.deepcopy(two), one, SHORT) for one in (TASKS[2], other)]
    for run in runs:
        while run.advance():
            pass
    ours, theirs = (run.model.state_dict() for run in runs)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    held = {tuple(x.flatten().tolist()) for x in runs[0].school.held[0]}
    for epoch in range(4):
        for x, _ in runs[0].school.batches(epoch):
            assert not held & {tuple(one.flatten().tolist()) for one in x}
    assert len(held) == 6


def test_no_sample_is_kept(two: ModularSNN) -> None:
    process = LearningTask(TDMCL(**STRONG), copy.deepcopy(two), TASKS[2], SHORT)
    for _ in epochs_of(process):
        found = list(tensors(process.state_dict()))
        assert len(found) > 50
        for tensor in found:
            assert not (tensor == MARK).any()
            assert tuple(tensor.shape[-3:]) != SHAPE
    assert (TASKS[0].train.x == MARK).flatten(1).any(1).all()


@pytest.mark.parametrize("old_weights", ["isolated", "inhibited", "full"])
def test_who_of_the_old_learns(two: ModularSNN, old_weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network, moved = copy.deepcopy(two), []
    settle = Inhibition.settle

    def look(inhibition: Inhibition) -> Any:
        """Before the condemned die."""
        for old in old_layers(network, 2):
            before = two.get_submodule(f"grown.{old.key}").weight
            changed = (old.layer.weight != before).flatten(2).any(2)
            assert not (changed & ~old.layer.alive).any()
            moved.append((int(changed.sum()), int((changed & (old.layer.q == 0)).sum())))
        return settle(inhibition)

    monkeypatch.setattr(Inhibition, "settle", look)
    strong = {**STRONG, "own_budget": 1.0}
    learn(network, TASKS[2], TDMCL(old_weights=old_weights, evolution="all", **strong), SHORT)
    assert [(anywhere > 0, elsewhere > 0) for anywhere, elsewhere in moved] == {
        "isolated": [(False, False)] * 2,
        "inhibited": [(True, False)] * 2,
        "full": [(True, True)] * 2,
    }[old_weights]
    for name, value in network.state_dict().items():
        if name.startswith(("grown.0.", "grown.1.")) and "local." not in name:
            assert torch.equal(value, two.state_dict()[name]), name


@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_each_evolution_keeps_its_links(two: ModularSNN, evolution: Any) -> None:
    process = LearningTask(
        TDMCL(evolution=evolution, links=1, search=0.5), copy.deepcopy(two), TASKS[2], SHORT
    )
    counts = [(process.advance(), process.curve[-1]["links"])[1] for _ in range(4)]
    expected = {"all": [4] * 4, "none": [0] * 4, "random": [2] * 4}.get(evolution, [4, 2, 2, 2])
    assert counts == expected
    wiring = process.summary()["wiring"]
    if evolution in ("logits", "paper"):
        for block, chances in wiring["probabilities"].items():
            assert sum(chances.values()) == pytest.approx(1)
            assert wiring["kept"][block] == [int(max(chances, key=chances.__getitem__))]
        assert sum(process._evolution.wirings[1].counts.tolist()) == 2 * 3  # epochs, batches
    if evolution == "overgrow":
        for block, rises in wiring["rises"].items():
            assert wiring["kept"][block] == [int(max(rises, key=rises.__getitem__))]
    if evolution != "none":
        assert process.curve[-1]["link_mass"] > 0
        assert sum(process.curve[-1]["link_masses"].values()) == pytest.approx(
            process.curve[-1]["link_mass"], rel=1e-3
        )


def test_overgrown_links_are_judged_by_leaving_each_out(two: ModularSNN) -> None:
    network = copy.deepcopy(two)
    torch.manual_seed(0)
    wiring = network.grow("meet", SHAPE, 3).wiring()
    x, y = TASKS[2].train
    evolution = Evolution(TDMCL(links=1), wiring)
    kept = evolution.choose(network, 2, x, y, batch=16)
    with torch.no_grad():
        whole = float(cross_entropy(network(x, 2), y))
        without = float(cross_entropy(network(x, 2, {1: [0], 2: [0, 1]}), y))
    assert loss_of(network, 2, x, y, 7) == pytest.approx(whole, rel=1e-5)
    assert evolution.rises[1][1] == pytest.approx(without - whole, abs=1e-5)
    assert kept == {b: [max(rises, key=rises.__getitem__)] for b, rises in evolution.rises.items()}


def test_chosen_links_learn_faster(two: ModularSNN) -> None:
    process = LearningTask(TDMCL(strengthen=3.0, search=0.25), copy.deepcopy(two), TASKS[2], SHORT)
    factors = []
    for _ in range(3):
        process.advance()
        rates = {group["kind"]: group["lr"] for group in process.school.working.param_groups}
        factors.append(rates["links"] / rates["new"])
    assert factors == pytest.approx([1, 3, 3])


def test_momentum_outlives_the_choice_of_links(two: ModularSNN) -> None:
    process = LearningTask(TDMCL(evolution="overgrow", links=1), copy.deepcopy(two), TASKS[2], SHORT)
    process.advance()
    process.advance()
    head = process.network.module(2).head.weight  # type: ignore[attr-defined]
    assert process.school.working.state[head]["momentum_buffer"].any()
    held = [p for group in process.school.working.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in process.module.parameters()}


def test_the_predecessor_is_the_one_that_knows_the_classes() -> None:
    network = learned(TDMCL(**SPARING, evolution="none"), 2, Schooling(epochs=8, batch=20))
    for number, like in ((0, 1), (1, 2)):
        again = copy.deepcopy(network)
        process = LearningTask(TDMCL(), again, task("again", 9, like=like), SHORT)
        again.grow("again", SHAPE, 3)
        school = process.school
        assert predecessor(again, 2, school.learned, school.held, 16) == number


def test_a_new_module_starts_from_its_predecessor(two: ModularSNN) -> None:
    network = copy.deepcopy(two)
    process = LearningTask(TDMCL(), network, TASKS[2], SHORT)
    process._grow()
    inherited = process.events["inherited"]
    assert inherited["blocks"] == [0, 1]
    ours, theirs = (network.module(task).locals()[0].layer for task in ("meet", inherited["from"]))
    assert torch.equal(ours.weight, theirs.weight)
    assert ours.alive.all()
    assert not theirs.alive.all()
    fresh = LearningTask(TDMCL(inherit=False), copy.deepcopy(two), TASKS[2], SHORT)
    fresh._grow()
    assert fresh.events["inherited"] is None
    assert not torch.equal(fresh.module.locals()[0].layer.weight, theirs.weight)


ROOM = {"growth": "strict", "inhibit": 0.5, "cap": 0.6, "own_budget": 0.9, "expected_tasks": 3, "links": 1}


def test_strict_growth_never_grows() -> None:
    network = ModularSNN(ModularPlan(widths=(6, 12), steps=2))
    totals = []
    for one in TASKS:
        summary = learn(network, one, TDMCL(**ROOM), SHORT)
        totals.append(summary["synapses"])
    assert max(totals) == totals[0]
    assert network.module(1).plan.widths < (6, 12)
    assert len(network.names) == 3


def test_strict_growth_that_cannot_be_names_the_numbers(two: ModularSNN) -> None:
    narrow = TDMCL(growth="strict", inhibit=0.0)
    with pytest.raises(ValueError, match=r"needs \d+: more than the \d+ after the first task"):
        learn(copy.deepcopy(two), TASKS[2], narrow, SHORT)
    module = two.module(1)
    alive = int(module.locals()[0].layer.alive.sum())
    (doomed,) = surplus_kernels(module, 9 * (alive - 1))
    assert int(doomed.sum()) == alive - 1
    with pytest.raises(RuntimeError, match=rf"can give {9 * (alive - 1)} only"):
        surplus_kernels(module, 9 * (alive - 1) + 1)


def test_the_surplus_is_taken_from_who_is_worth_least(two: ModularSNN) -> None:
    module = copy.deepcopy(two.module(1))
    layer = module.locals()[0].layer
    (doomed,) = surplus_kernels(module, 10)
    assert int(doomed.sum()) == 2  # of nine taps each
    assert layer.own[doomed].max() <= layer.own[layer.alive & ~doomed].min()


def test_a_module_settles_at_the_size_forecast(two: ModularSNN) -> None:
    for method in (TDMCL(links=1), TDMCL(evolution="all"), TDMCL(evolution="none", refine=0.3)):
        network = copy.deepcopy(two)
        size = settled_size(method, network.sketch(SHAPE, 3))
        learn(network, TASKS[2], method, Schooling(epochs=1))
        assert synapses(network.module(2)) == size
    assert fitting_width(TDMCL(), two, SHAPE, 3, allowed=10**6) == 1.0
    assert fitting_width(TDMCL(inhibit=0), two, SHAPE, 3, synapses(two) + 200) < 1.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("evolution", "best"),
        ("inhibition", "fear"),
        ("old_weights", "frozen"),
        ("growth", "slow"),
        ("links", 0),
        ("links", 1.5),
        ("expected_tasks", 1),
        ("search", 0.0),
        ("search", 1.1),
        ("refine", 0.0),
        ("refine", float("nan")),
        ("refine_start", -0.1),
        ("refine_end", 1.2),
        ("inhibit", -0.1),
        ("cap", 2.0),
        ("inhibit_start", 1.5),
        ("homeostasis", 1),
        ("own_budget", float("nan")),
        ("gamma", 0.0),
        ("strengthen", float("inf")),
        ("kappa", -1.0),
        ("inherit", "yes"),
        ("worth", "mass"),
    ],
)
def test_hyper_parameters_out_of_bounds_are_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} is .*but must be"):
        TDMCL(**{field: value})


def test_hyper_parameters_that_contradict_are_named() -> None:
    with pytest.raises(ValueError, match=r"refine_start = 0.8 to refine_end = 0.5"):
        TDMCL(refine_start=0.8)
    with pytest.raises(ValueError, match=r"inhibit is 0.3, above cap, 0.15"):
        TDMCL(inhibit=0.3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch", 1),
        ("learning_rate", 0.0),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("epochs", True),
    ],
)
def test_schooling_out_of_bounds_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} is .*but"):
        Schooling(**{field: value})


def test_tasks_that_cannot_be_learned_are_refused() -> None:
    x, y = TASKS[0].train
    for wrong in (Split(x[:3], y[:3]), Split(x, y[:-1]), Split(x, y + 1), Split(x, y - 1)):
        with pytest.raises(ValueError, match="training samples and"):
            LearningTask(TDMCL(), ModularSNN(PLAN), TASKS[0]._replace(train=wrong), SHORT)
    for wrong, words in (
        (
            TASKS[0]._replace(classes=("a", "b", "c", "never")),
            "class 'never' of task 'see' has no training sample",
        ),
        (TASKS[0]._replace(validation=Split(x[:0], y[:0])), "task 'see' has no validation sample"),
        (TASKS[0]._replace(train=Split(x.double(), y)), "'see' are torch.float64, but must be float32"),
    ):
        with pytest.raises(ValueError, match=words):
            LearningTask(TDMCL(), ModularSNN(PLAN), wrong, SHORT)
    broken = TASKS[0]._replace(train=Split(x.masked_fill(x == x[5, 1, 2, 3], float("nan")), y))
    with pytest.raises(ValueError, match="task 'see' are not finite"):
        learn(ModularSNN(PLAN), broken, TDMCL(), SHORT)
    with pytest.raises(RuntimeError, match=r"the loss of task 'see' is (nan|inf) .*lower learning_rate"):
        learn(ModularSNN(PLAN), TASKS[0], TDMCL(), Schooling(epochs=2, batch=5, learning_rate=1e30))
    process = LearningTask(TDMCL(), ModularSNN(PLAN), TASKS[0], SHORT)
    with pytest.raises(RuntimeError, match="has not begun"):
        process.summary()
    with pytest.raises(RuntimeError, match="nobody learns"):
        process.school.working  # noqa: B018
