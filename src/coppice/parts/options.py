"""Options of a method by keyword, as people type them: a wrong one names its nearest right one."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

Settings = TypeVar("Settings")


def changed(settings: Settings, options: Mapping[str, Any]) -> Settings:
    """A copy of a dataclass with these fields changed. Raises TypeError, as Python does, for one that it has not."""
    known = [field.name for field in dataclasses.fields(settings)]  # type: ignore[arg-type]
    for option in options:
        if option in known:
            continue
        parts = [name for name in known if name.endswith(f"_{option}") or name.startswith(f"{option}_")]
        near = (difflib.get_close_matches(option, known, n=1) + parts)[:1]
        hint = f", did you mean '{near[0]}'?" if near else "."
        raise TypeError(f"there is no option '{option}'{hint} The options are {', '.join(known)}.")
    return dataclasses.replace(settings, **options)  # type: ignore[type-var]
