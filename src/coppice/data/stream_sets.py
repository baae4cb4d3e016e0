"""The streams by name: which choices each has, what it takes where none is made, and how it is made."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coppice.data import cifar100, events, mnist, pmi_mini, pmi_real, tiny_imagenet
from coppice.data.data_sets import SETS
from coppice.data.fetch import RemoteFile, form, origin
from coppice.data.pictures import Pictures, by_class, prepared, split_pictures
from coppice.data.scaling import Scaling
from coppice.data.tasks import TaskData, fewer, permuted

Choices = dict[str, Any]  # fields of a Stream other than its name
Made = tuple[list[TaskData], dict[str, Any]]
Read = Callable[[Sequence[int]], Iterator[Pictures]]


class StreamSet(NamedTuple):
    """A kind of stream: `defaults` has its choices, with what each is when none is made.

    `sources`: the data sets it reads; `names`: of its tasks, where they have names. `make` gets the choices and the
    seed of a run, and returns the tasks and what it knows of where they come from.
    """

    what: str
    sources: tuple[str, ...]
    defaults: Choices
    make: Callable[[Choices, int], Made]
    names: tuple[str, ...] = ()


def _of_pictures(
    names: Sequence[str], read: Read, scaling: Scaling, files: Sequence[RemoteFile], **choices: Any
) -> Made:
    tasks, digest = split_pictures(
        names, read, partial(prepared, size=choices.pop("size"), scaling=scaling), **choices
    )
    return tasks, {
        "source": sorted({" or ".join(url.rpartition("/")[0] for url in file.urls) for file in files}),
        "read_from": origin(),
        "forms": [form(file) for file in files],
        "sha256": {"pictures of each class, in the order of the tasks": digest},
        "scaling": scaling.record(),
    }


def _cifar100(choices: Choices, seed: int, name: str) -> Made:
    files = SETS["cifar100"].files
    read = partial(cifar100.read, files[0])
    return _of_pictures(cifar100.CLASSES, read, cifar100.SCALING, files, name=name, seed=seed, **choices)


def _mnist(choices: Choices, seed: int, name: str = "split-mnist") -> Made:
    files = SETS["mnist"].files
    source = mnist.read(files)
    digits = tuple("0123456789")
    return _of_pictures(digits, by_class(source), mnist.SCALING, files, name=name, seed=seed, **choices)


def _permuted_mnist(choices: Choices, seed: int) -> Made:
    name, tasks, order = "permuted-mnist", choices.pop("tasks"), choices.pop("order")
    if order == "natural":
        raise ValueError(
            "order is 'natural', but the order of the pixels is drawn: give a seed, or leave it out."
        )
    (whole,), found = _mnist({**choices, "tasks": 1, "classes": 10, "order": "natural"}, seed, name)
    return permuted(whole._replace(name=name), tasks, seed if order is None else order), found


def _tiny_imagenet(choices: Choices, seed: int, name: str, many: int) -> Made:
    files = SETS["tiny-imagenet"].files
    names, read = tiny_imagenet.read(files[0], many)
    return _of_pictures(names, read, tiny_imagenet.SCALING, files, name=name, seed=seed, **choices)


def _nmnist(choices: Choices, seed: int) -> Made:
    files = SETS["nmnist"].files
    how = {"frames": choices.pop("frames"), "size": choices.pop("size"), "by": choices.pop("bins")}
    binary = choices.pop("binary")

    def read(classes: Sequence[int]) -> Iterator[Pictures]:
        return events.read(files, classes, **how)

    def prepare(frames: NDArray[Any]) -> NDArray[np.float32]:
        return (frames > 0 if binary else frames).astype(np.float32)

    digits = tuple("0123456789")
    tasks, digest = split_pictures(digits, read, prepare, name="split-nmnist", seed=seed, **choices)
    return tasks, {
        "source": SETS["nmnist"].homepage,
        "read_from": origin(),
        "forms": [form(file) for file in files],
        "sha256": {"frames of each class, uint16, in the order of the tasks": digest},
    }


def _pmi_mini(choices: Choices, seed: int) -> Made:
    tasks = pmi_mini.pmi_mini(seed, choices["tasks"])
    if choices["samples"] is not None:
        tasks = [fewer(task, choices["samples"], seed) for task in tasks]
    return tasks, {
        "source": "made on the spot; the digits are embedded in scikit-learn",
        "read_from": "embedded",
        "sha256": {task.name: _digest(task) for task in tasks},
    }


def _pmi_real(choices: Choices, seed: int) -> Made:
    made = [pmi_real.TASKS[name](seed, choices["samples"]) for name in choices["tasks"]]
    return [task for task, _ in made], {
        "source": {task.name: SETS[task.name].homepage for task, _ in made},
        "read_from": origin(),
        "forms": {task.name: [form(file) for file in SETS[task.name].files] for task, _ in made},
        "sha256": {task.name: digests for task, digests in made},
    }


def _digest(task: TaskData) -> str:
    """SHA-256 of a task's samples, float32, then their classes, int64: training, validation, test."""
    content = hashlib.sha256()
    for part in (task.train, task.validation, task.test):
        content.update(part.x.numpy().tobytes() + part.y.numpy().tobytes())
    return content.hexdigest()


_CIFAR100 = {"tasks": 10, "classes": None, "order": None, "size": 32, "samples": None, "validation": 0.1}
_MNIST = {"tasks": 5, "classes": None, "order": None, "size": 28, "samples": None, "validation": 0.1}
STREAMS = {
    "pmi-mini": StreamSet(
        "perception, motor control, interaction: six small tasks, made on the spot",
        ("digits",),
        {"tasks": pmi_mini.ORDER, "samples": None},
        _pmi_mini,
        names=tuple(pmi_mini.TASKS),
    ),
    "pmi-real": StreamSet(
        "the same three functions in recorded data, 120 training samples a class: pictures; movements of pen and wrist; "
        "hand signs and speech",
        pmi_real.ORDER,
        {"tasks": pmi_real.ORDER, "samples": 120},
        _pmi_real,
        names=tuple(pmi_real.TASKS),
    ),
    "split-mnist": StreamSet("MNIST, two digits at a time", ("mnist",), _MNIST, _mnist),
    "permuted-mnist": StreamSet(
        "MNIST again and again, from the second time on each with its own order of the pixels; 1000 training "
        "pictures a digit",
        ("mnist",),
        {"tasks": 10, "order": None, "size": 28, "samples": 1000, "validation": 100},
        _permuted_mnist,
    ),
    "split-nmnist": StreamSet(
        "MNIST filmed by an event camera, two digits at a time: frames of events, as many as the network has time steps",
        ("nmnist",),
        {**_MNIST, "size": 34, "frames": 4, "bins": "time", "binary": False},
        _nmnist,
    ),
    "split-cifar100": StreamSet(
        "CIFAR-100, ten classes at a time",
        ("cifar100",),
        _CIFAR100,
        partial(_cifar100, name="split-cifar100"),
    ),
    "split-cifar100-mini": StreamSet(
        "the same in 16 x 16 from 120 training pictures a class, 4 tasks: minutes on a processor",
        ("cifar100",),
        {**_CIFAR100, "tasks": 4, "classes": 10, "size": 16, "samples": 120, "validation": 20},
        partial(_cifar100, name="split-cifar100-mini"),
    ),
    "split-tiny-imagenet": StreamSet(
        "Tiny-ImageNet, 20 of its 200 classes at a time; 5 GB of memory in 64 x 64",
        ("tiny-imagenet",),
        {**_CIFAR100, "size": 64},
        partial(_tiny_imagenet, name="split-tiny-imagenet", many=tiny_imagenet.ALL),
    ),
    "split-tiny-imagenet-mini": StreamSet(
        "30 of its classes, three at a time, in 32 x 32 from 200 training pictures a class",
        ("tiny-imagenet",),
        {**_CIFAR100, "size": 32, "samples": 200, "validation": 50},
        partial(_tiny_imagenet, name="split-tiny-imagenet-mini", many=tiny_imagenet.FEW),
    ),
}
