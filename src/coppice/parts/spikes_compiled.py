"""Run a function of tensors by machine code made for it with torch.compile, where that pays and changes no bit.

Compiling takes 5 to 15 s a function, once a process (less from torch's cache on disk), and needs a C++ compiler.
So without a word from the user a function is compiled

- on the CPU only, when it has run over PAYS_AFTER elements, about the work at which compiled code would have saved the
  seconds that compiling takes; counted in elements, never in seconds, so that the same run always does the same;
- if the code repeats the plain result bit for bit on the tensors it was made with; if not, or where no compiler
  works, the plain function runs on, silently.

COPPICE_COMPILE=0 in the environment, or `with compiling(False)`, turns this off; 1, or `with compiling(True)`, compiles
at the first call on every device, however small, checks no bits and raises RuntimeError where that fails. On CUDA the
compiler may join a product and a sum into one rounding, so that results differ in the last bit: on request only.

Nothing here hangs on a model: the code is the process's, and copies, pickles and new processes begin without.
"""

import itertools
import os
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

PAYS_AFTER = 2**31  # elements of the first tensor, neuron-steps here
FEWEST = 2**12  # elements of a call, below which the checks before compiled code take longer than the work

Results = tuple[Tensor, ...]
_wish: ContextVar[bool | None] = ContextVar("compiling", default=None)
_seen: Counter[Hashable] = Counter()
_kernels: dict[Hashable, Callable[..., Results] | None] = {}  # None: tried, and not to be used
_hopeless: set[str] = set()  # device types whose compiler failed
_numbers = itertools.count()


@contextmanager
def compiling(on: bool) -> Iterator[None]:
    """Compile at the first call, or never, for what runs forward inside; goes before COPPICE_COMPILE."""
    token = _wish.set(on)
    try:
        yield
    finally:
        _wish.reset(token)


def wanted() -> bool | None:
    """What the user said: True, False, or None for nothing. Raises ValueError for another COPPICE_COMPILE than 0, 1."""
    if torch.compiler.is_compiling():  # somebody compiles the whole model, these steps with it
        return False
    if (wish := _wish.get()) is not None:
        return wish
    said = os.environ.get("COPPICE_COMPILE", "")
    if said not in ("", "0", "1"):
        raise ValueError(
            f"COPPICE_COMPILE is {said!r}, but must be 1 (compile at once), 0 (never) or unset (where it pays)."
        )
    return said == "1" if said else None


def run(wish: bool | None, function: Callable[..., Results], what: Hashable, *tensors: Tensor) -> Results:
    """function(what, *tensors), compiled or not.

    `tensors` have their changing size last, equal in all; the other sizes, the dtypes and `what` are built into the
    code. `wish` is what `wanted` returned. The function must change none of the tensors; call under no_grad.
    """
    first = tensors[0]
    if wish is False or first.shape[-1] < 2:  # torch builds sizes 0 and 1 into the code
        return function(what, *tensors)
    device = first.device.type
    if wish is None and (device != "cpu" or device in _hopeless or first.numel() < FEWEST):
        return function(what, *tensors)
    tensors = tuple(
        tensor.contiguous() for tensor in tensors
    )  # strides are built in, too: of an expanded tensor 0
    # With the modes, for which torch would compile anew and unproven.
    modes = torch.is_inference_mode_enabled(), torch.is_autocast_enabled(device)
    kinds = ((tensor.dtype, tensor.is_inference()) for tensor in tensors)
    key = (wish, function, what, first.shape[:-1], device, modes, *kinds)
    if wish:
        return _demanded(key, function, what, tensors)
    if key not in _kernels:
        _seen[key] += first.numel()
        results = function(what, *tensors)
        if _seen[key] > PAYS_AFTER:
            _kernels[key] = _proven(function, what, tensors, results)
        return results
    try:
        kernel = _kernels[key]
        return function(what, *tensors) if kernel is None else kernel(*tensors)
    except Exception:  # torch compiles anew when, say, the number of threads has changed
        _hopeless.add(device)
        return function(what, *tensors)


def _demanded(
    key: Hashable, function: Callable[..., Results], what: Hashable, tensors: tuple[Tensor, ...]
) -> Results:
    try:
        if kernel := _kernels.get(key):
            return kernel(*tensors)
        _kernels[key], results = _first(function, what, tensors)
        return results
    except Exception as error:
        raise RuntimeError(
            f"{function.__name__} for {what} cannot be compiled on {tensors[0].device}: COPPICE_COMPILE=0 runs without;"
            " on the CPU torch.compile needs a C++ compiler, such as g++."
        ) from error


def _proven(
    function: Callable[..., Results], what: Hashable, tensors: tuple[Tensor, ...], expected: Results
) -> Callable[..., Results] | None:
    """Code that gives the expected bits, or None."""
    try:
        kernel, found = _first(function, what, tensors)
    except Exception:
        _hopeless.add(tensors[0].device.type)
        return None
    same = (
        torch.allclose(a, b, rtol=0, atol=0, equal_nan=True) for a, b in zip(found, expected, strict=True)
    )
    return kernel if all(same) else None


def _first(
    function: Callable[..., Results], what: Hashable, tensors: tuple[Tensor, ...]
) -> tuple[Callable[..., Results], Results]:
    """New code and its first results; torch's compiler warns of its own old parts while it loads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kernel = _compile(function, what)
        for tensor in tensors:
            torch._dynamo.maybe_mark_dynamic(tensor, tensor.dim() - 1)  # one code for every batch size
        return kernel, kernel(*tensors)


def _compile(function: Callable[..., Results], what: Hashable) -> Callable[..., Results]:
    """Compiled at its first call."""

    def body(*tensors: Tensor) -> Results:
        return function(what, *tensors)

    # Code of its own: torch counts recompilations by code object, and all bodies share one.
    code = body.__code__.replace(co_name=f"{function.__name__}_{next(_numbers)}")
    own = FunctionType(code, body.__globals__, closure=body.__closure__)
    options: dict[str, Any] = {"compile_threads": 1}  # no processes of its own
    if hasattr(torch.compiler, "skip_guard_on_globals_unsafe"):  # since torch 2.8
        options["guard_filter_fn"] = _sizes_only
    compiled: Callable[..., Results] = torch.compile(own, options=options)
    return compiled


def _sizes_only(checks: Sequence[Any]) -> list[bool]:
    """Of what torch looks at before each call, a third of the time of a small layer, the key leaves only the sizes open."""
    return [check.guard_type == "SHAPE_ENV" for check in checks]
