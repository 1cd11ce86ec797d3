"""Beam search of a trained Transformer on real text, ends of sentences and all.

    python benchmarks/real_text.py runs/multi30k --data valid.en --peers .venv-bench/bin/python

Random weights never end a sentence; trained ones do, each at its own length. The sources go in
batches of like lengths through a SavedModel, and the very same weights through CTranslate2, each
with its usual penalty of length. One batch at a time has all cores; with `--side-by-side` each core
has a batch of its own, as in `attention-zoo predict`. Tokenization is not counted. Says how many of
the translations are the same; the penalties differ a little, and so do a few of the translations.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import numpy as np
import tensorflow as tf
from decoding import through_saved_model
from sizes import THREADS, measure_rows, padded, report

import attention_zoo
from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.decoding.search import generate
from attention_zoo.zoo.models import EncoderDecoder, TransformerDecoder, TransformerEncoder
from attention_zoo.zoo.text.tokenizer import END_ID

HERE = Path(__file__).parent
PLACES = 512  # whose encodings are written


def ctranslate2_weights(model: EncoderDecoder) -> dict[str, np.ndarray]:
    """The weights of a pre-norm model by their names in CTranslate2's specification."""
    weights: dict[str, np.ndarray] = {}

    def linear(name, kernel, bias):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = kernel.numpy().T, bias.numpy()

    def norm(name, layer):
        weights[f"{name}.gamma"], weights[f"{name}.beta"] = layer.gamma.numpy(), layer.beta.numpy()

    def block(name, block):
        attention = block.self_attention
        norm(f"{name}.self_attention.layer_norm", block.attention_norm)
        linear(f"{name}.self_attention.linear.0", attention.qkv_kernel, attention.qkv_bias)
        linear(f"{name}.self_attention.linear.1", attention.output_kernel, attention.output_bias)
        norm(f"{name}.ffn.layer_norm", block.feed_forward_norm)
        linear(f"{name}.ffn.linear_0", block.expand.kernel, block.expand.bias)
        linear(f"{name}.ffn.linear_1", block.contract.kernel, block.contract.bias)

    def cross(name, block):
        attention = block.cross_attention
        kernels = attention.key_kernel, attention.value_kernel
        biases = attention.key_bias, attention.value_bias
        norm(f"{name}.layer_norm", block.cross_attention_norm)
        linear(f"{name}.linear.0", attention.query_kernel, attention.query_bias)
        linear(f"{name}.linear.1", tf.concat(kernels, -1), tf.concat(biases, -1))
        linear(f"{name}.linear.2", attention.output_kernel, attention.output_bias)

    kernel, bias = model.output_layer.vocabulary_weights()
    linear("decoder.projection", tf.transpose(kernel), bias)
    weights["decoder.embeddings.weight"] = model.target_embedding.embeddings.numpy()
    weights["encoder.embeddings.0.weight"] = model.source_embedding.embeddings.numpy()
    for side, part in {"encoder": model.encoder, "decoder": model.decoder}.items():
        weights[f"{side}.position_encodings.encodings"] = part.positions.first(PLACES).numpy()
        norm(f"{side}.layer_norm", part.norm)
        for i, layer in enumerate(part.blocks):
            block(f"{side}.layer.{i}", layer)
            if side == "decoder":
                cross(f"{side}.layer.{i}.attention", layer)
    return weights


def measure_zoo(
    model: EncoderDecoder,
    sources: list[np.ndarray],
    batch: int,
    at_a_time: int,
    options: GenerationOptions,
) -> list[list[int]]:
    """Translations of the sources, without their ends."""
    decode = through_saved_model(
        model, lambda source: {"ids": generate(model, source, options).ids}
    )

    def write(rows):
        best = decode(padded(rows))["ids"].numpy()[:, 0]
        return [row[row > END_ID].tolist() for row in best]

    return measure_rows("attention-zoo saved", write, sources, batch, options.beam_size, at_a_time)


def measure_peer(
    python: str,
    model: EncoderDecoder,
    sources: list[np.ndarray],
    batch: int,
    at_a_time: int,
    options: GenerationOptions,
) -> list[list[int]]:
    """The same by CTranslate2, in float32."""
    job = {
        "layers": [len(model.encoder.blocks), len(model.decoder.blocks)],
        "heads": model.decoder.blocks[0].num_heads,
        "beams": options.beam_size,
        "batch": batch,
        "at_a_time": at_a_time,
        "max_length": options.max_length,
        "sources": [row.tolist() for row in sources],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        np.savez(path, job=json.dumps(job), **ctranslate2_weights(model))
        script = [python, str(HERE / "peer_ctranslate2.py"), "--model", str(path)]
        subprocess.run([*script, "--types", "float32"], check=True)
        return json.loads(path.with_suffix(".float32.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a run of a Transformer")
    parser.add_argument("--data", type=Path, required=True, help="sources, one a line")
    parser.add_argument("--peers", help="the Python of the environment with CTranslate2")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument(
        "--side-by-side", action="store_true", help="a batch on each core, in place of one on all"
    )
    chosen = parser.parse_args()
    at_a_time = THREADS if chosen.side_by_side else 1
    tf.config.threading.set_intra_op_parallelism_threads(THREADS // at_a_time)
    loaded = attention_zoo.load(chosen.run)
    model = loaded.model
    parts = (
        isinstance(model.encoder, TransformerEncoder),
        isinstance(model.decoder, TransformerDecoder),
    )
    if not all(parts) or not model.decoder.norm_first:
        parser.error(f"{chosen.run} is not a run of a pre-norm Transformer")
    texts = chosen.data.read_text(encoding="utf-8").splitlines()
    ids = [np.append(row, END_ID) for row in loaded.tokenizer.source.encode(texts)]
    ids.sort(key=len)
    options = GenerationOptions(chosen.beams, min_length=1, max_length_ratio=None)
    ours = measure_zoo(model, ids, chosen.batch, at_a_time, options)
    if chosen.peers:
        theirs = measure_peer(chosen.peers, model, ids, chosen.batch, at_a_time, options)
        same = sum(map(list.__eq__, ours, theirs))
        report("CTranslate2 float32", "same translations", same=same, rows=len(ids))


if __name__ == "__main__":
    main()
