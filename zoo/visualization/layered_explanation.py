"""What a model looked at in every layer and head: a typed record that draws itself.

Shapes: L layers, H heads, S source tokens, T target tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from ..text.tokenizer import END_ID, PAD_ID, START_ID, UNKNOWN_ID, SubwordTokenizer
from . import attention_statistics as statistics
from .explanation import Explanation

if TYPE_CHECKING:
    from ..pipeline.text_to_text import TextToText
    from ..text.source_format import Source

__all__ = ["KINDS", "HeadStatistics", "LayeredExplanation", "explain"]

KINDS = ("cross", "encoder", "decoder")
MEAN, ROLLOUT = "mean", "rollout"


@dataclass(frozen=True)
class HeadStatistics:
    """One head in numbers; `attention_statistics` has the formulas.

    Attributes:
        kind: `"cross"`, `"encoder"` or `"decoder"`.
        layer: from 1.
        head: from 1.
        entropy: in nats, 0 where each token looks at one place.
        coverage: the share of the places that were looked at.
        diagonality: from -1 to 1, where the attention moves along with the text.
        end: the share of the attention on the end of the sentence; of the decoder's attention to
            itself that on the start, which is its place to rest.
    """

    kind: str
    layer: int
    head: int
    entropy: float
    coverage: float
    diagonality: float
    end: float


@dataclass(frozen=True, eq=False)
class LayeredExplanation:
    """An output with the attention of every layer and head of the model that wrote it.

    In a notebook it shows itself as a page on which layer and head can be switched.

    Args:
        explanation: the output, and the attention that the signature `explain` serves.
        cross: of each target token over the source, (L, H, T, S).
        encoder: of each source token over the source, (L, H, S, S), if there is such.
        decoder: of each target token over what was written before it, (L, H, T, T), if there is
            such: column 0 is the start, column t the target token t - 1.

    Raises:
        ValueError: if the shapes are not those of the tokens.

    Example:

    >>> found = attention_zoo.explain(translator, ["a house by the sea"])[0]
    >>> found.view("cross", layer=4, head=2).save("head.png")
    >>> found.view("encoder", head="rollout").attention      # (S, S)
    >>> found.save("house.html")
    """

    explanation: Explanation
    cross: np.ndarray
    encoder: np.ndarray | None = None
    decoder: np.ndarray | None = None

    def __post_init__(self) -> None:
        source, target = len(self.explanation.source_tokens), len(self.explanation.target_tokens)
        sizes = {"cross": (target, source), "encoder": (source,) * 2, "decoder": (target,) * 2}
        for kind, size in sizes.items():
            found = getattr(self, kind)
            if found is not None and (found.ndim != 4 or found.shape[2:] != size):
                raise ValueError(
                    f"`{kind}` must have a map {size} for each layer and head. "
                    f"Received: {kind}.shape={found.shape}"
                )

    @property
    def target(self) -> str:
        """The text which the model wrote."""
        return self.explanation.target

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which attention there is, of `"cross"`, `"encoder"` and `"decoder"`."""
        return tuple(kind for kind in KINDS if getattr(self, kind) is not None)

    def weights(self, kind: str = "cross") -> np.ndarray:
        """All maps of a kind, (L, H, rows, columns)."""
        if kind not in self.kinds:
            raise ValueError(
                f"This model has attention of kind {', '.join(self.kinds)}. Received: kind={kind!r}"
            )
        return getattr(self, kind)

    def view(
        self, kind: str = "cross", layer: int | None = None, head: int | str = MEAN
    ) -> Explanation:
        """One map as an explanation, which can be saved and drawn as any other.

        Args:
            kind: `"cross"` (target over source), `"encoder"` (source over itself) or `"decoder"`
                (target over what was written before).
            layer: from 1 to L; the mean of all layers if left out.
            head: from 1 to H, `"mean"` of the heads, or `"rollout"`: what each token is made of
                after all layers, or after those up to `layer`.

        Raises:
            ValueError: there is no such attention, layer or head.
        """
        weights = self.weights(kind)
        layers, heads = weights.shape[:2]
        _check("layer", layer, layers, (None,))
        _check("head", head, heads, (MEAN, ROLLOUT))
        if head == ROLLOUT:
            return self._explanation(kind, self._rollout(kind, layers if layer is None else layer))
        chosen = weights if layer is None else weights[layer - 1 : layer]
        if not isinstance(head, str):
            chosen = chosen[:, head - 1 : head]
        return self._explanation(kind, chosen.mean(axis=(0, 1)))

    def statistics(self) -> list[HeadStatistics]:
        """Entropy, coverage, diagonality and rest of every head of every layer."""
        found = []
        for kind in self.kinds:
            weights = self.weights(kind)
            rest = np.zeros(weights.shape[-1], bool)
            if len(rest):
                rest[0 if kind == "decoder" else -1] = True
            values = np.stack(
                [
                    statistics.entropy(weights),
                    statistics.coverage(weights),
                    statistics.diagonality(weights),
                    statistics.column_share(weights, rest),
                ],
                axis=-1,
            )
            found += [
                HeadStatistics(kind, layer + 1, head + 1, *values[layer, head].tolist())
                for layer, head in np.ndindex(*weights.shape[:2])
            ]
        return found

    def to_html(self, path: str | PathLike[str]) -> None:
        """Writes a page in one file on which attention, layer and head can be switched."""
        from .layered_html import render_page

        Path(path).write_text(render_page(self), encoding="utf-8")

    def to_terminal(self, width: int | None = None, color: bool = True) -> str:
        """The served attention as lines of text; see `Explanation.to_terminal`."""
        return self.explanation.to_terminal(width, color)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the page to a path that ends in `.html`, the served attention to any other.

        Raises:
            ValueError: the suffix is none of those that an `Explanation` can be saved as.
        """
        if Path(path).suffix.lower() == ".html":
            self.to_html(path)
        else:
            self.explanation.save(path)

    def _rollout(self, kind: str, layers: int) -> np.ndarray:
        if kind != "cross":
            return statistics.rollout(self.weights(kind)[:layers])
        decoder = None if self.decoder is None else self.decoder[:layers]
        return statistics.cross_rollout(self.cross[:layers], self.encoder, decoder)

    def _explanation(self, kind: str, weights: np.ndarray) -> Explanation:
        rows, columns = self.tokens(kind)
        own = self.explanation
        texts = {
            "cross": (own.text, own.target),
            "encoder": (own.text, own.text),
            "decoder": (own.target, own.target),
        }
        p_gen = own.p_gen if kind == "cross" else None
        # Sums of rounded weights may be a little above 1.
        return Explanation(*texts[kind], columns, rows, np.clip(weights, 0, 1), own.score, p_gen)

    def tokens(self, kind: str) -> tuple[list[str], list[str]]:
        """The tokens of the rows and of the columns of a kind of maps."""
        source, target = self.explanation.source_tokens, self.explanation.target_tokens
        if kind == "encoder":
            return source, source
        return target, source if kind == "cross" else ["<s>", *target][: len(target)]

    def _repr_png_(self) -> bytes:
        return self.explanation._repr_png_()

    def _repr_html_(self) -> str:
        from .layered_html import render_frame

        return render_frame(self)


def explain(
    model: TextToText, texts: Sequence[Source], batch_size: int = 16
) -> list[LayeredExplanation]:
    """The best target of each text, with the attention of every layer and head to all tokens.

    The target is written by the model's own search and then read once more as a whole, which gives
    all weights at once. A recurrent model has one map: one layer with one head.

    Args:
        model: a trained model, such as `attention_zoo.load("runs/en-de")`.
        texts: sources.
        batch_size: how many are read at once.

    Returns:
        A record for each text.

    Example:

    >>> attention_zoo.explain(translator, ["a house"])[0]     # draws itself in a notebook

    References: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; on rollout Abnar and Zuidema
    2020, https://arxiv.org/abs/2005.00928
    """
    found = []
    explanations = model.explain(texts, batch_size)
    for start in range(0, len(explanations), batch_size):
        found += _explain_batch(model, explanations[start : start + batch_size])
    return found


def _explain_batch(model: TextToText, explanations: list[Explanation]) -> list[LayeredExplanation]:
    maps = model.model.attention_maps(reading_inputs(model.tokenizer, explanations))
    arrays = {
        kind: tf.cast(values, "float32").numpy()
        for kind, values in maps._asdict().items()
        if values is not None
    }
    found = []
    for row, explanation in enumerate(explanations):
        s, t = len(explanation.source_tokens), len(explanation.target_tokens)
        sizes = {"cross": (t, s), "encoder": (s, s), "decoder": (t, t)}
        own = {
            kind: array[row, :, :, : sizes[kind][0], : sizes[kind][1]]
            for kind, array in arrays.items()
        }
        found.append(LayeredExplanation(explanation, **own))
    return found


def reading_inputs(
    tokenizer: SubwordTokenizer, explanations: Sequence[Explanation], padding: int = 0
) -> dict[str, tf.Tensor]:
    """What a model reads when it goes over its own outputs once more.

    Args:
        tokenizer: that of the model.
        explanations: the outputs, with their tokens.
        padding: places of padding after the longest source and the longest target.

    Returns:
        `source` (B, S), and `target` (B, T), whose row t is what was read when token t was written.
    """
    sources = [_ids(tokenizer.source, e.source_tokens) for e in explanations]
    targets = [[START_ID, *_ids(tokenizer, e.target_tokens)][:-1] for e in explanations]
    return {"source": _padded(sources, padding), "target": _padded(targets, padding)}


def _ids(tokenizer: SubwordTokenizer, tokens: list[str]) -> list[int]:
    """Ids of tokens; what a text merely calls by the name of a mark is unknown to the model."""
    ids = tokenizer.ids(tokens)
    return [
        UNKNOWN_ID if i in (PAD_ID, START_ID) or (i == END_ID and place < len(ids) - 1) else i
        for place, i in enumerate(ids)
    ]


def _padded(rows: list[list[int]], padding: int) -> tf.Tensor:
    length = max(map(len, rows), default=0) + padding
    return tf.constant([row + [PAD_ID] * (length - len(row)) for row in rows], tf.int32)


def _check(name: str, value: int | str | None, count: int, others: tuple) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value in others or (whole and 1 <= value <= count):  # type: ignore[operator]
        return
    choices = "".join(f", or {other!r}" for other in others if other is not None)
    raise ValueError(f"{name} is a number from 1 to {count}{choices}. Received: {name}={value!r}")
