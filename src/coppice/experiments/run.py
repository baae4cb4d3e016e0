"""Run a recipe: data, model, training and method put together, stored as it goes, judged once on the test set."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from coppice.contract import Method, Process, Progress, Task
from coppice.data import Split, Splits, load
from coppice.experiments import forecasts, record
from coppice.experiments.folder import Folder, refuse_used
from coppice.experiments.live import Live
from coppice.experiments.loop import Fitting, Training, per_sample_score, retrain
from coppice.experiments.recipe import Recipe, StreamRecipe
from coppice.experiments.run_stream import Work, on_stream
from coppice.experiments.saved import weighed
from coppice.experiments.studies.setting import Setting
from coppice.methods.bdnn_sp import Search
from coppice.parts import cost, snapshot
from coppice.parts.blueprint import save_model
from coppice.parts.fitness import Score
from coppice.parts.surgery import count_parameters

Watch = Callable[[Progress], None]


def run(
    recipe: Recipe | StreamRecipe,
    seed: int,
    folder: Folder,
    *,
    device: torch.device | str = "cpu",
    resume: bool = False,
    watch: Watch = lambda progress: None,
    splits: Splits | None = None,
    live: bool = False,
) -> dict[str, Any]:
    """One recipe (without a sweep) with one seed; returns the record, which then stands in the folder.

    live: until then, keep an unfinished record there too, no older than a unit or a second or so

    With `resume`, a finished run is returned as it is and a begun one goes on, to the same bits: so on the same kind of
    device, with as many threads. Without, a folder that holds a run is refused; one with a learner and no run always is.
    """
    identity = record.identity(recipe, seed)
    if folder.finished and resume:
        return folder.result({**identity, **_digest(recipe, splits)})
    if not (folder.begun and resume):
        refuse_used([folder])
    place = torch.device(device)
    if isinstance(recipe, StreamRecipe):
        work = on_stream(recipe, seed, place, folder)
    else:
        work = _on_splits(recipe, seed, place, folder, splits)
    process = work.process
    # a file of the user's may have changed since the run was begun; another device or number of threads, other bits
    identity |= {"sha256": work.data.get("sha256"), "device": place.type, "threads": torch.get_num_threads()}
    if folder.begun:
        process.load_state_dict(folder.load(identity))
    else:
        folder.clear()
        folder.save(identity, process.state_dict())
    folder.live.unlink(missing_ok=True)  # of a run that was killed
    note = _onlooker(recipe, seed, place, work, folder) if live else lambda: None
    note()
    watch(process.progress())
    while process.advance():
        folder.save(identity, process.state_dict())
        note()
        watch(process.progress())
    folder.finish(work.finish())
    return record.read(folder.record)


def _onlooker(
    recipe: Recipe | StreamRecipe, seed: int, device: torch.device, work: Work, folder: Folder
) -> Callable[[], None]:
    """What is to be called after each unit so that others can look on."""
    envelope = record.envelope(recipe, seed, device, data=work.data, task=work.task, result={}, timing={})
    return Live(folder.live, work.process, envelope).note


def _digest(recipe: Recipe | StreamRecipe, given: Splits | None) -> dict[str, Any]:
    """The "sha256" of the data where it is had without reading them: if they are given, or a file of the user's."""
    if given is not None:
        return {"sha256": given.provenance.get("sha256")}
    if (file := recipe.file) is None or not file.is_file():
        return {}
    with file.open("rb") as content:
        return {"sha256": {file.name: hashlib.file_digest(content, "sha256").hexdigest()}}


def _on_splits(recipe: Recipe, seed: int, device: torch.device, folder: Folder, given: Splits | None) -> Work:
    splits = given if given is not None else load(recipe.data, seed)
    process, example = begin(recipe, splits, seed, device, folder)

    def finish() -> dict[str, Any]:
        finished = _record(recipe, seed, splits, process, example)
        if recipe.study is None:  # a study leaves numbers, not a network
            save_model(process.model.cpu(), folder.model, **_notes(recipe, seed, splits))
        return finished

    return Work(process, splits.provenance, splits.task, finish)


def begin(
    recipe: Recipe, splits: Splits, seed: int, device: torch.device, folder: Folder | None = None
) -> tuple[Process, Tensor]:
    """The process of a recipe, seeded and not yet begun, and an example input [1, ...]."""
    torch.manual_seed(seed)
    train, validation = (Split(s.x.to(device), s.y.to(device)) for s in (splits.train, splits.validation))
    model = recipe.model.build(train.x.shape[1:], splits.outputs).to(device)
    task = make_task(recipe.data.name, recipe.training, splits, train, validation, seed)
    optimizer = recipe.training.optimizer_for(model)
    example = train.x[:1]
    if recipe.study is not None:
        plain = dataclasses.replace(recipe, study=None)
        setting = Setting(
            recipe=plain,
            seed=seed,
            device=device,
            splits=splits,
            train=train,
            validation=validation,
            task=task,
            process=lambda: begin(plain, splits, seed, device),
            test_score=lambda model: test_score(model, splits).value,
        )
        return recipe.study.start(setting), example
    if isinstance(recipe.method, Method):
        method = dataclasses.replace(recipe.method)  # one at work: presets and recipes are shared
        return Fitting(method, model, optimizer, task, recipe.training), example
    search: Search | None = None

    def train_more(model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> int | None:
        assert search is not None
        return retrain(model, task, recipe.training, optimizer, search.epochs, epochs)

    shelf = None if folder is None else folder.shelf
    search = recipe.method.start(
        model, train_more, task.score, optimizer, example=example, chance=task.chance, shelf=shelf
    )
    return search, example


def make_task(
    name: str, training: Training, splits: Splits, train: Split, validation: Split, seed: int
) -> Task:
    """The task of a recipe: batches whose order depends on seed and epoch alone, loss, validation score."""

    count, online = len(train.y), training.optimizer == "online_backprop"
    size = count if online else training.batch
    # batch norm cannot train on a lone last sample
    used = count - 1 if count % size == 1 and count > size > 1 else count

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(count, generator=generator).to(train.x.device)
        for part in order[:used].split(size):
            yield train.x[part], train.y[part]

    steps = None if online else training.epochs * -(-used // size)
    chance = None
    if splits.task == "classification":
        chance = float(torch.bincount(validation.y).max() / len(validation.y))
    loss = training.loss_for(splits.task, splits.outputs)
    score = per_sample_score(splits.task, validation.x, validation.y)
    return Task(name, batches, loss, score, chance, steps)


def test_score(model: nn.Module, splits: Splits) -> Score:
    """Accuracy, R^2 or minus the mean absolute error on the test set; to be asked for once, when everything is decided."""
    device = next(model.parameters()).device
    return Score.of(per_sample_score(splits.task, splits.test.x.to(device), splits.test.y.to(device))(model))


def _record(recipe: Recipe, seed: int, splits: Splits, process: Process, example: Tensor) -> dict[str, Any]:
    model = process.model
    rows = {} if recipe.study is not None else {"final": _measured(model, splits, example)}
    if isinstance(process, Search):
        # the network before the first cut, for the table; nothing is decided by it any more
        torch.manual_seed(seed)
        first = recipe.model.build(splits.train.x.shape[1:], splits.outputs).to(example.device)
        snapshot.restore_model(first, process.shelf[0])
        rows["initial"] = _measured(first, splits, example)
    latency = {name: row.pop("latency") for name, row in rows.items()}
    return record.envelope(
        recipe,
        seed,
        example.device,
        data=splits.provenance,
        task=splits.task,
        result={**rows, **_naive(recipe, splits), **process.summary()},
        timing={**process.timing(), "latency": latency},
    )


def _naive(recipe: Recipe, splits: Splits) -> dict[str, Any]:
    """Forecasts that need no network; a study has them among its parts."""
    return {"naive": forecasts.naive_errors(splits)} if splits.naive and recipe.study is None else {}


def _measured(model: nn.Module, splits: Splits, example: Tensor) -> dict[str, Any]:
    if splits.task == "forecast":
        judged: dict[str, Any] = forecasts.errors(forecasts.forecast(model, splits.test.x), splits)
        size = weighed(model)
    else:
        score = test_score(model, splits)
        judged = {"test": score.value, "test_error": score.error}
        size = {"parameters": count_parameters(model), "bytes": cost.stored_bytes(model)}
    return {
        **size,
        "flops": cost.forward_flops(model, example),
        **judged,
        "latency": cost.latency(model, example),
    }


def _notes(recipe: Recipe, seed: int, splits: Splits) -> dict[str, Any]:
    """What travels with a saved model: how to build it again, and what to make of its inputs and outputs."""
    return {
        "recipe": recipe.name,
        "seed": seed,
        "classes": splits.classes,
        "task": splits.task,
        "input": list(splits.train.x.shape[1:]),
        "network": record.plain(recipe.model),
        "outputs": splits.outputs,
        "source": record.identity(recipe, seed)["recipe"]["data"],
        "data": splits.provenance,
    }
