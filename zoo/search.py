"""Writing targets with any model of the zoo, by the options given."""

from __future__ import annotations

import tensorflow as tf

from .beam_search import beam_search
from .generation import GenerationOptions, Hypotheses
from .model import Seq2SeqModel
from .prefixes import with_room_for
from .sampling import write_one_by_one


def generate(
    model: Seq2SeqModel,
    source: tf.Tensor,
    options: GenerationOptions,
    return_attention: bool = False,
    prefix: tf.Tensor | None = None,
) -> Hypotheses:
    """Writes targets for each row of source ids (B, S): beam search, greedy search, or sampling.

    Written over the protocol of `Seq2SeqModel` in core TensorFlow operations, so that it runs in
    any graph and in any exported model.

    Args:
        model: a model of the zoo. One with learned positions can neither read nor write more
            subwords than it has of them.
        source: int32 (B, S), padded with 0; negative for unknown pieces, see `unknown`.
        options: how to search, and what may be written.
        return_attention: whether the attention over the source is wanted too.
        prefix: int32 (B, P), ids that each target begins with, padded with 0. They count for the
            score. A target whose prefix reaches the limit of its length still gets its end.

    Raises:
        ValueError: the model cannot read or write as much as the source, the options and the prefix
            ask for.

    Example:

    >>> hypotheses = generate(model, source, GenerationOptions(beam_size=5))
    >>> tokenizer.decode(hypotheses.ids[:, 0].numpy())
    """
    longest = options.max_length
    if prefix is not None:
        # Not known in a graph, where the prefix may be shorter than it is wide.
        needed = tf.get_static_value(tf.reduce_max(with_room_for(prefix, longest)))
        longest = max(longest, needed or 0)
    model.check_lengths(source.shape[1] or 0, longest)
    one_by_one = options.do_sample or options.beam_size == 1
    search = write_one_by_one if one_by_one else beam_search
    return search(model, source, options, return_attention, prefix)
