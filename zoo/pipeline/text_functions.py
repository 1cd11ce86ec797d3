"""Text to text in the graph: the functions behind the signatures of a model."""

from __future__ import annotations

import tensorflow as tf

from ..decoding.options import NEG_INF, GenerationOptions
from ..decoding.search import generate
from ..models.encoder_decoder import EncoderDecoder
from ..text.composing import compose
from ..text.source_format import SourceFormat
from ..text.tokenizer import PAD_ID, START_ID, Tokenizer, with_end
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
        found, _, surfaces = self._write(columns)
        ids = tf.reshape(found.ids, (-1, tf.shape(found.ids)[2]))  # (B*N, T)
        texts = decode_tensor(self.tokenizer, ids, surfaces)
        texts = tf.reshape(texts, (-1, self.generation.beam_size))
        texts = tf.where(found.scores > NEG_INF / 2, texts, "")
        return {"text": texts, "score": found.scores}

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
            source, blank = self._source(columns)
        with tf.name_scope("target_tokens"):
            limit = self.generation.max_length
            inputs = self.source_format.targets
            labels = with_end(compose(self.tokenizer, inputs, {"text": target}, limit).ids)
            start = tf.fill([tf.shape(labels)[0], 1], START_ID)
            written = tf.concat([start, labels[:, :-1]], axis=1)
        logits = self.model({"source": source, "target": written}, training=False)
        with tf.name_scope("log_probability"):
            log_p = -tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, tf.cast(logits, tf.float32)
            )
            counted = (labels != PAD_ID) & ~blank[:, None]
            if written_only:
                counted &= may_be_written(labels, source, self.generation)
            counts = tf.cast(counted, tf.int32)
            return {
                "score": tf.reduce_sum(log_p * tf.cast(counts, tf.float32), axis=1),
                "tokens": tf.reduce_sum(counts, axis=1),
            }

    def _write(self, columns, return_attention: bool = False):
        """Hypotheses, their source ids (B, S), and the texts of unknown pieces or `None`.

        A blank text has one hypothesis without a token, even an end.
        """
        reader = SurfaceReader(self.tokenizer.source) if self.generation.replace_unknown else None
        source, blank = self._source(columns, reader)
        prefix, tag = None, self.source_format.target_tag
        if tag is not None:
            prefix = tf.fill([tf.shape(source)[0], 1], self.tokenizer.id_of(tag))
        found = generate(self.model, source, self.generation, return_attention, prefix)
        ids = tf.where(blank[:, None, None], PAD_ID, found.ids)
        one = tf.one_hot(0, self.generation.beam_size, on_value=0.0, off_value=NEG_INF)
        found = found._replace(ids=ids, scores=tf.where(blank[:, None], one, found.scores))
        if return_attention:
            attention = tf.where(blank[:, None, None, None], 0.0, found.attention)
            found = found._replace(attention=attention)
        return found, source, reader and reader.surfaces()

    def _source(self, columns, reader: SurfaceReader | None = None):
        """Source ids (B, S), and a mask (B,) of the blank texts."""
        tokenizer, limit = self.tokenizer.source, self.max_source_length
        composed = compose(tokenizer, self.source_format, columns, limit, reader)
        return with_end(composed.ids), composed.blank
