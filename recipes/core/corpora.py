"""The corpora of a config."""

from __future__ import annotations

from dataclasses import replace

from ..data.corpus import PairCorpus
from ..data.files.filters import MOST_LEFT_OUT, noisy_rows
from ..data.pair_files import check_readable
from ..data.prepared import PreparedCorpus, is_prepared
from ..data.splitting import overlap, share_of, split
from .config import RunConfig
from .parts import origin_of
from .task import task_of

OTHER_TEXTS = "the validation texts are not those that the run was begun with"


def read_corpora(config: RunConfig) -> tuple[PairCorpus | PreparedCorpus, PairCorpus]:
    """The training and validation corpora of a config.

    Raises:
        ConfigError: the training corpus is a prepared one, and the config contradicts it.
        DataError: one of them cannot be used.
    """
    chosen = task_of(config)
    if config.train is None:
        train, valid = chosen.default_corpora(config.seed)
        return (train.reversed(), valid.reversed()) if config.reverse else (train, valid)
    prepared = read_prepared(config)
    if not config.holds_out:
        valid = chosen.read_file(str(config.valid), config.reverse, min_pairs=1)
        return prepared or _read_texts(config), valid
    share = share_of(config.valid)
    if prepared is not None:
        return prepared, prepared.held_out(share)
    # By the sources as they are in the file, whatever the direction.
    train, valid = split(_read_texts(config, turned=False), chosen.source_format, share)
    return (train.reversed(), valid.reversed()) if config.reverse else (train, valid)


def _read_texts(config: RunConfig, turned: bool = True) -> PairCorpus:
    """The training corpus as texts, without what is noise."""
    chosen = task_of(config)
    corpus = chosen.read_file(str(config.train), config.reverse and turned)
    texts = [source for source in corpus.sources if isinstance(source, str)]
    if not config.filter_rows or len(texts) < len(corpus):
        return corpus
    noise = noisy_rows(texts, corpus.targets, chosen.filters)
    few = {kind for kind, rows in noise.items() if len(rows) <= MOST_LEFT_OUT * len(corpus)}
    out = {row for kind in few for row in noise[kind]}
    counts = {
        few_of: _counts({k: len(rows) for k, rows in noise.items() if (k in few) == few_of})
        for few_of in (True, False)
    }
    notes = [corpus.note] if corpus.note else []
    notes += [f"{counts[True]} left out, with --no-filter they stay"] if counts[True] else []
    notes += [f"{counts[False]} kept, as they are so many"] if counts[False] else []
    kept = corpus.part([row for row in range(len(corpus)) if row not in out]) if out else corpus
    return replace(kept, note="; ".join(notes))


def _counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{kind}: {number:,}" for kind, number in numbers.items())


def overlap_line(
    config: RunConfig, train: PairCorpus | PreparedCorpus, valid: PairCorpus
) -> str | None:
    """A line on rows to validate with that are in the training file too; `None` without any."""
    if config.train is None or config.holds_out or isinstance(train, PreparedCorpus):
        return None
    sides = (train.reversed(), valid.reversed()) if config.reverse else (train, valid)
    number = overlap(*sides, task_of(config).source_format)
    if not number:
        return None
    return (
        f"{number:,} of the {len(valid):,} rows of {config.valid} have a source that is in "
        f"{config.train} too: scores will flatter the model. Leave out --valid to hold out rows of "
        "the training file"
    )


def check_files(config: RunConfig) -> None:
    """Refuses a corpus whose file is not there, before anything that takes time.

    Only where a reader of the package reads it: what names a corpus for a reader of the user's is
    the user's.

    Raises:
        DataError: A file does not exist or cannot be opened.
    """
    if origin_of(task_of(config).read_rows) is not None:
        return
    for spec in (config.train, None if config.holds_out else config.valid):
        if spec is not None and not is_prepared(spec):
            check_readable(spec)


def read_prepared(config: RunConfig) -> PreparedCorpus | None:
    """The training corpus of a config if it is a prepared one.

    Raises:
        ConfigError: the config contradicts it.
        DataError: it is not whole.
    """
    if not is_prepared(config.train):
        return None
    corpus = PreparedCorpus(str(config.train))
    corpus.check(config)
    return corpus


def read_validation(config: RunConfig) -> PairCorpus:
    """The validation corpus of a config alone."""
    if config.train is None or config.holds_out:
        return read_corpora(config)[1]
    return task_of(config).read_file(str(config.valid), config.reverse, min_pairs=1)


def read_training_texts(config: RunConfig) -> PairCorpus:
    """The training corpus of a config alone; of a prepared one, the sample of its texts."""
    prepared = read_prepared(config)
    if prepared is not None:
        return prepared.sample()
    if config.train is None or config.holds_out:
        return texts(read_corpora(config)[0])
    return _read_texts(config)


def texts(corpus: PairCorpus | PreparedCorpus) -> PairCorpus:
    """A corpus as texts; of a prepared one, a sample."""
    return corpus.sample() if isinstance(corpus, PreparedCorpus) else corpus
