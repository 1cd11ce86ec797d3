"""The tokenizer of a run: that of its folder, or one trained on its corpus."""

from __future__ import annotations

from collections.abc import Iterable

from ..zoo.source_format import Source
from ..zoo.tokenizer import SubwordTokenizer
from .config import ConfigError, RunConfig
from .pair_files import PairCorpus
from .run import Run, source_format


def run_tokenizer(config: RunConfig, run: Run, corpus: PairCorpus) -> SubwordTokenizer:
    """The tokenizer that a run has or is to have; nothing is written.

    Raises:
        ConfigError: no tokenizer can be trained on the corpus with these settings.
    """
    if run.tokenizer_path.exists():
        return SubwordTokenizer.load(run.tokenizer_path)
    try:
        return SubwordTokenizer.train(
            [*_texts(config, corpus.sources), *corpus.targets],
            config.vocab_size,
            config.subwords,
            config.character_coverage,
            symbols=source_format(config).symbols,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _texts(config: RunConfig, sources: list[Source]) -> Iterable[str]:
    """The texts of all inputs; each turn of a history once."""
    inputs = source_format(config)
    columns = inputs.columns(sources)
    for item in inputs.inputs:
        if item.kind == "text":
            yield from columns[item.name]
        elif item.kind == "turns":
            turns = (turn for text in columns[item.name] for turn in text.split("\n"))
            yield from dict.fromkeys(turns)
