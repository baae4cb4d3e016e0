"""TD-MCL on a whole stream of tasks, one after another, and what became of each of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from coppice.contract import Progress
from coppice.data.tasks import TaskData
from coppice.experiments.accuracy_matrix import AccuracyMatrix
from coppice.learner import Learned, Learner
from coppice.methods.td_mcl import LearningTask
from coppice.methods.td_mcl_inference import centres
from coppice.methods.td_mcl_network import accuracy_of, synapses
from coppice.methods.td_mcl_options import TDMCL, Schooling
from coppice.models.modular_blocks import ModularPlan
from coppice.models.modular_snn import ModularSNN
from coppice.parts.masks import is_matrix
from coppice.parts.surgery import count_parameters
from coppice.parts.synaptic_operations import measure

COSTED = 64  # test inputs on which operations are counted, evenly spaced
JUDGED = 250  # samples at a time when a task is tested


class Curriculum:
    """A Process whose unit is one epoch of one task; the last epoch of a task ends with the tests.

    After each task all tasks learned so far are tested, and operations are counted on test inputs: measured only, for
    nothing is chosen by them. What the method chooses, it chooses on a tenth of the task's training samples.

    network: which grows; `model` is the same
    matrix:  test accuracies, a row for each task learned
    learned: of each task learned, the summary of its learning and the state of every module afterwards
    """

    def __init__(
        self, tasks: Sequence[TaskData], plan: ModularPlan, method: TDMCL, schooling: Schooling, seed: int = 0
    ) -> None:
        """Raises ValueError for no tasks, or a name that two of them have."""
        self.matrix = AccuracyMatrix([task.name for task in tasks])
        self.tasks, self.method, self.schooling, self.seed = tuple(tasks), method, schooling, seed
        self.network = ModularSNN(plan)
        self.model: nn.Module = self.network
        self.learned: list[dict[str, Any]] = []
        self.costs: dict[str, dict[str, Any]] = {}  # of each task, once all are learned
        self.inferred: dict[
            str, Any
        ] = {}  # how well it tells without being told the task, once all are learned
        self.kept: list[Learned] = []  # what stays of each task learned beside its module
        self.clock: dict[str, dict[str, float]] = {}  # of each task learned
        self.learning = self.lesson(0)

    def lesson(self, number: int) -> LearningTask:
        """The learning of a task, not yet begun."""
        return LearningTask(self.method, self.network, self.tasks[number], self.schooling, self.seed)

    def advance(self) -> bool:
        """One epoch; False when every task is learned."""
        if len(self.learned) == len(self.tasks):
            return False
        if self._over:
            self.learning = self.lesson(len(self.learned))
        self.learning.advance()
        if self._over:
            self._close()
        return True

    @property
    def _over(self) -> bool:
        return self.learning.epoch == self.schooling.epochs

    def _close(self) -> None:
        """The end of a task: it and all before it are tested, the modules are counted."""
        number = len(self.learned)
        task = self.tasks[number]
        learned = range(number + 1)
        self.matrix.add(
            [accuracy_of(self.network, other, *self.tasks[other].test, JUDGED) for other in learned]
        )
        ended = {found["task"]: found["modules"][found["task"]]["kernels"] for found in self.learned}
        self.learned.append(
            {
                **self.learning.summary(),
                "group": task.group,
                "classes": len(task.classes),
                "chance": task.chance,
                "modules": census(self.network, ended),
                "costs": costs(self.network, number, task),
            }
        )
        summary = self.learned[-1]
        x, y = task.train
        self.kept.append(
            Learned(
                name=task.name,
                classes=task.classes,
                shape=tuple(x.shape[1:]),
                samples=len(x),
                validation=summary["validation"],
                centres=centres(self.network, number, x, y, len(task.classes), JUDGED),
                group=task.group,
            )
        )
        self.clock[task.name] = self.learning.timing()
        if number + 1 == len(self.tasks):
            self.costs = {
                each.name: costs(self.network, other, each) for other, each in enumerate(self.tasks)
            }
            self.inferred = inferred(self.learner(), self.tasks)

    def learner(self) -> Learner:
        """Who has learned these tasks, to be asked, saved, and taught more; it shares the network."""
        learner = Learner(self.network.plan, self.method, self.schooling, self.seed)
        learner.network, learner.tasks = self.network.eval(), {one.name: one for one in self.kept}
        return learner

    def progress(self) -> Progress:
        count, total = len(self.learned), len(self.tasks)
        if count == total:
            last = self.learned[-1]
            return Progress("done", 1.0, count_parameters(self.model), last["validation"], last["synapses"])
        now = self.learning.progress()
        within = 0 if self._over else self.learning.epoch
        done = (count + within / self.schooling.epochs) / total
        return now._replace(doing=f"learning {self.tasks[count].name}, {count + 1} of {total}", done=done)

    def summary(self) -> dict[str, Any]:
        """The accuracy matrix, what became of each task, what each costs at the end, and how well tasks are inferred.

        learning: in the midst of a task, how that one stands
        """
        within = {} if self._over or not self.learning.curve else {"learning": self.learning.summary()}
        return {
            "accuracy": self.matrix.record(),
            "tasks": self.learned,
            **within,
            "costs": self.costs,
            "inferred": self.inferred,
        }

    def timing(self) -> dict[str, Any]:
        """Of the learning alone, tests and counts left out."""
        now = (
            {} if self.learning.task.name in self.clock else {self.learning.task.name: self.learning.timing()}
        )
        tasks = self.clock | now
        return {
            "seconds": sum(clock["seconds"] for clock in tasks.values()),
            "cpu_seconds": sum(clock["cpu_seconds"] for clock in tasks.values()),
            "tasks": tasks,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "learning": self.learning.state_dict(),
            "rows": [list(row) for row in self.matrix.rows],
            "learned": list(self.learned),
            "costs": dict(self.costs),
            "inferred": dict(self.inferred),
            "kept": [one.tree() for one in self.kept],
            "clock": dict(self.clock),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises ValueError where the state is of another stream, method, schooling or seed."""
        number, names = int(state["learning"]["number"]), [found["task"] for found in state["learned"]]
        if number >= len(self.tasks) or names != [task.name for task in self.tasks[: len(names)]]:
            raise ValueError(
                f"the state is of another stream: it has learned {', '.join(names) or 'nothing'}, but the tasks here are"
                f" {', '.join(task.name for task in self.tasks)}. Resume it with the tasks it began with, in their order."
            )
        self.learning = self.lesson(number)
        self.learning.load_state_dict(state["learning"])
        self.matrix = AccuracyMatrix(self.matrix.tasks, state["rows"])
        self.learned, self.costs = list(state["learned"]), dict(state["costs"])
        self.inferred, self.clock = dict(state["inferred"]), dict(state["clock"])
        self.kept = [Learned.of(tree) for tree in state["kept"]]


def census(network: ModularSNN, ended: dict[str, int]) -> dict[str, dict[str, Any]]:
    """The synapses of each module, by its task. `ended`: living local kernels when the own task of a module had ended.

    synapses: living ones; grown: with the dead, and without links that were not kept. kernels, of_kernels: local ones
    alive, and in all, those that read the input left out. dead_since_birth, dead_since_own_task: shares of them.
    """
    found = {}
    for name in network.names:
        module = network.module(name)
        links = [(block, source) for block, sources in module.wiring().items() for source in sources]
        kernels = sum(int(local.layer.alive.sum()) for local in module.locals())
        born = sum(local.layer.own.numel() for local in module.locals())
        before = ended.get(name, kernels)
        found[name] = {
            "synapses": synapses(module),
            "grown": sum(p.numel() for key, p in module.named_parameters() if is_matrix(key, p)),
            "kernels": kernels,
            "of_kernels": born,
            "dead_since_birth": 1 - kernels / born if born else 0.0,
            "dead_since_own_task": 1 - kernels / before if before else 0.0,
            "links": len(links),
            "link_synapses": sum(module.synapses_from(*link).numel() for link in links),
            "link_mass": sum(
                (float(module.synapses_from(*link).detach().abs().sum()) for link in links), 0.0
            ),
        }
    return found


def costs(network: ModularSNN, number: int, task: TaskData) -> dict[str, Any]:
    """What an answer to the task takes, for each of COSTED test inputs: all modules at work; the footprint of all."""
    x = task.test.x
    chosen = torch.linspace(0, len(x) - 1, min(COSTED, len(x)), device=x.device).long()
    found = measure(network, x[chosen], call=lambda part: network(part, number))
    return {
        "samples": found.samples,
        "synaptic_operations": found.synaptic_operations,
        "effective_acs": found.effective_acs,
        "effective_macs": found.effective_macs,
        "dense": found.dense,
        "activation_sparsity": found.activation_sparsity,
        "energy_compute_pj": found.energy_compute_pj,
        "energy_with_memory_pj": found.energy_with_memory_pj,
        "footprint": found.footprint,
        "footprint_packed": found.footprint_packed,
    }


def inferred(learner: Learner, tasks: Sequence[TaskData]) -> dict[str, Any]:
    """Shares of the test samples whose task, and whose class of all tasks' classes, is named right when no task is told.

    Tasks are told apart among those whose samples have the same shape; a task alone in its shape is told by it.
    """
    by_task = {}
    for task in tasks:
        found = learner.predict(task.test.x)
        owned = torch.tensor([name == task.name for name in found.tasks])
        right = owned & (found.numbers == task.test.y.cpu())
        rivals = sum(one.shape == learner.tasks[task.name].shape for one in learner.tasks.values())
        by_task[task.name] = {
            "among": rivals,
            "task": float(owned.double().mean()),
            "class": float(right.double().mean()),
        }
    return {
        "task": sum(found["task"] for found in by_task.values()) / len(tasks),
        "class": sum(found["class"] for found in by_task.values()) / len(tasks),
        "by_task": by_task,
    }
