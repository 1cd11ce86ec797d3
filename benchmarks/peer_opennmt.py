"""OpenNMT-tf: its Transformer and its recurrent model with additive attention.

python benchmarks/peer_opennmt.py train decode T B R

Its last release wants TensorFlow 2.13, which is made for no Python after 3.11; its environment is
that of requirements-opennmt.txt.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import opennmt
import tensorflow as tf
import tensorflow_addons as tfa
from sizes import (
    LABEL_SMOOTHING,
    SIZES,
    STEPS,
    Recurrent,
    Transformer,
    measure_decoding,
    measure_training,
    padded,
    training_batch,
)

NAME = f"OpenNMT-tf {opennmt.__version__}"


def transformer(size: Transformer) -> opennmt.models.Model:
    return opennmt.models.Transformer(
        num_layers=size.layers,
        num_units=size.width,
        num_heads=size.heads,
        ffn_inner_dim=size.feedforward,
        dropout=size.dropout,
        attention_dropout=0.0,
        ffn_dropout=0.0,
        share_embeddings=opennmt.models.EmbeddingsSharingLevel.ALL,
    )


def recurrent(size: Recurrent) -> opennmt.models.Model:
    cell = tf.keras.layers.GRUCell
    encoder = opennmt.encoders.RNNEncoder(
        1, size.encoder, bidirectional=True, dropout=size.dropout, cell_class=cell
    )
    decoder = opennmt.decoders.AttentionalRNNDecoder(
        1,
        size.decoder,
        bridge_class=opennmt.layers.DenseBridge,
        attention_mechanism_class=tfa.seq2seq.BahdanauAttention,
        cell_class=cell,
        dropout=size.dropout,
    )
    embedders = (opennmt.inputters.WordEmbedder(embedding_size=size.embedding) for _ in range(2))
    return opennmt.models.SequenceToSequence(*embedders, encoder, decoder)


def make(name: str, **options: object) -> opennmt.models.Model:
    """A model of a size with random weights."""
    size = SIZES[name]
    model = transformer(size) if isinstance(size, Transformer) else recurrent(size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.txt"
        # One more, for what is unknown, it adds by itself.
        words = ["<blank>", "<s>", "</s>", *map(str, range(3, size.vocabulary - 1))]
        path.write_text("\n".join(words) + "\n")
        smoothing = LABEL_SMOOTHING if isinstance(size, Transformer) else 0.0
        model.initialize(
            {"source_vocabulary": str(path), "target_vocabulary": str(path)},
            params={"label_smoothing": smoothing, **options},
        )
    model.create_variables()
    return model


def features(rows: np.ndarray, lengths: list[int]) -> dict[str, tf.Tensor]:
    return {"ids": tf.constant(rows, tf.int64), "length": tf.constant(lengths, tf.int32)}


def train(size: str) -> None:
    model = make(size)
    optimizer = tf.keras.optimizers.legacy.Adam(1e-4)
    source, target, labels = training_batch(size)
    lengths = [source.shape[1]] * len(source)
    read = features(source, lengths)
    written = {**features(target, lengths), "ids_out": tf.constant(labels, tf.int64)}
    update = tf.function(lambda read, written: model.train(read, written, optimizer))

    def step() -> float:
        return float(update(read, written))

    measure_training(NAME, size, step)


def decode(size: str, batches: list[int]) -> None:
    specs = (tf.TensorSpec((None, None), tf.int64), tf.TensorSpec((None,), tf.int32))
    limits = {"minimum_decoding_length": STEPS, "maximum_decoding_length": STEPS}
    for beams in (1, SIZES[size].beams):
        model = make(size, beam_width=beams, **limits)

        @tf.function(input_signature=specs)
        def infer(ids, lengths, model=model):
            return model.infer({"ids": ids, "length": lengths})

        def write(rows: list[np.ndarray], infer=infer) -> None:
            read = features(padded(rows), [len(row) for row in rows])
            written = infer(read["ids"], read["length"])
            assert written["length"].numpy().max() >= STEPS - 1

        for batch in batches:
            measure_decoding(NAME, size, write, batch, beams, repeats=2, most_seconds=20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="+", help="train, decode, T, B, R")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 64])
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    for size in [size for size in SIZES if size in chosen.what]:
        if "train" in chosen.what:
            train(size)
        if "decode" in chosen.what:
            decode(size, chosen.batch)


if __name__ == "__main__":
    main()
