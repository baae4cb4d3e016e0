"""The packages of the extra `data` are imported only where they are needed."""

from importlib import import_module
from types import ModuleType


def need(module: str) -> ModuleType:
    """Import a module of the extra `data`; ModuleNotFoundError says how to install it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"'{missing.name}' is not installed, and this data set needs it: "
            'pip install "coppice[data]" brings it.',
            name=missing.name,
        ) from missing
