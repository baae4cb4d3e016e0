"""The contract: what every method in the catalogue must do, and bring along."""

import dataclasses
import warnings
from pathlib import Path

import pytest
import torch

from coppice.contract import Process
from coppice.data import Splits, load
from coppice.experiments import recipe as recipes
from coppice.experiments.recipe import Recipe, from_tables
from coppice.experiments.run import begin
from coppice.methods import CATALOGUE
from coppice.parts import storage

ROOT = Path(__file__).parent.parent
TINY = {
    "data": {"name": "digits", "train": 600, "validation": 300},
    "model": {"hidden": [16, 12]},
    "training": {"epochs": 4, "batch": 20, "learning_rate": 0.01},
}
SHORT = {
    "bdnn-sp": {"pretrain_epochs": 2, "plateau": 0, "retrain_steps": 0, "tune_epochs": 2, "min_width": 4}
}
# A method without a paper needs no card, twin or recipe: it is what the others are held against.
PAPERS = sorted(set(CATALOGUE) - {"dense"})
every_method = pytest.mark.parametrize("name", sorted(CATALOGUE))


def tiny(name: str) -> Recipe:
    return from_tables("tiny", {**TINY, "method": {"name": name, **SHORT.get(name, {})}})


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load(tiny("dense").data, seed=0)


def start(name: str, splits: Splits) -> Process:
    return begin(tiny(name), splits, 3, torch.device("cpu"))[0]


def finish(process: Process) -> Process:
    while process.advance():
        pass
    return process


def assert_same(one: Process, other: Process) -> None:
    assert one.summary() == other.summary()
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_the_catalogue_is_not_empty() -> None:
    assert PAPERS


@every_method
def test_defaults_construct_and_compare(name: str) -> None:
    assert CATALOGUE[name]() == CATALOGUE[name]()


@every_method
def test_seeded_runs_repeat(name: str, splits: Splits) -> None:
    assert_same(finish(start(name, splits)), finish(start(name, splits)))


@every_method
def test_another_seed_is_another_run(name: str, splits: Splits) -> None:
    other = begin(tiny(name), splits, 4, torch.device("cpu"))[0]
    assert finish(start(name, splits)).summary() != finish(other).summary()


@every_method
def test_stopped_after_any_unit_it_goes_on_to_the_same_bits(
    name: str, splits: Splits, tmp_path: Path
) -> None:
    whole = start(name, splits)
    units = 0
    while whole.advance():
        units += 1
        storage.write(tmp_path / f"{units}.safetensors", whole.state_dict())
    assert units >= 4
    for unit in range(1, units + 1):
        torch.manual_seed(99)  # whatever happened in between
        resumed = start(name, splits)
        resumed.load_state_dict(storage.read(tmp_path / f"{unit}.safetensors"))
        assert_same(whole, finish(resumed))


@every_method
def test_outputs_keep_their_shape(name: str, splits: Splits) -> None:
    process = start(name, splits)
    x = splits.test.x[:7]
    before = process.model(x).shape
    assert finish(process).model(x).shape == before


@every_method
def test_progress_is_told_at_every_unit(name: str, splits: Splits) -> None:
    process = start(name, splits)
    told = [process.progress()]
    while process.advance():
        told.append(process.progress())
    assert all(progress.doing and progress.parameters > 0 for progress in told)
    assert all(progress.score is not None for progress in told[1:])
    assert all(0 <= (progress.done or 0) <= 1 for progress in told)


@every_method
def test_it_learns(name: str, splits: Splits) -> None:
    process = finish(start(name, splits))
    right = process.model.eval()(splits.validation.x).argmax(1) == splits.validation.y
    assert right.double().mean() > 0.5  # chance is 0.1; 600 samples, a few epochs


@every_method
def test_every_number_out_of_bounds_is_refused_by_name(name: str) -> None:
    numbers = [f.name for f in dataclasses.fields(CATALOGUE[name]) if f.type in (int, float, "int", "float")]
    for number in numbers:
        with pytest.raises(ValueError, match=number):
            CATALOGUE[name](**{number: -1})


@pytest.mark.parametrize("name", PAPERS)
def test_it_brings_card_twin_and_recipe(name: str) -> None:
    file = name.replace("-", "_")
    for needed in (f"docs/methods/{file}.md", f"tests/reference/{file}.py", f"src/coppice/methods/{file}.py"):
        assert (ROOT / needed).is_file(), f"method {name} lacks {needed}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = [recipes.load(recipe) for recipe in recipes.names()]
    kind = CATALOGUE[name]
    assert any(type(r.method) is kind and r.study is None for r in loaded), f"method {name} lacks a recipe"


def test_every_recipe_loads_in_each_of_its_cells() -> None:
    names = recipes.names()
    assert len(names) >= 3 * len(PAPERS)  # a sweep that finds nothing must not pass
    for name in names:
        recipe = recipes.load(name)
        assert recipe.about, f"recipe {name} does not say what it is about"
        labels = [label for label, _ in recipe.cells()]
        assert len(labels) == len(set(labels))
