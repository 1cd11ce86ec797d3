"""The Transformer family: self-attention in place of recurrence."""

from __future__ import annotations

from typing import Any

from ...layers import Attention
from ...layers.ops.arguments import check_flags, check_sizes
from ..errors import ConfigError
from .attention_registry import make_attention
from .copying import PointerGeneratorOutput
from .coverage import CoverageLoss
from .embedding import make_embeddings
from .encoder_decoder import EncoderDecoder
from .outputs import VocabularyOutput
from .transformer_parts import TransformerDecoder, TransformerEncoder


def transformer(
    vocab_size: int,
    width: int = 128,
    encoder_layers: int = 4,
    decoder_layers: int = 4,
    num_heads: int = 4,
    feedforward_dim: int = 256,
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
    activation_dropout: float = 0.0,
    norm_first: bool = True,
    positions: str = "sinusoidal",
    max_length: int = 512,
    first_position: int = 0,
    activation: str = "relu",
    gated: bool = False,
    key_dim: int | None = None,
    norm: str = "layer",
    norm_epsilon: float = 1e-6,
    embedding_scale_power: float = 0.5,
    tie_embeddings: bool = True,
    source_vocab_size: int | None = None,
    copying: bool = False,
    coverage: bool = False,
    coverage_weight: float = 1.0,
    coverage_start: float = 0,
    self_attention: str | Attention | None = None,
    cross_attention: str | Attention | None = None,
    name: str | None = None,
    dtype: Any = None,
) -> EncoderDecoder:
    """Encoder and decoder of self-attention, joined by attention of the decoder to the source.

    Args:
        vocab_size: Tokens V of the target, and of the source if they share one vocabulary.
        width: Width D of all states.
        encoder_layers: Blocks of the encoder.
        decoder_layers: Blocks of the decoder.
        num_heads: Heads H of each attention; divides `width`.
        feedforward_dim: Width of the middle of each feed-forward layer.
        dropout: Rate on embeddings and on what each sublayer adds.
        attention_dropout: Rate on attention weights.
        activation_dropout: Rate in the middle of the feed-forward layers.
        norm_first: Pre-norm if true, post-norm as first published if not.
        positions: `"sinusoidal"`, `"sinusoidal-published"`, `"learned"`, `"rotary"`, `"relative"`
            or `"alibi"`, see `TransformerEncoder`.
        max_length: Longest source or target with learned positions.
        first_position: The number of the first position, for sinusoids.
        activation: That of the feed-forward layers, by its name in Keras; or `"gelu_tanh"`.
        gated: Whether the feed-forward layers have a gate (Shazeer 2020).
        key_dim: Width of a head; `width / num_heads` if `None`.
        norm: `"layer"`, or `"rms"` for normalization without a mean.
        norm_epsilon: Added to the variance, or the mean square, by all normalizations.
        embedding_scale_power: Power of the width that embeddings are multiplied by.
        tie_embeddings: Read the vocabulary with the embedding of the target itself.
        source_vocab_size: Tokens of the source, if it has a vocabulary and an embedding of its
            own; it shares those of the target if `None`.
        copying: Write a token of the vocabulary or copy one of the source, see
            `PointerGeneratorOutput`. The first head of the last block points at what is copied.
        coverage: Train the attention over the source not to go where it was before. As all steps
            are computed at once, this is a loss alone, of the head that copies or the mean of all
            heads of the last block: no step is told what those before it attended to.
        coverage_weight: Factor of the coverage loss.
        coverage_start: Step of the training from which the coverage loss counts; below 1, the
            share of its budget that is spent by then, see `CoverageLoss`.
        self_attention: A name of `register_attention` or an `Attention` layer, for the attention of
            source and target to themselves; scaled dot products if `None`.
        cross_attention: The same for the attention of the target to the source.
        name: Name of the model.
        dtype: Policy of all layers; Keras's if `None`.

    Returns:
        An untrained model.

    Raises:
        ConfigError: An attention is named that is none, such as `"none"`.
        ValueError: An argument is impossible.

    Example:

    >>> from attention_zoo.zoo.training.loss import SmoothedCrossEntropy
    >>> model = transformer(vocab_size=8000, width=128, num_heads=4)
    >>> model.compile(optimizer="adam", loss=SmoothedCrossEntropy(0.1))
    >>> model.fit(batches)      # of ({"source": (B, S), "target": (B, T)}, labels (B, T))

    References: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; on pre-norm Xiong et al.
    2020, https://arxiv.org/abs/2002.04745; on copying See et al. 2017,
    https://arxiv.org/abs/1704.04368
    """
    check_flags(copying=copying, coverage=coverage, gated=gated)
    coverage_term = CoverageLoss(coverage_weight, coverage_start)
    check_sizes(
        width=width,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        num_heads=num_heads,
    )
    if key_dim is None and width % num_heads:
        raise ValueError(
            f"width must be a multiple of num_heads. Received: width={width}, num_heads={num_heads}"
        )
    if positions == "rotary" and (key_dim or width // num_heads) % 2:
        raise ValueError(
            "Rotary positions turn pairs of numbers, so the width of a head, key_dim or width / "
            f"num_heads, must be even. Received: width={width}, num_heads={num_heads}, "
            f"key_dim={key_dim}"
        )
    target_embedding, source_embedding = make_embeddings(
        vocab_size, width, embedding_scale_power, source_vocab_size, copying, dtype
    )
    shared: dict[str, Any] = {
        "num_heads": num_heads,
        "feedforward_dim": feedforward_dim,
        "dropout": dropout,
        "attention_dropout": attention_dropout,
        "activation_dropout": activation_dropout,
        "norm_first": norm_first,
        "positions": positions,
        "max_length": max_length,
        "first_position": first_position,
        "activation": activation,
        "gated": gated,
        "key_dim": key_dim,
        "norm": norm,
        "norm_epsilon": norm_epsilon,
        "dtype": dtype,
    }
    attentions: dict[str, Any] = {
        "self_attention": self_attention,
        "cross_attention": cross_attention,
    }
    for kind, given in attentions.items():
        if given is not None:
            attentions[kind] = make_attention(given, width, num_heads, width)
            if attentions[kind] is None:
                raise ConfigError(
                    f"A Transformer cannot do without {kind}. Received: {kind}={given!r}"
                )
    output = PointerGeneratorOutput if copying else VocabularyOutput
    return EncoderDecoder(
        TransformerEncoder(
            encoder_layers, **shared, self_attention=attentions["self_attention"], name="encoder"
        ),
        TransformerDecoder(
            decoder_layers,
            **shared,
            **attentions,
            attention_head=0 if copying else None,
            name="decoder",
        ),
        output(vocab_size, tied=tie_embeddings, name="output", dtype=dtype),
        target_embedding,
        source_embedding,
        coverage_term if coverage else None,
        name=name,
        dtype=dtype,
    )
