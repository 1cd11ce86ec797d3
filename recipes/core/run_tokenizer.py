"""The tokenizer of a run: of its folder, of the run it starts from, or trained on its corpus."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from ...zoo.errors import ConfigError
from ...zoo.text.source_format import Source, SourceFormat
from ...zoo.text.tokenizer import Tokenizer
from ..data.corpus import PairCorpus
from ..data.prepared import PreparedCorpus
from .config import RunConfig
from .options import TokenizerOptions
from .packed_run import open_run
from .run import Run
from .task import source_format


def run_tokenizer(config: RunConfig, run: Run, corpus: PairCorpus | PreparedCorpus) -> Tokenizer:
    """The tokenizer that a run has or is to have; nothing is written.

    Raises:
        ConfigError: no tokenizer can be trained on the corpus with these settings, or the corpus
            was prepared with another one than the run has.
    """
    if isinstance(corpus, PreparedCorpus):
        tokenizer = corpus.tokenizer()
        files = (run.tokenizer_path, tokenizer), (run.source_tokenizer_path, tokenizer.source)
        if any(path.exists() and path.read_bytes() != part.model for path, part in files):
            raise ConfigError(
                f"{run.folder} was begun with other tokens than those of {corpus.name}, which "
                "was prepared anew since; train into a new folder."
            )
        if (
            config.start_from
            and not run.tokenizer_path.exists()  # else that run is not needed any more
            and pack(open_run(config.start_from).read_tokenizer()) != pack(tokenizer)
        ):
            raise ConfigError(
                f"{corpus.name} was prepared with other tokens than those of {config.start_from};"
                " train on the text itself, or `prepare` it with that --start-from."
            )
        return tokenizer
    if run.tokenizer_path.exists():
        return run.read_tokenizer()
    return new_tokenizer(config, corpus.sources, corpus.targets)


def new_tokenizer(
    config: RunConfig, sources: Sequence[Source], targets: Sequence[str]
) -> Tokenizer:
    """The tokenizer of what begins: that of the run it starts from, or one learnt from texts.

    Raises:
        ConfigError: there is too little text for these settings, or that run is damaged.
    """
    if config.start_from:
        return open_run(config.start_from).read_tokenizer()
    return train_tokenizer(config, source_format(config), sources, targets)


def train_tokenizer(
    options: TokenizerOptions,
    inputs: SourceFormat,
    sources: Sequence[Source],
    targets: Sequence[str],
) -> Tokenizer:
    """Trains a tokenizer on texts.

    Args:
        options: The vocabulary.
        inputs: The inputs of a source.
        sources: The sources.
        targets: The targets.

    Raises:
        ConfigError: There is too little text for these settings.
    """
    texts = _texts(inputs, sources)
    source_kind, target_kind = options.kinds_of_tokens
    try:
        if options.shared_vocabulary:
            return _learn(options, itertools.chain(texts, targets), target_kind, inputs.symbols)
        source = _learn(options, texts, source_kind, inputs.symbols)
        target = _learn(options, targets, target_kind)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return Tokenizer(target.model, source.model)


def pack(tokenizer: Tokenizer) -> bytes:
    """A tokenizer as bytes, that of its sources among them."""
    other = b"" if tokenizer.shares_vocabulary else tokenizer.source.model
    return len(other).to_bytes(8, "little") + other + tokenizer.model


def unpack(packed: bytes) -> Tokenizer:
    """Unpacks the result of `pack`."""
    end = 8 + int.from_bytes(packed[:8], "little")
    return Tokenizer(packed[end:], packed[8:end] or None)


def _learn(
    options: TokenizerOptions, texts: Iterable[str], kind: str, symbols: Sequence[str] = ()
) -> Tokenizer:
    return Tokenizer.train(
        texts,
        options.vocab_size,
        kind,
        options.character_coverage,
        symbols=symbols,
        normalization=options.normalization,
        byte_fallback=options.byte_fallback,
        protected=options.protected_tokens,
    )


def _texts(inputs: SourceFormat, sources: Sequence[Source]) -> Iterable[str]:
    """The texts of all inputs; each turn of a history once."""
    columns = inputs.columns(sources)
    for item in inputs.inputs:
        if item.kind == "text":
            yield from columns[item.name]
        elif item.kind == "turns":
            turns = (turn for text in columns[item.name] for turn in text.split("\n"))
            yield from dict.fromkeys(turns)
