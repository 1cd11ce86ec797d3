"""What may be written next, and what is most probable. Shapes: B batch, N hypotheses, V vocabulary.

Over a vocabulary every pass counts, so each is made once: the best subwords are found without
sorting, and only for them log probabilities are computed.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from ..text.tokenizer import END_ID, UNKNOWN_ID
from ..text.unknown import has_unknown
from .options import IMPOSSIBLE, GenerationOptions

# So many subwords, or nearly, have their maximum looked at in place of them.
_BLOCK, _BLOCKS = 32, range(16, 65)
SPECIAL = 4  # ids below are not subwords


class Candidates(NamedTuple):
    """The most probable subwords that go on with each hypothesis, and its end.

    Attributes:
        tokens: int32 (B, N, K), the best first.
        log_p: float32 (B, N, K); `IMPOSSIBLE` for what may not be written.
        end_log_p: float32 (B, N).
        log_total: float32 (B, N), log of the sum of e to each logit.
    """

    tokens: tf.Tensor
    log_p: tf.Tensor
    end_log_p: tf.Tensor
    log_total: tf.Tensor


def candidates(
    logits: tf.Tensor,
    count: int,
    may_end: tf.Tensor,
    options: GenerationOptions,
    allowed: tf.Tensor | None = None,
    nameable: tf.Tensor | None = None,
) -> Candidates:
    """The `count` best continuations of each hypothesis, as far as there are so many.

    Args:
        logits: (B, N, V).
        count: how many.
        may_end: boolean (B,), whether the targets of a row may end here.
        options: whether the unknown subword may be written.
        allowed: logits with `IMPOSSIBLE` for what may not be written here, if there is such.
        nameable: boolean (B,), whether the unknown subword stands for something in a row.
    """
    special = ruled_out(options, nameable)
    searched = logits if allowed is None else allowed
    tokens, values = best_subwords(searched, min(count, logits.shape[-1]), special)
    log_total = log_of_total(logits, tokens[..., :1] if allowed is None else None)
    log_p = tf.where(values > IMPOSSIBLE / 2, values - log_total[..., None], IMPOSSIBLE)
    end_log_p = tf.where(may_end[:, None], logits[..., END_ID] - log_total, IMPOSSIBLE)
    return Candidates(tokens, log_p, end_log_p, log_total)


def log_of_total(logits: tf.Tensor, best: tf.Tensor | None = None) -> tf.Tensor:
    """Log of the sum of e to each logit: (..., V) to (...,).

    That is what a logit is above the log of its probability, so a softmax tells it, which oneDNN
    computes in less than half of the time of a subtraction, an exponential and a sum. It takes the
    largest, as the probability of another may be too small for a float.

    Args:
        logits: (..., V).
        best: (..., 1), the id of the largest that is not special, where it is known already.
    """

    def largest(x):
        if best is not None:
            known = tf.gather(x, best, batch_dims=len(x.shape) - 1)
            x = tf.concat([x[..., :SPECIAL], known], axis=-1)
        return tf.reduce_max(x, axis=-1)

    return largest(logits) - tf.math.log(largest(tf.nn.softmax(logits)))


def nameable_rows(source: tf.Tensor, options: GenerationOptions) -> tf.Tensor | None:
    """Boolean (B,), in which rows the unknown subword may stand for something; `None` if never."""
    return has_unknown(source) if options.replace_unknown else None


def ruled_out(options: GenerationOptions, nameable: tf.Tensor | None = None) -> tf.Tensor:
    """What is added to the logits of the special ids, (4,) or (B, 1, 4), so that they lose.

    None of them goes on with a target but the unknown one, where it is allowed or nameable.
    """
    ids = tf.range(SPECIAL)
    free = (ids == UNKNOWN_ID) & (not options.forbid_unknown)
    if nameable is not None:
        free |= (ids == UNKNOWN_ID) & nameable[:, None, None]
    return tf.where(free, 0.0, IMPOSSIBLE)


def best_subwords(
    logits: tf.Tensor, count: int, special: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Ids and logits (..., count) of the largest logits (..., V), the largest first.

    The `count` largest lie in the `count` blocks with the largest maxima, so only those are
    sorted. It takes a third of the time of a sort of the whole vocabulary, and gives the same.

    Args:
        logits: (..., V).
        count: how many.
        special: what is added to the logits of the special ids, (..., 4), not above 0.
    """
    vocab_size = logits.shape[-1]
    block = _block_size(vocab_size)
    blocks = vocab_size // block
    # The first block may owe its maximum to a special id.
    chosen = count if special is None else count + 1
    if blocks <= 2 * chosen:
        if special is not None:
            logits += widened(special, vocab_size)
        values, ids = tf.math.top_k(logits, count)
        return ids, values
    shape = tf.shape(logits)[:-1]
    rest = vocab_size % block
    in_blocks = logits[..., : vocab_size - rest] if rest else logits
    in_blocks = tf.reshape(in_blocks, tf.concat([shape, [blocks, block]], axis=0))
    _, best = tf.math.top_k(tf.reduce_max(in_blocks, axis=-1), chosen)  # (..., chosen)
    best = tf.sort(best, axis=-1)  # so that of equal logits the first wins, as in a sort of all
    dims = len(logits.shape) - 1
    values = tf.gather(in_blocks, best, batch_dims=dims)  # (..., chosen, block)
    if special is not None:
        is_first = tf.cast(best == 0, values.dtype)[..., None]
        values += is_first * widened(special, block)[..., None, :]
    values = tf.reshape(values, tf.concat([shape, [chosen * block]], axis=0))
    if rest:  # as one more block
        values = tf.concat([values, logits[..., vocab_size - rest :]], axis=-1)
        best = tf.concat([best, tf.fill(tf.concat([shape, [1]], axis=0), blocks)], axis=-1)
    values, order = tf.math.top_k(values, count)
    return tf.gather(best, order // block, batch_dims=dims) * block + order % block, values


def widened(special: tf.Tensor, width: int) -> tf.Tensor:
    """(..., 4) with zeros after it, (..., width)."""
    before = [[0, 0]] * (len(special.shape) - 1)
    return tf.pad(special, [*before, [0, width - SPECIAL]])


def _block_size(vocab_size: int) -> int:
    """The best size that leaves no rest, for which all logits would have to be copied."""
    sizes = sorted(_BLOCKS, key=lambda size: abs(size - _BLOCK))
    return next((size for size in sizes if vocab_size % size == 0), _BLOCK)


def without_repeated_ngrams(
    logits: tf.Tensor, written: tf.Tensor, step: tf.Tensor, size: int
) -> tf.Tensor:
    """Rules out each subword that would write a run of `size` subwords a second time.

    Args:
        logits: (B, N, V) at this step.
        written: int32 (B, N, T), the subwords so far, then anything.
        step: how many of them there are.
        size: length of the run, at least 1.
    """
    context = size - 1
    starts = tf.range(tf.maximum(step - context, 0))  # of the runs that are complete
    newest = tf.maximum(step - context + tf.range(context), 0)
    last = tf.gather(written, newest, axis=2)[:, :, None]  # (B, N, 1, context)
    windows = tf.gather(written, starts[:, None] + tf.range(context), axis=2)
    repeats = tf.where(tf.reduce_all(windows == last, axis=-1))  # (repeats, 3): row, beam, start
    follows = tf.gather_nd(tf.gather(written, starts + context, axis=2), repeats)
    ids = tf.concat([repeats[:, :2], tf.cast(follows, repeats.dtype)[:, None]], axis=1)
    return tf.tensor_scatter_nd_update(logits, ids, tf.fill(tf.shape(ids)[:1], IMPOSSIBLE))
