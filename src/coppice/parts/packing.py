"""Pruned weights on disk: one bit a synapse and the values of the living, which come back bit for bit.

In memory a mask is a bool beside a whole tensor, for speed. In the file of a model the dead need no number: at 90 %
sparsity a float32 tensor with its mask takes 0.10 + 1/32 of the weights' bytes instead of 1 + 1/4.
Checkpoints of training are not packed: they hold moments, and are read back often.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coppice.parts import storage
from coppice.parts.masks import SUFFIX

State = Mapping[str, Any]
HEADER = 64  # bytes, about, by which the header of the file grows with a packed tensor


def pack(state: State) -> dict[str, dict[str, Any]]:
    """A model's state dict in two tables: "weights" as they are, and "packed", the masked where that takes fewer bytes.

    A packed entry: {"shape", "alive": uint8, bit i of byte j is synapse 8 j + i, "values": the living in order}, or
    {"same": name} for a tied tensor. A tensor with a dead synapse that is not zero stays whole: no number is lost.
    (-0.0 is zero, and returns as 0.0.)
    """
    masks = _masks(state)
    packed: dict[str, Any] = {}
    first: dict[tuple[Any, ...], str] = {}  # tied weights are masked under their first name
    for name, value in state.items():
        if name in masks and (entry := _packed(value, state[masks[name]])):
            packed[name] = entry
            first[_memory(value)] = name
        elif name not in masks and isinstance(value, Tensor) and _memory(value) in first:
            packed[name] = {"same": first[_memory(value)]}
    gone = packed.keys() | {masks[name] for name in packed if name in masks}
    return {"weights": {n: v for n, v in state.items() if n not in gone}, "packed": packed}


def unpack(weights: State, packed: State) -> dict[str, Any]:
    """The state dict that `pack` packed, masks included, the dead exactly 0.0.

    Raises ValueError, naming the tensor, where bits, values and shape do not fit together.
    """
    state = dict(weights)
    for name, entry in packed.items():
        if "same" not in entry:
            state[name], state[name + SUFFIX] = _whole(name, entry)
        elif entry["same"] in state:
            state[name] = state[entry["same"]].clone()
        else:
            raise ValueError(f"'{name}' equals '{entry['same']}', which is not stored: the file is damaged.")
    return state


def read_model(path: str | Path) -> dict[str, Any]:
    """What `save_model` stored, unpacked: {"plan", "weights", "notes"}. Raises ValueError for another kind of file."""
    stored = storage.read(Path(path))
    if not isinstance(stored, dict) or not isinstance(stored.get("weights"), dict):
        raise ValueError(f"{path} holds no model; it is perhaps a run's checkpoint.")
    return {**stored, "weights": unpack(stored["weights"], stored.pop("packed", {}))}


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """The weights of a saved model under the keys of its dense class, on the CPU: dead synapses are 0.0, masks left out.

    For `plain.load_state_dict(load_weights(path))`, strict, where nobody knows of masks. Raises what `read_model` does.
    """
    return without_masks(read_model(path)["weights"])


def without_masks(state: State) -> dict[str, Any]:
    """A state dict under the keys of the dense class."""
    masks = set(_masks(state).values())
    return {name: value for name, value in state.items() if name not in masks}


def _masks(state: State) -> dict[str, str]:
    """Name of the mask, by name of what it masks."""
    return {
        name: name + SUFFIX
        for name, value in state.items()
        if isinstance(mask := state.get(name + SUFFIX), Tensor) and mask.dtype == torch.bool
        if isinstance(value, Tensor) and mask.shape == value.shape
    }


def _packed(value: Tensor, mask: Tensor) -> dict[str, Any] | None:
    flat, alive = value.detach().cpu().flatten(), mask.cpu().flatten()
    if torch.count_nonzero(flat[~alive]):
        return None
    values = flat[alive]
    bits = torch.from_numpy(np.packbits(alive.numpy(), bitorder="little"))
    if bits.nbytes + values.nbytes + HEADER >= flat.nbytes + alive.nbytes:
        return None
    return {"shape": list(value.shape), "alive": bits, "values": values}


def _whole(name: str, entry: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    shape, bits, values = (entry.get(key) for key in ("shape", "alive", "values"))
    if not (
        isinstance(shape, list)
        and all(isinstance(length, int) and length >= 0 for length in shape)
        and isinstance(bits, Tensor)
        and isinstance(values, Tensor)
        and bits.dtype == torch.uint8
        and bits.shape == (-(-math.prod(shape) // 8),)
    ):
        raise ValueError(
            f"the packed entry of '{name}' has not a shape, a bit a synapse and values: the file is damaged."
        )
    every = torch.from_numpy(np.unpackbits(bits.numpy(), bitorder="little")).bool()
    alive = every[: math.prod(shape)]
    living = int(torch.count_nonzero(every))
    if values.shape != (living,) or living != int(torch.count_nonzero(alive)):
        raise ValueError(
            f"the packed entry of '{name}' has {living} living bits for {len(alive)} synapses, but"
            f" {values.numel()} values: the file is damaged."
        )
    flat = torch.zeros(len(alive), dtype=values.dtype)
    flat[alive] = values
    return flat.view(shape), alive.view(shape)


def _memory(value: Tensor) -> tuple[Any, ...]:
    return value.data_ptr(), value.dtype, value.device, tuple(value.shape), value.stride()
