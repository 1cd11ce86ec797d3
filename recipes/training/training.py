"""Training a model of the zoo on pairs of texts: what all recipes share."""

from __future__ import annotations

import signal
from collections.abc import Callable

import keras

from ...zoo.errors import ConfigError
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.text.bpe_dropout import BpeDropout
from ...zoo.text.tokenizer import SubwordTokenizer
from ..core.config import Budget, RunConfig
from ..core.corpora import texts
from ..core.interruption import Interrupted, StopNow, StopRequest
from ..core.model import build_model
from ..core.run import Run
from ..core.run_tokenizer import pack, run_tokenizer, unpack
from ..core.starting import load_start
from ..core.task import deciding_metric, source_format, task_of
from ..data.batch_stream import BatchStream
from ..data.batching import TokenBatches, TokenizedPairs
from ..data.corpus import PairCorpus
from ..data.prepared import PreparedCorpus
from ..data.prepared_batches import PreparedBatches
from ..distribute.context import DistributionContext
from ..metrics.scoring import UnknownTokens, unknown_line
from ..tensorboard.model_pictures import log_embedding
from ..tensorboard.profiling import StepProfiler
from .evaluation import check_targets
from .length_limits import limit_of_corpus
from .nonfinite import NonfiniteSteps
from .precision import COMPILED_BUCKETS, check_precision, computing_in
from .progress import write_metrics
from .training_loop import TrainingLoop

# Share of unknown subwords in targets above which nothing can be learnt from them. A text in a
# script without pieces has from a third on: white space and punctuation are known.
MOST_UNKNOWN = 0.25


def train(
    config: RunConfig,
    run: Run,
    train_corpus: PairCorpus | PreparedCorpus,
    valid_corpus: PairCorpus,
    budget: Budget,
    report: Callable[[str], None] = print,
    place: DistributionContext | None = None,
    profile: tuple[int, int] | None = None,
) -> TextToText:
    """Trains the model of a config, or goes on where the run was stopped.

    Args:
        config: all that decides what is learnt.
        run: the folder, which is claimed when all is ready to start.
        train_corpus: what is learnt from.
        valid_corpus: what decides which weights are best, and when to stop.
        budget: how long to train; with neither limit, until the metric gets no better.
        report: takes each line of progress.
        place: where; one replica of the model on the default device if left out.
        profile: first and last step, of this call, that are profiled for TensorBoard.

    Returns:
        The best model, with the search that the config asks for. At a worker that is not the chief,
        which has no run folder, the model as it was last.

    Raises:
        ConfigError: the text and the settings do not go together, or the folder is another run's,
            or was begun with other texts.
        DataError: no row is short enough, to learn from or to evaluate, or one is longer than a
            batch.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
    """
    place = place or DistributionContext()
    check_precision(config, place)
    keras.utils.set_random_seed(config.seed)
    chosen = task_of(config)
    checksums = {"train": train_corpus.checksum, "valid": valid_corpus.checksum}
    if place.is_chief:
        run.check(config, checksums)
    # One for all workers: only the chief is sure to see the folder of the run.
    tokenizer = place.broadcast_from_chief(
        lambda: run_tokenizer(config, run, train_corpus),
        pack,
        unpack,
    )
    batches = make_batches(config, train_corpus, tokenizer)
    unknown = check_unknown(config, tokenizer, train_corpus, batches)
    place.check_same("training rows", batches.checksum() if place.workers else None)
    with place.scope(), computing_in(config.precision):
        model = build_model(config, tokenizer)
    if config.start_from and not run.checkpoints.paths():
        load_start(config, model)
        report(f"starts with the weights of {config.start_from}")
    keep = source_format(config).keep
    cut = f", {batches.cut:,} sources cut to their {keep}" if batches.cut else ""
    report(
        f"{config.model}: {model.count_params():,} parameters, {_vocabulary(tokenizer)} subwords, "
        f"{batches.num_pairs:,} training pairs ({batches.too_long:,} too long{cut}), "
        f"{batches.batches_in_epoch():,} batches an epoch"
    )
    generation = limit_of_corpus(config, batches, report)
    if unknown is not None:
        report(f"training: {unknown}")
    if unscored := check_targets(config, tokenizer, valid_corpus):
        report(f"validation: {unscored}")
    if (metric := deciding_metric(config, valid_corpus)).name != config.metric:
        report(
            f"validation: {config.metric} has no value on these references, which would score 0 "
            f"themselves; {metric.name} decides which weights are best"
        )
    if place.is_chief:
        if run.open(config, checksums, model, **generation):
            generation = run.generation()
        if not run.tokenizer_path.exists():
            run.save_tokenizer(tokenizer)
    accumulate = config.accumulate_steps
    nonfinite = NonfiniteSteps(
        train_corpus.origins, lambda step: batches.rows_of_step(step, accumulate), run.folder
    )
    loop = TrainingLoop(
        config,
        run,
        model,
        tokenizer,
        valid_corpus,
        metric,
        budget,
        nonfinite,
        report,
        place,
        generation,
    )
    loop.restore()
    profilers = []
    if profile is not None and place.is_chief:
        profilers.append(StepProfiler(run.tensorboard_path, *profile, report))
    with StopRequest() as loop.stop_request, loop.begin():
        try:
            loop.run_to_end(batches, profilers)
            if not place.is_chief:
                return loop.text_to_text
            with loop.stop_request.at_once():
                best, scores = loop.finish()
                baselines = chosen.baseline_scores(texts(train_corpus), valid_corpus, best)
        except StopNow:
            raise Interrupted(
                loop.stop_request.signal_number or signal.SIGTERM,
                f"stopped and saved at step {loop.progress.step:,}; give the same command to go on",
            ) from None
        loop.logger.log_final(loop.progress.step, scores.values)
    log_embedding(run, best)
    ended = loop.progress.ended_by(config.patience)
    write_metrics(run, loop.progress, best, scores, baselines, metric.name, ended, report)
    if loop.progress.step < config.warmup_steps:
        report(
            f"the learning rate was still rising, to its peak at step {config.warmup_steps:,}: "
            "train for longer, or with fewer warmup_steps"
        )
    return best


def _vocabulary(tokenizer: SubwordTokenizer) -> str:
    if tokenizer.shares_vocabulary:
        return f"{tokenizer.vocab_size:,}"
    return f"{tokenizer.source.vocab_size:,} source and {tokenizer.vocab_size:,} target"


def make_batches(
    config: RunConfig, corpus: PairCorpus | PreparedCorpus, tokenizer: SubwordTokenizer
) -> BatchStream:
    """The batches of a training corpus as the task wants it, in subwords."""
    buckets = {"bucket_count": COMPILED_BUCKETS} if config.jit else {}
    if isinstance(corpus, PreparedCorpus):
        if config.subword_dropout:
            raise ConfigError(
                f"{corpus.name} is a prepared corpus, whose subwords stay as they are: set "
                "subword_dropout=0, or train on the text itself. "
                f"Received: subword_dropout={config.subword_dropout}"
            )
        return PreparedBatches(
            corpus,
            config.batch_tokens,
            config.seed,
            copy_unknown=config.replace_unknown,
            **buckets,
        )
    pairs = _tokenized(config, task_of(config).prepare(corpus, config.seed), tokenizer)
    dropout = None
    if config.subword_dropout:
        source, target = (
            BpeDropout(side, config.subword_dropout) for side in (tokenizer.source, tokenizer)
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
    config: RunConfig, corpus: PairCorpus, tokenizer: SubwordTokenizer
) -> TokenizedPairs:
    return TokenizedPairs.encode(
        corpus.sources,
        corpus.targets,
        tokenizer,
        config.max_source_length,
        config.max_target_length,
        source_format(config),
    )


def check_unknown(
    config: RunConfig,
    tokenizer: SubwordTokenizer,
    corpus: PairCorpus | PreparedCorpus,
    batches: BatchStream,
) -> str | None:
    """What there is to say of unknown subwords in a training corpus, if any.

    Of a prepared corpus they are those of its sample.

    Raises:
        ConfigError: the subwords are those of another run, and hardly a target can be written in
            them.
    """
    if isinstance(batches, TokenBatches):
        pairs = batches.pairs
    else:
        pairs = _tokenized(config, texts(corpus), tokenizer)
    sources, targets = UnknownTokens.of(pairs.sources), UnknownTokens.of(pairs.targets)
    if config.start_from and not config.replace_unknown and targets.share > MOST_UNKNOWN:
        raise ConfigError(
            f"{targets.share:.0%} of the subwords of the targets are unknown to {config.start_from}"
            f", {targets}: it has none for their characters, and what starts from it could not "
            "write them. Train without --start-from."
        )
    return unknown_line(sources, targets, config.replace_unknown)
