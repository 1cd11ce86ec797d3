"""Limits of a search, of lengths and of repetitions, within which a corpus can be written.

Shapes: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...zoo.decoding.options import MORE_TOKENS, GenerationOptions
from ...zoo.text.tokenizer import Tokenizer
from ..core.options import SearchOptions
from ..data.batch_stream import BatchStream
from ..data.corpus import spread_rows

MOST_BEYOND = 0.001  # share of the targets that a limit of the length may cut
REPETITION_ROWS = 20_000  # targets that are looked at
REPETITIONS = (3, 4, 5, 6)
MOST_REPEATING = 0.001  # share of the targets


def beyond_limit(lengths: np.ndarray, options: GenerationOptions) -> np.ndarray:
    """Finds targets that no search with these options can write to the end, boolean (N,).

    Args:
        lengths: tokens of source and target, their ends included, (N, 2).
        options: of the search.
    """
    source, target = lengths.T
    limits = np.full(len(lengths), options.max_length)
    if options.max_length_ratio is not None:
        share = (np.float32(options.max_length_ratio) * source.astype(np.float32)).astype(int)
        limits = np.clip(share + MORE_TOKENS, options.min_length + 1, options.max_length)
    return target > limits


def fitting_ratio(parts: Iterable[np.ndarray], least: float) -> float:
    """The smallest `max_length_ratio`, in tenths and not below `least`, that targets fit in.

    One in a thousand may be longer, as a few noisy pairs would take the limit away from all.

    Args:
        parts: tokens of source and target, their ends included, (rows, 2) each.
        least: what is taken where that is enough.
    """
    found = [(part[:, 1] - MORE_TOKENS) / part[:, 0] for part in parts]
    ratios = np.sort(np.concatenate([*found, [0.0]]))
    needed = ratios[-1 - int(MOST_BEYOND * len(ratios))]
    # A little more than needed, as the search rounds down to whole tokens in float32.
    return least if needed <= least else math.ceil(10 * needed + 1e-3) / 10


def limit_of_corpus(
    search: SearchOptions,
    max_target_length: int,
    batches: BatchStream,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """The options of generation that follow from a training corpus; tells what they are.

    Where the search says how long targets may be, it stays so, and what cannot be written is told.
    """
    options = GenerationOptions(max_length=max(max_target_length, 1))
    if search.max_length_ratio is not None:
        ratio = search.max_length_ratio or None
        _tell_beyond(replace(options, max_length_ratio=ratio), batches, report)
        return {}
    usual = options.max_length_ratio or 0.0
    ratio = fitting_ratio(batches.lengths(), usual)
    if ratio > usual:
        report(
            f"training: max_length_ratio={ratio:g}, as with {usual:g} not all targets could be "
            "written to the end"
        )
    _tell_beyond(replace(options, max_length_ratio=ratio), batches, report)
    return {"max_length_ratio": ratio}


def _tell_beyond(
    options: GenerationOptions, batches: BatchStream, report: Callable[[str], None]
) -> None:
    count = sum(int(beyond_limit(part, options).sum()) for part in batches.lengths())
    if count:
        report(f"training: {beyond_line(count, options.max_length_ratio)}")


def ngram_of_corpus(
    search: SearchOptions,
    tokenizer: Tokenizer,
    targets: Sequence[str],
    report: Callable[[str], None],
) -> dict[str, Any]:
    """The length of the runs of words that are not written twice, as a training corpus has it.

    It is 3, or the least above at which hardly a target repeats a run, or 0 where many do: what is
    right must not be kept from being written. A length that the search says stays, and what cannot
    be written is told.
    """
    given, starts = search.no_repeat_ngram, np.array(tokenizer.word_starts())
    if given == 0:
        return {}
    rows = spread_rows(len(targets), REPETITION_ROWS)
    texts = [_words(ids, starts) for ids in tokenizer.encode([targets[row] for row in rows])]
    sizes = REPETITIONS if given is None else (given,)
    counts = {n: sum(repeats_run(text, n) for text in texts) for n in sizes}
    shares = {n: f"{count / len(texts):.2%} of the targets" for n, count in counts.items()}
    if given:
        if counts[given]:
            report(f"training: no_repeat_ngram={given} cannot write {shares[given]}")
        return {}
    fitting = [n for n, count in counts.items() if count <= MOST_REPEATING * len(texts)]
    found = fitting[0] if fitting else 0
    if found != REPETITIONS[0]:
        least = REPETITIONS[0]
        report(
            f"training: no_repeat_ngram={found}, as {shares[least]} have {least} words in a row "
            "twice"
        )
    return {"no_repeat_ngram": found}


def repeats_run(words: Sequence[tuple[int, ...]], size: int) -> bool:
    """True where so many words in a row stand in a text twice."""
    runs = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    return len(runs) > len(set(runs))


def _words(ids: np.ndarray, starts: np.ndarray) -> list[tuple[int, ...]]:
    begins = np.flatnonzero(starts[ids])
    return [tuple(part.tolist()) for part in np.split(ids, begins) if len(part)]


def beyond_line(count: int, ratio: float | None) -> str:
    """That a search ends before some targets do."""
    targets = "target is" if count == 1 else "targets are"
    return (
        f"{count:,} {targets} longer than what is written for their sources; raise "
        f"max_length_ratio, which is {'none' if ratio is None else format(ratio, 'g')}, or "
        "max_target_length"
    )
