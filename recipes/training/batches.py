"""The batches of a training corpus in tokens, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable

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
    if isinstance(batches, TokenBatches):
        pairs = batches.pairs
    else:
        pairs = _tokenized(config, source_format(config), texts(corpus), tokenizer)
    sources, targets = UnknownTokens.of(pairs.sources), UnknownTokens.of(pairs.targets)
    if config.start_from and not config.replace_unknown and targets.share > MOST_UNKNOWN:
        raise ConfigError(
            f"{targets.share:.0%} of the tokens of the targets are unknown to {config.start_from}"
            f", {targets}: it has none for their characters, and what starts from it could not "
            "write them. Train without --start-from."
        )
    if (line := unknown_line(sources, targets, config.replace_unknown)) is not None:
        report(f"training: {line}")
