"""CTranslate2: decoding by a Transformer of random weights, float32 and int8.

python benchmarks/peer_ctranslate2.py T B
"""

from __future__ import annotations

import argparse
import tempfile

import ctranslate2
import numpy as np
from ctranslate2.specs import TransformerSpec
from sizes import SIZES, STEPS, THREADS, Transformer, measure_decoding

NAME = f"CTranslate2 {ctranslate2.__version__}"


def words(size: Transformer) -> list[str]:
    """Its vocabulary; the names of the ids mean nothing."""
    return ["<blank>", "<s>", "</s>", "<unk>", *map(str, range(4, size.vocabulary))]


def write_model(size: Transformer, folder: str) -> None:
    random = np.random.default_rng(0)
    width, feedforward = size.width, size.feedforward

    def weights(*shape):
        return (random.normal(size=shape) * shape[-1] ** -0.5).astype("float32")

    def linear(spec, outputs, inputs):
        spec.weight, spec.bias = weights(outputs, inputs), np.zeros(outputs, "float32")

    def norm(spec):
        spec.gamma, spec.beta = np.ones(width, "float32"), np.zeros(width, "float32")

    def attention(spec, *projections):
        norm(spec.layer_norm)
        for layer, outputs in zip(spec.linear, projections, strict=True):
            linear(layer, outputs, width)

    spec = TransformerSpec.from_config((size.layers, size.layers), size.heads, pre_norm=True)
    embedding, places = weights(size.vocabulary, width), weights(64, width)
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = embedding
    for side in (spec.encoder, spec.decoder):
        side.position_encodings.encodings = places
        side.scale_embeddings = True
        norm(side.layer_norm)
        for layer in side.layer:
            attention(layer.self_attention, 3 * width, width)
            if side is spec.decoder:
                attention(layer.attention, width, 2 * width, width)
            norm(layer.ffn.layer_norm)
            linear(layer.ffn.linear_0, feedforward, width)
            linear(layer.ffn.linear_1, width, feedforward)
    spec.decoder.projection.weight = embedding
    spec.decoder.projection.bias = np.zeros(size.vocabulary, "float32")
    spec.register_source_vocabulary(words(size))
    spec.register_target_vocabulary(words(size))
    spec.config.add_source_eos = spec.config.add_source_bos = False
    spec.validate()
    spec.optimize()
    spec.save(folder)


def measure(size: str, types: list[str], batches: list[int]) -> None:
    chosen = SIZES[size]
    vocabulary = words(chosen)
    with tempfile.TemporaryDirectory() as folder:
        write_model(chosen, folder)
        for kind in types:
            translator = ctranslate2.Translator(
                folder, device="cpu", compute_type=kind, inter_threads=1, intra_threads=THREADS
            )
            for beams in (1, chosen.beams):

                def write(rows, translator=translator, beams=beams):
                    results = translator.translate_batch(
                        [[vocabulary[i] for i in row] for row in rows],
                        beam_size=beams,
                        min_decoding_length=STEPS,
                        max_decoding_length=STEPS,
                    )
                    assert len(results[0].hypotheses[0]) == STEPS

                for batch in batches:
                    measure_decoding(f"{NAME} {kind}", size, write, batch, beams)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sizes", nargs="+", help="T, B")
    parser.add_argument("--types", nargs="*", default=["float32", "int8"])
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 64])
    chosen = parser.parse_args()
    for size in chosen.sizes:
        measure(size, chosen.types, chosen.batch)


if __name__ == "__main__":
    main()
