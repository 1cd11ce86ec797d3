"""CTranslate2: decoding by a Transformer, float32 and int8.

python benchmarks/peer_ctranslate2.py T B

It has random weights. With `--model FOLDER` it is the model that real_text.py wrote there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import ctranslate2
import numpy as np
from ctranslate2.specs import TransformerSpec
from sizes import SIZES, STEPS, THREADS, Transformer, measure_decoding, measure_rows

NAME = f"CTranslate2 {ctranslate2.__version__}"
# By the ids that the zoo gives them.
SPECIAL = ["<blank>", "<unk>", "<s>", "</s>"]
Weights = dict[str, np.ndarray]


def words(vocabulary: int) -> list[str]:
    """The names of the ids, which mean nothing but those of the special ones."""
    return [*SPECIAL, *map(str, range(len(SPECIAL), vocabulary))]


def random_weights(size: Transformer) -> Weights:
    """By their names in CTranslate2's specification."""
    random = np.random.default_rng(0)
    width = size.width
    weights: Weights = {}

    def draw(name, *shape):
        weights[name] = (random.normal(size=shape) * shape[-1] ** -0.5).astype("float32")

    def linear(name, outputs, inputs):
        draw(f"{name}.weight", outputs, inputs)
        weights[f"{name}.bias"] = np.zeros(outputs, "float32")

    def norm(name):
        weights[f"{name}.gamma"] = np.ones(width, "float32")
        weights[f"{name}.beta"] = np.zeros(width, "float32")

    def attention(name, *projections):
        norm(f"{name}.layer_norm")
        for i, outputs in enumerate(projections):
            linear(f"{name}.linear.{i}", outputs, width)

    linear("decoder.projection", size.vocabulary, width)
    for name in ("encoder.embeddings.0.weight", "decoder.embeddings.weight"):
        weights[name] = weights["decoder.projection.weight"]
    for side in ("encoder", "decoder"):
        draw(f"{side}.position_encodings.encodings", 64, width)
        norm(f"{side}.layer_norm")
        for layer in (f"{side}.layer.{i}" for i in range(size.layers)):
            attention(f"{layer}.self_attention", 3 * width, width)
            if side == "decoder":
                attention(f"{layer}.attention", width, 2 * width, width)
            norm(f"{layer}.ffn.layer_norm")
            linear(f"{layer}.ffn.linear_0", size.feedforward, width)
            linear(f"{layer}.ffn.linear_1", width, size.feedforward)
    return weights


def write_model(weights: Weights, layers: tuple[int, int], heads: int, folder: str) -> None:
    """A model for `ctranslate2.Translator`: pre-norm, embeddings scaled."""
    spec = TransformerSpec.from_config(layers, heads, pre_norm=True)
    for name, values in weights.items():
        *path, last = name.split(".")
        part = spec
        for step in path:
            part = part[int(step)] if step.isdigit() else getattr(part, step)
        if last != "encodings" and not hasattr(part, last):
            raise AttributeError(f"CTranslate2 has no weight {name}")
        setattr(part, last, values)
    spec.encoder.scale_embeddings = spec.decoder.scale_embeddings = True
    vocabulary = words(len(weights["decoder.projection.bias"]))
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.config.add_source_eos = spec.config.add_source_bos = False
    spec.config.layer_norm_epsilon = 1e-6
    spec.validate()
    spec.optimize()
    spec.save(folder)


def translator(folder: str, kind: str, at_a_time: int = 1) -> ctranslate2.Translator:
    threads = {"inter_threads": at_a_time, "intra_threads": THREADS // at_a_time}
    return ctranslate2.Translator(folder, device="cpu", compute_type=kind, **threads)


def measure(size: str, types: list[str], batches: list[int]) -> None:
    chosen = SIZES[size]
    vocabulary = words(chosen.vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        write_model(random_weights(chosen), (chosen.layers, chosen.layers), chosen.heads, folder)
        for kind in types:
            model = translator(folder, kind)
            for beams in (1, chosen.beams):

                def write(rows, model=model, beams=beams):
                    results = model.translate_batch(
                        [[vocabulary[i] for i in row] for row in rows],
                        beam_size=beams,
                        min_decoding_length=STEPS,
                        max_decoding_length=STEPS,
                    )
                    assert len(results[0].hypotheses[0]) == STEPS

                for batch in batches:
                    measure_decoding(f"{NAME} {kind}", size, write, batch, beams)


def measure_model(folder: Path, types: list[str]) -> None:
    """Beam search of the sources of `real_text.py`; the tokens of each type go beside them."""
    job = json.loads((folder / "job.json").read_text())
    for kind in types:
        model = translator(str(folder / "model"), kind, job["at_a_time"])

        def write(rows: list[list[str]], model=model) -> list[list[str]]:
            results = model.translate_batch(
                rows,
                beam_size=job["beams"],
                length_penalty=job["length_penalty"],
                disable_unk=True,
                max_decoding_length=job["max_length"],
            )
            return [each.hypotheses[0] for each in results]

        sizes = (job["batch"], job["beams"], job["at_a_time"])
        found = measure_rows(f"{NAME} {kind}", write, job["sources"], *sizes)
        (folder / f"{kind}.json").write_text(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sizes", nargs="*", help="T, B")
    parser.add_argument("--types", nargs="*", default=["float32", "int8"])
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 64])
    parser.add_argument("--model", type=Path, help="a folder that real_text.py wrote")
    chosen = parser.parse_args()
    for size in chosen.sizes:
        measure(size, chosen.types, chosen.batch)
    if chosen.model:
        measure_model(chosen.model, chosen.types)


if __name__ == "__main__":
    main()
