"""Filters for pairs of texts: rows that teach nothing, or what is wrong."""

from __future__ import annotations

import functools
import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

# A kind with more of the rows than this is no noise, but what the corpus is about.
MOST_LEFT_OUT = 0.2
_EXTREME = 5.0  # times the usual ratio of the lengths, or a fifth of it
_LONG = 40  # characters of the longer side from which a ratio says something
_OF_SCRIPT = 0.05  # share of the letters of a side from which a script is one of its own
_FEWEST = 4  # letters from which the script of a text can be told


def noisy_rows(
    sources: Sequence[str], targets: Sequence[str], kinds: Sequence[str]
) -> dict[str, list[int]]:
    """Numbers of the rows that are noise, by kind; each row has the first kind that fits.

    Args:
        sources: Source texts.
        targets: Target texts.
        kinds: Names in `FILTERS`.

    Returns:
        Numbers of rows, from 0, for each kind that has any.
    """
    found: dict[str, list[int]] = {}
    taken: set[int] = set()
    for kind in kinds:
        rows = [row for row in FILTERS[kind](sources, targets) if row not in taken]
        if rows:
            found[kind] = rows
            taken.update(rows)
    return found


def _duplicates(sources: Sequence[str], targets: Sequence[str]) -> list[int]:
    seen: set[tuple[str, str]] = set()
    rows = []
    for row, pair in enumerate(zip(sources, targets, strict=True)):
        if pair in seen:
            rows.append(row)
        seen.add(pair)
    return rows


def _copies(sources: Sequence[str], targets: Sequence[str]) -> list[int]:
    pairs = enumerate(zip(sources, targets, strict=True))
    return [row for row, (source, target) in pairs if source == target]


def _extreme_lengths(sources: Sequence[str], targets: Sequence[str]) -> list[int]:
    ratios = [len(b) / len(a) for a, b in zip(sources, targets, strict=True)]
    usual = statistics.median(ratios)
    return [
        row
        for row, ratio in enumerate(ratios)
        if max(len(sources[row]), len(targets[row])) >= _LONG
        and not usual / _EXTREME <= ratio <= usual * _EXTREME
    ]


def _wrong_script(sources: Sequence[str], targets: Sequence[str]) -> list[int]:
    rows: set[int] = set()
    for texts in (sources, targets):
        # A spread sample tells the scripts of a side.
        step = max(1, len(texts) // 2000)
        letters: Counter[str] = Counter()
        for text in texts[::step]:
            letters.update(_scripts(text))
        usual = {name for name, n in letters.items() if n >= _OF_SCRIPT * letters.total()}
        for row, text in enumerate(texts):
            if text.isascii() and "LATIN" in usual:
                continue
            found = _scripts(text)
            if found.total() >= _FEWEST and not found.keys() & usual:
                rows.add(row)
    return sorted(rows)


def _scripts(text: str) -> Counter[str]:
    """Number of letters of each script in a text."""
    return Counter(_script(sign) for sign in text if sign.isalpha())


@functools.cache
def _script(sign: str) -> str:
    return unicodedata.name(sign, "").partition(" ")[0]


FILTERS: dict[str, Callable[[Sequence[str], Sequence[str]], list[int]]] = {
    "duplicates": _duplicates,
    "copies of the source": _copies,
    "extreme length ratios": _extreme_lengths,
    "wrong script": _wrong_script,
}
