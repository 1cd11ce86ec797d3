"""Text to text in the graph: the functions behind the signatures of a model."""

from __future__ import annotations

from dataclasses import replace

import tensorflow as tf

from ..decoding.options import NEG_INF, GenerationOptions, Hypotheses
from ..decoding.search import generate
from ..models.encoder_decoder import EncoderDecoder
from ..text.composing import compose
from ..text.source_format import PLAIN, SourceFormat
from ..text.special_ids import PAD_ID, START_ID
from ..text.tokenizer import Tokenizer, with_end
from ..text.unknown import SurfaceReader, decode_tensor, known_ids, may_be_written, pieces_tensor


class TextFunctions:
    """The signatures of a model as functions of string tensors; `TextToText` runs them.

    Attributes:
        model: The model.
        tokenizer: Of the source and the target.
        generation: How targets are searched for.
        max_source_length: The most tokens of a source.
        source_format: How the inputs become one source.
    """

    model: EncoderDecoder
    tokenizer: Tokenizer
    generation: GenerationOptions
    max_source_length: int
    source_format: SourceFormat

    def _best(self, **columns):
        found, _, surfaces = self._write(columns)
        return {
            "text": decode_tensor(self.tokenizer, found.ids[:, 0], surfaces),
            "score": found.scores[:, 0],
        }

    def _n_best(self, **columns):
        found, source, surfaces = self._write(columns)
        size, wider = self.generation.beam_size, self.generation.wider()
        texts = self._texts(found, surfaces)
        if self.generation.do_sample or size == 1:
            return {"text": texts, "score": found.scores}
        texts, scores = _distinct(texts, found.scores, size)
        if wider == size:
            return {"text": texts, "score": scores}
        # Several tokenizations of a text took beams from others, which more beams find.
        is_text = found.ids[:, 0, 0] != PAD_ID
        short = tf.where(is_text & (scores[:, -1] <= NEG_INF / 2))[:, 0]
        options = replace(self.generation, beam_size=wider)
        more = generate(self.model, tf.gather(source, short), options)
        best, others = tf.gather(scores, short), more.scores
        # The best stays the one of the other signatures.
        others = tf.where(others > best[:, :1], NEG_INF, others)
        if surfaces is not None:
            surfaces = tf.gather(surfaces, short)
        both = [tf.gather(texts, short), self._texts(more, surfaces)], [best, others]
        filled = _distinct(*(tf.concat(parts, axis=1) for parts in both), size)
        texts, scores = (
            tf.tensor_scatter_nd_update(whole, short[:, None], part)
            for whole, part in zip((texts, scores), filled, strict=True)
        )
        return {"text": texts, "score": scores}

    def _texts(self, found: Hypotheses, surfaces):
        """Texts (B, N) of hypotheses; "" for those that are not there."""
        ids = tf.reshape(found.ids, (-1, tf.shape(found.ids)[2]))  # (B*N, T)
        if surfaces is not None:
            surfaces = tf.repeat(surfaces, tf.shape(found.scores)[1], axis=0)
        texts = tf.reshape(decode_tensor(self.tokenizer, ids, surfaces), tf.shape(found.scores))
        return tf.where(found.scores > NEG_INF / 2, texts, "")

    def _explain(self, **columns):
        found, source, surfaces = self._write(columns, return_attention=True)
        ids = found.ids[:, 0]
        read = tf.where(ids[:, :1] == PAD_ID, PAD_ID, source)  # nothing of a blank text
        outputs = {
            "text": decode_tensor(self.tokenizer, ids, surfaces),
            "score": found.scores[:, 0],
            "source_tokens": pieces_tensor(self.tokenizer.source, read, surfaces),
            "target_tokens": pieces_tensor(self.tokenizer, ids, surfaces),
            "attention": found.attention[:, 0],
        }
        start = tf.fill([tf.shape(ids)[0], 1], START_ID)
        inputs = {
            "source": known_ids(source),
            "target": tf.concat([start, known_ids(ids[:, :-1])], axis=1),
        }
        if self.model.has_attention_maps:
            weights = self.model.attention_maps(inputs).cross
            kept = (ids != PAD_ID)[:, None, None, :, None]
            outputs["attention_heads"] = tf.where(kept, weights, 0.0)
        if self.model.copies:
            outputs["p_gen"] = tf.where(ids != PAD_ID, self.model.p_gen(inputs), 0.0)
        return outputs

    def _score(self, target, written_only=False, **columns):
        # The scopes are for people who look at the graph, as TensorBoard shows this one.
        with tf.name_scope("source_tokens"):
            source, blank = self._source(columns, reader := self._reader())
        with tf.name_scope("target_tokens"):
            limit = self.generation.max_length
            target = compose(self.tokenizer, PLAIN, {"text": target}, limit, reader)
            labels = with_end(target.ids)
            inputs = {}
            if reader is not None:
                source, labels, surfaces = reader.number(source, labels)
                inputs = {"num_unknown": tf.shape(surfaces)[1]}
            start = tf.fill([tf.shape(labels)[0], 1], START_ID)
            written = tf.concat([start, labels[:, :-1]], axis=1)
        logits = self.model({"source": source, "target": written, **inputs}, training=False)
        with tf.name_scope("log_probability"):
            columns = tf.where(labels < 0, self.model.vocab_size - 1 - labels, labels)
            log_p = -tf.nn.sparse_softmax_cross_entropy_with_logits(
                columns, tf.cast(logits, tf.float32)
            )
            counted = (labels != PAD_ID) & ~blank[:, None]
            if written_only:
                counted &= may_be_written(labels, self.generation)
            counts = tf.cast(counted, tf.int32)
            return {
                "score": tf.reduce_sum(log_p * tf.cast(counts, tf.float32), axis=1),
                "tokens": tf.reduce_sum(counts, axis=1),
            }

    def _write(self, columns, return_attention: bool = False):
        """Hypotheses, their source ids (B, S), and the texts (B, U) of unknown pieces or `None`.

        A blank text has one hypothesis without a token, even an end.
        """
        source, blank = self._source(columns, reader := self._reader())
        surfaces = None
        if reader is not None:
            source, _, surfaces = reader.number(source)
        found = generate(self.model, source, self.generation, return_attention)
        ids = tf.where(blank[:, None, None], PAD_ID, found.ids)
        one = tf.one_hot(0, self.generation.beam_size, on_value=0.0, off_value=NEG_INF)
        found = found._replace(ids=ids, scores=tf.where(blank[:, None], one, found.scores))
        if return_attention:
            attention = tf.where(blank[:, None, None, None], 0.0, found.attention)
            found = found._replace(attention=attention)
        return found, source, surfaces

    def _reader(self) -> SurfaceReader | None:
        return SurfaceReader() if self.generation.replace_unknown else None

    def _source(self, columns, reader: SurfaceReader | None = None):
        """Source ids (B, S), and a mask (B,) of the blank texts."""
        tokenizer, limit = self.tokenizer.source, self.max_source_length
        composed = compose(tokenizer, self.source_format, columns, limit, reader)
        return with_end(composed.ids), composed.blank


def _distinct(texts: tf.Tensor, scores: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The `size` best different texts of each row, the best first, each with its best score.

    Args:
        texts: Strings (B, M).
        scores: float32 (B, M), `NEG_INF` for what is not there.
        size: N, at most M.

    Returns:
        Texts (B, N) and scores (B, N), "" and `NEG_INF` where there are no more.
    """
    scores, order = tf.math.top_k(scores, scores.shape[1])
    texts = tf.gather(texts, order, batch_dims=1)
    equal = texts[:, :, None] == texts[:, None]
    before = tf.range(scores.shape[1])[:, None] > tf.range(scores.shape[1])
    repeated = tf.reduce_any(equal & before, axis=-1)
    scores, order = tf.math.top_k(tf.where(repeated, NEG_INF, scores), size)
    texts = tf.gather(texts, order, batch_dims=1)
    return tf.where(scores > NEG_INF / 2, texts, ""), scores
