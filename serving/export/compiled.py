"""The search of a model compiled by XLA, for servers that are started with it switched on.

Strings stay outside: token ids become token ids. XLA compiles anew for every shape, which takes
seconds, so sources are padded to a few lengths and batches to a few sizes, each of which the
warm-up requests ask for. What is larger, has a prefix or is explained is searched for by the graph.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from ...zoo.decoding.options import GenerationOptions, Hypotheses
from ...zoo.pipeline.text_functions import TextFunctions
from ...zoo.text.special_ids import PAD_ID
from .check_report import ExportError

# Tokens of a source, its end included, and sources: what is compiled, at most.
LENGTHS, BATCHES = (16, 32, 64), (1, 8)
NOTE = f"""## Compiled

XLA compiles the search for sources of at most {LENGTHS[-1]} tokens and batches of at most
{BATCHES[-1]}. A server has to be started with `--xla_cpu_compilation_enabled`, and compiles while
it loads the version."""
# The most characters of a warm-up text, each tokenized as well with all that begins it.
_CHARACTERS = 16 * LENGTHS[-1]


def with_compiled_search(pipeline: Any) -> Any:
    """The same pipeline with a compiled search; it stays as it is.

    Raises:
        ExportError: XLA cannot compile it, as far as is known before.
    """
    if not isinstance(pipeline, TextFunctions):
        raise ExportError(
            "What is compiled is the search of a TextToText, as `load` returns it; leave out "
            f"compiled. Received: {type(pipeline).__name__}"
        )
    options = pipeline.generation
    changing = ("do_sample", "replace_unknown", "no_repeat_ngram")
    if given := [f"{name}={value}" for name in changing if (value := getattr(options, name))]:
        raise ExportError(
            "XLA compiles searches that draw nothing and whose shapes do not depend on texts, so "
            f"leave out compiled, or export with other options. Received: {', '.join(given)}"
        )
    made = copy.copy(pipeline)
    made._forget_functions()
    made._search = CompiledSearch(pipeline._search, lengths_of(pipeline))  # type: ignore
    return made


def lengths_of(pipeline: TextFunctions) -> tuple[int, ...]:
    """The lengths that sources are padded to."""
    return tuple(sorted({min(length, pipeline.max_source_length) for length in LENGTHS}))


class CompiledSearch:
    """A search that XLA compiles for a few shapes, in place of one that takes any.

    Args:
        search: Called as `search(source, options, static_shapes=True)` with ids (B, S), S being
            known, under XLA; and without the last where XLA has no part.
        lengths: Of sources, rising.
        batches: Sizes of batches, rising.
    """

    def __init__(
        self,
        search: Callable[..., Hypotheses],
        lengths: Sequence[int] = LENGTHS,
        batches: Sequence[int] = BATCHES,
    ):
        self._search, self._lengths, self._batches = search, lengths, batches
        self._compiled: dict[tuple[int, GenerationOptions], Callable] = {}

    def __call__(self, source: tf.Tensor, options: GenerationOptions, *others: Any) -> Hypotheses:
        if any(x is not None and x is not False for x in others):
            return self._search(source, options, *others)
        rows, length = tf.unstack(tf.shape(source))
        chosen = tf.searchsorted(self._lengths, [length])[0]
        fits = (rows > 0) & (rows <= self._batches[-1])
        branches = [lambda size=size: self._padded(source, size, options) for size in self._lengths]

        def by_graph():
            return _tensors(self._search(source, options))

        found = tf.switch_case(tf.where(fits, chosen, len(branches)), [*branches, by_graph])
        return Hypotheses(found[0], found[1], None, found[2])

    def _padded(self, source: tf.Tensor, length: int, options: GenerationOptions):
        """Searches with rows of `length` tokens, and copies of the last row to fill the batch up.

        A row of another kind might be the last to end, and all would wait for it.
        """
        rows, sizes = tf.shape(source)[0], tf.constant(self._batches)
        size = sizes[tf.searchsorted(sizes, [rows])[0]]
        ids = tf.gather(source, tf.minimum(tf.range(size), rows - 1))
        ids = tf.pad(ids, [[0, 0], [0, length - tf.shape(ids)[1]]], constant_values=PAD_ID)
        found = self._function(length, options)(tf.ensure_shape(ids, (None, length)))
        return tuple(x[:rows] for x in found)

    def _function(self, length: int, options: GenerationOptions) -> Callable:
        """The same for all signatures, so that each shape is compiled once."""

        # The error of a server with XLA switched off has the name.
        def needs_xla_cpu_compilation_enabled(ids):
            return _tensors(self._search(ids, options, static_shapes=True))

        key = length, options
        if key not in self._compiled:
            self._compiled[key] = tf.function(
                needs_xla_cpu_compilation_enabled,
                input_signature=[tf.TensorSpec((None, length), tf.int32)],
                autograph=False,
                jit_compile=True,
            )
        return self._compiled[key]


def _tensors(found: Hypotheses) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    return found.ids, found.scores, found.finished


def shape_samples(pipeline: TextFunctions, samples: Sequence[str]) -> Iterator[list[str]]:
    """Batches of texts that have every shape that is compiled.

    Args:
        pipeline: The pipeline.
        samples: Texts that these are made of.
    """
    text = " ".join(" ".join(samples).split()) or "a"
    text = (f"{text} " * _CHARACTERS)[:_CHARACTERS]
    parts = tf.constant([text[: count + 1] for count in range(len(text))])
    names = [item.name for item in pipeline.source_format.required]
    source, *_ = pipeline._source(dict.fromkeys(names, parts))
    tokens = tf.math.count_nonzero(source != PAD_ID, axis=1).numpy()
    before = 0
    for length in lengths_of(pipeline):
        if (fits := (tokens > before) & (tokens <= length)).any():
            longest = max(fits.nonzero()[0])
            yield from ([parts[longest].numpy().decode()] * size for size in BATCHES)
        before = length
