"""Which synapses of a model are alive. Sole owner of the buffer names `<parameter>_alive`.

Three duties keep the dead at exactly zero: mute their gradients before clipping, forget their moments when
they die, zero their weights after each step. Under an elementwise optimizer the first two suffice: no weight,
no gradient and no moment make no update. The third holds whatever the optimizer, and whoever writes a gradient.
(Over the 250 lines because the guard must know all three duties and the buffers; nobody else should.)
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim import Optimizer

SUFFIX = "_alive"
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # integers of a float's size in bytes


def is_matrix(name: str, parameter: Parameter) -> bool:
    """True for what connects neurons: float parameters of two or more dimensions, so no biases and no norms."""
    return parameter.dim() >= 2 and parameter.is_floating_point()


def count_alive(mask: Tensor) -> int:
    """How many entries are True; on the CPU by numpy, ten times faster than torch."""
    return int(np.count_nonzero(mask.numpy()) if mask.is_cpu else torch.count_nonzero(mask))


class Masks(Mapping[str, Tensor]):
    """Which synapses of a model are alive: bool tensors by parameter name, True where alive.

    A view without tensors of its own: the booleans are persistent buffers beside each parameter, looked up by
    name at every call, so copies, `.to()`, checkpoints and surgery carry them and no parameter is renamed.
    Change them through `prune` and `regrow` only. Weights that modules share are masked once, by their first name.
    """

    def __init__(self, model: Module) -> None:
        self.model = model

    @classmethod
    def attach(cls, model: Module, where: Callable[[str, Parameter], bool] = is_matrix) -> "Masks":
        """Give every parameter that `where` accepts a mask, all alive; masks already there are kept.

        Raises ValueError, before anything is attached, where nothing is accepted, for a parameter that is not
        float, and where a buffer's name is taken or its shape is not the parameter's.
        """
        chosen = [
            _slot(model, name) for name, parameter in model.named_parameters() if where(name, parameter)
        ]
        if not chosen:
            raise ValueError(
                f"where accepts none of the parameters of {type(model).__name__}, so nothing could die: by default"
                " it takes the float parameters of two or more dimensions."
            )
        for slot in chosen:
            if not slot.parameter.is_floating_point():
                raise ValueError(
                    f"'{slot.name}' is {slot.parameter.dtype}, but only float synapses can be masked."
                )
            if slot.buffer in slot.owner._buffers:
                slot.check_shape()
            elif hasattr(slot.owner, slot.buffer):
                raise ValueError(
                    f"'{slot.name}{SUFFIX}' is not a mask, but holds the mask's name: rename it."
                )
        for slot in chosen:
            if slot.buffer not in slot.owner._buffers:
                slot.owner.register_buffer(slot.buffer, torch.ones_like(slot.parameter, dtype=torch.bool))
        return cls(model)

    def detach(self) -> None:
        """Take all masks off the model: a plain model again, whose state dict has torch's own keys; the zeros stay.

        `remove()` what guards or prunes it first.
        """
        for slot in _slots(self.model):
            del slot.owner._buffers[slot.buffer]

    def __getitem__(self, name: str) -> Tensor:
        """The mask itself, of the parameter's shape; raises KeyError for a parameter without one."""
        try:
            return _slot(self.model, name).alive
        except (AttributeError, KeyError):
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return (slot.name for slot in _slots(self.model))

    def __len__(self) -> int:
        return len(_slots(self.model))

    def __repr__(self) -> str:
        return f"Masks({len(self)} tensors, {self.size - self.alive} of {self.size} synapses dead)"

    @property
    def size(self) -> int:
        """Synapses under masks, dead or alive."""
        return sum(mask.numel() for mask in self.values())

    @property
    def alive(self) -> int:
        """Synapses alive, counted now."""
        return sum(map(count_alive, self.values()))

    @property
    def sparsity(self) -> float:
        """Dead share of the synapses under masks; 0 without any."""
        return 1 - self.alive / self.size if self.size else 0.0

    def layers(self) -> dict[str, float]:
        """Dead share of each masked parameter."""
        return {name: 1 - count_alive(mask) / mask.numel() for name, mask in self.items()}

    @torch.no_grad()
    def prune(self, doomed: Mapping[str, Tensor], optimizer: Optimizer | None = None) -> int:
        """Kill the doomed: mask, weight, gradient and, in the optimizer that trains them, their moments.

        `doomed`: bool tensors by name, shaped like the parameters; the dead among them are passed over.
        Returns how many died now. Raises ValueError, before anything dies, on unknown names, shapes, dtypes.
        """
        killed = 0
        for slot, fallen in self._choices(doomed):
            dying = fallen & slot.alive
            killed += count_alive(dying)
            slot.alive.logical_xor_(dying)
            slot.silence()
            slot.mute()
            _forget(slot.parameter, slot.alive, optimizer)
        return killed

    @torch.no_grad()
    def regrow(self, chosen: Mapping[str, Tensor], optimizer: Optimizer | None = None) -> int:
        """Revive the chosen at weight zero, with zero gradient and the moments of a first step.

        Takes and refuses what `prune` does; the living among the chosen are passed over. Returns how many woke.
        """
        woken = 0
        for slot, called in self._choices(chosen):
            newborn = called & ~slot.alive
            woken += count_alive(newborn)
            slot.parameter.masked_fill_(newborn, 0)
            slot.mute()
            _forget(slot.parameter, ~newborn, optimizer)
            slot.alive.logical_or_(newborn)
        return woken

    def mute_gradients(self) -> None:
        """Zero the gradients of the dead; after backward, before clipping: the dead must not count in the norm."""
        for slot in _slots(self.model):
            slot.mute()

    def enforce(self, optimizer: Optimizer | None = None) -> None:
        """Zero the weights of the dead, and with `optimizer` their moments too; after the step."""
        for slot in _slots(self.model):
            slot.silence()
            _forget(slot.parameter, slot.alive, optimizer)

    def guard(self, optimizer: Optimizer) -> "Guard":
        """Keep the dead dead in any loop: see `Guard`. One guard an optimizer; a second raises RuntimeError."""
        return Guard(self, optimizer)

    def check(self) -> None:
        """Raise RuntimeError, naming parameters and counts, when dead synapses are not zero."""
        awake = []
        for slot in _slots(self.model):
            slot.check_shape()
            if count := int(torch.count_nonzero(slot.parameter.detach()[~slot.alive])):
                awake.append(f"{count} dead synapses of '{slot.name}' are non-zero")
        if awake:
            raise RuntimeError(
                f"{'; '.join(awake)}: call masks.enforce(optimizer) after optimizer.step(), or install"
                " masks.guard(optimizer) once."
            )

    def _choices(self, choices: Mapping[str, Tensor]) -> list[tuple["_Slot", Tensor]]:
        found = []
        for name, choice in choices.items():
            try:
                slot = _slot(self.model, name)
                shape = slot.alive.shape
            except (AttributeError, KeyError):
                raise ValueError(
                    f"'{name}' has no mask; masked are {list(self)}: Masks.attach gives masks."
                ) from None
            if choice.dtype != torch.bool or choice.shape != shape:
                raise ValueError(
                    f"the choice for '{name}' is {choice.dtype} of shape {tuple(choice.shape)}, but must be bool of"
                    f" shape {tuple(shape)}."
                )
            found.append((slot, choice.to(slot.alive.device)))
        return found


class Guard:
    """Keeps dead synapses dead in somebody else's loop; made by `Masks.guard`, undone by `remove()`.

    Gradients of the dead are muted the moment they are accumulated, so that clipping, scaling and accumulation
    see the living only; their weights are zeroed after each step of the optimizer. Guards the masked parameters
    the optimizer holds. Copies and pickles of the model go without guard.

    The hooks sit on the Parameter objects: after exchanging parameters (surgery) or attaching more masks, call
    `refresh()`. Exchanged ones are also noticed at the next step, whose clipping may then have counted the dead.
    Gradients written by hand (`p.grad = ...`) pass by the hooks: call `masks.mute_gradients()` after writing them.

    On the CPU, Adam, AdamW and SGD are set to `fused=True` for as long as they are guarded, unless the user chose
    `fused` or `foreach`: torch's plain sqrt takes four times longer on exact zeros, and the second moments of the
    dead are such zeros.
    """

    def __init__(self, masks: Masks, optimizer: Optimizer) -> None:
        if getattr(optimizer, "_coppice_guard", None) is not None:
            raise RuntimeError(
                f"this {type(optimizer).__name__} has a guard already: keep that one, or remove() it first. A guard"
                " covers one model; for several put them in an nn.ModuleList and mask the list."
            )
        self.masks, self.optimizer = masks, optimizer
        self._watched: list[tuple[_Slot, Parameter]] = []
        self._hooks: list[Any] = []
        self.refresh()
        groups = optimizer.param_groups
        self._fused = [number for number, group in enumerate(groups) if _may_fuse(optimizer, group)]
        for number in self._fused:
            groups[number]["fused"] = True
        self._steps = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        optimizer._coppice_guard = self  # type: ignore[attr-defined]  # not copied or saved with the optimizer

    def refresh(self) -> None:
        """Find parameters and masks anew.

        Raises ValueError where the optimizer holds no masked parameter, RuntimeError where it holds no longer
        one that it held: it would go on training a tensor that is no part of the model.
        """
        held = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
        before = {slot.name for slot, _ in self._watched}
        slots = _slots(self.masks.model)
        if lost := [slot.name for slot in slots if slot.name in before and id(slot.parameter) not in held]:
            raise RuntimeError(
                f"{lost} were exchanged, but the optimizer still trains the old tensors: give the surgery this"
                " optimizer, or remove() the guard and begin with a new optimizer."
            )
        slots = [slot for slot in slots if id(slot.parameter) in held]
        if not slots:
            raise ValueError(
                f"the {type(self.optimizer).__name__} trains no masked parameter of"
                f" {type(self.masks.model).__name__}: Masks.attach(model) first, and guard this model's optimizer."
            )
        self._unhook()
        self._watched = [(slot, slot.parameter) for slot in slots]
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(partial(_on_gradient, slot))
            for slot, parameter in self._watched
            if parameter.requires_grad
        ]

    def remove(self) -> None:
        """Take every hook out; the masks and what they did stay. Twice does no harm."""
        self._unhook()
        for step in self._steps:
            step.remove()
        for number in self._fused:  # by number, for loading a state exchanges the groups themselves
            self.optimizer.param_groups[number]["fused"] = None
        self._steps, self._watched, self._fused = [], [], []
        self.optimizer._coppice_guard = None  # type: ignore[attr-defined]

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _before_step(self, *_: Any) -> None:
        if any(slot.parameter is not parameter for slot, parameter in self._watched):
            self.refresh()
            self.masks.mute_gradients()

    def _after_step(self, *_: Any) -> None:
        for slot, _parameter in self._watched:
            slot.silence()


class _Slot(NamedTuple):
    """Where a masked parameter and its mask are kept; the tensors are read anew at each use."""

    name: str
    owner: Module
    stem: str

    @property
    def buffer(self) -> str:
        return self.stem + SUFFIX

    @property
    def parameter(self) -> Parameter:
        parameter: Parameter = getattr(self.owner, self.stem)
        return parameter

    @property
    def alive(self) -> Tensor:
        mask = self.owner._buffers[self.buffer]
        if mask is None:
            raise KeyError(self.name)
        return mask

    def check_shape(self) -> None:
        if self.alive.dtype != torch.bool or self.alive.shape != self.parameter.shape:
            raise ValueError(
                f"the mask of '{self.name}' is {self.alive.dtype} of shape {tuple(self.alive.shape)}, but must be bool"
                f" of shape {tuple(self.parameter.shape)}: cut the mask together with the parameter."
            )

    def silence(self) -> None:
        _zero_dead(self.parameter, self.alive)

    def mute(self) -> None:
        gradient = self.parameter.grad
        if gradient is None:
            return
        if gradient.layout != torch.strided:
            raise RuntimeError(
                f"the gradient of '{self.name}' is sparse and cannot be muted: use sparse=False."
            )
        if gradient.requires_grad:  # backward(create_graph=True): in place would break the second backward
            self.parameter.grad = torch.where(self.alive, gradient, 0)
        else:
            _zero_dead(gradient, self.alive)


def _on_gradient(slot: _Slot, _parameter: Tensor) -> None:
    slot.mute()


def _may_fuse(optimizer: Optimizer, group: dict[str, Any]) -> bool:
    """Whether torch has a fused kernel for this group and the user left the choice open."""
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        return False
    chosen = group["fused"] is not None or group["foreach"] is not None or group["differentiable"]
    on_cpu = all(p.device.type == "cpu" and p.is_floating_point() for p in group["params"])
    return on_cpu and not chosen and not isinstance(group["lr"], Tensor)


def _slot(model: Module, name: str) -> _Slot:
    prefix, _, stem = name.rpartition(".")
    return _Slot(name, model.get_submodule(prefix), stem)


def _slots(model: Module) -> list[_Slot]:
    slots = (_slot(model, name) for name, _ in model.named_parameters())
    return [slot for slot in slots if slot.owner._buffers.get(slot.buffer) is not None]


def _zero_dead(values: Tensor, alive: Tensor) -> None:
    """values = 0 where dead, whatever stood there; in place.

    Multiplies the bits, as integers, by 0 or 1: exact, where 0.0 * inf would be NaN and 0.0 * -1 be -0.
    numpy does it in one pass over the mask, 2.4 times faster than torch, which first writes the mask out as
    numbers of full size, and 6 times faster than masked_fill_.
    """
    if values.shape != alive.shape:
        raise RuntimeError(
            f"a mask of shape {tuple(alive.shape)} stands beside a parameter of shape {tuple(values.shape)}: cut the"
            " mask together with the parameter."
        )
    plain = values.detach()
    if plain.is_cpu and type(plain) is Tensor:
        bits = plain.view(_BITS[plain.element_size()]).numpy()
        np.multiply(bits, alive.numpy(), out=bits)
        torch.autograd.graph.increment_version(values)  # autograd does not see numpy write
    else:
        plain.view(_BITS[plain.element_size()]).mul_(alive)


def _forget(parameter: Parameter, kept: Tensor, optimizer: Optimizer | None) -> None:
    """Give the moments of all but the kept synapses the value they had before their first step.

    A moment is whatever the optimizer keeps in the parameter's shape. State of another shape (Adafactor's rows
    and columns, L-BFGS's history) has no entry per synapse and stays.
    """
    if optimizer is None or parameter not in optimizer.state:
        return
    group = next(group for group in optimizer.param_groups if any(p is parameter for p in group["params"]))
    first = {"step_size": group.get("lr", 0.0), "sum": group.get("initial_accumulator_value", 0.0)}
    for key, moment in optimizer.state[parameter].items():
        if isinstance(moment, Tensor) and moment.shape == parameter.shape:
            if value := float(first.get(key, 0.0)):  # Rprop and Adagrad do not begin at zero
                moment.masked_fill_(~kept, value)
            else:
                _zero_dead(moment, kept)  # eight times faster
