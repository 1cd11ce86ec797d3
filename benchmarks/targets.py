"""What the zoo is to reach beside its peers, and how near the measurements of a run come to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sizes import THREADS

Row = dict[str, Any]
ZOO, SAVED, EAGER = "attention-zoo", "attention-zoo saved", "attention-zoo in Python"


@dataclass(frozen=True)
class Target:
    """A ratio of one run: the zoo's figure over another's.

    Attributes:
        work: in words.
        ours: what the zoo's row has, its name as a whole.
        theirs: what the other row has, the beginning of its name; `None` for a figure by itself.
        value: what is compared: `seconds`, `sentences_per_second`, `megabytes` or `first`.
        limit: the largest ratio, or the smallest of sentences a second.
        aim: whether it is what is aimed for, beyond what is to be reached.
    """

    work: str
    ours: Row
    theirs: Row | None
    value: str
    limit: float
    aim: bool = False

    @property
    def at_least(self) -> bool:
        return self.value == "sentences_per_second"

    def ratio(self, rows: list[Row]) -> float | None:
        """What was measured; `None` if a row of it is not there."""
        ours = _find(rows, self.ours, whole=True)
        theirs = {} if self.theirs is None else _find(rows, self.theirs, whole=False)
        if ours is None or theirs is None or ours.get(self.value) is None:
            return None
        if self.theirs is None:
            return ours[self.value]
        return ours[self.value] / theirs[self.value] if theirs.get(self.value) else None

    def cells(self, rows: list[Row]) -> list[str]:
        """Work, against what, the ratio, the limit, and whether it is kept."""
        ratio = self.ratio(rows)
        against = "by itself, s" if self.theirs is None else self.theirs["name"]
        limit = f"{'≥' if self.at_least else '≤'} {self.limit:g}"
        shown = f"{limit} (aim)" if self.aim else limit
        if ratio is None:
            return [self.work, against, "not measured", shown, ""]
        kept = ratio >= self.limit if self.at_least else ratio <= self.limit
        return [self.work, against, f"{ratio:.2f}", shown, "yes" if kept else "no"]


def _find(rows: list[Row], wanted: Row, whole: bool) -> Row | None:
    name = wanted["name"]
    others = {key: value for key, value in wanted.items() if key != "name"}
    for row in rows:
        named = row["name"] == name if whole else _is_of(row["name"], name)
        if named and all(row.get(key) == value for key, value in others.items()):
            return row
    return None


def _is_of(name: str, library: str) -> bool:
    """Whether a row's name is that of a library; its version, a word with digits, is left out."""
    words = name.split()
    return name == library or [w for w in words if not w[0].isdigit()] == library.split()


def _training(size: str, against: str, limit: float, aim: bool = False, xla: bool = False):
    common = {"work": "training", "size": size}
    ours = {**common, "name": ZOO + " XLA" * xla}
    words = f"{size} training step{', XLA' * xla}"
    return Target(words, ours, {**common, "name": against}, "seconds", limit, aim)


def _decoding(size: str, beams: int, batch: int, against: str, limit: float, aim: bool = False):
    """Of one source the milliseconds, of many the sentences a second."""
    common = {"work": "decoding", "size": size, "beams": beams, "batch": batch}
    value = "seconds" if batch == 1 else "sentences_per_second"
    how = "greedy" if beams == 1 else f"beam {beams}"
    words = f"{size} {how}, {'one source' if batch == 1 else f'batch of {batch}'}"
    ours = {**common, "name": SAVED}
    return Target(words, ours, {**common, "name": against}, value, limit, aim)


def _layer(case: str, ours: str, against: str, value: str, limit: float, aim: bool = False):
    unit = {"seconds": "time", "megabytes": "memory"}[value]
    words = f"{ours}, {'length ' * case.isdigit()}{case}, {unit}"
    common = {"work": "layer", "case": case}
    return Target(words, {**common, "name": ours}, {**common, "name": against}, value, limit, aim)


ADDITIVE = "keras AdditiveAttention"
CHUNKS, MULTI_HEAD = "QKVAttention in chunks", "keras MultiHeadAttention"
FIRST = {"work": "training", "size": "T", "name": ZOO}
REAL_TEXT = {"work": "real text", "beams": 5, "batch": 64}
EXPORTED = {"work": "exported", "size": "T"}

TARGETS = [
    _training("T", "keras-hub", 0.55),
    _training("T", "PyTorch", 0.80),
    _training("T", "OpenNMT-tf", 0.80),
    _training("T", "roofline", 2.0, aim=True),
    _training("T", "keras-hub XLA", 0.50, xla=True),
    _training("T", "roofline", 1.7, aim=True, xla=True),
    Target("T first training step", FIRST, None, "first", 10.0),
    Target("T first training step", FIRST, None, "first", 5.0, aim=True),
    _training("B", "keras-hub", 0.6),
    _training("B", "PyTorch", 1.05),
    _training("B", "OpenNMT-tf", 1.0),
    _training("B", "roofline", 1.4, aim=True),
    _training("R", "plain Keras", 1.0),
    _training("R", "PyTorch", 1.0, aim=True),
    _decoding("T", 1, 1, "keras-hub", 0.40),
    _decoding("T", 1, 64, "keras-hub", 2.3),
    _decoding("T", 1, 64, "Hugging Face", 1.8),
    _decoding("T", 1, 64, "CTranslate2 float32", 0.5),
    _decoding("T", 1, 64, "CTranslate2 float32", 0.8, aim=True),
    _decoding("T", 5, 1, "keras-hub", 0.20),
    _decoding("T", 5, 64, "Hugging Face", 1.3),
    _decoding("T", 5, 64, "OpenNMT-tf", 1.0),
    _decoding("T", 5, 64, "CTranslate2 float32", 0.5),
    _decoding("T", 5, 64, "CTranslate2 float32", 0.8, aim=True),
    *(
        Target(
            f"real text, beam 5, batches of 64, {words}",
            {**REAL_TEXT, **way, "name": SAVED},
            {**REAL_TEXT, **way, "name": "CTranslate2 float32"},
            "sentences_per_second",
            limit,
            aim,
        )
        for words, way in (
            ("one at a time", {"at_a_time": 1}),
            ("a core each", {"at_a_time": THREADS}),
        )
        for limit, aim in ((0.7, False), (1.0, True))
    ),
    _decoding("B", 1, 64, "Hugging Face", 1.3),
    _decoding("B", 4, 64, "Hugging Face", 1.3),
    _decoding("B", 1, 64, "CTranslate2 float32", 0.8, aim=True),
    _decoding("B", 4, 64, "CTranslate2 float32", 0.8, aim=True),
    _decoding("R", 5, 1, "PyTorch", 1.0),
    _decoding("R", 5, 64, "PyTorch", 1.0),
    _decoding("R", 5, 1, "OpenNMT-tf", 1.0),
    _decoding("R", 5, 64, "OpenNMT-tf", 1.0),
    _decoding("R", 5, 1, "roofline", 1.7, aim=True),
    Target(
        "T greedy, one source, exported",
        {**EXPORTED, "name": SAVED},
        {**EXPORTED, "name": EAGER},
        "seconds",
        1.05,
    ),
    _layer("additive", "BahdanauAttention", ADDITIVE, "seconds", 0.55),
    _layer("additive", "BahdanauAttention", ADDITIVE, "megabytes", 0.55),
    _layer("512", "QKVAttention", MULTI_HEAD, "seconds", 1.0),
    _layer("512", CHUNKS, MULTI_HEAD, "seconds", 1.35),
    _layer("512", CHUNKS, MULTI_HEAD, "megabytes", 0.4),
    _layer("512", CHUNKS, "PyTorch scaled dot product", "megabytes", 1.0, aim=True),
    _layer("2048", CHUNKS, MULTI_HEAD, "seconds", 1.35),
    _layer("8192", CHUNKS, MULTI_HEAD, "megabytes", 0.25),
]
