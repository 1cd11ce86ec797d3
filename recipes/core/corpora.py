"""The corpora of a config."""

from __future__ import annotations

from pathlib import Path

from ..data.corpus import PairCorpus
from ..data.pair_files import is_named, read_lines
from ..data.prepared import PreparedCorpus, is_prepared
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
    if config.train is None or config.valid is None:
        train, valid = chosen.default_corpora(config.seed)
        return (train.reversed(), valid.reversed()) if config.reverse else (train, valid)
    return (
        read_prepared(config) or chosen.read_file(config.train, config.reverse),
        chosen.read_file(config.valid, config.reverse, min_pairs=1),
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
    for spec in (config.train, config.valid):
        if spec is None or is_named(spec) or is_prepared(spec):
            continue
        is_one = "," not in spec or Path(spec).expanduser().exists()
        for path in [spec] if is_one else spec.split(","):
            next(read_lines(path.strip()), None)


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
    if config.train is None or config.valid is None:
        return read_corpora(config)[1]
    return task_of(config).read_file(config.valid, config.reverse, min_pairs=1)


def read_training_texts(config: RunConfig) -> PairCorpus:
    """The training corpus of a config alone; of a prepared one, the sample of its texts."""
    prepared = read_prepared(config)
    if prepared is not None:
        return prepared.sample()
    if config.train is None:
        return texts(read_corpora(config)[0])
    return task_of(config).read_file(config.train, config.reverse)


def texts(corpus: PairCorpus | PreparedCorpus) -> PairCorpus:
    """A corpus as texts; of a prepared one, a sample."""
    return corpus.sample() if isinstance(corpus, PreparedCorpus) else corpus
