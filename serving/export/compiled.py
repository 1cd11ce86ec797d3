"""The search of a model compiled by XLA, for servers that are started with it switched on.

Strings stay outside: token ids become token ids. XLA compiles anew for every shape, which takes
seconds, so sources are padded to a few lengths and batches to a few sizes, each of which the
warm-up requests ask for. What is larger, has a prefix or is explained is searched for by the graph.
"""

from __future__ import annotations

import copy
import functools
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
    changing = ("do_sample", "replace_unknown", "no_repeat_ngram", "shortlist")
    if given := [f"{name}={value}" for name in changing if (value := getattr(options, name))]:
        raise ExportError(
            "XLA compiles searches that draw nothing and whose shapes do not depend on texts, so "
            f"leave out compiled, or export with other options. Received: {', '.join(given)}"
        )
    made = copy.copy(pipeline)
    made._forget_functions()
    lengths = lengths_of(pipeline)
    made._search = CompiledSearch(  # type: ignore[method-assign,assignment]
        pipeline._search, options, lengths, BATCHES
    )
    return made


def lengths_of(pipeline: TextFunctions) -> tuple[int, ...]:
    """The lengths that sources are padded to."""
    return tuple(sorted({min(length, pipeline.max_source_length) for length in LENGTHS}))


class CompiledSearch:
    """A search that XLA compiles for a few shapes, in place of one that takes any.

    Args:
        search: Called as `search(source, options)` with ids (B, S), and with `static_shapes=True`
            under XLA, where S is known.
        options: Those that it is compiled for.
        lengths: Of sources, rising.
        batches: Sizes of batches, rising.
    """

    def __init__(
        self,
        search: Callable[..., Hypotheses],
        options: GenerationOptions,
        lengths: Sequence[int] = LENGTHS,
        batches: Sequence[int] = BATCHES,
    ):
        self._search, self._options = search, options
        self._lengths, self._batches = list(lengths), list(batches)
        # The same for all signatures, so that each shape is compiled once.
        self._compiled = [
            tf.function(
                lambda ids: _tensors(search(ids, options, static_shapes=True)),
                input_signature=[tf.TensorSpec((None, length), tf.int32)],
                autograph=False,
                jit_compile=True,
            )
            for length in lengths
        ]

    def __call__(
        self,
        source: tf.Tensor,
        options: GenerationOptions,
        return_attention: bool = False,
        prefix: tf.Tensor | None = None,
    ) -> Hypotheses:
        if return_attention or prefix is not None or options != self._options:
            return self._search(source, options, return_attention, prefix)
        rows, length = tf.unstack(tf.shape(source))
        fits = (rows > 0) & (rows <= self._batches[-1])
        chosen = tf.searchsorted(self._lengths, [length])[0]
        branch = tf.where(fits, chosen, len(self._lengths))
        branches: list[Callable] = [
            functools.partial(self._padded, source, number) for number in range(len(self._lengths))
        ]
        branches.append(lambda: _tensors(self._search(source, options)))
        # A stock server with XLA switched off names it in its error.
        name = "needs_xla_cpu_compilation_enabled"
        found = tf.switch_case(branch, branches, name=name)
        return Hypotheses(found[0], found[1], None, found[2])

    def _padded(self, source: tf.Tensor, number: int) -> tuple[tf.Tensor, ...]:
        """Searches with rows of the length of this number, and copies of the last one after them.

        A row of another kind might be the last to end, and all would wait for it.
        """
        rows, length = tf.unstack(tf.shape(source))
        size = tf.gather(self._batches, tf.searchsorted(self._batches, [rows])[0])
        ids = tf.gather(source, tf.minimum(tf.range(size), rows - 1))
        ids = tf.pad(ids, [[0, 0], [0, self._lengths[number] - length]], constant_values=PAD_ID)
        ids = tf.ensure_shape(ids, (None, self._lengths[number]))
        return tuple(x[:rows] for x in self._compiled[number](ids))


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
