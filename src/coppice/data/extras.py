"""The packages of the extras are imported only where they are needed."""

from importlib import import_module
from types import ModuleType


def need(module: str, extra: str = "data") -> ModuleType:
    """Import a module of an extra; ModuleNotFoundError says how to install it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"'{missing.name}' is not installed, but needed here: pip install \"coppice[{extra}]\" brings it.",
            name=missing.name,
        ) from missing
