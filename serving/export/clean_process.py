"""Modules in a process of their own, which never imports TensorFlow's Python package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .check_report import CheckReport, CheckResult, read_report
from .warmup import WARMUP_SAMPLES

_PACKAGE = Path(__file__).resolve().parents[2]


def run_module(
    module: str,
    arguments: Sequence[str],
    python: str = sys.executable,
    timeout: float | None = None,
    text: str = "",
) -> subprocess.CompletedProcess[str]:
    """Runs a module of this package in a new process, on the CPU, and waits for its end.

    Args:
        module: its full name.
        arguments: of the command line; paths in them are absolute.
        python: the interpreter; another one need not have this package installed.
        timeout: seconds after which it is killed.
        text: what it reads from its standard input.
    """
    with tempfile.TemporaryDirectory(prefix="attention-zoo-") as folder:
        # The process starts where this package is found under its name, and nothing else is: in
        # the user's folder there may be modules of any name, and another interpreter lacks it.
        (Path(folder) / "attention_zoo").symlink_to(_PACKAGE, target_is_directory=True)
        environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        return subprocess.run(
            [python, "-m", module, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            input=text,
            check=False,
            timeout=timeout,
        )


def check_in_clean_process(
    paths: Sequence[str | os.PathLike],
    samples: Sequence[str] = WARMUP_SAMPLES,
    python: str = sys.executable,
    xla: bool = False,
) -> list[CheckReport]:
    """Runs `check_directory` on each folder in one new process, on the CPU.

    Args:
        paths: folders, each of one version.
        samples: texts to send.
        python: the interpreter; one with another version of TensorFlow and TF Text checks the
            export there, and needs nothing else.
        xla: whether XLA is on, as in a server that is started with it.
    """
    # Texts and replies go through pipes: in a file they would stay after a kill.
    arguments = [os.path.abspath(path) for path in paths]
    arguments += ["--samples", "/dev/stdin", "--report", "/dev/stdout", *(["--xla"] if xla else [])]
    module = "attention_zoo.serving.export.checks"
    done = run_module(module, arguments, python, text=json.dumps(list(samples)))
    try:
        return [read_report(entry) for entry in json.loads(done.stdout.rpartition("\n")[2])]
    except ValueError:
        lines = done.stderr.strip().splitlines() or ["it printed nothing"]
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"{done.returncode}"
        found = f"the process that loaded it ended with {how}: {lines[-1]}"
        return [CheckReport([CheckResult("session", False, found)]) for _ in paths]
