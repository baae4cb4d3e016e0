"""The command line. Nothing here imports torch before a command needs it, so that --help comes at once."""

import sys
import warnings
from collections.abc import Sequence
from typing import Any

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (sys.argv by default); returns the exit code: 0, 1 failed, 2 bad input, 130 interrupted."""
    try:
        from coppice.cli.app import app
    except ModuleNotFoundError as missing:
        if missing.name not in ("typer", "rich"):
            raise
        print('error: the command line needs typer and rich: pip install "coppice[cli]".', file=sys.stderr)
        return FAILED
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without ± or µ
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = _show_warning
        try:
            code = app(args=given, prog_name="coppice", obj=given, standalone_mode=False)
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            sys.stdout = None
            return FAILED
        except (ValueError, FileNotFoundError, FileExistsError) as error:
            return _complain(error, BAD_INPUT)
        except (RuntimeError, OSError, ImportError) as error:
            # what typer raises for a wrong command line is a RuntimeError or Exception with a code of its own
            return _usage(error) if hasattr(error, "format_message") else _complain(error, FAILED)
        except Exception as error:
            if hasattr(error, "format_message"):
                return _usage(error)
            raise
    return code if isinstance(code, int) else 0


def _complain(error: object, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


def _usage(error: Any) -> int:
    where = getattr(error, "ctx", None)
    command = where.command_path if where is not None else "coppice"
    return _complain(f"{error.format_message()} See: {command} --help", BAD_INPUT)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)
