"""A prepared corpus: a folder of tokens, of which a training reads the rows it needs.

| file | content |
|---|---|
| `prepared.json` | what was prepared and how; written last, so without it a folder is incomplete |
| `tokenizer.model` | the SentencePiece model |
| `source_tokenizer.model` | that of the sources, if they have a vocabulary of their own |
| `sample.jsonl` | some pairs as texts, for what needs texts |
| `held_out.jsonl` | the pairs to validate with, if a share was held out |
| `pairs.rows`, `pairs.ids` | the tokens, see `pair_store` |
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...zoo.errors import ConfigError, DataError
from .corpus import PairCorpus, PairOrigin, SkippedRow, skipped_lines
from .pair_store import PairStore

if TYPE_CHECKING:
    from ...zoo.text.tokenizer import Tokenizer
    from ..core.config import RunConfig

FORMAT = 3  # 1 and 2 are TFRecords, which can only be read from end to end
MANIFEST, UNFINISHED = "prepared.json", "preparing.json"
LENGTHS = "source_lengths", "target_lengths"
TOKENIZER, SOURCE_TOKENIZER = "tokenizer.model", "source_tokenizer.model"
SAMPLE, HELD_OUT = "sample.jsonl", "held_out.jsonl"
# Settings that are baked into the tokens of a corpus.
BAKED = ("vocab_size", "shared_vocabulary", "tokenizer", "source_tokenizer", "target_tokenizer") + (
    "normalization", "byte_fallback", "character_coverage", "tags", "protected",
    "max_source_length", "max_target_length", "history_turns",
)  # fmt: skip


# Settings that an earlier version called otherwise.
RENAMED = {"subwords": "tokenizer", "subword_dropout": "bpe_dropout"}


def present_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings, those of an earlier version by their names of today."""
    return {RENAMED.get(name, name): value for name, value in settings.items()}


@dataclass
class PreparedPart:
    """One of the corpora that were prepared together.

    Attributes:
        spec: Spec from which it was read.
        pairs: Number of pairs that are kept.
        tokens: Number of tokens of both sides.
        too_long: Number of rows that were left out because a side exceeds its limit.
        cut: Number of sources of which a part was left out.
        num_skipped: Number of rows that could not be used.
        skipped: The first of them.
        source_lengths: Number of sources with 0, 1, 2, ... tokens.
        target_lengths: Number of targets with 0, 1, 2, ... tokens.
        rows_read: Number of usable rows that are kept or were left out as too long.
    """

    spec: str
    pairs: int = 0
    tokens: int = 0
    too_long: int = 0
    cut: int = 0
    num_skipped: int = 0
    skipped: list[SkippedRow] = dataclasses.field(default_factory=list)
    source_lengths: list[int] = dataclasses.field(default_factory=list)
    target_lengths: list[int] = dataclasses.field(default_factory=list)
    rows_read: int = 0

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PreparedPart:
        part = cls(**values)
        part.skipped = [SkippedRow(**row) for row in values["skipped"]]
        return part

    def report(self) -> str:
        """The number of pairs, and the skipped rows, one a line."""
        more = f", {self.too_long:,} too long" if self.too_long else ""
        head = f"{self.spec}: {self.pairs:,} pairs{more}"
        return head + skipped_lines(self.num_skipped, self.skipped)


def is_prepared(spec: str | None) -> bool:
    """True if a spec names a prepared corpus.

    Raises:
        DataError: It names one that is not complete.
    """
    if spec is None:
        return False
    folder = Path(os.path.expanduser(spec))
    if (folder / MANIFEST).is_file():
        return True
    if (folder / UNFINISHED).is_file():
        raise DataError(
            f"{spec} is not whole: its `attention-zoo prepare` did not end. Give that command "
            "again."
        )
    return False


def load_tokenizer(folder: Path, shared: bool) -> Tokenizer:
    """The tokenizer of a folder.

    Args:
        folder: The folder of a prepared corpus.
        shared: Whether source and target have one vocabulary.

    Raises:
        DataError: A file of it is damaged.
    """
    from ...zoo.text.tokenizer import Tokenizer

    paths = [folder / name for name in (TOKENIZER, SOURCE_TOKENIZER)[: 1 if shared else 2]]
    try:
        return Tokenizer.load(*paths)
    except (OSError, ValueError) as error:
        names = " or ".join(map(str, paths))
        raise DataError(f"{names} is damaged; prepare the corpus again.") from error


class PreparedCorpus:
    """The folder of a prepared corpus.

    Args:
        spec: The folder.

    Attributes:
        name: The folder, as it was given.
        task: Task for which it was prepared.
        settings: Settings that are fixed in it, by name, and `reverse`.
        parts: The corpora in it.
        weights: Weight of each part in a batch; by their number of pairs if `None`.
        share: Share of the rows that was held out to validate with, if any.

    Raises:
        DataError: The folder is not a prepared corpus, or a file is missing.
    """

    def __init__(self, spec: str | Path):
        self.name = str(spec)
        self.folder = Path(os.path.expanduser(self.name))
        path = self.folder / MANIFEST
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise DataError(
                    f"{path} is of format {values['format']}, expected {FORMAT}; prepare the "
                    "corpus again, into another folder."
                )
            self.task: str = values["task"]
            self.settings: dict[str, Any] = values["settings"]
            if "reverse" not in self.settings or set(self.settings) - {*BAKED, "reverse"}:
                raise ValueError(f"settings of something else: {', '.join(self.settings)}")
            self.weights: list[float] | None = values["weights"]
            self.id_type: str = values["ids"]
            self.checksum: int = values["checksum"]
            self.share: float | None = values.get("held_out")
            self.parts = [PreparedPart.from_dict(part) for part in values["parts"]]
        except FileNotFoundError:
            raise DataError(f"{spec} is no prepared corpus: it has no {MANIFEST}.") from None
        except (KeyError, TypeError, ValueError, OSError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path} cannot be read: {error}. Prepare it again.") from error
        # Number of the first row of each part, all rows of all parts being numbered.
        self.first_rows = [0, *itertools.accumulate(part.pairs for part in self.parts)]

    def __len__(self) -> int:
        return self.first_rows[-1]

    @functools.cached_property
    def store(self) -> PairStore:
        """The rows."""
        tokens = sum(part.tokens for part in self.parts)
        return PairStore(self.folder, len(self), tokens, self.id_type)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the corpus.

        Raises:
            DataError: A file of it is damaged.
        """
        return load_tokenizer(self.folder, self.settings["shared_vocabulary"])

    def check(self, config: RunConfig) -> None:
        """Checks that a config fits the corpus, and that the corpus is complete.

        Raises:
            ConfigError: The config is of another task, or has another value of a fixed setting.
            DataError: A file is missing or has another size.
        """
        if config.task != self.task:
            raise ConfigError(
                f"{self.name} was prepared for {self.task}, not for {config.task}; prepare it for "
                "that task into another folder."
            )
        for name, value in self.settings.items():
            if getattr(config, name) != value:
                raise ConfigError(
                    f"{self.name} was prepared with {name}={value}; leave out {name} or prepare "
                    f"the corpus again. Received: {name}={getattr(config, name)}"
                )
        if not (self.folder / TOKENIZER).is_file():
            raise DataError(f"{self.folder / TOKENIZER} is not there; prepare the corpus again.")
        _ = self.store  # which checks its files

    def report(self) -> str:
        """The number of pairs, and the shares of the parts."""
        lines = [f"{self.name}: {len(self):,} pairs, prepared"]
        if self.weights is not None:
            for part, share in zip(self.parts, self.shares(), strict=True):
                lines.append(f"  {part.spec}: {part.pairs:,} pairs, {float(share):.1%} of a batch")
        return "\n".join(lines)

    def shares(self) -> list[Fraction]:
        """Share of each part in the rows that are read."""
        weights = self.weights or [part.pairs for part in self.parts]
        exact = [Fraction(str(weight)) for weight in weights]
        return [weight / sum(exact) for weight in exact]

    def sample(self) -> PairCorpus:
        """Some of the pairs as texts; all of them in order if there are few."""
        return self._read_texts(SAMPLE, f"{self.name} (a sample)")

    def held_out(self, share: float | None = None) -> PairCorpus:
        """The pairs that were held out to validate with.

        Args:
            share: The share that is wished for; which is decided when a corpus is prepared.

        Raises:
            DataError: None were held out, or another share.
        """
        if self.share is None or share not in (None, self.share):
            raise DataError(
                f"{self.name} was prepared with {self.share or 'no share'} of its rows held out: "
                "give --valid FILE, or prepare it again with `prepare --valid SHARE`."
            )
        return self._read_texts(HELD_OUT, f"{self.name}, held out")

    def _read_texts(self, file_name: str, name: str) -> PairCorpus:
        corpus = PairCorpus([], [], name)
        path = self.folder / file_name
        try:
            with open(path, encoding="utf-8") as file:
                for line in file:
                    row = json.loads(line)
                    corpus.sources.append(row["source"])
                    corpus.targets.append(row["target"])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path} cannot be read ({error}).") from error
        return corpus

    def origins(self, rows: Sequence[int]) -> list[PairOrigin]:
        """Origins of rows, given their numbers, with texts as the model reads them."""
        tokenizer, numbers = self.tokenizer(), np.array(rows, np.int64)
        lengths = (max(len(getattr(part, side)) for part in self.parts) for side in LENGTHS)
        sources, targets = (side.tolist() for side in self.store.read(numbers, *lengths))
        texts = zip(tokenizer.source.decode(sources), tokenizer.decode(targets), strict=True)
        parts = [self.parts[bisect.bisect_right(self.first_rows, row) - 1] for row in rows]
        lines = self.store.lines(numbers).tolist()
        return [
            PairOrigin(part.spec, line, source, target)
            for part, line, (source, target) in zip(parts, lines, texts, strict=True)
        ]
