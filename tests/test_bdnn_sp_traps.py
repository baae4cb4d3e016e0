"""The eighteen traps of BDNN-sp, one test each at least, by number."""

import copy
import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coppice.contract import Task
from coppice.data import Split, Splits
from coppice.experiments.backprop import online_backprop
from coppice.experiments.loop import Fitting, Training
from coppice.experiments.run import make_task
from coppice.methods import Dense
from coppice.methods.bdnn_sp import DEAD_STEPS, FEW_SAMPLES, Search, configured, find_size
from coppice.models.mlp import mlp
from coppice.parts.fitness import PublishedFitness, Step, mean_weight, relative_change, stability
from coppice.parts.neurons import populations
from coppice.parts.stopping import Budget, OneStandardError, Peak
from coppice.parts.surgery import keep_neurons
from problems import Problem, digits

QUICK = {"pretrain_epochs": 2, "plateau": 0, "retrain_epochs": 1, "retrain_steps": 0, "tune_epochs": 1}


@pytest.fixture(scope="module")
def few() -> Problem:
    return digits(320)


def network(hidden=(20,), activation="relu", norm="none", output="linear", std=None) -> nn.Sequential:
    torch.manual_seed(0)
    model = mlp([64], hidden, 10, activation, norm, output)
    if std is not None:
        for layer in (m for m in model if isinstance(m, nn.Linear)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
    return model


def begun(problem: Problem, model: nn.Module | None = None, preset=None, **options) -> Search:
    model = network() if model is None else model
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    settings = QUICK if preset is None else {}
    return configured(preset, settings | options).start(model, problem.train, problem.score, optimizer)


def finish(search: Search) -> Search:
    while search.advance():
        pass
    return search


def walk(search: Search, steps: int) -> None:
    """On until the path has so many steps."""
    while len(search.path) < steps:
        search.advance()


def online(problem: Problem, rate: float = 1.0):
    def train(model, optimizer, epochs):
        return sum(online_backprop(model, [(problem.x, problem.y)], rate) for _ in range(epochs))

    return train


def one_layer(p: list[float]) -> tuple[float, float]:
    return stability([torch.zeros(1, len(p))], [torch.tensor([p], dtype=torch.float64)])


# --- the measures -------------------------------------------------------------------------------------------


def test_trap_01_a_change_of_zero_is_no_nan():
    assert one_layer([0.5, 0.0]) == (0.5, 0.0)  # 0 log 0 = 0
    assert one_layer([0.0, 0.0]) == (0.0, 0.0)  # 0 / 0: a network that did not move


def test_trap_01_a_loop_that_trains_nothing_gives_finite_numbers(few):
    search = begun(few, preset="zhao2017", stop=Peak(floor=4), pretrain_epochs=1)
    search.train = lambda *_: None
    search.advance()
    for _ in range(3):
        search.advance()
    assert [step.stability for step in search.path] == [None, 0.0, 0.0]
    assert all(math.isfinite(step.fitness) for step in search.path[1:])


def test_trap_02_changes_above_one_turn_stability_negative():
    assert one_layer([4.0, 0.5, 0.5, 0.5]) == ((-8 + 1.5) / (8 * 4), 0.25)


def shaken(few: Problem, **options) -> Search:
    search = begun(few, preset="zhao2017", share=0.3, **options)

    def shake(model, optimizer, epochs):
        with torch.no_grad():
            model[1].weight[0] += 1.5  # one neuron's 64 synapses

    search.train = shake
    return search


def test_trap_02_changes_above_one_are_warned_of_once(few):
    search = shaken(few, stop=Peak(floor=1))
    walk(search, 1)
    with pytest.warns(UserWarning, match="p of Eq. 3 is above 1 for") as caught:
        walk(search, 5)
    assert len(caught) == len(search.warnings) == 1  # though the share is another at each size
    shares = [step.overflow for step in search.path[1:]]
    assert shares[0] == pytest.approx(64 / (14 * 74))
    assert len(set(shares)) == 4


def test_trap_02_a_fitness_without_stability_does_not_warn(few):
    search = shaken(few, fitness=lambda step: step.score, stop=Peak(floor=1))
    for _ in range(5):
        search.advance()
    assert search.path[-1].overflow > 0.01
    assert search.warnings == []


def test_trap_03_one_extreme_synapse_sets_the_scale_of_stability():
    # 999 equal synapses: S = 1; a single one at the maximum of -p log p, 1 / e, and S falls twentyfold
    small = [0.003] * 999
    assert one_layer(small)[0] == pytest.approx(1.0)
    assert one_layer([*small, math.exp(-1)])[0] == pytest.approx(0.048, abs=0.001)
    # rho, which the default uses, hardly notices
    before = [torch.ones(1, 1000)]
    calm, extreme = torch.tensor([[0.003] * 1000]), torch.tensor([[*small, math.exp(-1)]])
    assert relative_change(before, [before[0] + extreme]) < 1.2 * relative_change(before, [before[0] + calm])


def test_trap_04_stability_has_a_scale_and_the_relative_change_has_none(few):
    w_p, w_r = torch.tensor([[0.3, -0.2, 0.1]]), torch.tensor([[0.5, -0.1, 0.15]])
    assert abs(stability([w_p], [w_r])[0] - stability([w_p * 3], [w_r * 3])[0]) > 0.1
    assert relative_change([w_p], [w_r]) == pytest.approx(relative_change([w_p * 3], [w_r * 3]))
    assert begun(few).method.fitness(path_step(score=0.9, change=0.25, stability=None)) == pytest.approx(1.65)


def path_step(**values) -> Step:
    return Step(index=1, widths=(5,), parameters=9, flops=None, error=None, **values)


def test_trap_05_stability_is_normalised_by_the_maximum_not_by_the_logarithm():
    # as a distribution these four would have entropy 2 bits of log2 4: 1.0; Eq. 5 tells them apart
    assert one_layer([0.25] * 4)[0] == 1.0
    assert one_layer([2.0] * 4)[0] == -1.0


def test_trap_06_mean_weight_is_a_mean_and_does_not_explode_with_the_width():
    for width in (10, 1000):
        layers = [torch.full((width, 784), 0.1), torch.full((10, width), 0.1)]
        assert mean_weight(layers) == pytest.approx(
            0.1
        )  # all weights over n + m would be 44 at a width of 1000


def test_trap_06_the_default_takes_no_mean_weight(few):
    fitness = begun(few).method.fitness
    one, other = (path_step(score=0.9, change=0.1, mean_weight=e) for e in (0.1, 5.0))
    assert fitness(one) == fitness(other)
    assert PublishedFitness(gamma=0.0)(dataclasses.replace(one, stability=0.3)) == pytest.approx(0.4)


# --- judging ------------------------------------------------------------------------------------------------


def test_trap_07_the_test_score_cannot_choose_the_size(few):
    with pytest.raises(ValueError, match="chosen on the test data"):
        find_size(network(), few.train, few.score, test=few.score)  # a method: another object at each mention

    def score(model):
        return few.score(model)

    with pytest.raises(ValueError, match="chosen on the test data"):
        find_size(network(), few.train, score, test=score)


def test_trap_07_the_test_is_asked_once_when_all_is_decided(few):
    model, asked = network(), []

    def test(model):
        asked.append(copy.deepcopy(model.state_dict()))
        return few.score(model)

    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    found = find_size(model, few.train, few.score, optimizer, test=test, **QUICK)
    (state,) = asked
    assert all(torch.equal(value, state[name]) for name, value in found.model.state_dict().items())


def test_trap_08_the_weights_before_are_those_after_this_steps_cut(few):
    search = begun(few, share=0.3)
    plain, cut = search.train, []

    def watch(model, optimizer, epochs):
        cut.append([model[1].weight.detach().clone(), model[3].weight.detach().clone()])
        plain(model, optimizer, epochs)

    search.train = watch
    walk(search, 3)
    for step, before in zip(search.path[1:], cut[2:], strict=True):  # the first two calls are the growing
        state = search.shelf[step.index]["model"]
        after = [state["1.weight"], state["3.weight"]]
        assert [w.shape for w in before] == [w.shape for w in after]
        assert (step.stability, step.overflow) == stability(before, after)
        assert step.change == relative_change(before, after) > 0
        assert step.mean_weight == mean_weight(after)


def saturated(few: Problem, **options) -> Search:
    """Too many sigmoids for learning rate 1: dead until it is small, as in the paper's right end of Fig. 3A."""
    model = network((500,), "sigmoid", "none", "sigmoid", std=0.1)
    return configured("zhao2017", options).start(model, online(few), few.score, chance=0.12)


def test_trap_09_a_dead_start_is_warned_of(few):
    search = saturated(few)
    with pytest.warns(UserWarning, match=r"at chance \(0\.120\) for 3 steps: outputs saturated.*lower the"):
        walk(search, DEAD_STEPS)
    assert all(step.score <= 0.16 for step in search.path)


def test_trap_09_a_living_start_is_not(few):
    model = network((30,), "sigmoid", "none", "sigmoid", std=0.1)
    search = configured("zhao2017", {}).start(model, online(few), few.score, chance=0.12)
    walk(search, 6)
    assert search.warnings == []


def test_trap_09_peak_never_picks_a_dead_step(few):
    # a fitness in love with dead networks, to leave it to the rule to pass them over
    search = saturated(few, fitness=lambda step: 1 - step.score, stop=Peak(floor=4), share=0.4)
    while search.ended is None:
        search.advance()
    scores = [step.score for step in search.path]
    assert max(scores[:3]) < 0.3 * max(scores)
    choice = search.method.stop.choose(search.path)
    assert search.path[choice.step].score >= 0.8 * max(scores)
    assert search.method.stop.choose(search.path[:3]).step in (
        1,
        2,
    )  # among the dead alone it is none the wiser


def test_trap_09_all_dead_above_the_floor_is_refused_not_chosen():
    dead = [path_step(score=s, fitness=f) for s, f in ((0.1, None), (0.1, 5.0), (0.1, 4.0))]
    path = [dataclasses.replace(s, index=i, widths=(60 - 10 * i,)) for i, s in enumerate(dead)]
    alive = dataclasses.replace(path[-1], index=3, widths=(8,), score=0.9, fitness=0.1)
    with pytest.raises(ValueError, match="is dead"):
        Peak().choose([*path, alive])


# --- surgery on what trains ---------------------------------------------------------------------------------


def test_trap_10_weights_go_on_moving_after_every_cut(few):
    search = begun(few, network((20, 12)))
    while search.ended is None:
        search.advance()
        if len(search.path) > 1:
            assert search.path[-1].change > 1e-3
            held = {id(p) for group in search.optimizer.param_groups for p in group["params"]}
            assert held == {id(p) for p in search.model.parameters()}
            assert all(id(p) in held for p in search.optimizer.state)  # no orphans


@pytest.mark.parametrize("kind", ["adamw", "amsgrad", "momentum"])
def test_trap_10_the_moments_are_the_old_ones_of_the_kept_neurons(few, kind):
    model = network((12,))
    optimizer = {
        "adamw": lambda p: torch.optim.AdamW(p, 1e-2),
        "amsgrad": lambda p: torch.optim.Adam(p, 1e-2, amsgrad=True),
        "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    }[kind](model.parameters())
    few.train(model, optimizer, 1)
    old = copy.deepcopy({name: optimizer.state[p] for name, p in model.named_parameters()})
    kept = torch.tensor([0, 3, 4, 9, 11])
    keep_neurons(model, populations(model)[0], kept, optimizer)
    axes = {"1.weight": 0, "1.bias": 0, "3.weight": 1, "3.bias": None}
    for name, parameter in model.named_parameters():
        new = optimizer.state[parameter]
        assert new.keys() == old[name].keys() != set()
        for key, value in old[name].items():
            if axes[name] is not None and value.ndim:
                assert torch.equal(new[key], value.index_select(axes[name], kept)), (name, key)
            else:
                assert torch.equal(new[key], value), (name, key)  # `step`, and the outputs' biases


def test_trap_10_the_search_cuts_the_moments_along(few):
    search = begun(few)
    walk(search, 1)
    before = copy.deepcopy(search.optimizer.state_dict()["state"])
    weights, after = search.model[1].weight.detach().clone(), []
    search.train = lambda model, optimizer, epochs: after.append(
        copy.deepcopy(optimizer.state_dict()["state"])
    )
    search.advance()
    rows = [int((weights == row).all(1).nonzero()) for row in search.model[1].weight.detach()]
    assert torch.equal(after[0][0]["exp_avg"], before[0]["exp_avg"][rows])
    assert torch.equal(after[0][2]["exp_avg_sq"], before[2]["exp_avg_sq"][:, rows])
    assert after[0][0]["step"] == before[0]["step"] > 0


def test_trap_10_an_optimizer_of_another_model_is_refused(few):
    stranger = torch.optim.AdamW(network().parameters(), 1e-3)
    search = configured(None, QUICK).start(network(), lambda *_: None, few.score, stranger)
    with pytest.raises(ValueError, match="the optimizer that was built on this very model"):
        finish(search)


def test_trap_11_batch_norm_is_cut_whole_and_learns_its_statistics_anew(few):
    search = begun(few, network((20, 12), norm="batch"))
    plain, seen = search.train, []

    def watch(model, optimizer, epochs):
        norm = model[2]
        entries = [norm.weight, norm.bias, norm.running_mean, norm.running_var]
        assert [len(e) for e in entries] == [norm.num_features] * 4 == [model[1].out_features] * 4
        assert optimizer.state[norm.weight]["exp_avg"].shape == norm.weight.shape if seen else True
        before = norm.running_mean.clone()
        plain(model, optimizer, epochs)
        seen.append((before, norm.running_mean.clone()))

    search.train = watch
    finish(search)
    assert len(seen) > 5
    assert all((before != after).all() for before, after in seen)


def test_trap_11_the_batches_of_a_recipe_never_hold_a_lone_sample(few):
    train, val = Split(few.x[:33], few.y[:33]), Split(few.x_val, few.y_val)
    splits = Splits(train, val, val, "classification", 10, tuple("0123456789"), {})
    task = make_task("digits", Training(batch=32), splits, train, val, 0)
    assert [len(y) for _, y in task.batches(0)] == [32]
    model = network(norm="batch")
    model.train()
    for x, _ in task.batches(1):
        model(x)  # raises for a batch of one


def test_trap_12_a_scheduler_built_before_drives_the_same_optimizer(few):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.9)
    used = []

    def train(model, given, epochs):
        assert given is scheduler.optimizer is optimizer
        for _ in range(epochs):
            used.append(given.param_groups[0]["lr"])
            few.train(model, given, 1)
            scheduler.step()

    search = configured(None, QUICK | {"tune_epochs": 0, "share": 0.3}).start(
        model, train, few.score, optimizer
    )
    while search.ended is None:
        search.advance()
    assert len(used) > 5
    assert used == pytest.approx([0.1 * 0.9**i for i in range(len(used))])
    assert all(
        step.change > 0 for step in search.path[1:]
    )  # the rate it sets reaches the weights that remain


def test_trap_12_wrappers_that_hold_the_old_tensors_are_refused(few):
    model = network()
    with pytest.raises(ValueError, match=r"holds the old tensors: cut `model\.module`"):
        begun(few, nn.DataParallel(model))


@pytest.mark.filterwarnings("ignore:.*torch._dynamo.*")
def test_trap_12_a_compiled_model_shrinks_and_goes_on_being_compiled(few):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    plain, other = finish(begun(few, share=0.1)), network()
    search = begun(few, torch.compile(other, backend=backend), share=0.1)
    finish(search)
    sizes = [step.parameters for step in search.path]
    assert sizes == [step.parameters for step in plain.path]  # nothing else changes
    assert len(sizes) > 9  # more sizes than torch compiles of one function before it gives up
    assert search.summary()["training_flops"] == plain.summary()["training_flops"]
    assert len(compiled) >= len(sizes)


def test_trap_12_tied_weights_are_not_cut(few):
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model[2].weight = model[0].weight
    with pytest.raises(ValueError, match="shared or used more than once"):
        begun(few, model)


def test_trap_13_a_share_that_rounds_to_nothing_still_cuts_one(few):
    search = begun(few, network((6,)), share=0.01, stop=Budget(parameters=1))
    search.train = lambda *_: None
    while search.ended is None:
        search.advance()
    assert [step.neurons for step in search.path] == [6, 5, 4, 3, 2, 1]
    assert search.ended == "min_width reached"


def test_trap_13_each_population_keeps_its_floor_and_inputs_and_outputs_stay(few):
    search = begun(few, network((12, 9, 7)), share=0.45, min_width=3, stop=Budget(parameters=1))
    while search.ended is None:
        search.advance()
        linear = [layer for layer in search.model if isinstance(layer, nn.Linear)]
        assert linear[0].in_features == 64
        assert linear[-1].out_features == 10
        assert all(layer.out_features >= 3 for layer in linear)
    assert search.path[-1].widths == (3, 3, 3)


def test_trap_13_a_network_at_its_floor_comes_to_an_end(few):
    search = begun(few, network((4,)), min_width=4)
    finish(search)
    assert search.ended == "min_width reached"
    assert search.chosen.neurons == 4


def bits(tree) -> object:
    """A tree with tensors as lists, to be compared exactly."""
    if isinstance(tree, Tensor):
        return tree.tolist()
    if isinstance(tree, dict):
        return {key: bits(value) for key, value in tree.items()}
    return [bits(value) for value in tree] if isinstance(tree, (list, tuple)) else tree


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_trap_14_the_way_back_is_exact_to_optimizer_and_random_numbers(few, norm):
    search = begun(few, network((20, 12), norm=norm))
    while search.ended is None:
        search.advance()
    moments = {}
    for step in search.path:
        moments[step.index] = copy.deepcopy(search.shelf[step.index])
    torch.rand(7)  # and the generator is elsewhere
    search.advance()
    there = moments[search.choice.step]
    assert search.choice.step < len(search.path) - 1
    assert bits(search.model.state_dict()) == bits(there["model"])
    assert bits(search.optimizer.state_dict()) == bits(there["optimizer"])
    assert torch.equal(torch.get_rng_state(), there["random"]["torch"])
    finish(search)
    # tuning moves on from there, the shelf does not
    assert bits(dict(search.shelf)) == bits(moments)


def test_trap_14_training_from_there_repeats_what_came_after(few):
    search = begun(few, tune_epochs=0, share=0.3)
    while search.ended is None:
        search.advance()
    search.method = dataclasses.replace(search.method, stop=Budget(parameters=search.path[2].parameters))
    search.advance()
    assert search.choice.step == 2
    search.choice, search.ended, path = None, None, list(search.path)
    del search.path[3:]
    search.method = dataclasses.replace(search.method, stop=Budget(parameters=path[3].parameters))
    search.advance()  # cut and retrain once more, with the same moments and random numbers
    assert search.path[3] == path[3]


# --- choosing -----------------------------------------------------------------------------------------------


def test_trap_15_a_lucky_best_does_not_raise_the_bar():
    scores = (0.950, 0.951, 0.949, 0.975, 0.950, 0.950, 0.930)
    path = [
        dataclasses.replace(path_step(score=s), index=i, widths=(9 - i,), error=0.01)
        for i, s in enumerate(scores)
    ]
    assert OneStandardError(smooth=1).choose(path).step == 3  # only the lucky one is within .975 - .01
    assert OneStandardError().choose(path).step == 4  # means .9505 .95 .9583 .958 .9583 .9433 .94
    assert OneStandardError().smooth == 3


def test_trap_15_a_small_validation_set_is_warned_of(few):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    with pytest.warns(UserWarning, match="only 100 validation samples: one standard error is 0") as caught:
        find_size(model, few.train, lambda m: few.score(m)[:100], optimizer, **QUICK)
    assert len(caught) == 1
    assert FEW_SAMPLES == 300


def test_trap_16_the_unpruned_network_can_have_the_same_epochs(few):
    search = finish(begun(few))
    epochs = search.epochs
    assert epochs == 2 + (len(search.path) - 1) + 1
    training = Training(learning_rate=5e-3, batch=32, epochs=epochs)
    model = network()
    task = Task("digits", few.batches, training.loss_for("classification", 10), few.score)
    fitting = Fitting(Dense(), model, training.optimizer_for(model), task, training)
    while fitting.advance():
        pass
    assert len(fitting.curve) == fitting.meter.epochs == epochs
    assert fitting.meter.steps == sum(search.meters[phase].steps for phase in search.meters) == 10 * epochs
    assert model[1].out_features == 20
    assert fitting.summary()["validation"] > 0.7


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e2, 1e3, 1e30])
def test_trap_17_saturated_sigmoids_give_finite_numbers(dtype, size):
    model = network((8,), "sigmoid", "none", "sigmoid").to(dtype)
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([size, -size] * 4))
        model[3].bias.copy_(torch.tensor([size, -size] * 5))
    x, y = torch.rand(20, 64, dtype=dtype), torch.arange(20) % 10
    assert (model[1](x).abs() > 88).all()
    online_backprop(model, [(x, y)], 1.0)
    assert all(p.isfinite().all() for p in model.parameters())
    assert model(x).isfinite().all()


def test_trap_17_overshooting_does_not_reach_nan(few):
    model = network((8,), "sigmoid", "none", "sigmoid", std=0.1)
    online_backprop(model, [(few.x * 100, few.y)], 100.0)
    assert (model[1](few.x * 100).abs() > 100).any()
    assert all(p.isfinite().all() for p in model.parameters())


def test_trap_18_a_validation_loss_can_be_the_score(few):
    @torch.no_grad()
    def score(model):
        model.eval()
        return -F.cross_entropy(model(few.x_val), few.y_val, reduction="none")

    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    found = find_size(
        model, few.train, score, optimizer, **(QUICK | {"pretrain_epochs": 8, "retrain_epochs": 2})
    )
    assert all(step.score < 0 and step.error > 0 for step in found.path)
    assert found.chosen.neurons < 20
    assert found.score == score(model).double().mean().item()
    assert found.score > -1.0  # guessing is worth -2.3
    assert all(math.isfinite(step.fitness) for step in found.path[1:])


def test_trap_18_the_published_fitness_does_not_take_a_loss(few):
    search = begun(few, preset="zhao2017")
    search.score = lambda model: torch.full((300,), -0.5)
    with pytest.raises(ValueError, match=r"accuracy in \[0, 1\]"):
        finish(search)


def test_every_trap_has_a_test():
    numbers = {name[10:12] for name in globals() if name.startswith("test_trap_")}
    assert numbers == {f"{n:02d}" for n in range(1, 19)}
