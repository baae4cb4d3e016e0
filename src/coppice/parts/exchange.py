"""Exchange a parameter for a larger or smaller one under the eyes of its optimizer.

A new Parameter takes the old one's place in the module, and the optimizer, the same object as before, finds the new
one in its groups and its state. So schedulers and scalers that hold the optimizer go on working. Lists of
parameters that somebody made before still hold the old ones.
"""

from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer


def replace(
    module: nn.Module, name: str, change: Callable[[Tensor], Tensor], optimizer: Optimizer | None
) -> None:
    """Exchange a parameter: `change` makes a new tensor of the old one, of its gradient and of each moment."""
    old: nn.Parameter = getattr(module, name)
    new = nn.Parameter(change(old.detach()), requires_grad=old.requires_grad)
    if old.grad is not None:
        new.grad = change(old.grad)
    module._parameters[name] = new
    if optimizer is None:
        return
    for group in optimizer.param_groups:
        group["params"][:] = [new if p is old else p for p in group["params"]]
    if old in optimizer.state:
        state = optimizer.state.pop(old)
        optimizer.state[new] = {
            key: change(value) if isinstance(value, Tensor) and value.shape == old.shape else value
            for key, value in state.items()
        }


def check_cuttable(optimizer: Optimizer | None) -> None:
    """Refuse an optimizer whose state has no entry per synapse."""
    if optimizer is None:
        return
    if isinstance(optimizer, LBFGS):
        _refuse(optimizer, "one history of all parameters together")
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                cuttable = value.numel() == 1 or value.shape == parameter.shape
            else:
                cuttable = not (isinstance(value, (list, tuple, dict)) and value)
            if not cuttable:
                _refuse(optimizer, f"'{key}'")


def check_trained(model: nn.Module, names: Iterable[str], optimizer: Optimizer | None) -> None:
    """Refuse an optimizer that does not hold the trainable parameters of these modules."""
    if optimizer is None:
        return
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name in names:
        for leaf, parameter in model.get_submodule(name).named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in known:
                raise ValueError(
                    f"the {type(optimizer).__name__} given does not train '{name}.{leaf}': pass the optimizer that was "
                    "built on this very model, or freeze the parameter."
                )


def _refuse(optimizer: Optimizer, what: str) -> None:
    raise ValueError(
        f"{type(optimizer).__name__} keeps {what}, which has no entry per synapse and so cannot be cut along. Use an "
        "element-wise optimizer such as AdamW or SGD, or cut without the optimizer and start a new one."
    )
