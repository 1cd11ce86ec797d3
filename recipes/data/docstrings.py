"""The embedded corpus of the summarization recipe: what docstrings say, to their first lines.

Numpy, Keras and TensorFlow are installed wherever this package is, so nothing is downloaded: their
source files are read, not imported. The first line of a docstring is by custom a summary of it.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from ...zoo.errors import DataError
from .corpus import PairCorpus, in_split

# Keras has a second copy within TensorFlow, and tests have few words.
FOLDERS = {"numpy": ("",), "keras": ("src",), "tensorflow": ("python/ops", "python/framework",
           "python/data", "python/distribute", "python/eager", "python/saved_model",
           "python/feature_column", "python/training", "python/module")}  # fmt: skip
DEV_SHARE = 10  # one summary in so many belongs to dev
MIN_BODY, MAX_BODY, MIN_SUMMARY, MAX_SUMMARY = 10, 120, 3, 20  # words
_DOCSTRING = re.compile(
    r"^[ ]*(?:def|class) \w+[^\"#]{0,2000}?:\s*\n\s+r?\"\"\"(.{20,8000}?)\"\"\"", re.S | re.M
)
_CODE = re.compile(r"```.*?(?:```|\Z)|^ *(?:>>>|\.\.\.) [^\n]*$|^[-=~]{3,}$", re.S | re.M)


def docstring_pairs(split: str = "train") -> PairCorpus:
    """The rest of each docstring with its first line.

    Args:
        split: "train" or "dev". A summary belongs to one of them by its own text, so they share
            none.

    Example:

    >>> corpus = docstring_pairs("dev")
    >>> corpus.sources[0], corpus.targets[0]
    """
    chosen = [
        (body, summary)
        for body, summary in _all_pairs()
        if in_split(summary.lower(), split, DEV_SHARE)
    ]
    return PairCorpus([body for body, _ in chosen], [s for _, s in chosen], f"docstrings ({split})")


def split_docstring(docstring: str) -> tuple[str, str] | None:
    """The rest and the first line of a docstring, or None if one of them is no text to learn."""
    first, _, rest = inspect.cleandoc(docstring).partition("\n\n")
    summary = " ".join(first.split())
    words = _CODE.sub(" ", rest).split()
    body = " ".join(words[:MAX_BODY])
    if not MIN_SUMMARY <= len(summary.split()) <= MAX_SUMMARY or len(words) < MIN_BODY:
        return None
    return body, summary


@functools.lru_cache(maxsize=1)
def _all_pairs() -> list[tuple[str, str]]:
    pairs: dict[str, str] = {}
    for package, folders in FOLDERS.items():
        root = _package_folder(package)
        for folder in folders:
            for docstring in _docstrings(root / folder):
                pair = split_docstring(docstring)
                if pair:
                    pairs.setdefault(*pair)
    return list(pairs.items())


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(f"The docstrings of {package} are needed and it is not installed.")
    return Path(spec.origin).parent


def _docstrings(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        if "test" in path.relative_to(folder).as_posix():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from (match.group(1) for match in _DOCSTRING.finditer(text))
