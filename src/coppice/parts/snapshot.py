"""Everything a training run needs to go on from a moment: model, optimizer and random states, as one tree."""

import random
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from coppice.parts.resizing import State, resize
from coppice.parts.tracing import unwrap


def take(model: nn.Module, optimizer: Optimizer | None) -> State:
    """A deep copy of a model's and an optimizer's state and of the random generators', on the CPU."""
    inner = unwrap(model)
    return {
        "model": _copied(inner.state_dict()),
        "training": [name for name, module in inner.named_modules() if module.training],
        "optimizer": None if optimizer is None else _copied(optimizer.state_dict()),
        "random": random_state(),
    }


def restore(model: nn.Module, optimizer: Optimizer | None, snapshot: State) -> None:
    """Bring model and optimizer, the same objects, back to the snapshot, shapes and random states included.

    Gradients are dropped. The snapshot stays as it was. Raises ValueError where it is of another network.
    """
    restore_model(model, snapshot, optimizer)
    if optimizer is not None and snapshot["optimizer"] is not None:
        # by position, so changed shapes are no trap; copied, for torch would train on in the snapshot's own tensors
        optimizer.load_state_dict(_copied(snapshot["optimizer"]))
    set_random_state(snapshot["random"])


def restore_model(model: nn.Module, snapshot: State, optimizer: Optimizer | None = None) -> None:
    """Only the model: its sizes, weights and modes; the optimizer is told of the new parameters, if given."""
    inner = unwrap(model)
    resize(inner, snapshot["model"], optimizer)
    inner.load_state_dict(snapshot["model"])
    inner.zero_grad(set_to_none=True)
    for name, module in inner.named_modules():
        module.training = name in snapshot["training"]
    model.training = inner.training


def random_state() -> State:
    """The states of torch's (all devices), numpy's and Python's global generators."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - a user's loop may draw from it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "python": [version, list(words), gauss],
    }


def set_random_state(state: State) -> None:
    """Undo of `random_state`. Devices that are missing here are passed over."""
    torch.set_rng_state(state["torch"])
    for device, words in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(words, device)
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))


def _copied(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        return tree.detach().cpu().clone()
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_copied(value) for value in tree)
    return tree
