"""TD-MCL on a stream of three tiny tasks against its slow twin: what it chose, from what its network held at the time."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor
from torch.nn.functional import cross_entropy

from coppice.data.splits import Split
from coppice.data.tasks import TaskData
from coppice.methods.td_mcl import LearningTask
from coppice.methods.td_mcl_inhibition import Inhibition, old_layers
from coppice.methods.td_mcl_options import TDMCL, Schooling
from coppice.models.modular_blocks import ModularPlan
from coppice.models.modular_snn import ModularSNN
from reference import td_mcl as twin

PLAN = ModularPlan(
    widths=(4, 5, 6), steps=2
)  # a third block, for links between blocks that call for local kernels
SHORT = Schooling(epochs=4, batch=16)
ALONE: dict[str, Any] = {"own": "at once", "protect": "own task"}  # as the twin measures it
# the numbers of kernels bind, or the own mass
BY_KERNELS = {
    **ALONE,
    "inhibit": 0.3,
    "cap": 0.3,
    "own_budget": 0.9,
    "expected_tasks": 3,
    "inhibit_start": 0.5,
}
BY_MASS = {**ALONE, "inhibit": 0.9, "cap": 0.9, "own_budget": 0.3, "expected_tasks": 3, "inhibit_start": 0.5}


def task(name: str, seed: int) -> TaskData:
    """Three classes of noisy patterns."""
    chance = torch.Generator().manual_seed(seed)
    patterns = torch.randn(3, 1, 8, 8, generator=chance)

    def split(size: int) -> Split:
        y = torch.arange(size) % 3
        return Split(patterns[y] + 0.5 * torch.randn(size, 1, 8, 8, generator=chance), y)

    return TaskData(name, split(48), split(6), split(6), ("a", "b", "c"))


TASKS = [task("see", 1), task("move", 2), task("meet", 3)]


def array(tensor: Tensor) -> Any:
    return tensor.detach().clone().numpy()


class Watched(LearningTask):
    """Holds its choices against the twin's while it learns."""

    def _train_epoch(self) -> Any:
        self.moved: list[Any] = [[] for _ in self.module.locals()]
        self.step = 0
        return super()._train_epoch()

    def _ramp(self, share: float) -> None:
        super()._ramp(share)
        first = self._first_inhibited
        if first is not None and self.epoch >= first:
            steps = len(list(self.school.batches(self.epoch)))
            q = twin.ramp(self.epoch, self.step, steps, first, self.schooling.epochs)
            for old in old_layers(self.network, self.number):
                assert_allclose(old.layer.q, q * array(old.layer.q > 0), rtol=1e-6)
        self.step += 1

    def _spare_the_uninhibited(self) -> None:
        """After each gradient, before the step."""
        super()._spare_the_uninhibited()
        for seen, local in zip(self.moved, self.module.locals(), strict=True):
            seen.append((array(local.layer.weight), array(local.layer.weight.grad)))

    def _refine(self, masses: list[Tensor]) -> None:
        method = self.method
        before = [array(local.layer.alive) for local in self.module.locals()]
        super()._refine(masses)
        way = (self.epoch / self.schooling.epochs - method.refine_start) / (
            method.refine_end - method.refine_start
        )
        for local, seen, alive in zip(self.module.locals(), self.moved, before, strict=True):
            assert_array_equal(local.layer.alive, twin.refined(twin.own(seen), alive, way, method.refine))

    def _trace_own(self) -> None:
        super()._trace_own()
        layers = [local.layer for local in self.module.locals()]
        currents = [layer.tonic.requires_grad_() for layer in layers]
        seen: list[Any] = [[] for _ in layers]
        for x, y in self.school.batches(self.epoch):
            loss = cross_entropy(self.network(x, self.number), y)
            by_weight = torch.autograd.grad(loss, [layer.weight for layer in layers], retain_graph=True)
            by_current = torch.autograd.grad(loss, currents)
            for batches, layer, g, c in zip(seen, layers, by_weight, by_current, strict=True):
                batches.append((array(layer.weight), array(g), array(c)))
        for batches, layer in zip(seen, layers, strict=True):
            layer.tonic.requires_grad_(False)
            assert_allclose(layer.own, twin.lost(batches, array(layer.expected)), rtol=1e-3, atol=1e-7)
            assert layer.own.any()


def worths(inhibition: Inhibition, x: Tensor) -> dict[str, Any]:
    """S of each old kernel by the twin, from the spikes of all modules at work."""
    network, number = inhibition.network, inhibition.number
    steps, blocks = PLAN.steps, len(PLAN.widths)
    network.eval()
    with torch.no_grad():
        activity = network.activity(x, number)
    spikes = {
        (module, block): array(found.spikes[block]).reshape(steps, len(x), *found.spikes[block].shape[1:])
        for module, found in activity.items()
        for block in range(blocks)
    }
    traces = {place: twin.traces(found) for place, found in spikes.items()}
    for module, found in activity.items():
        traces[module, blocks] = np.stack([array(found.logits.softmax(1))] * steps)
    called: dict[tuple[int, int], Any] = {}
    for module in activity:
        for block, sources in network.module(module).wiring().items():
            for source in sources:
                link = array(network.module(module).synapses_from(block, source))
                calls = twin.call(link, traces[source, block - 1], traces[module, block])
                called[source, block - 1] = called.get((source, block - 1), 0) + calls
    found_ = {}
    for module in range(number):
        for local in network.module(module).locals():
            weight, alive, own = (array(t) for t in (local.layer.weight, local.layer.alive, local.layer.own))
            fed = np.zeros(own.shape)
            if (module, local.block) in called:
                rate = spikes[module, local.block - 1].mean((0, 1, 3, 4), dtype=np.float64)
                fed = twin.fb(weight, rate, called[module, local.block])
            found_[f"{module}.{local.name}"] = twin.worth(own, fed, alive, inhibition.method.kappa)
    return found_


def left(inhibition: Inhibition, old: Any, born: dict[str, Any]) -> tuple[int, float]:
    method, alive, own = inhibition.method, array(old.layer.alive), array(old.layer.own).astype(float)
    share = method.inhibit if method.inhibition == "rank" else method.cap
    before = born[old.key]
    return twin.left(
        share,
        int(before.sum()),
        int(before.sum() - alive.sum()),
        own,
        float(own[~alive].sum()),
        float(own[~before].sum()),
        method.own_budget,
        method.expected_tasks,
    )


def learned(network: ModularSNN, number: int, method: TDMCL) -> Watched:
    process = Watched(method, network, TASKS[number], SHORT)
    while process.advance():
        pass
    return process


@pytest.fixture(scope="module")
def one() -> ModularSNN:
    """A network that has learned the first task, watched; to be copied."""
    network = ModularSNN(PLAN)
    process = learned(network, 0, TDMCL(**ALONE))
    assert process.curve[-1]["kernels"]["see"] == round(0.4 * 20) + round(0.4 * 30)  # refined, each layer
    return network


@pytest.mark.parametrize("bounds", [BY_KERNELS, BY_MASS], ids=["kernels", "mass"])
def test_who_is_condemned_by_rank_fades_and_dies(
    one: ModularSNN, bounds: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, chosen = copy.deepcopy(one), {}
    condemn = Inhibition.condemn

    def watched(self: Inhibition, x: Tensor, batch: int, chance: torch.Generator) -> None:
        born = {old.key: array(old.layer.alive) for old in old_layers(network, self.number)}
        found = worths(self, x)
        condemn(self, x, batch, chance)
        for old in old_layers(network, self.number):
            own, alive = array(old.layer.own), born[old.key]
            doomed = twin.condemned(found[old.key], own, alive, *left(self, old, born))
            assert_array_equal(old.layer.q, doomed)
            chosen[old.key] = alive & ~doomed

    monkeypatch.setattr(Inhibition, "condemn", watched)
    for number in (1, 2):  # in the third task others have died already, and modules at work hear each other
        process = learned(network, number, TDMCL(**bounds))
        assert process.events["died_in_old"]["see"] > 0
        for old in old_layers(network, number):
            assert_array_equal(old.layer.alive, chosen[old.key])


def test_whose_survival_value_sinks_is_inhibited_and_dies_below_zero(
    one: ModularSNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, start = copy.deepcopy(one), 0.5 * (0.25 * SHORT.epochs) / 2
    born = {old.key: array(old.layer.alive) for old in old_layers(network, 1)}
    values = {key: np.full(alive.shape, start) for key, alive in born.items()}
    survive, faded = Inhibition.survive, []

    def watched(self: Inhibition, x: Tensor, batch: int, chance: torch.Generator, *when: int) -> None:
        found, room = worths(self, x), {old.key: left(self, old, born) for old in old_layers(network, 1)}
        before = {old.key: array(old.layer.alive) for old in old_layers(network, 1)}
        survive(self, x, batch, chance, *when)
        for old in old_layers(network, 1):
            value = twin.survival(values[old.key], found[old.key], *when)
            sinking = before[old.key] & (value < start)
            chosen = twin.condemned(value, array(old.layer.own), sinking, *room[old.key])
            value = np.where(chosen, value, np.maximum(value, 0))
            values[old.key] = value
            assert_allclose(self.survival[old.key], value, rtol=1e-4, atol=1e-5)
            assert_allclose(old.layer.q, np.clip(1 - value / start, 0, 1) * chosen, rtol=1e-4, atol=1e-5)
            assert_array_equal(old.layer.alive, before[old.key] & ~(chosen & (value < 0)))
            faded.append(bool(((old.layer.q > 0) & (old.layer.q < 1)).any()))

    monkeypatch.setattr(Inhibition, "survive", watched)
    process = learned(network, 1, TDMCL(inhibition="survival", **{**BY_KERNELS, "cap": 0.5}))
    assert process.events["died_in_old"]["see"] > 0
    assert any(faded)


@pytest.mark.parametrize("form", ["logits", "paper"])
def test_probabilities_of_links_evolve_by_what_was_tried(one: ModularSNN, form: Any) -> None:
    network = copy.deepcopy(one)
    learned(network, 1, TDMCL(evolution="none", inhibit=0.0, **ALONE))
    process = Watched(
        TDMCL(evolution=form, links=1, gamma=0.3, search=0.75, **ALONE), network, TASKS[2], SHORT
    )
    process._grow()
    trials: list[tuple[Any, float]] = []
    record = process._evolution.record

    def watched(drawn: Any, loss: float) -> None:
        trials.append((drawn, -loss))
        record(drawn, loss)

    process._evolution.record = watched  # type: ignore[method-assign]
    process._grow = lambda: None  # type: ignore[method-assign]
    while process.advance():
        pass
    assert len(trials) == 3 * 3  # epochs, batches
    wiring = process.summary()["wiring"]
    for block in (1, 2, 3):
        expected = twin.probabilities([0, 1], [(drawn[block], well) for drawn, well in trials], 0.3, form)
        found = wiring["probabilities"][str(block)]
        assert_allclose([found["0"], found["1"]], expected, rtol=1e-9)
        assert wiring["kept"][str(block)] == [int(np.argmax(expected))]
    assert any(found["0"] != 0.5 for found in wiring["probabilities"].values())
