"""Writing targets with any model of the zoo, by the options given."""

from __future__ import annotations

import tensorflow as tf

from ..models.encoder_decoder import EncoderDecoder
from .beam_search import beam_search
from .options import GenerationOptions, Hypotheses
from .prefixes import until_end, with_room_for
from .sampling import write_one_by_one


def generate(
    model: EncoderDecoder,
    source: tf.Tensor,
    options: GenerationOptions,
    return_attention: bool = False,
    prefix: tf.Tensor | None = None,
) -> Hypotheses:
    """Writes targets for each row of source ids (B, S): beam search, greedy search, or sampling.

    Written over the protocol of `EncoderDecoder` in core TensorFlow operations, so that it runs in
    any graph and in any exported model.

    Args:
        model: a model of the zoo. One with learned positions can neither read nor write more
            subwords than it has of them.
        source: whole numbers (B, S), S at least 1, padded with 0; negative for unknown pieces, see
            `unknown`.
        options: how to search, and what may be written.
        return_attention: whether the attention over the source is wanted too.
        prefix: whole numbers (B, P), ids that each target begins with, up to the first end or
            padding. They count for the score. A target whose prefix reaches the limit of its length
            still gets its end.

    Raises:
        ValueError: the source has no place for a subword, there is not one prefix for each source,
            or the model cannot read or write as much as source, options and prefix ask for.

    Example:

    >>> hypotheses = generate(model, source, GenerationOptions(beam_size=5))
    >>> tokenizer.decode(hypotheses.ids[:, 0].numpy())
    """
    source = tf.cast(source, tf.int32)
    if source.shape[1] == 0:
        raise ValueError(
            "A source has its end at least, so its ids are (B, S) with an S from 1 on. "
            f"Received: source.shape={tuple(source.shape)}"
        )
    longest = options.max_length
    if prefix is not None:
        prefix = until_end(tf.cast(prefix, tf.int32))
        if not prefix.shape[:1].is_compatible_with(source.shape[:1]):
            raise ValueError(
                "Each source needs one prefix, one of padding alone if it has none. Received: "
                f"source.shape={tuple(source.shape)}, prefix.shape={tuple(prefix.shape)}"
            )
        # Not known in a graph, where the prefix may be shorter than it is wide.
        needed = tf.get_static_value(tf.reduce_max(with_room_for(prefix, longest)))
        longest = max(longest, needed or 0)
    model.check_lengths(source.shape[1] or 0, longest)
    one_by_one = options.do_sample or options.beam_size == 1
    search = write_one_by_one if one_by_one else beam_search
    return search(model, source, options, return_attention, prefix)
