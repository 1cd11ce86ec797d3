"""Text in, text out: a model with its tokenizer and its way of searching, as users meet it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from ..decoding.options import NEG_INF, GenerationOptions
from ..models.encoder_decoder import EncoderDecoder
from ..text.composing import graph_function, rows_too_long
from ..text.source_format import PLAIN, Source, SourceFormat
from ..text.tokenizer import Tokenizer
from ..visualization.explanation import Explanation
from .parallel import batches_by_length, parallel_batches, run_parallel
from .text_functions import TextFunctions

TARGET = tf.TensorSpec((None,), tf.string, name="target")


@dataclass(frozen=True)
class Prediction:
    """Output of a model for one text, and its score: log probability over length penalty."""

    text: str
    score: float


class TextToText(TextFunctions):
    """A trained model that takes and returns plain text.

    Evaluation, prediction and export run the same graph functions, `signatures()`: what is
    evaluated is what is served.

    | signature | inputs | outputs |
    |---|---|---|
    | `serving_default` | `text` (B,) | `text` (B,), `score` (B,) |
    | `n_best` | `text` (B,) | `text` (B, N), `score` (B, N) |
    | `explain` | `text` (B,) | those of `serving_default`, and the three below |
    | `score` | `text`, `target` (B,) | `score` (B,), `tokens` (B,) |

    `explain` adds `source_tokens` (B, S), `target_tokens` (B, T) and `attention` (B, T, S); of a
    model with several layers and heads also `attention_heads` (B, L, H, T, S), and of one that
    copies `p_gen` (B, T), the share of each token that was written rather than copied.
    `score` of the first three is what hypotheses are ranked by, log p over the length penalty; the
    signature `score` gives log p of the target itself and the number of its tokens, end
    included. Padding is "" and 0. The signatures cut texts that are longer than `max_source_length`
    tokens, and targets that are longer than the `max_length` of `generation`: their score is that
    of what is left, and an end. In Python both are refused unless `truncate` says that they are to
    be cut.

    `n_best` has N different texts, as far as they can be found: one that several hypotheses write,
    in other tokens, counts once, with the best of their scores. Where N beams find fewer, four
    times as many search again, a hundred at most; the first text is that of `serving_default`.
    Drawn texts are as they were drawn.

    A blank text, nothing but white space and control characters, has an empty output: score 0, no
    tokens, attention 0; `n_best` gives it once. Of several inputs that is the main one, the text or
    the question.

    In place of `text` they take the inputs of a task by their names, as its `source_format` says:
    `context` and `question`, or `history` and `text`. What a task can do without, such as the
    length of a summary, is taken by a signature of its own: `with_length`. In Python a source with
    several inputs is a mapping: `{"context": ..., "question": ...}`.

    Args:
        model: a model of the zoo.
        tokenizer: the tokens it was trained on, those of the source among them.
        generation: how targets are searched for.
        max_source_length: most tokens of a source, end included.
        name: name under which the model is exported and served.
        source_format: the inputs, and how they become one source; one text if left out.
        truncate: whether a part of sources that are too long is read, the one that the format
            keeps, and the start of targets. If `None`, where the format has a rule for them, which
            one text has not.

    Raises:
        ValueError: the model cannot read or write as much as the limits allow.

    Example:

    >>> translator = attention_zoo.load("runs/en-de")
    >>> translator.predict(["a house"])
    [Prediction(text='ein haus', score=-0.31)]
    """

    def __init__(
        self,
        model: EncoderDecoder,
        tokenizer: Tokenizer,
        generation: GenerationOptions | None = None,
        max_source_length: int = 256,
        name: str = "model",
        source_format: SourceFormat | None = None,
        truncate: bool | None = None,
    ):
        self.model = model
        self.tokenizer = tokenizer
        self.generation = generation or GenerationOptions()
        self.max_source_length = max_source_length
        self.name = name
        self.source_format = source_format or PLAIN
        self.truncate = not self.source_format.leave_out_long if truncate is None else truncate
        model.check_lengths(max_source_length, self.generation.max_length)
        self._functions: dict[str, Callable] | None = None
        self._score_written: Callable | None = None

    def with_generation(self, **changes) -> TextToText:
        """The same model with other options of generation."""
        other = copy.copy(self)
        other.generation = replace(self.generation, **changes)
        other.model.check_lengths(other.max_source_length, other.generation.max_length)
        other._functions = other._score_written = None
        return other

    def signatures(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """The graph functions by name, each returning a dictionary of tensors."""
        if (functions := self._functions) is None:
            required = self.source_format.required
            functions = {
                "serving_default": graph_function(self._best, required),
                "n_best": graph_function(self._n_best, required),
                "explain": graph_function(self._explain, required),
                "score": graph_function(self._score, required, TARGET),
            }
            for item in self.source_format.optional:
                inputs = tuple(x for x in self.source_format.inputs if not x.optional or x is item)
                functions[f"with_{item.name}"] = graph_function(self._best, inputs)
            self._functions = functions  # set at once, as other threads may read it
        return functions

    def _required_columns(self, texts: Sequence[Source]) -> dict[str, list]:
        """The columns of sources for a signature that takes no optional input."""
        columns = self._columns(texts)
        for item in self.source_format.optional:
            if any(columns.pop(item.name)):
                raise ValueError(f"{item.name} can be asked for in `predict` alone; leave it out.")
        return columns

    def trackables(self) -> list:
        """The resources that an export has to track beside the model's variables."""
        both = dict.fromkeys((self.tokenizer, self.tokenizer.source))
        return [tokenizer.graph_tokenizer for tokenizer in both]

    def too_long(self, texts: Sequence[Source]) -> list[int]:
        """Indices of the texts that are longer than `max_source_length`."""
        tokenizer, limit = self.tokenizer.source, self.max_source_length
        return rows_too_long(tokenizer, self.source_format, texts, limit)

    def _columns(self, texts: Sequence[Source]) -> dict[str, list]:
        """A list for each input; refuses texts that are too long, unless they may be cut."""
        columns = self.source_format.columns(texts)
        long = [] if self.truncate else self.too_long(texts)
        if long:
            raise ValueError(
                f"{len(long)} of {len(texts)} texts have more than the {self.max_source_length} "
                f"tokens that the model reads; with truncate=True the {self.source_format.keep} "
                f"of each is read. Received, among them: text {long[0]}"
            )
        return columns

    def predict(self, texts: Sequence[Source], batch_size: int = 64) -> list[Prediction]:
        """The best target of each text; at most one optional input may be used at a time.

        Args:
            texts: N sources.
            batch_size: Number of texts that are decoded at once.

        Returns:
            The output and its score for each text.

        Raises:
            ValueError: A text is too long and `truncate` is off, or a source has an unknown input.
        """
        columns = self._columns(texts)
        given = self.source_format.optional_in(columns)
        signature = "serving_default" if given is None else f"with_{given}"
        rows = self._rows(signature, batch_size, columns)
        return [Prediction(row["text"].decode(), float(row["score"])) for row in rows]

    def n_best(self, texts: Sequence[Source], batch_size: int = 64) -> list[list[Prediction]]:
        """At most `beam_size` different targets of each text, the best first.

        Args:
            texts: N sources.
            batch_size: Number of texts that are decoded at once.

        Returns:
            The outputs and their scores for each text.
        """
        return [
            [
                Prediction(text.decode(), float(score))
                for text, score in zip(row["text"], row["score"], strict=True)
                if score > NEG_INF / 2
            ]
            for row in self._rows("n_best", batch_size, self._required_columns(texts))
        ]

    def explain(self, texts: Sequence[Source], batch_size: int = 16) -> list[Explanation]:
        """The best target of each text with the attention of each of its tokens.

        Args:
            texts: N sources.
            batch_size: Number of texts that are decoded at once.

        Returns:
            An explanation for each text, with one map: the attention that the model serves.
        """
        explanations = []
        rows = self._rows("explain", batch_size, self._required_columns(texts))
        for text, row in zip(texts, rows, strict=True):
            source = [piece.decode() for piece in row["source_tokens"] if piece]
            target = [piece.decode() for piece in row["target_tokens"] if piece]
            explanations.append(
                Explanation(
                    text=self.source_format.to_text(text),
                    target=row["text"].decode(),
                    source_tokens=source,
                    target_tokens=target,
                    attention=row["attention"][: len(target), : len(source)],
                    score=float(row["score"]),
                    p_gen=row["p_gen"][: len(target)] if "p_gen" in row else None,
                )
            )
        return explanations

    def score(
        self,
        texts: Sequence[Source],
        targets: Sequence[str],
        batch_size: int = 64,
        written_only: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log probability of each given target, and its number of tokens, end included.

        Args:
            texts: N sources.
            targets: One for each source.
            batch_size: Number of texts that are scored at once.
            written_only: Whether unknown tokens that no search may write are left out, as in
                training.

        Returns:
            Natural logs, float32 (N,), and numbers of tokens, int32 (N,).

        Raises:
            ValueError: There is not one target for each text, or a text or target is too long and
                `truncate` is off.
        """
        if len(texts) != len(targets):
            raise ValueError(
                "Each text needs one target. "
                f"Received: {len(texts)} texts and {len(targets)} targets"
            )
        columns = {**self._required_columns(texts), "target": list(targets)}
        limit = self.generation.max_length
        long = [] if self.truncate else rows_too_long(self.tokenizer, PLAIN, targets, limit)
        if long:
            raise ValueError(
                f"{len(long)} of {len(targets)} targets have more than the {limit} tokens that "
                "the model writes: raise max_length, or with truncate=True the start of each is "
                f"scored. Received, among them: target {long[0]}"
            )
        signature = "score_written" if written_only else "score"
        rows = list(self._rows(signature, batch_size, columns))
        scores = np.array([row["score"] for row in rows], np.float32)
        return scores, np.array([row["tokens"] for row in rows], np.int32)

    def _rows(
        self, signature: str, batch_size: int, columns: dict[str, list]
    ) -> Iterator[dict[str, Any]]:
        """Runs a signature in batches of like lengths; one dictionary a row.

        Columns that the signature does not take are left out.
        """
        taken = [columns[spec.name] for spec in self._function(signature).input_signature]
        texts = [column for column in taken if column and isinstance(column[0], str)]
        lengths = [sum(map(len, row)) for row in zip(*texts, strict=True)]
        rows: list[dict[str, Any]] = [{}] * len(lengths)

        def run(chosen: list[int]) -> None:
            arguments = [tf.constant([column[i] for i in chosen]) for column in taken]
            outputs = self._run(signature, arguments)
            arrays = {name: tensor.numpy() for name, tensor in outputs.items()}
            for position, row in enumerate(chosen):
                rows[row] = {name: array[position] for name, array in arrays.items()}

        # Draws come one after the other: which text gets which would not be the same each time.
        at_a_time = 1 if self.generation.do_sample else parallel_batches()
        run_parallel(run, batches_by_length(lengths, batch_size), at_a_time)
        return iter(rows)

    def _run(self, signature: str, arguments: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        try:
            return self._function(signature)(*arguments)
        except tf.errors.NotFoundError:
            # TensorFlow drops the SentencePiece resource of a tokenizer whenever its caches of
            # kernels are cleared, as `keras.utils.set_random_seed` does. A new one is the same.
            self.tokenizer = self.tokenizer.renewed()
            self._functions = self._score_written = None
            return self._function(signature)(*arguments)

    def _function(self, name: str) -> tf.types.experimental.PolymorphicFunction:
        """A signature by its name, or the function that is not a signature."""
        if name != "score_written":
            return self.signatures()[name]
        if (function := self._score_written) is None:
            method = functools.partial(self._score, written_only=True)
            function = graph_function(method, self.source_format.required, TARGET)
            self._score_written = function
        return function
