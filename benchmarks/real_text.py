"""Beam search of a trained Transformer on real text, ends of sentences and all.

    python benchmarks/real_text.py runs/multi30k --data valid.en --peers .venv-bench/bin/python

Random weights never end a sentence; trained ones do, each at its own length. The sources go in
batches of like lengths through a SavedModel, and the very same weights through CTranslate2, each
with its usual penalty of length. One batch at a time has all cores; with `--side-by-side` each core
has a batch of its own, as in `attention-zoo predict`. Tokenization is not counted. Says how many of
the translations are the same; the penalties differ a little, and so do a few of the translations.
`--length-penalty 0` is the same for both. With `--beams 1` it also says of how many others the
first two tokens that differ have the same probability but for rounding.
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
from attention_zoo.zoo.interchange.ctranslate2_model import missing_parts, write_ctranslate2
from attention_zoo.zoo.models import EncoderDecoder
from attention_zoo.zoo.pipeline.text_to_text import TextToText
from attention_zoo.zoo.text.special_ids import END_ID, START_ID

HERE = Path(__file__).parent
TIE = 1e-4  # nats: what float32 leaves of a difference of logits


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
    loaded: TextToText,
    sources: list[np.ndarray],
    batch: int,
    at_a_time: int,
    options: GenerationOptions,
) -> list[list[int]]:
    """The same by CTranslate2, in float32."""
    tokenizer = loaded.tokenizer
    job = {
        "beams": options.beam_size,
        "length_penalty": options.length_penalty,
        "batch": batch,
        "at_a_time": at_a_time,
        "max_length": options.max_length - 1,  # there without the end
        "sources": [tokenizer.source.pieces(row[:-1]) for row in sources],  # it adds the end
    }
    with tempfile.TemporaryDirectory() as folder:
        write_ctranslate2(loaded, Path(folder) / "model")
        (Path(folder) / "job.json").write_text(json.dumps(job))
        script = [python, str(HERE / "peer_ctranslate2.py"), "--model", folder]
        subprocess.run([*script, "--types", "float32"], check=True)
        found = json.loads((Path(folder) / "float32.json").read_text())
        return [tokenizer.ids(pieces) for pieces in found]


def gap_at_difference(
    model: EncoderDecoder, source: np.ndarray, ours: list[int], theirs: list[int]
) -> float:
    """How much likelier our token is, in nats, than theirs where two translations part."""
    ours, theirs = [*ours, END_ID], [*theirs, END_ID]
    same = next(i for i, pair in enumerate(zip(ours, theirs, strict=False)) if len({*pair}) > 1)
    target = np.array([[START_ID, *ours[:same]]])
    logits = model({"source": source[None], "target": target}, training=False)[0, -1]
    return float(logits[ours[same]] - logits[theirs[same]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a run of a Transformer")
    parser.add_argument("--data", type=Path, required=True, help="sources, one a line")
    parser.add_argument("--peers", help="the Python of the environment with CTranslate2")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument(
        "--length-penalty", type=float, default=1.0, help="exponent; the forms differ but for 0"
    )
    parser.add_argument(
        "--side-by-side", action="store_true", help="a batch on each core, in place of one on all"
    )
    chosen = parser.parse_args()
    at_a_time = THREADS if chosen.side_by_side else 1
    tf.config.threading.set_intra_op_parallelism_threads(THREADS // at_a_time)
    loaded = attention_zoo.load(chosen.run)
    model = loaded.model
    if lacking := missing_parts(model):
        parser.error(f"CTranslate2 has no {', no '.join(lacking)}: {chosen.run}")
    texts = chosen.data.read_text(encoding="utf-8").splitlines()
    ids = [np.append(row, END_ID) for row in loaded.tokenizer.source.encode(texts)]
    ids.sort(key=len)
    # At least one token before the end, which CTranslate2 does not count.
    options = GenerationOptions(
        chosen.beams, length_penalty=chosen.length_penalty, min_length=2, max_length_ratio=None
    )
    ours = measure_zoo(model, ids, chosen.batch, at_a_time, options)
    if chosen.peers:
        theirs = measure_peer(chosen.peers, loaded, ids, chosen.batch, at_a_time, options)
        same = sum(map(list.__eq__, ours, theirs))
        counts = {"same": same, "rows": len(ids)}
        if chosen.beams == 1:
            parted = [row for row in zip(ids, ours, theirs, strict=True) if row[1] != row[2]]
            gaps = [gap_at_difference(model, *row) for row in parted]
            counts["ties"] = sum(abs(gap) < TIE for gap in gaps)
        report("CTranslate2 float32", "same translations", **counts)


if __name__ == "__main__":
    main()
