"""Explanations with every layer and head: a typed record that draws itself.

Shapes: L layers, H heads, S source tokens, T target tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from . import attention_statistics as statistics
from .explanation import Explanation

KINDS = ("cross", "encoder", "decoder")
MEAN, ROLLOUT = "mean", "rollout"


@dataclass(frozen=True)
class HeadStatistics:
    """Statistics of one head; `attention_statistics` has the formulas.

    Attributes:
        kind: `"cross"`, `"encoder"` or `"decoder"`.
        layer: Number of the layer, from 1.
        head: Number of the head, from 1.
        entropy: Entropy in nats, 0 where each token attends to one position.
        coverage: Share of the positions that were attended to.
        diagonality: From -1 to 1, where the attention follows the order of the text.
        end: Share of the attention on the end of the sentence; of the decoder's self-attention, on
            its start.
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

    In a notebook it shows itself as a page with a choice of layer and head.

    Args:
        explanation: The output, and the attention that the signature `explain` serves.
        cross: Attention of each target token over the source, (L, H, T, S).
        encoder: Attention of each source token over the source, (L, H, S, S), if there is any.
        decoder: Attention of each target token over those before it, (L, H, T, T), if there is any:
            column 0 is the start, column t the target token t - 1.

    Raises:
        ValueError: The shapes do not fit the tokens.

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
        """The kinds of attention there are, of `"cross"`, `"encoder"` and `"decoder"`."""
        return tuple(kind for kind in KINDS if getattr(self, kind) is not None)

    def weights(self, kind: str = "cross") -> np.ndarray:
        """Looks up all maps of a kind.

        Args:
            kind: `"cross"`, `"encoder"` or `"decoder"`.

        Returns:
            An array (L, H, rows, columns), see `tokens` for the last two.

        Raises:
            ValueError: The model has no such attention.
        """
        if kind not in self.kinds:
            raise ValueError(
                f"This model has attention of kind {', '.join(self.kinds)}. Received: kind={kind!r}"
            )
        return getattr(self, kind)

    def view(
        self, kind: str = "cross", layer: int | None = None, head: int | str = MEAN
    ) -> Explanation:
        """One map as an explanation, which can be saved and drawn like any other.

        Args:
            kind: `"cross"` (target over source), `"encoder"` (source over itself) or `"decoder"`
                (target over the tokens written before).
            layer: Number from 1 to L; the mean of all layers if `None`.
            head: Number from 1 to H, `"mean"` of the heads, or `"rollout"`: the share of each input
                in each position after all layers, or after those up to `layer`.

        Returns:
            The map with its tokens.

        Raises:
            ValueError: There is no such attention, layer or head.
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
        """Computes the statistics of every head of every layer.

        Returns:
            Those of all kinds of attention there are, in the order of kind, layer and head.
        """
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
        """Writes a page in one file, with a choice of attention, layer and head.

        Args:
            path: A path of any suffix; a file that is there is replaced.
        """
        Path(path).write_text(self._page(), encoding="utf-8")

    def to_terminal(self, width: int | None = None, color: bool = True) -> str:
        """The served attention as lines of text.

        Args:
            width: Number of columns of a line; those of the terminal if `None`.
            color: Whether cells are shaded with ANSI colors; with ASCII characters otherwise.

        Returns:
            The lines in one text.
        """
        return self.explanation.to_terminal(width, color)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the kind of file that the path's suffix names.

        Args:
            path: A path that ends in `.html` for the page with all maps; in `.png`, `.svg` or
                `.txt` for the served attention.

        Raises:
            ValueError: The suffix is not one of those that an `Explanation` can be saved as.
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
        weights = np.clip(weights, 0, 1)
        return Explanation(
            *texts[kind], columns, rows, weights, own.score, p_gen, truncated=own.truncated
        )

    def tokens(self, kind: str) -> tuple[list[str], list[str]]:
        """Looks up the tokens beside a kind of maps.

        Args:
            kind: `"cross"`, `"encoder"` or `"decoder"`.

        Returns:
            The tokens of the rows, and those of the columns.
        """
        source, target = self.explanation.source_tokens, self.explanation.target_tokens
        if kind == "encoder":
            return source, source
        return target, source if kind == "cross" else ["<s>", *target][: len(target)]

    def _repr_png_(self) -> bytes:
        return self.explanation._repr_png_()

    def _repr_html_(self) -> str:
        from .html import render_frame

        return render_frame(self._page(), len(self.explanation.target_tokens))

    def _page(self) -> str:
        from .html import Maps, render_page

        kinds = {}
        for kind in self.kinds:
            weights = self.weights(kind)
            rollouts = [self._rollout(kind, layer + 1) for layer in range(len(weights))]
            kinds[kind] = Maps(*self.tokens(kind), weights, np.array(rollouts))
        return render_page(self.explanation, kinds, self.statistics())


def _check(name: str, value: int | str | None, count: int, others: tuple) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value in others or (whole and 1 <= value <= count):  # type: ignore[operator]
        return
    choices = "".join(f", or {other!r}" for other in others if other is not None)
    raise ValueError(f"{name} is a number from 1 to {count}{choices}. Received: {name}={value!r}")
