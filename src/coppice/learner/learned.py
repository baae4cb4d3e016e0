"""What a learner is given of a task, and what it keeps: sizes, names and means, but no sample."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from coppice.data.samples import Samples, task_of
from coppice.data.scaling import Scaling
from coppice.data.tasks import TaskData
from coppice.methods.td_mcl_inference import Centres

Data = TaskData | Samples | tuple[Any, ...]


@dataclass(frozen=True)
class Learned:
    """What stays of a task beside its module: sizes, names and means.

    shape: of a sample; samples: for training, of which some judge links and are not learned from; validation: accuracy on
    its validation samples when it had been learned; scaling: of its inputs, if any; columns: of the table that they came
    from, if any; centres: for inference
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    samples: int
    validation: float
    centres: Centres
    group: str = ""
    scaling: Scaling | None = None
    columns: tuple[str, ...] | None = None

    def tree(self) -> dict[str, Any]:
        tree = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        scaling = None if self.scaling is None else self.scaling.record()
        return {**tree, "scaling": scaling, "centres": self.centres._asdict()}

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> "Learned":
        scaling = tree["scaling"]
        if scaling is not None:
            scaling = Scaling(tuple(scaling["mean"]), tuple(scaling["std"]))
        return cls(**{**tree, "scaling": scaling, "centres": Centres.of(tree["centres"])})


class Prediction(NamedTuple):
    """Of n samples.

    tasks, labels: name of the task and of the class, of each sample
    numbers:       of the class within its task, [n] int64
    probabilities: by the task's own head, [n, class]; 0 beyond the classes of the sample's task. They say nothing of how
                   sure the task is.
    """

    tasks: list[str]
    labels: list[str]
    numbers: Tensor
    probabilities: Tensor


class Lesson(NamedTuple):
    """A task to be learned, how its inputs were scaled, if they were, and the columns they come from, if any."""

    task: TaskData
    scaling: Scaling | None
    columns: tuple[str, ...] | None

    @classmethod
    def of(cls, task: str | TaskData, data: Data | None, scale: bool, seed: int) -> "Lesson":
        """Of what `Learner.learn` takes. Raises ValueError for anything else."""
        name = task.name if isinstance(task, TaskData) else task
        if isinstance(task, TaskData) and data is None:
            data = task
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise ValueError(f"the name of a task is {name!r}, but must be printable text, such as 'digits'.")
        if isinstance(data, TaskData):
            if scale:
                raise ValueError(
                    f"task '{name}' is a TaskData, whose samples are taken as they are: leave scale out."
                )
            return cls(data._replace(name=name), None, None)
        if not isinstance(data, tuple) or not 2 <= len(data) <= len(Samples._fields):
            raise ValueError(
                f"the data of task '{name}' is a {type(data).__name__}, but must be (x, y), (x, y, classes) or a"
                " TaskData."
            )
        samples = Samples(*data)
        lesson, scaling = task_of(name, samples, scale=scale, seed=seed)
        return cls(lesson, scaling, None if samples.columns is None else tuple(samples.columns))
