"""Models of transformers beside what the zoo makes of them: tokens, logits and searches.

    python benchmarks/interchange.py --peers .venv-bench/bin/python

In the environment of the peers `peer_transformers.py` makes random small models of each kind and
says what they answer; here their folders are imported and asked the same: 1,000 texts in twelve
scripts of the CLDR are tokenized, 40 random targets scored, and 200 texts answered by greedy and
beam search. Two results of a search are one if they are equal, or if their log probabilities are.
Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from babel import Locale

from attention_zoo.zoo.decoding.beam_search import BeamSearch
from attention_zoo.zoo.decoding.options import NEG_INF, GenerationOptions
from attention_zoo.zoo.decoding.search import generate
from attention_zoo.zoo.interchange.checkpoint import read_json
from attention_zoo.zoo.interchange.huggingface import Imported, read_checkpoint
from attention_zoo.zoo.interchange.vocabulary import Vocabularies, read_vocabularies
from attention_zoo.zoo.text.special_ids import END_ID, PAD_ID

HERE = Path(__file__).parent
FAMILIES = ("marian", "pegasus", "t5", "mt5", "m2m100", "nllb")
LANGUAGES = {"m2m100": ("en", "de"), "nllb": ("eng_Latn", "deu_Latn")}
SCRIPTS = ("en", "vi", "ru", "el", "zh", "ja", "ko", "ar", "he", "hi", "th", "ka")
STEPS, BEAMS = 24, 4  # as in peer_transformers.py


def cldr_texts(count: int) -> list[str]:
    """Names of places, languages and currencies, a few together."""
    chosen = random.Random(0)
    found = []
    for script in SCRIPTS:
        locale = Locale(script)
        words = [*locale.territories.values(), *locale.languages.values()]
        words += locale.currencies.values()
        for _ in range(-(-count // len(SCRIPTS))):
            found.append(" ".join(chosen.choices(words, k=chosen.randint(1, 4))))
    chosen.shuffle(found)
    return found[:count]


class RankedEnds(BeamSearch):
    """Beam search in which an end counts only if it is among the N best candidates of a step.

    So does that of transformers. The zoo's looks at each end, and finds some better results.
    """

    def choose(self, candidates, search):
        _, others = candidates.best(self.num_hypotheses, with_end=False)  # (R, N, K)
        others = tf.reshape(others + search.log_p[..., None], (tf.shape(others)[0], 1, -1))
        ends = candidates.end_log_p()
        each = (ends + search.log_p)[..., None]  # (R, N, 1)
        above = tf.math.count_nonzero(others > each, axis=-1)
        above += tf.math.count_nonzero(tf.transpose(each, (0, 2, 1)) > each, axis=-1)
        ranked = copy.copy(candidates)
        ranked.end_log_p = lambda: tf.where(above < self.num_hypotheses, ends, NEG_INF)
        return super().choose(ranked, search)


class Compared:
    """A model of transformers beside the zoo's."""

    def __init__(self, folder: Path, name: str):
        source, target = LANGUAGES.get(name, (None, None))
        languages = {"source_language": source, "target_language": target}
        self.imported: Imported = read_checkpoint(folder, **languages)
        config = read_json(folder / "config.json")
        kind = config["model_type"]
        self.vocabularies: Vocabularies = read_vocabularies(folder, kind, config, **languages)
        self.expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
        self.arrays = np.load(folder / "expected.npz")
        self.padding = config["pad_token_id"]

    def to_zoo(self, rows: np.ndarray, side: str, first: int | None = None) -> np.ndarray:
        """Ids of the zoo for ids (B, T) of the checkpoint."""
        vocabulary = getattr(self.vocabularies, side) or self.vocabularies.target
        ids = np.zeros(vocabulary.rows.max() + 1, np.int32)
        ids[vocabulary.rows[::-1]] = np.arange(len(vocabulary.rows))[::-1]
        found = ids[rows]
        if first is not None:
            found[:, 0] = first
        return found

    def tokens(self, texts: list[str]) -> int:
        """The number of texts whose tokens are the same."""
        source = self.vocabularies.source or self.vocabularies.target
        tag = self.vocabularies.source_tag
        front = [] if tag is None else [self.imported.tokenizer.id_of(tag)]
        rows = self.imported.tokenizer.source.encode(texts)
        ours = [source.rows[[*front, *row, END_ID]].tolist() for row in rows]
        return sum(map(list.__eq__, ours, self.expected["tokens"]))

    def logits(self) -> float:
        """The largest difference between two logits."""
        target = self.to_zoo(self.arrays["target"], "target", first=2)
        source = self.to_zoo(self.arrays["source"][: len(target)], "source")
        ours = self.imported.model({"source": source, "target": target}).numpy()
        vocabulary = self.vocabularies.target
        kept = ~vocabulary.is_repeated
        theirs = self.arrays["logits"][..., vocabulary.rows[kept]]
        return float(np.abs(ours[..., kept] - theirs).max())

    def search(self, name: str, beams: int) -> tuple[int, int, int]:
        """The numbers of equal outputs, of others with an equal score, and of outputs compared.

        Where there is no end within the limit the zoo writes one: greedy outputs are compared up to
        there, those of a beam search are left out.
        """
        source = tf.constant(self.to_zoo(self.arrays["source"], "source"))
        options = GenerationOptions(
            beams,
            length_penalty=0.0,
            max_length=STEPS,
            max_length_ratio=None,
            early_stopping=False,
            forbid_unknown=False,
        )
        tag, prefix = self.vocabularies.target_tag, None
        if tag is not None:
            prefix = tf.fill([len(source), 1], self.imported.tokenizer.id_of(tag))
        strategy = RankedEnds if beams > 1 else None
        model = self.imported.model
        found = tf.function(
            lambda: generate(model, source, options, prefix=prefix, strategy=strategy)
        )()
        rows = self.vocabularies.target.rows
        end = rows[END_ID]
        equal = tied = count = 0
        for row, (ids, theirs) in enumerate(
            zip(found.ids[:, 0].numpy(), self.expected[name], strict=True)
        ):
            cut = theirs.index(end) + 1 if end in theirs else STEPS - 2
            if end not in theirs and beams > 1:
                continue
            count += 1
            ours = rows[ids[ids != PAD_ID]].tolist()
            if ours[:cut] == theirs[:cut] and (end not in theirs or len(ours) == cut):
                equal += 1
            elif beams > 1:
                scores = found.scores[row, 0].numpy() - self._prefix_log_p(row, prefix)
                tied += abs(scores - self.expected["scores"][row]) < 1e-4
        return equal, tied, count

    def _prefix_log_p(self, row: int, prefix: tf.Tensor | None) -> float:
        """Log probability of a prefix, which transformers takes for 0."""
        if prefix is None:
            return 0.0
        source = self.to_zoo(self.arrays["source"][row : row + 1], "source")
        logits = self.imported.model({"source": source, "target": np.array([[2]], np.int32)})
        return float(tf.nn.log_softmax(logits[0, 0])[prefix[row, 0]])


def compare(folder: Path, name: str, texts: list[str]) -> bool:
    """Says how a model compares; returns whether all is equal."""
    compared = Compared(folder, name)
    same, difference = compared.tokens(texts), compared.logits()
    searches = {kind: compared.search(kind, n) for kind, n in (("greedy", 1), ("beam", BEAMS))}
    shown = ", ".join(
        f"{kind} {equal} + {tied} with an equal score of {count}"
        for kind, (equal, tied, count) in searches.items()
    )
    print(
        f"{name}: tokens {same} of {len(texts)}, logits {difference:.1e} apart, {shown}", flush=True
    )
    found = all(equal + tied == count > 20 for equal, tied, count in searches.values())
    return found and same == len(texts) and difference < 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", required=True, help="the Python of the environment of the peers")
    parser.add_argument("--folder", type=Path, help="where models made before lie")
    parser.add_argument("--only", nargs="*", default=FAMILIES, choices=FAMILIES)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        texts = cldr_texts(1000)
        if not chosen.folder:
            (folder / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
            script = [chosen.peers, str(HERE / "peer_transformers.py"), str(folder)]
            subprocess.run([*script, *chosen.only], check=True)
        texts = (folder / "texts.txt").read_text(encoding="utf-8").splitlines()
        equal = [compare(folder / name, name, texts) for name in chosen.only]
    sys.exit(0 if all(equal) else 1)


if __name__ == "__main__":
    main()
