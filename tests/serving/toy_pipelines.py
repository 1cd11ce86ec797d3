"""Small pipelines with the contract that `export` needs, sound and deliberately broken."""

from __future__ import annotations

import io

import keras
import sentencepiece
import tensorflow as tf
import tensorflow_text

TEXTS = [
    "a little house stands by the river",
    "the little dog runs to the river",
    "two dogs and a cat sleep in the house",
    "the cat sees the dog and runs",
    "we walk along the river to the old house",
    "an old man reads in the little garden",
]
NUM_HYPOTHESES = 3
PAD, END = 0, 3
LONG = 30  # characters


def train_tokenizer() -> bytes:
    """A SentencePiece model of the few lines above."""
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_writer=buffer,
        model_type="bpe",
        vocab_size=80,
        hard_vocab_limit=False,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        minloglevel=2,
    )
    return buffer.getvalue()


class ToyModel(keras.Model):
    """Scores the next subword from the last one and the mean of the source."""

    def __init__(self, vocab_size: int, width: int = 64, seed: int = 7, **kwargs):
        super().__init__(**kwargs)
        initializer = keras.initializers.RandomNormal(stddev=1.0, seed=seed)
        self.embedding = keras.layers.Embedding(vocab_size, width, initializer)
        self.output_layer = keras.layers.Dense(vocab_size, kernel_initializer=initializer)

    def call(self, inputs):
        last, source = inputs
        mask = tf.cast(source != PAD, tf.float32)[..., None]
        mean = tf.reduce_sum(self.embedding(source) * mask, 1) / (tf.reduce_sum(mask, 1) + 1e-6)
        return self.output_layer(self.embedding(last) + mean)


def is_long(text):
    """Mask (B,) of the texts that are said to be cut, as a real model does that has a limit."""
    return tf.strings.length(text) > LONG


class ToyTextToText:
    """Writes as many subwords as it reads, greedily, in a loop inside the graph."""

    def __init__(self, name: str = "toy", seed: int = 7):
        self.name = name
        self.tokenizer = tensorflow_text.SentencepieceTokenizer(model=train_tokenizer())
        self.vocab_size = int(self.tokenizer.vocab_size())
        self.model = ToyModel(self.vocab_size, seed=seed)
        self.model((tf.zeros([1], tf.int32), tf.zeros([1, 1], tf.int32)))

    def trackables(self):
        return [self.tokenizer]

    def ids(self, text):
        return self.tokenizer.tokenize(text).to_tensor(PAD)

    def decode(self, text, first=2):
        """Ids (B, T), their log-probability (B,) and the source ids (B, S)."""
        ragged = self.tokenizer.tokenize(text)
        source = ragged.to_tensor(PAD)
        lengths = tf.cast(ragged.row_lengths(), tf.int32)
        rows = tf.shape(source)[0]

        def body(step, last, written, score):
            logits = self.model((last, source), training=False)
            best = tf.argmax(logits, -1, output_type=tf.int32)
            best = 4 + (best + step) % (self.vocab_size - 4)
            live = step < lengths
            best = tf.where(live, best, PAD)
            chosen = tf.gather(tf.nn.log_softmax(logits), tf.maximum(best, 0), batch_dims=1)
            score += tf.where(live, chosen, 0.0)
            return step + 1, best, written.write(step, best), score

        written = tf.TensorArray(tf.int32, size=0, dynamic_size=True, element_shape=[None])
        _, _, written, score = tf.while_loop(
            lambda step, *_: step < tf.maximum(tf.reduce_max(lengths), 1),
            body,
            [0, tf.fill([rows], first), written, tf.zeros([rows])],
        )
        ids = tf.reshape(tf.transpose(written.stack()), [rows, -1])
        return ids, score, source

    def detokenize(self, ids):
        return self.tokenizer.detokenize(tf.ragged.boolean_mask(ids, ids != PAD))

    def pieces(self, ids):
        return tf.where(ids == PAD, "", self.tokenizer.id_to_string(ids))

    def serving_default(self, text):
        ids, score, _ = self.decode(text)
        return {"text": self.detokenize(ids), "score": score, "truncated": is_long(text)}

    def document(self, text):
        lines = tf.strings.split(text, "\n")
        outputs = self.serving_default(lines.values)
        written = tf.strings.reduce_join(lines.with_values(outputs["text"]), 1, separator="\n")
        score = tf.reduce_sum(lines.with_values(outputs["score"]), 1)
        return {"text": written, "score": score, "truncated": is_long(text)}

    def n_best(self, text):
        found = [self.decode(text, first) for first in range(2, 2 + NUM_HYPOTHESES)]
        return {
            "text": tf.stack([self.detokenize(ids) for ids, _, _ in found], 1),
            "score": tf.stack([score for _, score, _ in found], 1),
            "truncated": is_long(text),
        }

    def explain(self, text):
        ids, score, source = self.decode(text)
        closeness = tf.cast(ids[:, :, None] == source[:, None, :], tf.float32)
        mask = tf.cast((ids != PAD)[:, :, None] & (source != PAD)[:, None, :], tf.float32)
        weights = (closeness + 0.1) * mask
        return {
            "text": self.detokenize(ids),
            "score": score,
            "truncated": is_long(text),
            "source_tokens": self.pieces(source),
            "target_tokens": self.pieces(ids),
            "attention": weights / (tf.reduce_sum(weights, -1, keepdims=True) + 1e-6),
        }

    def score(self, text, target):
        source, labels = self.ids(text), self.ids(target)
        logits = self.model((tf.fill([tf.shape(source)[0]], 2), source), training=False)
        chosen = tf.gather(tf.nn.log_softmax(logits), labels, batch_dims=1)
        keep = labels != PAD
        return {
            "score": tf.reduce_sum(tf.where(keep, chosen, 0.0), -1),
            "tokens": tf.reduce_sum(tf.cast(keep, tf.int32), -1),
            "truncated": is_long(text) | is_long(target),
        }

    def signatures(self):
        text = tf.TensorSpec([None], tf.string, name="text")
        target = tf.TensorSpec([None], tf.string, name="target")
        return {
            "serving_default": tf.function(self.serving_default, input_signature=[text]),
            "document": tf.function(self.document, input_signature=[text]),
            "n_best": tf.function(self.n_best, input_signature=[text]),
            "explain": tf.function(self.explain, input_signature=[text]),
            "score": tf.function(self.score, input_signature=[text, target]),
        }
