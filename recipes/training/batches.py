"""The batches of a training corpus in tokens, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...zoo.decoding.shortlist import Shortlist
from ...zoo.errors import ConfigError
from ...zoo.text.bpe_dropout import BpeDropout
from ...zoo.text.source_format import SourceFormat
from ...zoo.text.tokenizer import Tokenizer
from ..core.config import RunConfig
from ..core.corpora import texts
from ..core.options import DataOptions
from ..core.task import source_format, task_of
from ..data.batch_stream import BatchStream
from ..data.batching import TokenBatches, TokenizedPairs
from ..data.corpus import PairCorpus
from ..data.prepared import PreparedCorpus
from ..data.prepared_batches import PreparedBatches
from ..metrics.scoring import UnknownTokens, unknown_line
from .precision import COMPILED_BUCKETS

# Share of unknown tokens in targets above which nothing can be learnt from them. A text in a
# script without pieces has from a third on: white space and punctuation are known.
MOST_UNKNOWN = 0.25


def make_batches(
    config: RunConfig, corpus: PairCorpus | PreparedCorpus, tokenizer: Tokenizer
) -> BatchStream:
    """The batches of a training corpus as the task wants it, in tokens."""
    buckets = {"bucket_count": COMPILED_BUCKETS} if config.jit else {}
    if isinstance(corpus, PreparedCorpus):
        if config.bpe_dropout:
            raise ConfigError(
                f"{corpus.name} is a prepared corpus, whose tokens stay as they are: set "
                "bpe_dropout=0, or train on the text itself. "
                f"Received: bpe_dropout={config.bpe_dropout}"
            )
        return PreparedBatches(
            corpus,
            config.batch_tokens,
            config.seed,
            copy_unknown=config.replace_unknown,
            **buckets,
        )
    chosen, prepared = task_of(config), corpus
    # A model from elsewhere reads texts alone, whatever else the task reads.
    if source_format(config).inputs == chosen.source_format.inputs:
        prepared = chosen.prepare(corpus, config.seed)
    pairs = _tokenized(config, source_format(config), prepared, tokenizer)
    dropout = None
    if config.bpe_dropout:
        source, target = (
            BpeDropout(side, config.bpe_dropout) for side in (tokenizer.source, tokenizer)
        )
        dropout = source, target
    return TokenBatches(
        pairs,
        config.batch_tokens,
        config.seed,
        dropout=dropout,
        copy_unknown=config.replace_unknown,
        **buckets,
    )


def _tokenized(
    data: DataOptions, inputs: SourceFormat, corpus: PairCorpus, tokenizer: Tokenizer
) -> TokenizedPairs:
    return TokenizedPairs.encode(
        corpus.sources,
        corpus.targets,
        tokenizer,
        data.max_source_length,
        data.max_target_length,
        inputs,
    )


def _pairs(
    config: RunConfig,
    tokenizer: Tokenizer,
    corpus: PairCorpus | PreparedCorpus,
    batches: BatchStream,
) -> TokenizedPairs:
    """The tokens of a training corpus; of a prepared one, those of its sample."""
    if isinstance(batches, TokenBatches):
        return batches.pairs
    return _tokenized(config, source_format(config), texts(corpus), tokenizer)


def learn_shortlist(
    config: RunConfig,
    tokenizer: Tokenizer,
    corpus: PairCorpus | PreparedCorpus,
    batches: BatchStream,
) -> Shortlist | None:
    """Learns which target tokens are likely for those of a source; `None` if nobody wants it."""
    if not config.shortlist:
        return None
    pairs = _pairs(config, tokenizer, corpus, batches)
    sources, targets = [*pairs.sources], [*pairs.targets]
    if config.bpe_dropout:  # the model has learned to write the others too
        dropout = BpeDropout(tokenizer, config.bpe_dropout)
        known = [row[row >= 0] for row in pairs.targets]
        targets += dropout(known, np.random.default_rng(config.seed))
        sources *= 2
    sizes = tokenizer.source.vocab_size, tokenizer.vocab_size
    as_bytes = np.flatnonzero(tokenizer.byte_mask()).tolist()
    return Shortlist.learn(sources, targets, sizes, config.shortlist, as_bytes)


def check_unknown(
    config: RunConfig,
    tokenizer: Tokenizer,
    corpus: PairCorpus | PreparedCorpus,
    batches: BatchStream,
    report: Callable[[str], None],
) -> None:
    """Reports unknown tokens in a training corpus, if there are any.

    Of a prepared corpus they are those of its sample.

    Raises:
        ConfigError: the tokens are those of another run, and hardly a target can be written in
            them.
    """
    pairs = _pairs(config, tokenizer, corpus, batches)
    sources, targets = UnknownTokens.of(pairs.sources), UnknownTokens.of(pairs.targets)
    if config.start_from and not config.replace_unknown and targets.share > MOST_UNKNOWN:
        raise ConfigError(
            f"{targets.share:.0%} of the tokens of the targets are unknown to {config.start_from}"
            f", {targets}: it has none for their characters, and what starts from it could not "
            "write them. Train without --start-from."
        )
    if (line := unknown_line(sources, targets, config.replace_unknown)) is not None:
        report(f"training: {line}")
