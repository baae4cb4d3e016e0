"""The learner itself: it learns tasks, tells classes, and is stored.

(Over the 250 lines: what a person calls stands in one place.)
"""

import copy
import dataclasses
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coppice.data.samples import numbers, scaled
from coppice.data.splits import whole_number
from coppice.data.tasks import TaskData
from coppice.learner.folder import LearnerFolder, fingerprint
from coppice.learner.learned import Data, Learned, Lesson, Prediction
from coppice.methods.td_mcl import LearningTask
from coppice.methods.td_mcl_inference import centres, strangeness
from coppice.methods.td_mcl_network import synapses
from coppice.methods.td_mcl_options import TDMCL, Schooling
from coppice.models.modular_blocks import ModularPlan
from coppice.models.modular_saved import network_of, record_of, tree_of
from coppice.models.modular_snn import ModularSNN
from coppice.parts.cost_sheet import Costs
from coppice.parts.synaptic_operations import measure

SCHEMA = 1  # of what `save` writes
BATCH = 256  # samples at a time, where nothing is learned


class Learner:
    """A network that learns one task after another and can be stored between any two, or within one.

    plan: what its modules are made of; method, schooling: how it learns; seed: of all chance
    tasks: what it has learned, by name, in that order
    """

    def __init__(
        self,
        plan: ModularPlan | None = None,
        method: TDMCL | None = None,
        schooling: Schooling | None = None,
        seed: int = 0,
    ) -> None:
        whole_number("seed", seed, least=0)
        self.plan, self.method = plan or ModularPlan(), method or TDMCL()
        self.schooling, self.seed = schooling or Schooling(), int(seed)
        self.network = ModularSNN(self.plan).eval()
        self.tasks: dict[str, Learned] = {}
        self._begun: tuple[LearningTask, Lesson] | None = None

    def __repr__(self) -> str:
        return (
            f"Learner({', '.join(self.tasks) or 'no task yet'}; {synapses(self.network):,} living synapses)"
        )

    # --- learn ----------------------------------------------------------------------------------------------

    def learn(
        self,
        task: str | TaskData,
        data: Data | None = None,
        *,
        scale: bool = False,
        epochs: int | None = None,
        on_epoch: Callable[[LearningTask], None] | None = None,
        into: str | Path | None = None,
        resume: bool = False,
    ) -> dict[str, Any]:
        """Learn one more task; returns the summary of how it went. If anything fails, nothing was learned.

        task, data: a name and samples as `data.samples.Samples` or plain (x, y) has them, of which a part is cut off for
                  validation; or a TaskData, with or without another name. Test samples are not touched: none are needed.
        scale:    inputs by constants of the training samples, kept for `predict`; not for a TaskData
        epochs:   other than the schooling's
        on_epoch: called after each
        into:     a folder, where the task is kept epoch by epoch while it is learned, and the learner in the end
        resume:   go on with the task that is half learned there, to the same bits; if there is none, begin

        Raises ValueError for what cannot be learned and for a half-learned task of other samples or settings,
        FileExistsError where the folder has another learner, or a half-learned task and `resume` is False.
        """
        process = self.begin(task, data, scale=scale, epochs=epochs)
        folder = None
        if into is not None:
            folder = LearnerFolder(Path(into))
            self.save(
                folder.path
            )  # refused now, not after hours; and whoever comes back finds the options here
            folder.forget_learned(self.tasks)
            identity = self._identity(process)
            if folder.begun:
                if not resume:
                    raise FileExistsError(
                        f"{folder.unfinished} has a task half learned: go on with it by resume = True (--resume), or"
                        " delete the file."
                    )
                process.load_state_dict(folder.read_unfinished(identity))
        while process.advance():
            if folder is not None:
                folder.write_unfinished(identity, process.state_dict())
            if on_epoch is not None:
                on_epoch(process)
        summary = self.finish(process)
        if folder is not None:
            self.save(folder.path)
            folder.forget_learned(self.tasks)
        return summary

    def begin(
        self,
        task: str | TaskData,
        data: Data | None = None,
        *,
        scale: bool = False,
        epochs: int | None = None,
    ) -> LearningTask:
        """The process that learns a task, on a copy of the network, for who drives it himself; then `finish`."""
        lesson = Lesson.of(task, data, scale, self.seed)
        if lesson.task.name in self.tasks:
            raise ValueError(f"there is a task '{lesson.task.name}' already: choose another name.")
        schooling = self.schooling if epochs is None else dataclasses.replace(self.schooling, epochs=epochs)
        process = LearningTask(self.method, copy.deepcopy(self.network), lesson.task, schooling, self.seed)
        self._begun = (process, lesson)
        return process

    def finish(self, process: LearningTask) -> dict[str, Any]:
        """Take over what a process that `begin` gave has learned; returns its summary."""
        if self._begun is None or self._begun[0] is not process:
            raise RuntimeError(
                "this process was not the last that begin() gave, so it cannot be finished here."
            )
        if process.epoch < process.schooling.epochs:
            raise RuntimeError(
                f"task '{process.task.name}' has been learned for {process.epoch} of {process.schooling.epochs} epochs:"
                " call advance() until it returns False."
            )
        (task, scaling, columns), summary, network = self._begun[1], process.summary(), process.model
        x, y = task.train
        assert isinstance(network, ModularSNN)
        self.tasks[task.name] = Learned(
            name=task.name,
            classes=task.classes,
            shape=tuple(x.shape[1:]),
            samples=len(x),
            validation=summary["validation"],
            centres=centres(network, process.number, x, y, len(task.classes), BATCH),
            group=task.group,
            scaling=scaling,
            columns=columns,
        )
        network.eval().requires_grad_(False)
        self.network, self._begun = network, None
        return summary

    # --- predict --------------------------------------------------------------------------------------------

    def predict(self, x: Any, task: str | None = None) -> Prediction:
        """What the samples [n, ...] of an array or a tensor are of: of a task by name, or of any that has such a shape.

        Without a task each sample's is inferred, from means that were kept (`methods.td_mcl_inference`); it errs far
        more often than a person who knows. Raises ValueError for an unknown task and samples of another shape.
        """
        if task is not None:
            candidates = [self.known(task)]
        else:
            shape = tuple(numbers("x", x).shape[1:])
            candidates = [one for one in self.tasks.values() if one.shape == shape]
            if not candidates:
                known = ", ".join(f"{list(one.shape)} ('{one.name}')" for one in self.tasks.values())
                raise ValueError(
                    f"a sample has shape {list(shape)}, but no task was learned with it: there are {known or 'none yet'}."
                )
        inputs = [self._inputs(x, one) for one in candidates]
        chosen = torch.zeros(len(inputs[0]), dtype=torch.long)
        if len(candidates) > 1:
            strange = [
                strangeness(self.network, self.network.number(one.name), mine, one.centres, BATCH)
                for one, mine in zip(candidates, inputs, strict=True)
            ]
            chosen = torch.stack(strange, 1).argmin(1).cpu()
        probabilities = torch.zeros(len(chosen), max(len(one.classes) for one in candidates))
        for place, (one, mine) in enumerate(zip(candidates, inputs, strict=True)):
            if (his := chosen == place).any():
                probabilities[his, : len(one.classes)] = self._probabilities(mine[his.to(mine.device)], one)
        best = probabilities.argmax(1)
        owners = [candidates[place] for place in chosen.tolist()]
        labels = [one.classes[number] for one, number in zip(owners, best.tolist(), strict=True)]
        return Prediction([one.name for one in owners], labels, best, probabilities)

    def costs(self, x: Any, task: str) -> Costs:
        """What it costs to tell the classes of these samples: of the task's module and all that it needs to hear."""
        one = self.known(task)
        network, number = self.network, self.network.number(task)
        closure = nn.ModuleDict({str(n): network.module(n) for n in (*network.needed(number), number)})
        inputs = self._inputs(x, one)
        return measure(closure, inputs.split(BATCH), call=lambda batch: network(batch, number))

    def known(self, task: str) -> Learned:
        """What was learned under this name. Raises ValueError, with the nearest there is."""
        if task in self.tasks:
            return self.tasks[task]
        near = difflib.get_close_matches(str(task), self.tasks, n=1, cutoff=0.4)
        hint = (
            f", did you mean '{near[0]}'?" if near else f": there are {', '.join(self.tasks) or 'none yet'}."
        )
        raise ValueError(f"there is no task '{task}'{hint}")

    def _inputs(self, x: Any, one: Learned) -> Tensor:
        found = numbers("x", x)
        if tuple(found.shape[1:]) != one.shape:
            raise ValueError(
                f"the samples have shape {list(found.shape[1:])}, but task '{one.name}' was learned with {list(one.shape)}."
            )
        device = next(self.network.parameters()).device
        return scaled(found, one.scaling).to(device)

    @torch.no_grad()
    def _probabilities(self, inputs: Tensor, one: Learned) -> Tensor:
        return torch.cat([self.network(part, one.name).softmax(1) for part in inputs.split(BATCH)]).cpu()

    # --- store ----------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write all of it to FOLDER/learner.safetensors, whole or not at all: no code, no sample, dead synapses a bit each.

        Over an earlier state of itself: raises FileExistsError where the folder has a learner with another seed, plan,
        method, schooling or past, ValueError where its file is damaged or newer.
        """
        LearnerFolder(Path(folder)).write(self._tree())

    @classmethod
    def load(cls, folder: str | Path) -> "Learner":
        """The learner that was saved, on the CPU. What it learns further has the same bits as if it had never been saved.

        Raises FileNotFoundError where there is none, ValueError for a damaged, foreign or newer file.
        """
        home = LearnerFolder(Path(folder))
        tree = home.read(SCHEMA)
        try:
            network = network_of(tree["network"])
            learner = cls(network.plan, TDMCL(**tree["method"]), Schooling(**tree["schooling"]), tree["seed"])
            learner.tasks = {one["name"]: Learned.of(one) for one in tree["tasks"]}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{home.file} does not fit this version of coppice: {error}") from error
        if list(learner.tasks) != network.names:
            raise ValueError(f"{home.file} is damaged: its tasks are not those of its network.")
        learner.network = network.requires_grad_(False)
        return learner

    def _tree(self) -> dict[str, Any]:
        return {
            "learner": SCHEMA,
            **self._ancestry(),
            "method": dataclasses.asdict(self.method),
            "schooling": dataclasses.asdict(self.schooling),
            "network": tree_of(self.network),
            "tasks": [one.tree() for one in self.tasks.values()],
        }

    def _ancestry(self) -> dict[str, Any]:
        """What an earlier state of this learner has in common with it."""
        return {"seed": self.seed, "plan": record_of(self.plan), "names": list(self.tasks)}

    def _identity(self, process: LearningTask) -> dict[str, Any]:
        """What a half-learned task must have been begun with, to be gone on with."""
        lesson = process.task
        return {
            "task": lesson.name,
            "learner": self._ancestry(),
            "network": fingerprint(self.network.state_dict().values()),
            "samples": fingerprint([*lesson.train, *lesson.validation]),
            "classes": list(lesson.classes),
        }
