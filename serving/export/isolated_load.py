"""Isolated load of a version: in a process of its own, which may die of it in place of a server.

TensorFlow answers most faults of a SavedModel with an error, and some by ending the process. What
`export` published has passed its checks and has a manifest; anything else is loaded here
before a server takes it up:

    python -m attention_zoo.serving.export.isolated_load some/model/1
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from ..runtime import c_api
from ..runtime.errors import Code, ServingError
from ..runtime.session import SavedModelSession
from .clean_process import run_module
from .warmup import warm_up

LOAD_SECONDS = 600.0
_REFUSED = 3  # exit status; the reason is the last line on stdout


def load_isolated(
    path: str | os.PathLike, seconds: float = LOAD_SECONDS, xla: bool = False
) -> None:
    """Loads a version in a new process and makes its warm-up requests there.

    Args:
        path: folder of one version.
        seconds: after which it is given up.
        xla: whether XLA is on.

    Raises:
        ServingError: why it cannot be loaded, or how the process ended.
    """
    try:
        done = run_module(
            "attention_zoo.serving.export.isolated_load",
            [os.path.abspath(path), *(["--xla"] if xla else [])],
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise ServingError(
            Code.DEADLINE_EXCEEDED, f"Trying to load {path} took more than {seconds:.0f} s"
        ) from error
    if done.returncode == 0:
        return
    if done.returncode == _REFUSED:
        told = json.loads(done.stdout.strip().splitlines()[-1])
        raise ServingError(Code(told["code"]), told["message"])
    lines = done.stderr.strip().splitlines() or ["it printed nothing"]
    number = -done.returncode
    how = signal.Signals(number).name if number > 0 else f"exit status {done.returncode}"
    raise ServingError(
        Code.DATA_LOSS, f"The process that tried to load {path} ended with {how}: {lines[-1]}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Loads the version in the folder named; the exit status says whether that went well."""
    path, *xla = arguments if arguments is not None else sys.argv[1:]
    if not xla:
        c_api.disable_xla()
    try:
        with SavedModelSession(path) as session:
            warm_up(session, path)
    except ServingError as error:
        print(json.dumps({"code": int(error.code), "message": error.message}))
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
