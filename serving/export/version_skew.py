r"""Version skew: an export tried on this TensorFlow and on another one.

TensorFlow promises that later versions read what earlier ones wrote, and promises nothing the other
way round. Where servers are older than what exports, an export is tried on the older runtime first:

    python -m venv .venv-older
    .venv-older/bin/pip install -r requirements-older.txt
    python -m attention_zoo.serving.export.version_skew models/en-de/1 \
        --python .venv-older/bin/python

Both runtimes load it in a process of its own, through the C API, and are sent the same requests to
every signature. Strings must be equal, and numbers to 1e-4.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..runtime.operations import compiled_functions, read_saved_model
from .check_report import CheckResult
from .clean_process import check_in_clean_process
from .comparison import compare_replies
from .warmup import WARMUP_SAMPLES, read_rows

_ASK_VERSIONS = """
from importlib import metadata
for distribution in metadata.distributions():
    name = distribution.metadata["Name"].replace("_", "-")
    if name in ("tensorflow", "tensorflow-cpu", "tensorflow-text"):
        print(name, distribution.version)
"""


def runtime_versions(python: str) -> str:
    """The packages of TensorFlow that an interpreter has, in one line.

    Raises:
        ValueError: if it cannot be run, or has none.
    """
    try:
        done = subprocess.run(
            [python, "-c", _ASK_VERSIONS], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise ValueError(f"Cannot run {python}: {error.strerror}") from error
    found = sorted(set(done.stdout.split("\n")) - {""})
    if not any(line.split()[0] != "tensorflow-text" for line in found):
        raise ValueError(
            f"{python} has no TensorFlow; install the packages of requirements-older.txt there"
        )
    return ", ".join(found)


def sample_texts(path: Path) -> list[str]:
    """Texts to send: those of the version's warm-up requests, and some odd ones."""
    texts = [text for row in read_rows(path) for text in row.values()]
    return list(dict.fromkeys([*texts, *WARMUP_SAMPLES]))


def check_version_skew(path: Path, python: str) -> list[CheckResult]:
    """The checks of an export on another runtime, and whether it answers as this one does.

    Args:
        path: folder of one version.
        python: an interpreter that has the other TensorFlow and TensorFlow Text.
    """
    samples = sample_texts(path)
    xla = bool(compiled_functions(read_saved_model(path)))
    here = check_in_clean_process([path], samples, xla=xla)[0]
    there = check_in_clean_process([path], samples, python, xla)[0]
    compared = compare_replies("skew", there.replies, here.replies, "there", "here")
    return [*there.results, compared]


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries folders of SavedModels; the exit status is 1 if one differs."""
    parser = argparse.ArgumentParser(
        prog="python -m attention_zoo.serving.export.version_skew",
        description="Tries exports on another version of TensorFlow.",
    )
    parser.add_argument("directories", nargs="+", type=Path, help="each of one version of a model")
    parser.add_argument("--python", required=True, help="interpreter with the other TensorFlow")
    options = parser.parse_args(arguments)
    for path in options.directories:
        if not (path / "saved_model.pb").is_file():
            parser.error(f"{path} is no version of a model: it has no saved_model.pb")
    try:
        versions = runtime_versions(options.python)
        ours = runtime_versions(sys.executable)
    except ValueError as error:
        parser.error(str(error))
    print(f"here: {ours}\nthere: {versions}")
    passed = True
    for path in options.directories:
        print(path)
        for result in check_version_skew(path, options.python):
            print(f"  {result}")
            passed &= result.passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
