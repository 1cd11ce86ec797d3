"""The command line, `attention-zoo`. Commands import what they need: help and lists are instant."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import typer

from ...zoo.errors import ConfigError, DataError
from ..core.checkpoint import CheckpointError
from ..core.interruption import TRY_AGAIN, Interrupted
from ..core.parts import is_importing_file
from ..distribute.workers import WorkerLost
from .app import Refused, app
from .server_options import without_values

if TYPE_CHECKING:
    from ..core.task import Task

# They register their commands, which the help shows in this order.
_MODULES = ["presets", "train", "prepare", "use", "explain", "compare", "chat", "export", "server"]
for _module in _MODULES:
    importlib.import_module(f".{_module}", __package__)


def main(arguments: list[str] | None = None, task: Task | None = None) -> None:
    """Runs a command and exits: 0, 2 with one line for wrong input, 130 after Ctrl-C.

    75 (EX_TEMPFAIL) when the same command goes on: SIGTERM stopped a training before its end, or
    another worker has gone. A command whose reader has gone, as in `attention-zoo settings | head
    -1`, exits with 0.
    """
    _open_closed_streams()
    try:
        status = run_command(app, arguments, task)
    except WorkerLost as error:
        _fail(str(error))
        sys.stdout.flush()
        os._exit(TRY_AGAIN)  # TensorFlow would wait for the worker that has gone
    sys.exit(status)


def run_command(
    application: typer.Typer, arguments: list[str] | None = None, task: Task | None = None
) -> int:
    """The exit status of a command; errors that a user can mend are one line on stderr.

    Args:
        application: The commands.
        arguments: Of the command line; those of the process if left out.
        task: The task that `train` trains, in place of that which its argument names.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["serve"]:
        arguments = without_values(arguments)
    try:
        result = typer.main.get_command(application)(arguments, standalone_mode=False, obj=task)
        sys.stdout.flush()  # here, where what goes wrong with it is handled
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except Interrupted as stop:
        print(stop)
        return stop.exit_status
    except BrokenPipeError:
        return _reader_has_gone()
    except SystemExit as stop:
        # What typer makes of a pipe without a reader, before it can be caught here.
        if not isinstance(stop.__context__, BrokenPipeError):
            raise
        return _reader_has_gone()
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.ctx.get_help())  # type: ignore[attr-defined]
            return 2
        message = _to_be_mended(error)
        if message is None:
            raise
        return _fail(message)
    return result if isinstance(result, int) else 0


def _to_be_mended(error: Exception) -> str | None:
    """Message of an error that a user can mend; `None` for a fault of the program."""
    from ...serving.runtime.errors import ServingError

    if isinstance(error, (ConfigError, CheckpointError, DataError, ServingError, Refused)):
        return str(error)
    if isinstance(error, UnicodeEncodeError):
        return (
            f"The output has characters that {error.encoding} cannot write; set "
            "PYTHONIOENCODING=utf-8."
        )
    if isinstance(error, OSError) and error.errno is not None:
        where = "" if error.filename is None else f"{os.fspath(error.filename)}: "
        return f"{where}{error.strerror}"
    # By its name: TensorFlow may not be loaded.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return (
            "There is not enough memory for this; take a smaller model, or less at a time, such as "
            f"a smaller batch_tokens or --beam-size. {str(error)[:200]}"
        )
    if type(error).__name__ == "PermissionDeniedError":
        return f"A file cannot be written or read: {str(error).splitlines()[0]}"
    # What the parser refuses; its classes are click's, which typer has or brings itself.
    if hasattr(error, "format_message"):
        return f"{error.format_message()}{_hint(error)}"
    return None


def _hint(error: Any) -> str:
    """Hint at what is missing, or at what an option that there is not may mean."""
    kind, context = type(error).__name__, getattr(error, "ctx", None)
    if kind == "MissingParameter" and getattr(error.param, "name", None) == "task":
        from ..core.task import TASKS

        return f" It is one of {', '.join(TASKS)}, or a file of your own."
    if kind != "NoSuchOption" or context is None:
        return ""
    if "epoch" in error.option_name:
        return " The length of a training is --max-steps or --max-minutes."
    if not {"text", "texts"} & {parameter.name for parameter in context.command.params}:
        return ""
    return f' Options end at --, as in: {context.command_path} ... -- "-5 degrees"'


def _open_closed_streams() -> None:
    """Gives streams that the caller has closed (`<&-`) nothing to read and nowhere to write."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Opened in this order each takes its own number, as it is the lowest that is free.
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, as long as we live
            setattr(sys, name, stream)


def _reader_has_gone() -> int:
    """Drops the output of which the reader has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _fail(message: str, status: int = 2) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status


def run(task: Task) -> None:
    """Trains a task as `attention-zoo train` does, with the options of the command line.

    The last line of a recipe. Where the recipe is not run but imported, it does nothing.

    Args:
        task: The task.
    """
    if not is_importing_file():
        main(["train", task.name, *sys.argv[1:]], task)
