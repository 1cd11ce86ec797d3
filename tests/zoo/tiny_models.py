"""Models of a few hundred weights, a model that is a table, and searches written without beams."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.models.encoder_decoder import EncoderDecoder
from attention_zoo.zoo.models.memory_network import memory_network
from attention_zoo.zoo.models.parts import Decoder, Encoded, Encoder, Output
from attention_zoo.zoo.models.recurrent import recurrent
from attention_zoo.zoo.models.transformer import transformer
from attention_zoo.zoo.text.tokenizer import END_ID, PAD_ID, START_ID, UNKNOWN_ID

FIRST_FREE_ID = 4
ATTENTIONS = ("none", "bahdanau", "luong", "qkv")
COPYING = {  # of a kind of attention, or of the Transformer
    "pointer": ("bahdanau", {"copying": True, "coverage": True}),
    "copying-luong": ("luong", {"copying": True}),
    "copying-transformer": ("transformer", {"copying": True}),
}
KINDS = (*ATTENTIONS, "transformer", "memory", *COPYING)
# What else a Transformer can be, and a recurrent model; for tests that ask for every model in a
# moment.
TRANSFORMERS = {
    "post-norm": ("transformer", {"norm_first": False}),
    "learned": ("transformer", {"positions": "learned", "max_length": 16}),
    "rotary": ("transformer", {"positions": "rotary"}),
    "relative": ("transformer", {"positions": "relative"}),
    "alibi": ("transformer", {"positions": "alibi"}),
    "published": (
        "transformer",
        {"positions": "sinusoidal-published", "norm_first": False, "activation": "silu"},
    ),
    "second": ("transformer", {"first_position": 2, "norm_epsilon": 1e-3}),
    "gated": (
        "transformer",
        {
            "positions": "relative",
            "norm": "rms",
            "gated": True,
            "activation": "gelu_tanh",
            "key_dim": 6,
            "embedding_scale_power": 0.0,
        },
    ),
    "untied": ("transformer", {"tie_embeddings": False}),
    "own-source": ("transformer", {"source_vocab_size": 12, "norm_first": False}),
}
VARIANTS = {
    **TRANSFORMERS,
    "deep-encoder": ("bahdanau", {"encoder_layers": 3}),
    "pointer-location": (
        "bahdanau",
        {"copying": True, "coverage": True, "location_window": 1},
    ),
    "looks-before": ("bahdanau", {"attention_query": "previous_state"}),
    "heads": ("qkv", {"num_heads": 2}),
}
TINY = {"embedding_dim": 6, "encoder_units": 5, "decoder_units": 7, "attention_units": 4}
TINY_TRANSFORMER = {
    "width": 8,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_heads": 2,
    "feedforward_dim": 10,
}


def tiny_model(kind: str, vocab_size: int = 12, seed: int = 0, **options) -> EncoderDecoder:
    """A model without dropout and with random weights, biases too."""
    kind, own = {**COPYING, **VARIANTS}.get(kind, (kind, {}))
    options = {"dropout": 0.0, **own, **options}
    if kind == "transformer":
        model = transformer(vocab_size, **{**TINY_TRANSFORMER, **options})
    elif kind == "memory":
        # Some sentences end by themselves, others are too long.
        options = {"hops": 2, "sentence_marks": [7, 9], "max_sentence_length": 3, **options}
        model = memory_network(vocab_size, **TINY, **options)
    else:
        model = recurrent(vocab_size, kind, **TINY, **options)
    model.build()
    random = np.random.default_rng(seed)
    deviation = 0.3 if kind == "memory" else 0.6  # no tanh keeps its logits small
    for weight in model.trainable_variables:
        weight.assign(random.normal(0, deviation, weight.shape))
    return model


def random_source(seed: int, lengths: list[int], vocab_size: int = 12, padding: int = 0):
    """Source ids (B, S): so many subwords a row, the end, then padding."""
    random = np.random.default_rng(seed)
    ids = np.full((len(lengths), max(lengths) + 1 + padding), PAD_ID, np.int32)
    for row, length in enumerate(lengths):
        ids[row, :length] = random.integers(FIRST_FREE_ID, vocab_size, length)
        ids[row, length] = END_ID
    return ids


def random_target(seed: int, lengths: list[int], vocab_size: int = 12):
    """Target ids (B, T), the start first, and their labels, the end last; padding after both."""
    labels = random_source(seed, lengths, vocab_size)
    start = np.full((len(lengths), 1), START_ID, np.int32)
    target = np.concatenate([start, labels[:, :-1]], axis=1)
    target[labels == PAD_ID] = PAD_ID
    return target, labels


class NoEncoder(Encoder):
    """The embeddings themselves."""

    def call(self, inputs, mask, training=False):
        return Encoded(inputs, mask, inputs[:, 0])


class Table(Decoder):
    """What is written next by a table of probabilities (T, V, V), given step and last token.

    The embedding is one-hot, so it says which token that was.
    """

    def __init__(self, probabilities: np.ndarray):
        super().__init__()
        self.table = tf.constant(np.log(np.maximum(probabilities, 1e-30)), tf.float32)

    def prepare(self, encoded):
        return encoded.mask

    def initial_state(self, memory, num_beams=1, max_steps=None):
        return tf.zeros((tf.shape(memory)[0], num_beams), tf.int32)

    def step(self, embedded, state, memory, weights):
        last = tf.argmax(embedded, axis=-1, output_type=tf.int32)
        logits = tf.gather_nd(self.table, tf.stack([state, last], axis=-1))
        scores = tf.zeros(tf.concat([tf.shape(last), tf.shape(memory)[1:]], axis=0))
        return logits, state + 1, scores


class SameOutput(Output):
    """Hidden states that are logits."""

    def call(self, hidden, attention=None, source=(), weights=None, training=False):
        return hidden


class TableModel(EncoderDecoder):
    """Writes by a table of probabilities (T, V, V)."""

    def __init__(self, probabilities: np.ndarray):
        size = probabilities.shape[-1]
        one_hot = keras.layers.Embedding(size, size, keras.initializers.Identity())
        one_hot.build()
        super().__init__(NoEncoder(), Table(probabilities), SameOutput(), one_hot, one_hot)
        self.built = True

    def log_p(self, source: np.ndarray, target: list[int]) -> float:
        steps = zip([START_ID, *target], target, strict=False)
        table = self.decoder.table.numpy()
        return sum(float(table[t, last, token]) for t, (last, token) in enumerate(steps))


@dataclass(frozen=True)
class Hypothesis:
    """A finished target, its end included, and what it is ranked by."""

    ids: tuple[int, ...]
    score: float


def length_limit(source: np.ndarray, options: GenerationOptions) -> int:
    """Most subwords of the target of one source row, end included."""
    if options.max_length_ratio is None:
        return options.max_length
    allowed = int(np.sum(source != PAD_ID) * options.max_length_ratio) + 10
    return min(max(allowed, options.min_length + 1), options.max_length)


def free_ids(vocab_size: int, options: GenerationOptions) -> list[int]:
    """What may be written before the end."""
    ids = list(range(FIRST_FREE_ID, vocab_size))
    return ids if options.forbid_unknown else [UNKNOWN_ID, *ids]


def rank(log_p: float, length: int, options: GenerationOptions) -> float:
    return log_p / ((5 + length) / 6) ** options.length_penalty


@functools.lru_cache(maxsize=4)
def traced(model: EncoderDecoder) -> Callable:
    """The forward pass as a graph, for searches that take very many."""
    ids = tf.TensorSpec([None, None], tf.int32)
    return tf.function(model, input_signature=[{"source": ids, "target": ids}])


def log_probabilities(
    model: EncoderDecoder,
    source: np.ndarray,
    targets: list[tuple[int, ...]],
    forward: Callable | None = None,
):
    """The log p of each target, end included, in one forward pass over the whole of it."""
    if isinstance(model, TableModel):
        return [model.log_p(source, list(target)) for target in targets]
    longest = max(map(len, targets))
    labels = np.array([[*t, *[PAD_ID] * (longest - len(t))] for t in targets], np.int32)
    starts = np.full((len(targets), 1), START_ID, np.int32)
    inputs = {
        "source": np.repeat(source[None], len(targets), axis=0),
        "target": np.concatenate([starts, labels[:, :-1]], axis=1),
    }
    logits = (forward or model)(inputs).numpy().astype("float64")
    logits -= logits.max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log_p, labels[..., None], axis=-1)[..., 0]
    return list(np.sum(chosen * (labels != PAD_ID), axis=1))


def exhaustive_search(
    model: EncoderDecoder,
    source: np.ndarray,
    vocab_size: int,
    options: GenerationOptions,
    prefix: tuple[int, ...] = (),
) -> list[Hypothesis]:
    """Every target that the options allow for one source row, the best first."""
    free = free_ids(vocab_size, options)
    fewest = max(options.min_length, int(np.sum(source != PAD_ID) * options.min_length_ratio))
    lengths = range(fewest, length_limit(source, options))
    targets = [
        (*ids, END_ID)
        for length in lengths
        for ids in itertools.product(free, repeat=length)
        if ids[: len(prefix)] == prefix and not repeats_ngram(ids, options.no_repeat_ngram)
    ]
    log_p = log_probabilities(model, source, targets)
    found = [
        Hypothesis(ids, rank(value, len(ids), options) + penalty)
        for ids, value, penalty in zip(
            targets, log_p, coverage(model, source, targets, options), strict=True
        )
    ]
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


def repeats_ngram(ids: tuple[int, ...], size: int) -> bool:
    """Whether a run of so many subwords stands in the target twice."""
    runs = [ids[i : i + size] for i in range(len(ids) - size + 1)] if size else []
    return len(runs) > len(set(runs))


def coverage(
    model: EncoderDecoder,
    source: np.ndarray,
    targets: list[tuple[int, ...]],
    options: GenerationOptions,
) -> list[float]:
    """The coverage penalty of each whole target, its end included, a step at a time."""
    if not options.coverage_penalty:
        return [0.0] * len(targets)
    longest = max(map(len, targets))
    memory = model.encode(tf.constant(np.repeat(source[None], len(targets), axis=0)))
    state = model.initial_state(memory, 1, longest)
    paid = np.zeros((len(targets), len(source)))
    lengths = np.array([len(target) for target in targets])
    for t in range(longest):
        last = [[(START_ID, *target)[min(t, len(target))]] for target in targets]
        _, state, scores = model.step(tf.constant(last), state, memory)
        paid += np.where((t < lengths)[:, None], scores.numpy()[:, 0], 0.0)
    paid = np.clip(paid[:, source != PAD_ID], 1e-6, 1.0)
    return list(options.coverage_penalty * np.log(paid).sum(1))


def plain_beam_search(
    model: EncoderDecoder, source: np.ndarray, vocab_size: int, options: GenerationOptions
) -> list[Hypothesis]:
    """Beam search for one source row over lists, scoring every hypothesis from its beginning."""
    beams, limit = options.beam_size, length_limit(source, options)
    live: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    finished: list[Hypothesis] = []
    forward = traced(model)
    for t in range(limit):
        if t >= options.min_length:
            ended = [(*ids, END_ID) for ids, _ in live]
            values = log_probabilities(model, source, ended, forward)
            for ids, log_p in zip(ended, values, strict=True):
                finished.append(Hypothesis(ids, rank(log_p, len(ids), options)))
            finished = sorted(finished, key=lambda h: -h.score)[:beams]
        longer = [(*ids, i) for ids, _ in live for i in free_ids(vocab_size, options)]
        scored = zip(longer, log_probabilities(model, source, longer, forward), strict=True)
        live = sorted(scored, key=lambda pair: -pair[1])[:beams]
        length = t + 2 if options.early_stopping else limit
        if len(finished) == beams and rank(live[0][1], length, options) <= finished[-1].score:
            break
    return finished


def plain_greedy_search(
    model: EncoderDecoder, source: np.ndarray, vocab_size: int, options: GenerationOptions
) -> Hypothesis:
    """The most probable subword at every step, for one source row."""
    limit = length_limit(source, options)
    ids: tuple[int, ...] = ()
    while not ids or ids[-1] != END_ID:
        choices = [] if len(ids) + 1 == limit else free_ids(vocab_size, options)
        if len(ids) >= options.min_length:
            choices = [END_ID, *choices]
        longer = [(*ids, i) for i in choices]
        log_p = log_probabilities(model, source, longer, traced(model))
        ids = longer[int(np.argmax(log_p))]
    return Hypothesis(ids, rank(max(log_p), len(ids), options))


def trimmed(ids: np.ndarray) -> tuple[int, ...]:
    """Ids up to their end, which is checked to be followed by padding alone."""
    ids = [int(i) for i in ids]
    length = ids.index(END_ID) + 1
    assert set(ids[length:]) <= {PAD_ID}
    return tuple(ids[:length])
