"""The commands and their options, as Markdown, from the functions that are the commands: `conf.py` puts them into a page."""

import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, get_args

from typer.models import ArgumentInfo, OptionInfo

from coppice.cli.app import app

MARK = "<!-- commands -->"


def described() -> str:
    """A heading, what it does, and a table of arguments and options, for each command."""
    return "\n".join(
        line
        for command in app.registered_commands
        if command.callback is not None
        for line in _command(command.name or command.callback.__name__, command.callback, command.epilog)
    )


def _command(name: str, function: Callable[..., Any], example: str | None) -> Iterator[str]:
    parameters = [
        (parameter, info)
        for parameter in inspect.signature(function).parameters.values()
        for info in get_args(parameter.annotation)
        if isinstance(info, ArgumentInfo | OptionInfo) and not info.hidden
    ]
    arguments = [_argument(p, info) for p, info in parameters if isinstance(info, ArgumentInfo)]
    yield f"## coppice {name}\n"
    yield f"```text\n{' '.join(['coppice', name, *arguments, '[OPTIONS]'])}\n```\n"
    yield "\n\n".join(
        " ".join(part.split()) for part in inspect.cleandoc(function.__doc__ or "").split("\n\n")
    )
    yield ""
    if parameters:
        yield "| | | default |\n|---|---|---|"
        for parameter, info in parameters:
            called = _argument if isinstance(info, ArgumentInfo) else _option
            yield f"| `{called(parameter, info)}` | {_escaped(info.help or '')} | {_default(parameter, info)} |"
        yield ""
    if example:
        yield f"{example.replace('Example: ', 'Example: `', 1)}`\n"


def _argument(parameter: inspect.Parameter, info: Any) -> str:
    return info.metavar or parameter.name.upper()


def _option(parameter: inspect.Parameter, info: Any) -> str:
    kind = get_args(parameter.annotation)[0]
    given = [
        info.default,
        *(info.param_decls or ()),
    ]  # beside Annotated, the first name stands where a default would
    own = (each for each in given if isinstance(each, str) and each.startswith("--"))
    name = next(own, "--" + parameter.name.replace("_", "-"))
    if kind is bool:
        return name
    kind = next((part for part in get_args(kind) if part is not type(None)), kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _escaped(f"{name} {'|'.join(str(choice.value) for choice in kind)}")
    words = {"int": "NUMBER", "float": "NUMBER", "Path": "PATH", "str": "TEXT"}
    return f"{name} {info.metavar or words.get(getattr(kind, '__name__', ''), 'VALUE')}"


def _default(parameter: inspect.Parameter, info: Any) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "required"
    if isinstance(info.show_default, str):
        return info.show_default
    value = getattr(parameter.default, "value", parameter.default)
    return "" if value is None or value is False else f"`{value}`"


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
