"""Generation of targets with any model of the zoo, by the options given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ..models.encoder_decoder import EncoderDecoder
from ..text.special_ids import END_ID, PAD_ID, START_ID
from .beam_search import BeamSearch
from .candidates import LogitsProcessor, NoRepeatNgram, Search
from .decode_loop import decode_loop
from .options import GenerationOptions, Hypotheses
from .shortlist import Shortlist, ShortlistedModel
from .strategies import GreedySearch, Sampling, Strategy


def generate(
    model: EncoderDecoder,
    source: tf.Tensor,
    options: GenerationOptions,
    return_attention: bool = False,
    prefix: tf.Tensor | None = None,
    logits_processors: Sequence[LogitsProcessor] = (),
    strategy: Callable[[GenerationOptions], Strategy] | None = None,
    source_mask: tf.Tensor | None = None,
    word_starts: Sequence[bool] | tf.Tensor | None = None,
    static_shapes: bool = False,
    shortlist: Shortlist | None = None,
) -> Hypotheses:
    """Generates targets for each row of a source by beam search, greedy search or sampling.

    Written over the protocol of `EncoderDecoder` in core TensorFlow operations, so that it runs in
    any graph and in any exported model.

    Args:
        model: A model of the zoo. One with learned positions can neither read nor write more
            tokens than it has of them.
        source: Token ids (B, S), S at least 1, padded with 0; -1, -2 and so on for the unknown
            pieces of each row, see `unknown`. Features (B, S, F) for a model without
            an embedding of the source.
        options: How to search, and what may be written.
        return_attention: Whether the attention over the source is wanted too.
        prefix: Token ids (B, P) that each target begins with, up to the first end or padding. They
            count for the score. A target whose prefix reaches the limit of its length still gets
            its end.
        logits_processors: Functions `(logits, search) -> logits` that change what may be written,
            called in this order in every step, see `LogitsProcessor`.
        strategy: A subclass of `Strategy`, or another function of the options that returns one. By
            default `Sampling`, `GreedySearch` or `BeamSearch`, as the options say.
        source_mask: Of features, boolean (B, S), True for those that are there; all if `None`.
        word_starts: For each token of the vocabulary, whether it begins a word, for
            `no_repeat_ngram`; each token is a word if `None`.
        static_shapes: Whether no shape may depend on values, as under XLA. S has to be known, and T
            is the most tokens that a source of S tokens is given.
        shortlist: The tokens that may be written, for `options.shortlist`.

    Returns:
        `Hypotheses`.

    Raises:
        ValueError: The source has no position for a token, there is not one prefix for each
            source, the model cannot read or write as much as source, options and prefix ask for,
            a processor returns logits of another shape, or there can be no shortlist.

    Example:

    >>> hypotheses = generate(model, source, GenerationOptions(beam_size=5))
    >>> tokenizer.decode(hypotheses.ids[:, 0].numpy())
    """
    source = tf.convert_to_tensor(source)
    if source.shape[1] == 0:
        raise ValueError(
            "A source has its end at least, so it has an S from 1 on. "
            f"Received: source.shape={tuple(source.shape)}"
        )
    if has_features := len(source.shape) == 3:
        mask = tf.ones(tf.shape(source)[:2], tf.bool) if source_mask is None else source_mask
        ids = tf.where(mask, END_ID, PAD_ID)  # stand for them in all that is no model
    else:
        ids, mask = tf.cast(source, tf.int32), None
    limits, longest = options.length_limits(ids), options.max_length
    searched: EncoderDecoder | ShortlistedModel = model
    if options.shortlist:
        if static_shapes or logits_processors or has_features:
            raise ValueError(
                "A shortlist is of token ids, has another size in each batch and other columns "
                "than a logits processor knows: set shortlist=0 with static_shapes, "
                f"logits_processors or features. Received: shortlist={options.shortlist}"
            )
        prefix = None if prefix is None else tf.cast(prefix, tf.int32)
        searched = ShortlistedModel(model, shortlist, ids, options.shortlist, prefix)
        prefix = None if prefix is None else searched.columns(prefix)
        if word_starts is not None:
            word_starts = tf.gather(tf.convert_to_tensor(word_starts), searched.ids)
    if prefix is not None:
        prefix = _until_end(_columns(tf.cast(prefix, tf.int32), searched.vocab_size))
        if not prefix.shape[:1].is_compatible_with(source.shape[:1]):
            raise ValueError(
                "Each source needs one prefix, one of padding alone if it has none. Received: "
                f"source.shape={tuple(source.shape)}, prefix.shape={tuple(prefix.shape)}"
            )
        with_end = tf.math.count_nonzero(prefix != PAD_ID, axis=1, dtype=tf.int32) + 1
        limits = tf.maximum(limits, with_end)
        # Not known in a graph, where the prefix may be shorter than it is wide.
        longest = max(longest, tf.get_static_value(tf.reduce_max(with_end)) or 0)
    model.check_lengths(source.shape[1] or 0, longest)
    static_steps = None
    if static_shapes:
        with tf.init_scope():  # as a number, whatever is being traced
            most = options.length_limits(tf.fill([1, ids.shape[1]], END_ID))
            static_steps = max(int(most[0]), 0 if prefix is None else prefix.shape[1] + 1)
    if strategy is None:
        one_at_a_time = Sampling if options.do_sample else GreedySearch
        strategy = one_at_a_time if options.do_sample or options.beam_size == 1 else BeamSearch
    chooser = strategy(options)
    processors = tuple(logits_processors)
    if options.no_repeat_ngram:
        processors += (NoRepeatNgram(options.no_repeat_ngram, word_starts),)
    num_unknown = None
    if options.replace_unknown and not has_features:
        num_unknown = tf.maximum(-tf.reduce_min(ids), 0)
    memory = searched.encode(source if has_features else ids, mask, num_unknown=num_unknown)
    # At least one, also of a batch without rows.
    steps = tf.maximum(tf.reduce_max(limits), 1) if static_steps is None else static_steps
    search = _first_search(ids, limits, steps, prefix, chooser, with_written=bool(processors))
    found = decode_loop(
        searched, memory, search, chooser, processors, return_attention, static_steps
    )
    if isinstance(searched, ShortlistedModel):
        return found._replace(ids=searched.tokens(found.ids))
    return found


def _first_search(ids, limits, steps, prefix, strategy: Strategy, with_written: bool) -> Search:
    options, shape = strategy.options, [tf.shape(ids)[0], strategy.num_hypotheses]
    has_min_length = options.min_length or options.min_length_ratio
    with_written |= strategy.reads_written
    return Search(
        step=tf.constant(0),
        rows=tf.range(shape[0]),
        source=ids,
        limits=limits,
        min_lengths=options.min_lengths(ids) if has_min_length else (),
        # Padded, as steps go on after it.
        prefix=() if prefix is None else tf.pad(prefix, [[0, 0], [0, steps]]),
        tokens=tf.fill(shape, START_ID),
        log_p=tf.zeros(shape),
        live=tf.fill(shape, True),
        written=tf.zeros([*shape, steps], tf.int32) if with_written else (),
    )


def _columns(ids: tf.Tensor, vocab_size: Any) -> tf.Tensor:
    """The column of each id in the logits: unknown pieces come after the vocabulary."""
    return tf.where(ids < 0, vocab_size - 1 - ids, ids)


def _until_end(prefix: tf.Tensor) -> tf.Tensor:
    """Prefixes (B, P) up to their first end or padding, and padding from there on."""
    ended = tf.cast((prefix == END_ID) | (prefix == PAD_ID), tf.int32)
    return tf.where(tf.cumsum(ended, axis=1) == 0, prefix, PAD_ID)
