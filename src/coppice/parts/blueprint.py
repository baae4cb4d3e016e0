"""How a network is built, as plain data; so that a shrunken model can be saved and built again without pickle.

A plain `nn.Sequential` of torch's layers is described whole and comes back from the file alone. Of any other model
the file holds the weights: build the model as usual and load them `into` it, it takes the stored sizes.
"""

import inspect
from pathlib import Path
from typing import Any

from torch import nn

from coppice.parts import layers, storage
from coppice.parts.chains import ACTIVATIONS, BATCH_NORMS, KEEPS_CHANNELS, LAYERS
from coppice.parts.packing import pack, read_model
from coppice.parts.resizing import resize
from coppice.parts.tracing import unwrap

KNOWN: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *LAYERS,
        *BATCH_NORMS,
        *ACTIVATIONS,
        *KEEPS_CHANNELS,
        nn.LayerNorm,
        nn.Flatten,
        layers.ShrunkLayerNorm,
    )
}
NOT_STORED = {"device", "dtype", "inplace"}


def describe(model: nn.Module) -> list[Any] | None:
    """The layers of a (nested) nn.Sequential as [name, type, arguments]; None when the model is anything else.

    None too where layers share weights or compute them (parametrizations, torch.nn.utils.prune).
    """
    if type(model) is not nn.Sequential:
        return None
    if len(list(model.parameters())) != len(list(model.named_parameters(remove_duplicate=False))):
        return None
    plan: list[Any] = []
    for name, layer in model._modules.items():  # named_children leaves out the second use of an activation
        if type(layer) is nn.Sequential:
            inner = describe(layer)
            if inner is None:
                return None
            plan.append([name, "Sequential", inner])
        elif layer is not None and KNOWN.get(type(layer).__name__) is type(layer):
            if not layer._parameters.keys() <= {"weight", "bias"}:
                return None
            plan.append([name, type(layer).__name__, _arguments(layer)])
        else:
            return None
    return plan


def build(plan: list[Any]) -> nn.Sequential:
    """The network that `describe` described, with fresh weights. Raises ValueError for an unknown layer."""
    model = nn.Sequential()
    for name, kind, arguments in plan:
        if kind == "Sequential":
            model.add_module(name, build(arguments))
        elif kind in KNOWN:
            model.add_module(name, KNOWN[kind](**arguments))
        else:
            raise ValueError(f"the stored network has a layer '{kind}', which this coppice does not know.")
    return model


def save_model(model: nn.Module, path: str | Path, **notes: Any) -> None:
    """Save a (shrunken) model as safetensors with a JSON header; `notes` (JSON values) travel along.

    Of masked weights it holds one bit a synapse and the values of the living: see `parts.packing`.
    """
    model = unwrap(model)
    storage.write(Path(path), {"plan": describe(model), **pack(model.state_dict()), "notes": notes})


def load_model(path: str | Path, into: nn.Module | None = None) -> nn.Module:
    """The saved model, on the CPU. `into`: a freshly built model of any class, which takes the stored sizes and weights.

    Raises ValueError when the file does not describe how to build the model and `into` is missing.
    """
    stored = read_model(path)
    if into is None and stored["plan"] is None:
        raise ValueError(
            f"{path} holds weights of a model that is no plain nn.Sequential: build it as usual and call "
            "load_model(path, into=model)."
        )
    model = build(stored["plan"]) if into is None else unwrap(into)
    resize(model, stored["weights"])
    model.load_state_dict(
        stored["weights"], assign=into is None
    )  # assigned: the stored dtype; else the model's own
    return model if into is None else into


def _arguments(layer: nn.Module) -> dict[str, Any]:
    """Constructor arguments, read back from the attributes of the same names."""
    arguments: dict[str, Any] = {}
    for name in inspect.signature(type(layer).__init__).parameters:
        if name in NOT_STORED or not hasattr(layer, name):
            continue
        value = getattr(layer, name)
        if name == "bias":
            value = value is not None
        if name == "normalized_shape" and isinstance(layer, layers.ShrunkLayerNorm):
            value = value[0]
        arguments[name] = value
    return arguments
