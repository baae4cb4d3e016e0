"""What `run` carries out where the data are a stream of tasks: TD-MCL on all of them, or a study of the stream."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from coppice.contract import Process
from coppice.data import Split
from coppice.data.control import PLANTS, score
from coppice.data.streams import load_stream
from coppice.data.tasks import TaskData
from coppice.experiments import record
from coppice.experiments.curriculum import Curriculum
from coppice.experiments.folder import Folder
from coppice.experiments.recipe import StreamRecipe
from coppice.experiments.studies.setting import StreamSetting
from coppice.learner import Learner
from coppice.methods.td_mcl_network import synapses
from coppice.parts.surgery import count_parameters


class Work(NamedTuple):
    """A process that has not begun, where its data come from, their task, and what is to be done when it has ended."""

    process: Process
    data: dict[str, Any]
    task: str
    finish: Callable[[], dict[str, Any]]  # leaves what was trained in the folder; returns the record


def on_stream(recipe: StreamRecipe, seed: int, device: torch.device, folder: Folder) -> Work:
    """The work of a recipe whose data are a stream, seeded."""
    loaded, provenance = load_stream(recipe.data, seed)
    tasks = [moved(task, device) for task in loaded]
    if recipe.study is not None:
        process: Process = recipe.study.start(StreamSetting(recipe, seed, tasks))
    else:
        process = Curriculum(tasks, recipe.model, recipe.method, recipe.schooling, seed)

    def finish() -> dict[str, Any]:
        result = process.summary()
        if isinstance(process, Curriculum):
            process.model.cpu()
            process.learner().save(folder.path)  # `Learner.load` takes it from there
            result = {
                "final": _final(process, folder),
                **result,
                "in_the_loop": in_the_loop(process.learner(), tasks),
            }
        return record.envelope(
            recipe,
            seed,
            device,
            data=provenance,
            task="stream",
            result=result,
            timing=process.timing(),
        )

    return Work(process, provenance, "stream", finish)


def moved(task: TaskData, device: torch.device) -> TaskData:
    """The task with its samples on a device."""
    train, validation, test = (
        Split(part.x.to(device), part.y.to(device)) for part in (task.train, task.validation, task.test)
    )
    return task._replace(train=train, validation=validation, test=test)


def in_the_loop(learner: Learner, tasks: Sequence[TaskData]) -> dict[str, dict[str, float]]:
    """Returns of the spiking policy in the environment of each task that clones a controller; see `data.control.score`.

    share: 1 for a policy as good as its controller, 0 for one as bad as chance.
    """
    found = {}
    for task in tasks:
        if task.group == "motor" and task.name in PLANTS:
            returns = score(lambda states, name=task.name: learner.predict(states, name).numbers, task.name)  # type: ignore[misc]
            found[task.name] = {**returns._asdict(), "share": returns.share}
    return found


def _final(process: Curriculum, folder: Folder) -> dict[str, Any]:
    """In one line: sizes, and mean test accuracy over the tasks."""
    return {
        "parameters": count_parameters(process.network),
        "synapses": synapses(process.network),
        "bytes": folder.learner.stat().st_size,
        "test": process.matrix.acc(),
    }
