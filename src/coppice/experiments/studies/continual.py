"""TD-MCL, its parts and its rivals side by side: one stream, order and seed, the same backbone, epochs and schooling.

After each task an arm is tested on all tasks it has learned: measured only, for nothing is chosen by it. Every arm seeds
itself, so the arms of one record are pairs.
"""

from dataclasses import dataclass, replace
from typing import Any

from coppice.data.tasks import TaskData
from coppice.experiments.accuracy_matrix import AccuracyMatrix
from coppice.experiments.continual import RIVALS, ContinualLearner, SizedDirect
from coppice.experiments.continual.learner import capacity, mask_bits
from coppice.experiments.continual.lesson import local_synapses
from coppice.experiments.curriculum import JUDGED, Curriculum
from coppice.experiments.studies.parts import LongPart, Part, Parts, timed
from coppice.experiments.studies.setting import StreamSetting
from coppice.experiments.tables import refuse_unlisted
from coppice.methods.td_mcl_network import synapses
from coppice.methods.td_mcl_options import TDMCL
from coppice.models.modular_snn import ModularSNN

REFERENCE = "td-mcl"
# own mass binds no more, so as many kernels die in each of these arms, whatever they are ranked by
ALIKE = {"own_budget": 1.0, "expected_tasks": 2}
# arms that are TD-MCL with other options than the recipe's
VARIANTS: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    # nothing but the old can make room, so they must give more than own mass would let them by default
    "td-mcl strict": {"growth": "strict", "refine": 1.0, "inhibit": 0.3, "cap": 0.3, "own_budget": 0.3},
    # progressive nets: every column afresh, all links, nothing dies   Rusu et al. 2016
    "all links": {"evolution": "all", "strengthen": 1.0, "inherit": False, "refine": 1.0, "inhibit": 0.0},
    "random links": {"evolution": "random"},
    "worth gated": {"worth": "gated", **ALIKE},
    "worth own": {"worth": "own", **ALIKE},
    "worth own, at once": {"worth": "own", "own": "at once", **ALIKE},
    "worth own, of own task": {"worth": "own", "protect": "own task", **ALIKE},
    "worth own, no homeostasis": {"worth": "own", "homeostasis": False, **ALIKE},
    "worth feedback": {"worth": "feedback", **ALIKE},
    "worth magnitude": {"worth": "magnitude", **ALIKE},
    # blind pruning knows nothing of the old tasks, so it cannot make up for what they lose either
    "blind magnitude": {"worth": "magnitude", "homeostasis": False, **ALIKE},
    "blind random": {"worth": "random", "homeostasis": False, **ALIKE},
    "no links": {"evolution": "none"},
    "no inheritance": {"inherit": False},
    "no refinement": {"refine": 1.0},
    "no inhibition": {"inhibit": 0.0},
    "no homeostasis": {"homeostasis": False},
    "no feedback": {"worth": "own"},
    "evolution logits": {"evolution": "logits"},
    "evolution paper": {"evolution": "paper"},
    "survival": {"inhibition": "survival"},
    "old weights inhibited": {"old_weights": "inhibited"},
    "old weights full": {"old_weights": "full"},
}
# networks of their own for each task, as large as TD-MCL's module with its links, or as what is left of it in the end
SIZED = {"direct wide": "grown", "direct narrow": "kept"}
ARMS = (REFERENCE, "td-mcl strict", *RIVALS, *SIZED, *(name for name in VARIANTS if "td-mcl" not in name))


@dataclass(frozen=True)
class Continual:
    """Recipe table [study], name "continual".

    arms: which to run, in this order; all by default. "direct wide" and "direct narrow" take their sizes from "td-mcl", so it
          stands before them
    """

    arms: tuple[str, ...] = ARMS

    def __post_init__(self) -> None:
        refuse_unlisted("arms", self.arms, ARMS)
        for name in SIZED:
            if name in self.arms and REFERENCE not in self.arms[: self.arms.index(name)]:
                raise ValueError(
                    f"arms lists '{name}', whose sizes are those of '{REFERENCE}': list '{REFERENCE}' before it."
                )

    def start(self, setting: StreamSetting) -> Parts:
        study = _Study(setting)
        parts: dict[str, Part | LongPart] = {}
        for name in self.arms:
            if name in VARIANTS:
                parts[name] = LongPart(lambda n=name: study.variant(n), lambda p, n=name: study.told(n, p))  # type: ignore[misc]
            else:
                parts[name] = lambda done, n=name: study.rival(n, done)  # type: ignore[misc]
        return Parts(parts, ModularSNN(setting.recipe.model))


class _Study:
    def __init__(self, setting: StreamSetting) -> None:
        self.setting, self.tasks = setting, setting.tasks
        self.plan, self.schooling = setting.recipe.model, setting.recipe.schooling

    def variant(self, name: str) -> Curriculum:
        method: TDMCL = replace(self.setting.recipe.method, **VARIANTS[name])
        return Curriculum(self.tasks, self.plan, method, self.schooling, self.setting.seed)

    def told(self, name: str, process: Curriculum) -> dict[str, Any]:
        network, matrix = process.network, process.matrix
        modules = process.learned[-1]["modules"]
        ended = [found["modules"][found["task"]]["kernels"] for found in process.learned]
        now = [module["kernels"] for module in modules.values()]
        born = [module["of_kernels"] for module in modules.values()]
        alive = [local.layer.alive for task in network.names for local in network.module(task).locals()]
        heads = sum(network.module(task).head.weight.numel() for task in network.names)
        dense = local_synapses(
            ModularSNN(self.plan).sketch(self.tasks[0].train.x.shape[1:], len(self.tasks[0].classes))
        )
        return {
            "test": matrix.acc(),
            "accuracy": matrix.record(),
            "synapses": [found["synapses"] for found in process.learned],
            "capacity": capacity(synapses(network) - heads, dense, mask_bits([alive])),
            # of the modules, each but the youngest: share of the local kernels dead, whenever they died
            "dead_since_birth": 1 - sum(now[:-1]) / sum(born[:-1]) if len(now) > 1 else 0.0,
            # of the modules, each but the youngest: share of the local kernels that its own task had left it
            "dead_since_own_task": 1 - sum(now[:-1]) / sum(ended[:-1]) if len(now) > 1 else 0.0,
            "grown": [module["grown"] for module in modules.values()],
            "kept": [module["synapses"] for module in modules.values()],
            "costs": process.costs,
            "stored": stored(process),
            "clock": {key: process.timing()[key] for key in ("seconds", "cpu_seconds")},
            **({"tasks": process.learned} if name == REFERENCE else {}),
        }

    def rival(self, name: str, done: dict[str, Any]) -> dict[str, Any]:
        learner: ContinualLearner
        if name in SIZED:
            targets = done[REFERENCE][SIZED[name]]
            learner = SizedDirect(self.plan, self.schooling, self.setting.seed, targets=targets)
        else:
            learner = RIVALS[name](self.plan, self.schooling, self.setting.seed)
        matrix, living = AccuracyMatrix([task.name for task in self.tasks]), []
        clock: dict[str, float] = {}
        for number, task in enumerate(self.tasks):
            with timed(clock):
                learner.learn(task)
            matrix.add([tested(learner, other, self.tasks[other]) for other in range(number + 1)])
            living.append(learner.synapses())
        return {
            "test": matrix.acc(),
            "accuracy": matrix.record(),
            "synapses": living,
            "capacity": learner.capacity(),
            "stored": learner.stored(),
            "clock": clock,
        }


def stored(process: Curriculum) -> dict[str, int]:
    """Bytes that TD-MCL keeps of earlier tasks besides the network and its masks."""
    network = process.network
    layers = [local.layer for task in network.names for local in network.module(task).locals()]
    owns = [layer.own for layer in layers]
    made_up = [tensor for layer in layers for tensor in (layer.expected, layer.tonic)]
    centres = [tensor for one in process.kept for tensor in one.centres]
    return {
        name: sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        for name, tensors in (
            ("own mass of kernels", owns),
            ("mean inputs of kernels", made_up),
            ("centres of classes", centres),
        )
    }


def tested(learner: ContinualLearner, number: int, task: TaskData) -> float:
    """Share of the test samples that the learner names right."""
    x, y = task.test
    right = sum(
        int((learner.logits(part, number).argmax(1) == labels).sum())
        for part, labels in zip(x.split(JUDGED), y.split(JUDGED), strict=True)
    )
    return right / len(y)
