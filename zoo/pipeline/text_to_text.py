"""Text in, text out: a model with its tokenizer and its way of searching, as users meet it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..decoding.options import NEG_INF, GenerationOptions
from ..decoding.shortlist import Shortlist, checked
from ..errors import DataError
from ..models.encoder_decoder import EncoderDecoder
from ..text.composing import rows_too_long
from ..text.source_format import PLAIN, Source, SourceFormat
from ..text.tokenizer import UNKNOWN_ID, Tokenizer
from ..visualization.explanation import Explanation
from .documents import Parts, read_parts
from .text_functions import TextFunctions


@dataclass(frozen=True)
class Prediction:
    """Output of a model for one text.

    Attributes:
        text: The output.
        score: Its log probability over the length penalty.
        truncated: Whether a part of the source was not read, or the output is as long as it may be.
        missing: Addresses, placeholders and markup of the source that are not in the output.
    """

    text: str
    score: float
    truncated: bool = False
    missing: tuple[str, ...] = ()

    @classmethod
    def _of(cls, text: bytes, score: float, truncated: bool, missing: bytes = b"") -> Prediction:
        spans = missing.decode().split("\n") if missing else []
        return cls(text.decode(), float(score), bool(truncated), tuple(spans))


class TextToText(TextFunctions):
    """A trained model that takes and returns plain text.

    Evaluation, prediction and export run the same graph functions, `signatures()`: what is
    evaluated is what is served.

    | signature | inputs | outputs |
    |---|---|---|
    | `serving_default` | `text` (B,) | `text` (B,), `score` (B,), `truncated` (B,) |
    | `n_best` | `text` (B,) | `text` (B, N), `score` (B, N), `truncated` (B,) |
    | `explain` | `text` (B,) | those of `serving_default`, and the three below |
    | `score` | `text`, `target` (B,) | `score` (B,), `tokens` (B,), `truncated` (B,) |
    | `document` | `text` (B,) | those of `serving_default` |
    | `with_prefix` | `text`, `prefix` (B,) | those of `serving_default` |

    `explain` adds `source_tokens` (B, S), `target_tokens` (B, T) and `attention` (B, T, S); of a
    model with several layers and heads also `attention_heads` (B, L, H, T, S), and of one that
    copies `p_gen` (B, T), the share of each token that was written rather than copied.
    `score` of the first three is log p over the length penalty, by which hypotheses are ranked; the
    signature `score` gives log p of the target and the number of its tokens, end included. Padding
    is "" and 0. Texts of more than `max_source_length` tokens are cut, and targets of more than
    `max_length`: their score is that of what is left, and an end. `truncated` tells that, and that
    the best output is as long as the search allows. In Python both are refused without `truncate`.
    `missing`, beside each `text` of a model that reads one text, has the addresses, placeholders
    and markup of the source that the output has not, one a line.

    `n_best` has N different texts, as far as they can be found: one that several hypotheses write,
    in other tokens, counts once, with the best of their scores. Where N beams find fewer, four
    times as many search again, a hundred at most. Drawn texts are as they were drawn.

    A blank text, of several inputs a blank main one, has an empty output: score 0, no tokens,
    attention 0; `n_best` gives it once. White space and control characters are blank.

    In place of `text` they take the inputs of a task as its `source_format` names them: `context`
    and `question`, or `history` and `text`; in Python a mapping has them. What a task can do
    without, such as the length of a summary, is taken by a signature of its own, `with_length`.

    A model of one text has the signature `document` for any length, and `predict` goes that way.
    Each line is read by itself, and each sentence of a line that has more sentences than the rows
    of the training, or more tokens than the model takes; what is written is put together with the
    white space of the source, and scores are added up.

    Args:
        model: a model of the zoo.
        tokenizer: the tokens it was trained on, those of the source among them.
        generation: how targets are searched for.
        max_source_length: most tokens of a source, end included.
        name: name under which the model is exported and served.
        source_format: the inputs, and how they become one source; one text if left out.
        truncate: whether a part of sources that are too long is read, and the start of targets. If
            `None`, where the format has a rule for them, which one text has not.
        split: Whether `predict` splits texts that are longer than what the model reads at a time.
        max_document_sentences: The most sentences of a text that are read.
        shortlist: The likely tokens for those of a source, for `generation.shortlist`.

    Raises:
        ValueError: the model cannot read or write as much as the limits allow.

    Example:

    >>> translator = attention_zoo.load("runs/en-de")
    >>> translator.predict(["a house"])
    [Prediction(text='ein haus', score=-0.31, truncated=False, missing=())]
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
        split: bool = True,
        max_document_sentences: int = 500,
        shortlist: Shortlist | None = None,
    ):
        self.model, self.tokenizer, self.shortlist = model, tokenizer, shortlist
        self.generation = generation or GenerationOptions()
        self.source_format = source_format or PLAIN
        self.max_source_length, self.name = max_source_length, name
        self.truncate = not self.source_format.leave_out_long if truncate is None else truncate
        self.split, self.max_document_sentences = split, max_document_sentences
        self._check()

    def _check(self) -> None:
        # Before a graph is traced, of which an error would be part.
        self.model.check_lengths(self.max_source_length, self.generation.max_length)
        if self.generation.shortlist:
            checked(self.model, self.shortlist, self.generation.shortlist)
        self._forget_functions()

    def with_generation(self, **changes) -> TextToText:
        """Makes a pipeline of the same model, whose weights it shares, with other options.

        Args:
            **changes: Options of `GenerationOptions`; those left out stay as they are.

        Returns:
            The other pipeline; this one stays as it is.

        Raises:
            ValueError: An option is impossible, or beyond what the model can write.
        """
        other = copy.copy(self)
        other.generation = replace(self.generation, **changes)
        other._check()
        return other

    def _required_columns(self, texts: Sequence[Source]) -> dict[str, list]:
        """The columns of sources for a signature that takes no optional input."""
        columns = self._columns(texts)
        for item in self.source_format.optional:
            if any(columns.pop(item.name)):
                raise ValueError(f"{item.name} can be asked for in `predict` alone; leave it out.")
        return columns

    def trackables(self) -> list:
        """Lists the resources that an export has to track beside the model's variables.

        Returns:
            The tokenizer of the target in the graph and, where it is another, that of the source.
        """
        both = dict.fromkeys((self.tokenizer, self.tokenizer.source))
        tables = [self.shortlist.table] if self.shortlist and self.generation.shortlist else []
        return [*(tokenizer.graph_tokenizer for tokenizer in both), *tables]

    def too_long(self, texts: Sequence[Source]) -> list[int]:
        """Finds the texts of which `predict` would leave out a part.

        Args:
            texts: N sources.

        Returns:
            Their indices, in rising order.
        """
        return self._too_long(texts, self._parts(texts))

    def _too_long(self, texts: Sequence[Source], parts: Parts | None) -> list[int]:
        """Indices of texts that have too many tokens or parts, or a part with too many tokens."""
        read, limit = texts if parts is None else parts.texts, self.max_source_length
        long = rows_too_long(self.tokenizer.source, self.source_format, read, limit)
        if parts is None:
            return long
        return sorted({*parts.rows[long].tolist(), *np.flatnonzero(parts.cut).tolist()})

    def _parts(self, texts: Sequence[Source]) -> Parts | None:
        """Parts of the texts as the graph splits them; `None` if each text is read whole."""
        if not (self.split and self.source_format.can_be_split and texts):
            return None
        (column,) = self.source_format.columns(texts).values()
        return read_parts(column, lambda texts: self._run("units", [texts]))

    def _columns(self, texts: Sequence[Source], parts: Parts | None = None) -> dict[str, list]:
        """A list for each input; refuses texts that are too long, unless they may be cut."""
        columns = self.source_format.columns(texts)
        long = [] if self.truncate else self._too_long(texts, parts)
        if long:
            raise ValueError(
                f"{len(long)} of {len(texts)} texts have more than the {self.max_source_length} "
                f"tokens that the model reads{'' if parts is None else ' at a time'}; with "
                f"truncate=True the {self.source_format.keep} of each is read. Received, among "
                f"them: text {long[0]}"
            )
        return columns

    def predict(
        self,
        texts: Sequence[Source],
        batch_size: int = 64,
        prefix: str | Sequence[str] | None = None,
    ) -> list[Prediction]:
        """The best target of each text; at most one optional input may be used at a time.

        Args:
            texts: N sources.
            batch_size: Number of texts that are decoded at once.
            prefix: What each target begins with, one for all or one for each; all are read whole.

        Returns:
            The output and its score for each text.

        Raises:
            ValueError: A text is too long and `truncate` is off, or a source has an unknown input.
        """
        parts = self._parts(texts) if prefix is None else None
        columns = self._columns(texts, parts)
        given = self.source_format.optional_in(columns)
        signature = "serving_default" if given is None else f"with_{given}"
        if prefix is not None:
            columns["prefix"] = self._prefixes(prefix, len(texts), given)
            signature = "with_prefix"
        found: list[Any] = [None] * len(texts)
        names = [signature] * len(texts)
        if parts is not None:
            names = np.where(parts.counts() > 1, "document", signature).tolist()
        for name in dict.fromkeys(names):
            chosen = [i for i, own in enumerate(names) if own == name]
            some = {key: [column[i] for i in chosen] for key, column in columns.items()}
            for i, row in zip(chosen, self._rows(name, batch_size, some), strict=True):
                found[i] = Prediction._of(**row)
        return found

    def _prefixes(self, prefix: str | Sequence[str], count: int, given: str | None) -> list[str]:
        prefixes = [prefix] * count if isinstance(prefix, str) else list(prefix)
        if len(prefixes) != count:
            raise DataError(
                f"Each text needs one prefix. Received: {count} texts and {len(prefixes)} prefixes"
            )
        if given:
            raise DataError(f"A target with a prefix has no {given}; leave out one of the two.")
        for text, ids in zip(prefixes, self.tokenizer.encode(prefixes), strict=True):
            if UNKNOWN_ID in ids or len(ids) >= self.generation.max_length:
                raise DataError(
                    "A prefix is written with the tokens of the model, fewer than the "
                    f"{self.generation.max_length} of a target. Received: prefix={text!r:.60}"
                )
        return prefixes

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
                Prediction._of(**{k: v[i] if np.ndim(v) else v for k, v in row.items()})
                for i in np.flatnonzero(row["score"] > NEG_INF / 2)
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
                    truncated=bool(row["truncated"]),
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
            written_only: Leaves out unknown tokens that no search may write, as in training.

        Returns:
            Natural logs, float32 (N,), and numbers of tokens, int32 (N,).

        Raises:
            ValueError: There is not one target for each text, or a text or target is too long and
                `truncate` is off.
        """
        if len(texts) != len(targets):
            raise ValueError(
                f"Each text needs a target. Received: {len(texts)} texts and {len(targets)} targets"
            )
        columns = {**self._required_columns(texts), "target": list(targets)}
        limit, form = self.generation.max_length, self.source_format.targets
        long = [] if self.truncate else rows_too_long(self.tokenizer, form, targets, limit)
        if long:
            raise ValueError(
                f"{len(long)} of {len(targets)} targets have more than the {limit} tokens that "
                "the model writes: raise max_length, or with truncate=True the start of each is "
                f"scored. Received, among them: target {long[0]}"
            )
        rows = list(self._rows("score_written" if written_only else "score", batch_size, columns))
        scores = np.array([row["score"] for row in rows], np.float32)
        return scores, np.array([row["tokens"] for row in rows], np.int32)
