"""A learner in a person's hands: arrays in, names out, stored and found again to the bit, and nothing old is kept."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from coppice import Learner, save_model
from coppice.data.samples import Samples, task_of
from coppice.data.splits import Split
from coppice.data.tasks import TaskData
from coppice.learner import Prediction
from coppice.learner.folder import fingerprint
from coppice.methods import td_mcl
from coppice.methods.td_mcl_inference import FLOOR, Centres, centres, strangeness
from coppice.methods.td_mcl_options import TDMCL, Schooling
from coppice.methods.td_mcl_own import LOT, PASSES, STAGES
from coppice.models.modular_blocks import ModularPlan
from coppice.models.modular_saved import network_of, plan_of, record_of, tree_of
from coppice.models.modular_snn import ModularSNN
from coppice.parts import storage
from coppice.parts.packing import without_masks
from coppice.parts.spikes import LIF, Atan, Sigmoid
from coppice.parts.synaptic_operations import measure
from trees import tensors

PLAN = ModularPlan(widths=(4, 6), steps=2)
METHOD = TDMCL(inhibit=0.3, cap=0.5, own_budget=0.6, expected_tasks=3, links=1)  # old kernels do die
SHORT = Schooling(epochs=3, batch=20)
IMAGE = (2, 6, 6)


def samples(seed: int, shape: tuple[int, ...] = IMAGE, count: int = 60) -> tuple[Any, Any]:
    """Three classes of noisy patterns."""
    rng = np.random.default_rng(seed)
    patterns = rng.normal(size=(3, *shape))
    y = np.arange(count) % 3
    return (patterns[y] + 0.5 * rng.normal(size=(count, *shape))).astype(np.float32), y


def fresh(**options: Any) -> Learner:
    return Learner(**{"plan": PLAN, "method": METHOD, "schooling": SHORT, **options})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one that has learned two tasks."""
    folder = tmp_path_factory.mktemp("learner") / "mine"
    learner = fresh()
    learner.learn("see", samples(1), into=folder)
    learner.learn("move", (*samples(2), ["up", "left", "down"]), into=folder)
    return folder


def state(learner: Learner) -> dict[str, Tensor]:
    return dict(learner.network.state_dict())


def assert_same(ours: Learner, theirs: Learner) -> None:
    assert repr(ours) == repr(theirs)
    assert state(ours).keys() == state(theirs).keys()
    for name, value in state(ours).items():
        assert torch.equal(value, state(theirs)[name]), name
    for one, other in zip(ours.tasks.values(), theirs.tasks.values(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.centres, other.centres, strict=True))
        assert replace(one, centres=other.centres) == other


# --- learn and predict ---------------------------------------------------------------------------------------


def test_what_was_learned_is_named_and_told_of_in_json() -> None:
    learner = fresh(schooling=Schooling(epochs=6, batch=10))
    x, y = samples(1, count=90)
    words = np.array(["low", "high", "mid"])[y]
    summary = learner.learn("see", (x, words))
    assert json.loads(json.dumps(summary)) == summary
    assert learner.tasks["see"].classes == ("high", "low", "mid")
    assert learner.tasks["see"].validation == summary["validation"]
    assert learner.tasks["see"].samples == 76  # 15 % of the 90 are held back
    found = learner.predict(x, task="see")
    assert np.mean(np.array(found.labels) == words) > 0.8
    assert found.tasks == ["see"] * 90
    assert [learner.tasks["see"].classes[n] for n in found.numbers.tolist()] == found.labels
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(90))
    logits = learner.network(torch.from_numpy(x), "see")
    torch.testing.assert_close(found.probabilities, logits.softmax(1))
    assert repr(learner).startswith("Learner(see; ")


@pytest.mark.parametrize("shape", [(5,), (7, 3), IMAGE, (2, 2, 6, 6)])
def test_inputs_of_every_kind(saved: Path, shape: tuple[int, ...]) -> None:
    learner = Learner.load(saved)
    x, y = samples(3, shape)
    learner.learn("new", (torch.from_numpy(x), y.tolist()), epochs=1)
    assert len(learner.predict(x, "new").labels) == 60
    assert set(learner.predict(x).tasks) <= ({"new"} if shape != IMAGE else {"see", "move", "new"})
    assert learner.costs(x, "new").samples == 60


def test_a_task_of_data_is_taken_as_it_is_under_its_own_or_another_name() -> None:
    x, y = map(torch.from_numpy, samples(1))
    task = TaskData(
        "see", Split(x[:40], y[:40]), Split(x[40:], y[40:]), Split(x[:0], y[:0]), ("a", "b", "c"), "p"
    )
    learner = fresh()
    learner.learn(task, epochs=1)
    learner.learn("again", task, epochs=1)
    assert [(one.name, one.samples, one.group) for one in learner.tasks.values()] == [
        ("see", 40, "p"),
        ("again", 40, "p"),
    ]
    with pytest.raises(ValueError, match="there is a task 'see' already"):
        learner.learn(task)
    with pytest.raises(ValueError, match="taken as they are: leave scale out"):
        learner.learn("third", task, scale=True)


def test_a_task_that_could_not_be_measured_is_refused_before_it_is_learned(tmp_path: Path) -> None:
    x, y = map(torch.from_numpy, samples(1))
    two = y < 2  # a mean of nothing would be the nearest to everything
    whole = Split(x, y)
    task = TaskData("see", whole, whole, Split(x[:0], y[:0]), ("a", "b", "c"))
    learner, begun = fresh(), []
    for wrong, says in (
        ({"train": Split(x[two], y[two])}, "class 'c' of task 'mine' has no training sample: give some"),
        (
            {"validation": Split(x[:0], y[:0])},
            "task 'mine' has no validation sample: cut some from the training",
        ),
    ):
        with pytest.raises(ValueError, match=says):
            learner.learn("mine", task._replace(**wrong), into=tmp_path, on_epoch=begun.append)
    assert not begun
    assert not list(tmp_path.iterdir())


def test_scaled_inputs_are_scaled_alike_ever_after() -> None:
    x, y = samples(1, (4,))
    raw = x * np.array([1e4, 1e-4, 1, 1]) + np.array([0, 0, 500, 0])
    task, scaling = task_of("t", Samples(raw, y), scale=True, seed=0)
    assert scaling is not None
    np.testing.assert_allclose(task.train.x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(task.train.x.std(0, correction=0), 1, rtol=1e-5)
    learner = fresh()
    learner.learn("t", (raw, y), scale=True)
    by_hand = (raw - np.array(scaling.mean)) / np.array(scaling.std)
    logits = learner.network(torch.from_numpy(by_hand.astype(np.float32)), "t")
    torch.testing.assert_close(learner.predict(raw, "t").probabilities, logits.softmax(1))
    sequence, labels = samples(1, (7, 3))
    task, scaling = task_of("s", Samples(1000 * sequence, labels), scale=True, seed=0)
    assert scaling is not None
    assert len(scaling.mean) == 3
    np.testing.assert_allclose(task.train.x.std((0, 1), correction=0), 1, rtol=1e-5)
    with pytest.raises(ValueError, match=r"frames \[51, 2, 2, 6, 6\], which are not scaled"):
        task_of("f", Samples(*samples(1, (2, 2, 6, 6))), scale=True, seed=0)


def test_what_fails_was_never_learned(saved: Path) -> None:
    learner = Learner.load(saved)
    before = Learner.load(saved)

    def stop(process: Any) -> None:
        raise KeyboardInterrupt

    for options, error in (({"on_epoch": stop}, KeyboardInterrupt), ({"epochs": 0}, ValueError)):
        with pytest.raises(error):
            learner.learn("third", samples(3), **options)  # type: ignore[arg-type]
        assert_same(learner, before)
    process = learner.begin("third", samples(3))
    process.advance()
    with pytest.raises(RuntimeError, match="for 1 of 3 epochs"):
        learner.finish(process)
    learner.begin("third", samples(3))
    with pytest.raises(RuntimeError, match="not the last that begin"):
        learner.finish(process)


# --- which task ----------------------------------------------------------------------------------------------


def test_strangeness_is_what_its_equation_says(saved: Path) -> None:
    network = Learner.load(saved).network
    x, y = map(torch.from_numpy, samples(1))
    known = centres(network, 0, x, y, 3, batch=16)
    with torch.no_grad():
        spikes = network.activity(x, 0)[0].spikes
    rates = np.concatenate([s.view(2, 60, -1, 3, 3).mean(0).flatten(1).numpy() for s in spikes], 1)
    means = np.array([rates[y == c].mean(0) for c in range(3)])
    variance = np.mean([(r - means[c]) ** 2 for r, c in zip(rates, y, strict=True)], 0)
    d = np.array([min((((r - mean) ** 2) / (variance + FLOOR)).sum() for mean in means) for r in rates])
    np.testing.assert_allclose(known.means, means, atol=1e-6)
    np.testing.assert_allclose(strangeness(network, 0, x, known, 7), d / d.mean(), rtol=1e-4)


def test_large_images_are_told_apart_on_a_grid_of_four_by_four() -> None:
    learner = fresh()
    learner.learn("large", samples(1, (1, 12, 12), 24), epochs=1)
    assert learner.tasks["large"].centres.means.shape == (3, 4 * 16 + 6 * 16)


def test_the_task_is_inferred_among_those_of_the_shape() -> None:
    learner = fresh(schooling=Schooling(epochs=6, batch=10))
    for name, seed in (("see", 1), ("move", 2)):
        learner.learn(name, (*samples(seed), [f"{name} {n}" for n in "abc"]))
    learner.learn("vector", (*samples(3, (5,)), ["v", "w", "x"]), epochs=1)
    right = 0
    for name, seed in (("see", 1), ("move", 2)):
        found = learner.predict(samples(seed)[0])
        right += found.tasks.count(name)
        assert all(label.startswith(task) for task, label in zip(found.tasks, found.labels, strict=True))
    assert right > 90  # of 120
    assert set(learner.predict(samples(3, (5,))[0]).tasks) == {"vector"}
    with pytest.raises(ValueError, match=r"no task was learned with it: there are \[2, 6, 6\] \('see'\)"):
        learner.predict(np.zeros((2, 3, 6, 6)))


def test_probabilities_of_fewer_classes_are_filled_up_with_zeros() -> None:
    learner = fresh()
    x, y = samples(1)
    learner.learn("two", (x[y < 2], y[y < 2]), epochs=1)
    learner.learn("three", (-x, y), epochs=1)
    found = learner.predict(np.concatenate([x, -x]))
    assert isinstance(found, Prediction)
    assert found.probabilities.shape == (120, 3)
    assert set(found.tasks) == {"two", "three"}
    for task, row in zip(found.tasks, found.probabilities, strict=True):
        assert (row[2] == 0) == (task == "two")


# --- save and load -------------------------------------------------------------------------------------------


def test_saved_and_loaded_it_learns_on_to_the_same_bits(saved: Path) -> None:
    whole = fresh()
    whole.learn("see", samples(1))
    whole.learn("move", (*samples(2), ["up", "left", "down"]))
    torch.manual_seed(5)  # whatever chance another machine is at
    loaded = Learner.load(saved)
    assert_same(loaded, whole)
    assert torch.equal(
        loaded.predict(samples(2)[0]).probabilities, whole.predict(samples(2)[0]).probabilities
    )
    for learner in (loaded, whole):
        learner.learn("meet", samples(3, (5,)), scale=True)
    assert_same(loaded, whole)
    assert loaded.network.module(0).locals()[0].layer.alive.sum() < 12


def test_the_dead_take_a_bit_each(saved: Path) -> None:
    tree = storage.read(saved / "learner.safetensors")
    network = Learner.load(saved).network
    name = "grown.0.blocks.1.first.local.weight"
    alive = network.state_dict()[name + "_alive"]
    entry = tree["network"]["packed"][name]
    assert 0 < len(entry["values"]) == int(alive.sum()) < alive.numel()
    assert entry["alive"].numel() == -(-alive.numel() // 8)
    assert not [name for name in tree["network"]["weights"] if name.endswith(("_alive", "inhibition"))]


def test_a_write_that_fails_leaves_the_learner_that_was(
    saved: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    learner = Learner.load(saved)
    learner.save(tmp_path)
    before = (tmp_path / "learner.safetensors").read_bytes()
    learner.learn("third", samples(3), epochs=1)

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        learner.save(tmp_path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [
        ("learner.safetensors", before)
    ]


def test_another_learner_is_not_written_over(saved: Path, tmp_path: Path) -> None:
    before = (saved / "learner.safetensors").read_bytes()
    for other in (fresh(), fresh(seed=1), Learner()):
        with pytest.raises(
            FileExistsError,
            match=r"is another learner \(of see, move\), with another .*past: choose another folder",
        ):
            other.save(saved)
        with pytest.raises(FileExistsError, match="is another learner"):
            other.learn("third", samples(3), into=saved)
    assert (saved / "learner.safetensors").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file, but a learner needs a folder"):
        fresh().save(tmp_path / "file")
    fresh().save(tmp_path / "new")
    assert Learner.load(tmp_path / "new").tasks == {}


def test_another_past_or_other_options_make_another_learner(tmp_path: Path) -> None:
    """Names alone do not tell: whoever is written over is gone."""
    first, other = fresh(), fresh()
    first.learn("t", samples(1, (5,)), epochs=1, into=tmp_path / "one")
    x, y = samples(2, (4,))
    other.learn("t", (x, y), epochs=1)
    renamed = fresh()
    renamed.learn("t", (*samples(1, (5,)), ["a", "b", "c"]), epochs=1)
    fresh().save(tmp_path / "none")
    for folder, learner, says in (
        ("one", other, "of t), with another past"),
        ("one", renamed, "of t), with another past"),
        ("none", fresh(method=TDMCL()), "of no task yet), with another method"),
        ("none", fresh(schooling=Schooling(epochs=4, batch=20)), "of no task yet), with another schooling"),
        ("none", fresh(seed=1, plan=ModularPlan(steps=2)), "with another seed and another plan:"),
    ):
        before = (tmp_path / folder / "learner.safetensors").read_bytes()
        with pytest.raises(FileExistsError, match="is another learner") as refused:
            learner.save(tmp_path / folder)
        assert says in str(refused.value)
        assert (tmp_path / folder / "learner.safetensors").read_bytes() == before
    again = Learner.load(tmp_path / "one")
    again.learn("more", samples(3), epochs=1)
    again.save(tmp_path / "one")
    again.save(tmp_path / "none")  # which has nothing that this one had not
    assert list(Learner.load(tmp_path / "none").tasks) == ["t", "more"]


def test_a_learner_of_an_earlier_version_is_gone_on_with_in_its_folder(tmp_path: Path) -> None:
    learner = fresh(method=TDMCL())
    learner.save(tmp_path)
    tree = storage.read(tmp_path / "learner.safetensors")
    for table, key in (("plan", "residual"), ("method", "kappa"), ("schooling", "momentum")):
        del tree[table][key]  # an option that came later
    storage.write(tmp_path / "learner.safetensors", tree)
    Learner.load(tmp_path).save(tmp_path)
    assert "kappa" in storage.read(tmp_path / "learner.safetensors")["method"]
    storage.write(tmp_path / "learner.safetensors", tree | {"learner": 2})
    with pytest.raises(ValueError, match="schema 2, but this coppice reads schema 1"):
        learner.save(tmp_path)


def test_what_is_no_learner_is_refused(saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "learner.safetensors"
    with pytest.raises(FileNotFoundError, match="is no folder"):
        Learner.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no learner: it has no learner"):
        Learner.load(tmp_path)
    whole = (saved / "learner.safetensors").read_bytes()
    for broken in (whole[:-9], whole[:40], b"", b"not at all", whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match="damaged"):
            Learner.load(tmp_path)
    save_model(torch.nn.Sequential(torch.nn.Linear(2, 2)), file)
    with pytest.raises(ValueError, match="holds no learner, but something else that coppice wrote"):
        Learner.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"learner": 2}, r"schema 2, but this coppice reads schema 1"),
        ({"method": {"cunning": 1}}, "does not fit this version of coppice: .*cunning"),
        ({"schooling": {"epochs": 0}}, "epochs is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"tasks": []}, "its tasks are not those of its network"),
        ({"tasks": [{}]}, "does not fit this version"),
        ({"network": {}}, "no growing network"),
        ({"network": None}, "no growing network"),
    ],
)
def test_a_learner_of_another_version_is_refused(
    saved: Path, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    tree = storage.read(saved / "learner.safetensors")
    storage.write(tmp_path / "learner.safetensors", tree | change)
    with pytest.raises(ValueError, match=says):
        Learner.load(tmp_path)


def test_a_network_that_does_not_fit_its_structure_is_refused(saved: Path) -> None:
    network = Learner.load(saved).network
    for name, wrong in (("grown.0.head.weight", torch.zeros(4, 6)), ("grown.0.head.bias", torch.zeros(3, 1))):
        tree = tree_of(network)
        tree["weights"][name] = wrong
        with pytest.raises(ValueError, match=rf"'{name}' is stored with shape"):
            network_of(tree)
    tree = tree_of(network)
    del tree["weights"]["grown.0.head.bias"]
    with pytest.raises(ValueError, match=r"only one of them has 'grown.0.head.bias'"):
        network_of(tree)
    with pytest.raises(ValueError, match="stored centres"):
        Centres.of({"means": torch.zeros(2, 3), "variance": torch.zeros(2), "usual": torch.zeros(())})
    network.module(0).locals()[0].layer.q.fill_(0.5)
    with pytest.raises(RuntimeError, match="a task is being learned"):
        tree_of(network)


@dataclass(frozen=True)
class Own:
    def gradient(self, distance: Tensor) -> Tensor:
        return distance


def test_every_plan_is_stored_and_found_again() -> None:
    for plan in (
        PLAN,
        ModularPlan(neuron=None, steps=1),
        ModularPlan(residual=1, neuron=LIF(tau=3.0, reset="soft", surrogate=Atan(3.0))),
        ModularPlan(neuron=LIF(surrogate=Sigmoid(2.0), detach_reset=False)),
    ):
        assert plan_of(json.loads(json.dumps(record_of(plan)))) == plan
    with pytest.raises(ValueError, match=r"the surrogate Own\(\) cannot be stored"):
        Learner(ModularPlan(neuron=LIF(surrogate=Own()))).save("nowhere")


# --- within a task -------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def test_stopped_after_any_epoch_it_goes_on_to_the_same_bits(saved: Path, tmp_path: Path) -> None:
    whole = Learner.load(saved)
    summary = whole.learn("third", samples(3))
    for stop in (1, 3):
        folder = tmp_path / f"{stop}"
        Learner.load(saved).save(folder)

        def kill(process: Any, stop: int = stop) -> None:
            if process.epoch == stop:
                raise Killed

        with pytest.raises(Killed):
            Learner.load(folder).learn("third", samples(3), into=folder, on_epoch=kill)
        again = Learner.load(folder)
        assert list(again.tasks) == ["see", "move"]
        with pytest.raises(FileExistsError, match="has a task half learned: go on with it by resume = True"):
            again.learn("third", samples(3), into=folder)
        for task, data, says in (
            ("other", samples(3), "another task"),
            ("third", samples(4), "another samples"),
            ("third", (*samples(3), ["a", "b", "c"]), "another classes"),
        ):
            with pytest.raises(ValueError, match=f"task 'third' half learned, begun with {says}"):
                again.learn(task, data, into=folder, resume=True)
        with pytest.raises(ValueError, match="the state is of another schooling"):
            again.learn("third", samples(3), into=folder, resume=True, epochs=4)
        assert again.learn("third", samples(3), into=folder, resume=True) == summary
        assert_same(again, whole)
        assert_same(Learner.load(folder), whole)
        assert sorted(file.name for file in folder.iterdir()) == ["learner.safetensors"]


def test_what_was_left_by_a_kill_at_the_very_end_is_cleared_away(saved: Path, tmp_path: Path) -> None:
    learner = Learner.load(saved)
    learner.learn("third", samples(3), epochs=1, into=tmp_path)
    storage.write(tmp_path / "unfinished.safetensors", {"identity": {"task": "third"}, "state": {}})
    learner.learn("fourth", samples(4), epochs=1, into=tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["learner.safetensors"]
    for wrong, says in ((b"nothing", "damaged"), (None, "holds no task half learned")):
        if wrong is None:
            storage.write(tmp_path / "unfinished.safetensors", {"learner": 1})
        else:
            (tmp_path / "unfinished.safetensors").write_bytes(wrong)
        with pytest.raises(ValueError, match=says):
            learner.learn("fifth", samples(5), epochs=1, into=tmp_path, resume=True)


@pytest.mark.slow
def test_a_killed_process_is_gone_on_with_to_the_same_bits(tmp_path: Path) -> None:
    script = tmp_path / "learn.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import torch; torch.set_num_threads(1)\n"
        "from test_learner import *\n"
        "folder, stop = Path(sys.argv[1]), int(sys.argv[2])\n"
        "def kill(process):\n"
        "    if process.epoch == stop: os.kill(os.getpid(), signal.SIGKILL)\n"
        "learner = Learner.load(folder) if folder.exists() else fresh()\n"
        "for name, seed in (('see', 1), ('move', 2)):\n"
        "    if name not in learner.tasks:\n"
        "        learner.learn(name, samples(seed), into=folder, resume=True, on_epoch=kill)\n"
    )
    folder = tmp_path / "mine"
    codes = [
        subprocess.run([sys.executable, str(script), str(folder), stop], check=False, timeout=300).returncode
        for stop in ("2", "1", "3", "9", "9")
    ]
    # killed in "see", in "move", in "move" again; then it ends, and nothing is left to do
    assert codes[:1] == [-signal.SIGKILL]
    assert codes[-2:] == [0, 0]
    assert codes.count(-signal.SIGKILL) == 3
    whole = fresh()
    whole.learn("see", samples(1))
    whole.learn("move", samples(2))
    assert_same(Learner.load(folder), whole)


# --- audit ---------------------------------------------------------------------------------------------------


def test_no_sample_of_any_task_is_kept(tmp_path: Path, monkeypatch: Any) -> None:
    mark = 0.48828125  # exact in float32; in every sample and, as a weight or a mean, nowhere
    learner = fresh()
    states: list[Any] = []
    for seed in (1, 2):
        x, y = samples(seed)
        x[:, 0, 0, 0] = mark
        task, _ = task_of(f"task {seed}", Samples(x, y), scale=False, seed=0)
        loss = td_mcl.cross_entropy
        judged: list[Tensor] = []
        monkeypatch.setattr(
            td_mcl,
            "cross_entropy",
            lambda *of, loss=loss, judged=judged: (judged.append(of[1]), loss(*of))[1],
        )

        def look(process: Any, seed: int = seed) -> None:
            states.append(process.state_dict())
            for number in range(process.number):  # nothing flows into what is old
                assert all(p.grad is None for p in process.network.module(number).parameters())
            trained = (
                [p for group in process.school.optimizer.param_groups for p in group["params"]]
                if (process.school.optimizer is not None)
                else []
            )
            assert {id(p) for p in trained} <= {id(p) for p in process.module.parameters()}

        learner.learn(task, on_epoch=look, into=tmp_path)
        monkeypatch.setattr(td_mcl, "cross_entropy", loss)
        learned = int(len(task.train.x) * 0.9 + 0.99)
        # in an epoch each sample of the new task once, in a stage of a trace a lot of them: and no other term
        lots = [len(lot) for lot in torch.arange(learned).split(LOT)]
        assert PASSES * len(lots) <= STAGES  # so that a stage takes one lot
        traced = sum(lots[stage % len(lots)] for stage in range(STAGES))
        assert (
            sum(map(len, judged)) == 3 * learned + seed * traced
        )  # the second task traces what it reads, too
        states.append(storage.read(tmp_path / "learner.safetensors"))
        states.append({"tasks": [one.tree() for one in learner.tasks.values()], "network": state(learner)})
    shapes = set()
    for tree in states:
        for tensor in tensors(tree):
            shapes.add(tuple(tensor.shape))
            assert not (tensor.is_floating_point() and (tensor == mark).any())
            assert tuple(tensor.shape[-3:]) != IMAGE
            assert tensor.shape[:1] not in {(51,), (46,), (60,), (9,)}  # trained, learned, given, validation
    assert len(shapes) > 10
    assert not learner._begun
    raw = (tmp_path / "learner.safetensors").read_bytes()
    assert np.float32(mark).tobytes() not in raw


# --- costs ---------------------------------------------------------------------------------------------------


def test_costs_are_those_of_all_modules_that_a_task_needs(saved: Path) -> None:
    learner = Learner.load(saved)
    x = samples(2)[0]
    costs = learner.costs(x, "move")
    whole = measure(learner.network, torch.from_numpy(x), call=lambda part: learner.network(part, "move"))
    assert costs.synaptic_operations == whole.synaptic_operations > 0
    assert {row.name.split(".")[0] for row in costs.layers} == {"0", "1"}
    alone = learner.costs(x, "see")
    assert {row.name.split(".")[0] for row in alone.layers} == {"0"}
    assert alone.synaptic_operations < costs.synaptic_operations
    kept = without_masks(learner.network.module(0).state_dict())
    assert alone.footprint == sum(value.numel() * value.element_size() for value in kept.values())


# --- bad input -----------------------------------------------------------------------------------------------


def test_unknown_tasks_and_other_shapes_are_named(saved: Path) -> None:
    learner = Learner.load(saved)
    x = samples(1)[0]
    with pytest.raises(ValueError, match="there is no task 'mvoe', did you mean 'move'"):
        learner.predict(x, "mvoe")
    with pytest.raises(ValueError, match="there is no task 'zzz': there are see, move"):
        learner.costs(x, "zzz")
    with pytest.raises(ValueError, match="there are none yet"):
        fresh().predict(x, "see")
    with pytest.raises(ValueError, match="there are none yet"):
        fresh().predict(x)
    with pytest.raises(ValueError, match=r"shape \[2, 6\], but task 'see' was learned with \[2, 6, 6\]"):
        learner.predict(x[:, :, 0], "see")
    for wrong, says in (
        (x[0, 0, 0], "one sample is x\\[None\\]"),
        (x[:0], "none of them empty"),
        (np.full_like(x, np.nan), "sample 0 is not finite"),
        (x.astype(str), "must hold real numbers"),
        ((255 * x).astype(np.uint8), "divide bytes by 255"),
        ([[1.0], [1.0, 2.0]], "is no array"),
    ):
        with pytest.raises(ValueError, match=says):
            learner.predict(wrong, "see")


X, Y = samples(1)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("", (X, Y), "name of a task is ''"),
        ("a\nb", (X, Y), "must be printable"),
        (3, (X, Y), "name of a task is 3"),
        ("t", None, "is a NoneType, but must be"),
        ("t", X, "is a ndarray, but must be"),
        ("t", (X,), "is a tuple, but must be"),
        ("t", (X, Y + 0.5), "y of task 't' holds 0.5, but classes are whole numbers or text"),
        ("t", (X, [None] * 60), "y of task 't' holds objects"),
        ("t", (X, Y[:-1]), "must have the same number of samples"),
        ("t", (X, np.stack([Y, Y], 1)), "must be whole class numbers"),
        ("t", (X, Y, ["a", "b"]), "2 names are given for the 3 classes"),
        ("t", (X, Y, ["a", "b", "a"]), "give each a name of its own"),
        ("t", (X, np.array(["u", "v", "w"])[Y], ["a", "b", "c"]), "leave classes out"),
        ("t", (X, 0 * Y), "has 1 classes, but needs at least 2"),
        ("t", ((255 * X).astype(np.uint8), Y), "divide bytes by 255"),
        ("t", (X.astype(object), Y), "must hold real numbers"),
        ("t", (np.where(X[7, 1, 2, 3] == X, np.inf, X), Y), "sample 7 is not finite"),
        ("t", (X[None], Y), "same number of samples"),
        ("t", (X[:2], Y[:2]), "has no training sample left after the cut"),
        ("t", (X[:, None, None], Y), "must be \\[feature\\]"),
        ("t", samples(1, (3, 2, 6, 6)), "has 3 frames a sample, but the network takes 2 time steps"),
    ],
)
def test_what_cannot_be_learned_is_refused(name: Any, data: Any, says: str) -> None:
    learner = fresh()
    with pytest.raises(ValueError, match=says):
        learner.learn(name, data)
    assert learner.tasks == {}
    assert len(learner.network.names) == 0


def test_a_wrong_seed_is_named() -> None:
    with pytest.raises(ValueError, match="seed is -1"):
        Learner(seed=-1)


def test_fingerprints_tell_types_shapes_and_values() -> None:
    a = torch.arange(6.0)
    assert len({fingerprint([t]) for t in (a, a.view(2, 3), a.double(), -a, a[:5])}) == 5
    assert fingerprint([a]) == fingerprint([a.clone()])
    assert isinstance(Learner().network, ModularSNN)
