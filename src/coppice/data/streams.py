"""Streams by name: tasks to be learned one after another, as the table [data] of a recipe asks for them."""

import difflib
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, NamedTuple

from coppice.data.data_sets import SETS
from coppice.data.splits import share_or_count, whole_number
from coppice.data.stream_sets import STREAMS, StreamSet
from coppice.data.tasks import TaskData


@dataclass(frozen=True)
class Stream:
    """A stream of tasks: the table [data] of a recipe. ValueError on a value that cannot be meant.

    None leaves a choice to the stream; which it has, and what it takes for None, `STREAMS[name].defaults` says.

    | field | what |
    |---|---|
    | name | one of `STREAMS` |
    | tasks | how many tasks, or their names in the order in which they are learned |
    | classes | classes a task |
    | order | which classes come first: "natural", or the seed that draws it; None: drawn by the seed of the run |
    | size | height and width of a picture in pixels, by the mean over squares of pixels |
    | samples | training samples of each class; None: as many as the stream has by default, or all that validation leaves |
    | validation | a share (float) or a count (int) of each class's training samples, held out before `samples` |
    | frames | of events: how many a recording is binned into; a spiking network needs as many as it has time steps |
    | bins | of events: frames share the "time" or the "count" of events evenly |
    | binary | of events: whether there was one at a pixel, instead of how many |
    """

    name: str = "pmi-mini"
    tasks: int | tuple[str, ...] | None = None
    classes: int | None = None
    order: int | Literal["natural"] | None = None
    size: int | None = None
    samples: int | None = None
    validation: float | int | None = None
    frames: int | None = None
    bins: Literal["time", "count"] | None = None
    binary: bool | None = None

    def __post_init__(self) -> None:
        if self.name not in STREAMS:
            near = difflib.get_close_matches(str(self.name), STREAMS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"name is '{self.name}', but the streams are {', '.join(STREAMS)}.{hint}")
        kind = STREAMS[self.name]
        for field in fields(self)[1:]:
            if getattr(self, field.name) is not None and field.name not in kind.defaults:
                raise ValueError(
                    f"{field.name} = {getattr(self, field.name)!r} has no meaning for '{self.name}', which has "
                    f"{', '.join(kind.defaults)}: leave it out."
                )
        if isinstance(self.tasks, list):  # as TOML gives it
            object.__setattr__(self, "tasks", tuple(self.tasks))
        self._check_tasks(kind)
        for option, least in (("classes", 2), ("size", 1), ("samples", 1), ("frames", 1)):
            if getattr(self, option) is not None:
                whole_number(option, getattr(self, option), least)
        if self.bins not in (None, "time", "count"):
            raise ValueError(f"bins is {self.bins!r}, but events can be binned by 'time' or 'count'.")
        if self.binary not in (None, True, False):
            raise ValueError(f"binary is {self.binary!r}, but it must be true or false.")
        if self.order is not None and self.order != "natural":
            whole_number("order", self.order, least=0)
        if self.validation is not None:
            share_or_count("validation", self.validation)

    def _check_tasks(self, kind: StreamSet) -> None:
        if self.tasks is None:
            return
        if not kind.names:
            if isinstance(self.tasks, tuple):
                raise ValueError(
                    f"tasks is {self.tasks!r}, but those of '{self.name}' have no names: give their number."
                )
            whole_number("tasks", self.tasks, least=1)
            return
        if not isinstance(self.tasks, tuple) or not self.tasks:
            raise ValueError(
                f"tasks is {self.tasks!r}, but those of '{self.name}' are named: give a list of some of "
                f"{', '.join(kind.names)}."
            )
        for task in self.tasks:
            if task not in kind.names:
                near = difflib.get_close_matches(str(task), kind.names, n=1)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                raise ValueError(
                    f"'{task}' is no task of '{self.name}', which has {', '.join(kind.names)}.{hint}"
                )
            if self.tasks.count(task) > 1:
                raise ValueError(f"The task '{task}' is named twice: a stream has each task once.")

    def settled(self) -> "Stream":
        """The same stream with every choice that was left to it written out."""
        defaults = STREAMS[self.name].defaults
        return replace(self, **{key: value for key, value in defaults.items() if getattr(self, key) is None})

    def load(self, seed: int) -> list[TaskData]:
        """The tasks, in the order in which they are learned; see `load_stream`."""
        return load_stream(self, seed).tasks


class Streamed(NamedTuple):
    """The tasks of a stream and where they come from, ready for JSON."""

    tasks: list[TaskData]
    provenance: dict[str, Any]


def load_stream(stream: Stream, seed: int) -> Streamed:
    """Read the data and make the tasks; the test samples are the same for every seed.

    (permuted-mnist: up to the order of their pixels, which the stream's `order` can fix.)
    Training and validation samples are drawn by `seed`, and so is the order of the classes unless the stream gives
    one. `provenance` holds the stream as settled, seed, sources, licences, checksums, classes and counts. ValueError:
    counts that the data cannot give. FileNotFoundError, RuntimeError: the data cannot be had.
    """
    whole_number("seed", seed, least=0)
    settled = stream.settled()
    choices = {key: getattr(settled, key) for key in STREAMS[stream.name].defaults}
    tasks, found = STREAMS[stream.name].make(choices, seed)
    sources = STREAMS[stream.name].sources
    chosen = [task.name for task in tasks if task.name in sources]  # where each task is a set of its own
    return Streamed(
        tasks,
        {
            "stream": {key: value for key, value in asdict(settled).items() if value is not None},
            "seed": int(seed),
            "licence": {name: SETS[name].licence for name in chosen or sources},
            **found,
            "tasks": [
                {
                    "name": task.name,
                    "classes": list(task.classes),
                    "shape": list(task.train.x.shape[1:]),
                    "counts": {part: len(getattr(task, part).y) for part in ("train", "validation", "test")},
                }
                for task in tasks
            ],
        },
    )
