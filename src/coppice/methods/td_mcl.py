"""TD-MCL: a spiking network that learns one function after another by growing, linking and shrinking.

    grow      a module for the new task, which starts from the earlier one that knows most of it
    wire      long-range links from all earlier modules; after a search, each block keeps those it is better for
    refine    local kernels of the new module that its task does not need die while it learns
    inhibit   local kernels of earlier modules that neither their own task nor later ones call for fade
    prune     and, at the end of the task, die for good

Han, Zhao, Sun, Pan, Zeng: Continual Learning of Multiple Cognitive Functions with Brain-inspired Temporal Development
Mechanism, 2025, arXiv 2504.05621; National Science Review, doi 10.1093/nsr/nwag066. Of the paper we had the abstract and the
equations of the links' evolution, second hand; everything else follows its component list, the group's earlier methods
and our own measurements. No sample of an old task is kept, no term of the loss speaks for one.
`LearningTask.advance` is the method; what it calls stands in the files beside this one.
(Over the 250 lines: one paper, one process; a third is what others read of it, and its state.)
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from coppice.contract import Progress
from coppice.methods.td_mcl_growth import fitting_width, predecessor, refined, surplus_kernels
from coppice.methods.td_mcl_inhibition import ONSET, Inhibition, old_layers
from coppice.methods.td_mcl_memory import Echo
from coppice.methods.td_mcl_network import Learnable, Module, Network, accuracy_of, loss_of, synapses
from coppice.methods.td_mcl_options import TDMCL, Schooling
from coppice.methods.td_mcl_own import at_once, expect, in_turn
from coppice.methods.td_mcl_school import DRAWS, LOTS, WEIGHTS, School
from coppice.methods.td_mcl_wiring import Evolution
from coppice.parts import snapshot
from coppice.parts.cost import Meter
from coppice.parts.kernels import LocalConv
from coppice.parts.masks import Masks
from coppice.parts.schedules import cubic
from coppice.parts.selection import weakest
from coppice.parts.surgery import count_parameters


def learn(
    network: Network,
    task: Learnable,
    method: TDMCL | None = None,
    schooling: Schooling | None = None,
    *,
    seed: int = 0,
    on_epoch: Callable[["LearningTask"], None] | None = None,
) -> dict[str, Any]:
    """Teach a network one more task; returns the summary of how it went.

    network: changed in place, such as ModularSNN(ModularPlan()); one that has learned tasks keeps them
    task:    such as a data.tasks.TaskData; its test samples are not touched
    """
    process = LearningTask(method or TDMCL(), network, task, schooling or Schooling(), seed)
    while process.advance():
        if on_epoch is not None:
            on_epoch(process)
    return process.summary()


class LearningTask:
    """TD-MCL at work on one task, as a Process whose unit is an epoch.

    All chance follows from seed, task number and epoch; torch's global generator is left alone.
    """

    def __init__(
        self, method: TDMCL, network: Network, task: Learnable, schooling: Schooling, seed: int = 0
    ) -> None:
        self.method, self.network, self.task, self.schooling = method, network, task, schooling
        self.seed = seed
        self.model = cast(nn.Module, network)
        if not len(task.validation[1]):
            raise ValueError(
                f"task '{task.name}' has no validation sample: cut some from the training samples, as `data.tasks.cut` does."
            )
        self.school = School(schooling, task, seed, len(network.names))
        self.epoch = 0
        self.curve: list[dict[str, Any]] = []
        self.events: dict[str, Any] = {}  # what grew, was wired and died
        self.meter = Meter()
        self.evolution: Evolution | None = None
        self.inhibition: Inhibition | None = None
        self.echo: Echo | None = None  # never stored: it follows from weights and samples

    def advance(self) -> bool:
        """One unit: an epoch, with what grows before it and what is chosen, inhibited or dies after it."""
        if self.epoch == self.schooling.epochs:
            return False
        if self.epoch == 0:
            self._grow()
        with self.meter.running(self.model, self.school.optimizer, 1):
            if self.epoch == self._first_inhibited:
                self._inhibition.condemn(*self._hearing(self.epoch))
            loss, masses = self._train_epoch()
            self.epoch += 1
            self._wire()
            self._refine(masses)
            self._inhibit()
            if self.epoch == self.schooling.epochs:
                self._prune()
        self._note(loss)
        return True

    # --- grow -----------------------------------------------------------------------------------------------

    def _grow(self) -> None:
        method, network, (x, _) = self.method, self.network, self.school.learned
        shape, classes, width = tuple(x.shape[1:]), len(self.task.classes), 1.0
        if method.growth == "strict" and self.number:
            width = fitting_width(method, network, shape, classes, int(network.module(0).total))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.school.seed_of(WEIGHTS))
            module = network.grow(self.task.name, shape, classes, width)
        self.model.to(x.device)
        self.events |= {"width": width, "inherited": None}
        if method.inherit and self.number:
            earlier = predecessor(
                network, self.number, self.school.learned, self.school.held, self.schooling.batch
            )
            blocks = module.inherit(network.module(earlier))
            self.events["inherited"] = {"from": network.names[earlier], "blocks": blocks}
        for local in module.locals():
            Masks.attach(local.layer)
        self.evolution = Evolution(method, module.wiring())
        self.inhibition = Inhibition(method, network, self.number)
        links = self.evolution.at_birth(self.school.chance(DRAWS))
        if links is not None:
            network.keep_links(self.number, links)
        self.school.employ(self.network, self.model, self.method)

    # --- wire -----------------------------------------------------------------------------------------------

    @property
    def _search(self) -> int:
        """Epochs for which links are open."""
        return max(1, round(self.method.search * self.schooling.epochs))

    def _wire(self) -> None:
        if self.epoch != self._search or not self.number:
            return
        kept = self._evolution.choose(self.network, self.number, *self.school.held, self.schooling.batch)
        if kept is not None:
            self.network.keep_links(self.number, kept)
            self.school.employ(self.network, self.model, self.method)

    # --- refine ---------------------------------------------------------------------------------------------

    def _refine(self, masses: list[Tensor]) -> None:
        """Each layer down to the density of the hour: who moved the loss least in this epoch dies."""
        method, now = self.method, self.epoch / self.schooling.epochs
        way = (now - method.refine_start) / (method.refine_end - method.refine_start)
        risen = cubic(min(1.0, max(0.0, way)))
        for local, mass in zip(self.module.locals(), masses, strict=True):
            sparsity = refined(method, mass.numel()) * risen
            doomed = weakest({local.name: mass}, {local.name: local.layer.alive}, sparsity)
            local.layer.prune(doomed[local.name], self.school.optimizer)

    # --- listen ---------------------------------------------------------------------------------------------

    @property
    def _first_changed(self) -> int:
        """The epoch from which old modules no longer answer as they did before the task."""
        method, epochs = self.method, self.schooling.epochs
        if method.old_weights == "full":
            return 0
        if not method.inhibit:
            return epochs
        return (
            math.ceil(ONSET * epochs) + 1 if method.inhibition == "survival" else self._first_inhibited or 0
        )

    def _listen(self) -> None:
        """What old modules answer to the samples of this task is held while they stay as they are."""
        if not self.number or self.epoch >= self._first_changed:
            self.echo = None
            return
        if self.echo is None:
            self.echo = Echo(self.network, self.number, self.school.learned[0], self.schooling.batch)
        self.echo.attend()

    # --- inhibit --------------------------------------------------------------------------------------------

    @property
    def _first_inhibited(self) -> int | None:
        """The epoch in which inhibition by rank begins to rise; None where nothing is inhibited so."""
        if not self.method.inhibit or self.method.inhibition != "rank" or not self.number:
            return None
        return min(math.ceil(self.method.inhibit_start * self.schooling.epochs), self.schooling.epochs - 1)

    def _ramp(self, share: float) -> None:
        """`share`: of this epoch's steps, this one included, so that inhibition is 1 in the task's last step."""
        first = self._first_inhibited
        if first is not None and self.epoch >= first:
            self._inhibition.ramp((self.epoch - first + share) / (self.schooling.epochs - first))

    def _inhibit(self) -> None:
        method, epochs, done = self.method, self.schooling.epochs, self.epoch - 1
        surviving = method.inhibit and method.inhibition == "survival"
        if surviving and self.number and done >= math.ceil(ONSET * epochs):
            self._inhibition.survive(*self._hearing(done), done, epochs)

    def _hearing(self, epoch: int) -> tuple[Tensor, int, torch.Generator]:
        """What old kernels are judged on, and the chance that some judge by."""
        return self.school.held[0], self.schooling.batch, self.school.chance(LOTS, epoch)

    # --- prune ----------------------------------------------------------------------------------------------

    def _prune(self) -> None:
        """The end: the condemned die, the others are released, and the new module's kernels learn what they are worth."""
        dead = self._inhibition.settle()
        self.events["died_in_old"] = {self.network.names[number]: count for number, count in dead.items()}
        if self.method.homeostasis:
            expect([local.layer for local in self.module.locals()], self._answer_all)
        self._trace_own()
        if self.method.growth == "strict" and self.number:
            surplus = synapses(self.network) - int(self.network.module(0).total)
            if surplus > 0:
                doomed = surplus_kernels(self.module, surplus)
                for local, kernels in zip(self.module.locals(), doomed, strict=True):
                    local.layer.prune(kernels, self.school.optimizer)
                    local.layer.own[kernels] = 0
                self.events["died_for_room"] = sum(int(kernels.sum()) for kernels in doomed)
        self.module.total.fill_(synapses(self.network))
        self.school.dismiss()
        self.model.zero_grad()
        self.echo = None

    def _answer_all(self) -> None:
        self.network.eval()
        for x, _ in self.school.batches(self.epoch):
            self.network(x, self.number)

    def _trace_own(self) -> None:
        """What the task needs of its own module's kernels; and of the old ones that it reads, if these are to be protected."""
        self.network.eval()
        trace = in_turn if self.method.own == "in turn" else at_once
        read = self.network.needed(self.number) if self.method.protect == "every task" else []
        for modules in ([self.number], read):
            layers = [local.layer for number in modules for local in self.network.module(number).locals()]
            before = [layer.own.clone() for layer in layers]
            if layers:
                trace(layers, self.school.parts(self.epoch), partial(self._masses, layers))
            for layer, mass in zip(layers, before, strict=True):
                layer.own += mass

    def _masses(self, layers: Sequence[LocalConv], parts: Sequence[Tensor]) -> list[Tensor]:
        """|dL/dq| of the kernels of these layers, summed over these parts of the task's samples."""
        masses = [torch.zeros_like(layer.own) for layer in layers]
        inhibitions = [layer.inhibition.requires_grad_() for layer in layers]
        for x, y in ((whole[part] for whole in self.school.learned) for part in parts):
            loss = cross_entropy(self.network(x, self.number), y)
            # of an old module, a task may read the first blocks alone
            found = torch.autograd.grad(loss, inhibitions, allow_unused=True)
            for mass, gradient in zip(masses, found, strict=True):
                if gradient is not None:
                    mass += gradient[:, :, 0, 0].abs()
        for inhibition in inhibitions:
            inhibition.requires_grad_(False)
        return masses

    # --- an epoch -------------------------------------------------------------------------------------------

    def _train_epoch(self) -> tuple[float, list[Tensor]]:
        """Mean loss, and the masses of the new module's kernels summed over the epoch's batches."""
        chosen = self.epoch >= self._search
        self.school.set_rates(self.epoch, self.method.strengthen if chosen else 1.0)
        optimizer = self.school.working
        layers = [local.layer for local in self.module.locals()]
        masses = [torch.zeros_like(layer.own) for layer in layers]
        chance, parts = self.school.chance(DRAWS, 1 + self.epoch), self.school.parts(self.epoch)
        total = 0.0
        self._listen()
        self.network.train()
        for number, part in enumerate(parts):
            x, y = (whole[part] for whole in self.school.learned)
            self._ramp((number + 1) / len(parts))
            drawn = None if chosen else self._evolution.draw(chance)
            heard = None if self.echo is None else self.echo.heard(part)
            loss = cross_entropy(self.network(x, self.number, drawn, heard), y)
            optimizer.zero_grad()
            loss.backward()
            for layer, mass in zip(layers, masses, strict=True):
                mass += layer.masses()
            self._spare_the_uninhibited()
            optimizer.step()
            total += float(loss.detach()) * len(y)
            if drawn is not None:
                held = self.school.held_batch(number)
                self._evolution.record(drawn, loss_of(self.network, self.number, *held, len(held[1]), drawn))
                self.network.train()
        if not math.isfinite(total):
            raise RuntimeError(
                f"the loss of task '{self.task.name}' is {total} in epoch {self.epoch}: learning has diverged, so"
                f" lower learning_rate, {self.schooling.learning_rate}."
            )
        return total / len(self.school.learned[1]), masses

    def _spare_the_uninhibited(self) -> None:
        """With old weights "inhibited", only kernels inhibited by more than half learn."""
        if self.method.old_weights == "inhibited":
            for old in old_layers(self.network, self.number):
                if old.layer.weight.grad is not None:
                    old.layer.weight.grad *= old.layer.inhibition > 0.5

    # --- what others read -----------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """Of the task, by order of learning."""
        return self.school.number

    @property
    def module(self) -> Module:
        return self.network.module(self.number)

    @property
    def _evolution(self) -> Evolution:
        return cast(Evolution, self.evolution)  # there once the module has grown

    @property
    def _inhibition(self) -> Inhibition:
        return cast(Inhibition, self.inhibition)

    def _note(self, loss: float) -> None:
        names, modules = self.network.names, [self.network.module(n) for n in range(self.number + 1)]
        links = [(b, k) for b, sources in self.module.wiring().items() for k in sources]
        mass = {link: float(self.module.synapses_from(*link).detach().abs().sum()) for link in links}
        by_source = {
            k: sum(mass[link] for link in links if link[1] == k) for k in sorted({k for _, k in links})
        }
        self.curve.append(
            {
                "epoch": self.epoch - 1,
                "loss": loss,
                "score": accuracy_of(self.network, self.number, *self.task.validation, self.schooling.batch),
                "kernels": {
                    name: sum(int(local.layer.alive.sum()) for local in module.locals())
                    for name, module in zip(names, modules, strict=True)
                },
                "synapses": {name: synapses(module) for name, module in zip(names, modules, strict=True)},
                "inhibited": sum(
                    int((old.layer.q > 0).sum()) for old in old_layers(self.network, self.number)
                ),
                "links": len(links),
                "link_synapses": sum(self.module.synapses_from(*link).numel() for link in links),
                "link_mass": sum(mass.values()),
                "link_masses": {names[k]: float(f"{whole:.4g}") for k, whole in by_source.items()},
            }
        )

    def progress(self) -> Progress:
        done = self.epoch / self.schooling.epochs
        score, alive = None, None
        if self.curve:
            score, alive = self.curve[-1]["score"], sum(self.curve[-1]["synapses"].values())
        return Progress(f"learning {self.task.name}", done, count_parameters(self.model), score, alive)

    def summary(self) -> dict[str, Any]:
        """What the task came to. training_flops: of the new module alone, without the passes through old ones."""
        if not self.curve:
            raise RuntimeError("the task has not begun: call advance() until it returns False.")
        evolution = self._evolution
        return {
            "task": self.task.name,
            "number": self.number,
            "curve": self.curve,
            "validation": self.curve[-1]["score"],
            "synapses": sum(self.curve[-1]["synapses"].values()),
            **self.events,
            "wiring": {
                "kept": {str(block): sources for block, sources in self.module.wiring().items()},
                "probabilities": evolution.probabilities(),
                "rises": {
                    str(b): {str(k): rise for k, rise in rises.items()}
                    for b, rises in evolution.rises.items()
                },
            },
            "training_flops": {"train": self.meter.flops},
            "optimizer_steps": {"train": self.meter.steps},
        }

    def timing(self) -> dict[str, Any]:
        return {"seconds": self.meter.seconds, "cpu_seconds": self.meter.cpu_seconds}

    def state_dict(self) -> dict[str, Any]:
        return {
            "structure": self.network.structure(),
            "now": snapshot.take(self.model, self.school.optimizer),
            "of": self._of(),
            "number": self.number,
            "epoch": self.epoch,
            "curve": list(self.curve),
            "events": dict(self.events),
            "meter": dataclasses.asdict(self.meter),
            "evolution": None if self.evolution is None else self.evolution.state_dict(),
            "inhibition": None if self.inhibition is None else self.inhibition.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; the network becomes the stored one, whatever it was.

        Raises ValueError where the state is of another task's name, of other numbers or shapes of samples, of another plan,
        method, schooling or seed.
        """
        if state["of"] != (here := self._of()):
            other = [key for key in here if state["of"].get(key) != here[key]]
            raise ValueError(
                f"the state is of another {' and '.join(other)}: {[state['of'].get(key) for key in other]} there,"
                f" {[here[key] for key in other]} here. Resume it as it began."
            )
        chance = snapshot.random_state()  # the caller's, to be left as it is
        self.school.dismiss()
        self.school = School(self.schooling, self.task, self.seed, state["number"])
        self.epoch = state["epoch"]
        self.network.rebuild(state["structure"])
        snapshot.restore_model(self.model, state["now"])  # masks come with it, and are guarded then
        self.model.to(self.school.learned[0].device)
        if 0 < self.epoch < self.schooling.epochs:
            self.school.employ(self.network, self.model, self.method)
        snapshot.restore(self.model, self.school.optimizer, state["now"])
        snapshot.set_random_state(chance)
        self.curve, self.events = list(state["curve"]), dict(state["events"])
        self.meter = Meter(**state["meter"])
        self.evolution = self.inhibition = self.echo = None
        if state["evolution"] is not None:
            self.evolution = Evolution.resumed(self.method, state["evolution"])
            self.inhibition = Inhibition(self.method, self.network, self.number)
            self.inhibition.load_state_dict(state["inhibition"])

    def _of(self) -> dict[str, Any]:
        return {
            "task": self.task.name,
            "samples": list(self.task.train[0].shape),
            "plan": repr(self.network.plan),
            "method": dataclasses.asdict(self.method),
            "schooling": dataclasses.asdict(self.schooling),
            "seed": self.seed,
        }
