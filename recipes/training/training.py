"""Training of a run, from its texts to its best model, in the order of the work."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from ...zoo.errors import ConfigError
from ...zoo.models.encoder_decoder import EncoderDecoder
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.text.tokenizer import Tokenizer
from ...zoo.training.loss import SmoothedCrossEntropy
from ...zoo.training.optimizers import FusedAdam
from ..core.config import Budget, RunConfig
from ..core.corpora import read_corpora, texts
from ..core.interruption import Interrupted, StopNow, StopRequest
from ..core.model import build_model, schedule_of
from ..core.run import Run
from ..core.run_tokenizer import pack, run_tokenizer, unpack
from ..core.saved_model import text_to_text
from ..core.task import deciding_metric, task_of, with_max_sentences
from ..data.batch_stream import BatchStream
from ..data.corpus import PairCorpus, PairOrigin
from ..data.prepared import PreparedCorpus
from ..distribute.context import DistributionContext
from ..metrics.metric import Metric
from ..metrics.scores import Scores, shown
from ..tensorboard.model_pictures import log_embedding, model_graph
from ..tensorboard.profiling import StepProfiler
from ..tensorboard.run_logger import RunLogger
from .batches import check_unknown, learn_shortlist, make_batches
from .callbacks import (
    ChiefCallbacks,
    FollowBudget,
    StopAtBudget,
    StopOnSignal,
    TensorBoardLog,
    WeightAveraging,
)
from .display import display_of
from .evaluation import Evaluator, RemoteEvaluator, check_targets
from .length_limits import limit_of_corpus, ngram_of_corpus
from .nan_guard import NanGuard
from .periodic_evaluation import PeriodicEvaluation
from .planning import Outlook, make_average, make_schedule, plan_of
from .precision import computing_in
from .progress import Progress, progress_of
from .reporting import closing_lines, corpora_lines, sizes_line, stopped_line, write_metrics
from .training_checkpoint import TrainingCheckpoint
from .warm_start import load_start, start_state

SCORING = "scoring the best model"


def train(
    config: RunConfig,
    run: Run,
    budget: Budget,
    report: Callable[[str], None] = print,
    place: DistributionContext | None = None,
    profile: tuple[int, int] | None = None,
    corpora: tuple[PairCorpus | PreparedCorpus, PairCorpus] | None = None,
) -> TextToText:
    """Trains the model of a config, or resumes its training where it was stopped.

    Args:
        config: All that decides what is learnt.
        run: The folder, which is claimed when all is ready to start.
        budget: Steps or minutes of the training; with neither, it ends when the metric gets no
            better.
        report: Takes each line of progress.
        place: Where the training runs; one replica of the model on the default device if left out.
        profile: First and last step, of this call, that are profiled for TensorBoard.
        corpora: To learn from and to validate with, if they are read already.

    Returns:
        The best model, with the search that the config asks for. At a worker that is not the chief,
        which has no run folder, the model as it was last; on JAX too, where it cannot be asked.

    Raises:
        ConfigError: The text and the settings do not go together, or the folder is another run's,
            or was begun with other texts.
        DataError: A corpus cannot be used, or no row of one is short enough, or a row is longer
            than a batch.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
    """
    place = place or DistributionContext()

    # Corpora
    train_corpus, valid_corpus = corpora or read_corpora(config)
    checksums = {"train": train_corpus.checksum, "valid": valid_corpus.checksum}
    for line in corpora_lines(config, budget, train_corpus, valid_corpus):
        report(line)
    if place.is_chief and run.check(config, checksums):
        begun_with = run.read_config().parts.source_format
        config = replace(config, parts=replace(config.parts, source_format=begun_with))
    elif isinstance(train_corpus, PairCorpus):
        config = with_max_sentences(config, train_corpus)
    keras.utils.set_random_seed(config.seed)

    # Tokenizer: one for all workers, as only the chief is sure to see the folder of the run
    tokenizer = place.broadcast_from_chief(
        lambda: run_tokenizer(config, run, train_corpus), pack, unpack
    )

    # Batches
    batches = make_batches(config, train_corpus, tokenizer)
    check_unknown(config, tokenizer, train_corpus, batches, report)
    check_targets(config, config.max_target_length, tokenizer, valid_corpus, report)
    place.check_same("training rows", batches.checksum() if place.workers else None)

    # Model
    elsewhere = place.tensorflow  # it starts while the model is made
    with place.scope(), computing_in(config.precision):
        model = build_model(config, tokenizer)
    first = config.start_from is not None and not run.checkpoints.paths()
    if first and not config.keep_state:
        load_start(config, model)
        report(f"starts with the weights of {config.start_from}")
    report(sizes_line(config, model, tokenizer, batches))
    epoch_steps = batches.batches_in_epoch() / config.accumulate_steps
    budget = budget.in_steps(math.ceil(epoch_steps))
    generation = limit_of_corpus(config, config.max_target_length, batches, report)
    generation |= ngram_of_corpus(config, tokenizer, texts(train_corpus).targets, report)
    likely = learn_shortlist(config, tokenizer, train_corpus, batches)

    # Compile
    with place.scope():
        schedule = make_schedule(config, schedule_of(config))
        clip, skip = config.clip_norm or None, config.skip_nonfinite
        optimizer = FusedAdam(schedule, global_clipnorm=clip, skip_nonfinite=skip)
        loss = SmoothedCrossEntropy(config.label_smoothing, r_drop=config.r_drop)
        model.compile(optimizer, loss=loss, jit_compile=config.jit and place.strategy is None)
        model.optimizer.build(model.trainable_variables)
    average, progress = make_average(model, config, config.evaluate_every), progress_of(model)
    checkpoint = TrainingCheckpoint(run.checkpoints, config.checkpoint_minutes, average)
    start = start_state(config) if first and config.keep_state and place.is_chief else None
    if checkpoint.restore(model, place, start):
        at = f"step {progress.step:,}{f' of {config.start_from}' if start else ''}"
        report(f"going on at {at} after {progress.seconds / 60:.1f} minutes of training")
    place.prepare(model, static=config.jit)

    # Claim the folder
    if place.is_chief:
        if changes := run.changes(config):
            told = (f"{name}={now}, {was} before" for name, (was, now) in changes.items())
            report(f"going on with other settings: {'; '.join(told)}")
        begun = run.open(config, checksums, model, **generation)
        run.checkpoints.make_folder()
        generation = run.generation() if begun else generation
        if likely is not None:
            run.save_shortlist(likely)
        if not run.tokenizer_path.exists():
            run.save_samples(valid_corpus.sources)
            run.save_tokenizer(tokenizer)

    # Fit: the callbacks act in this order
    served = _served(model, config, tokenizer, place)
    as_served = text_to_text(served, tokenizer, config, run.name, True, likely, **generation)
    evaluator = Evaluator(as_served, valid_corpus, config, model)
    during: Evaluator | RemoteEvaluator = evaluator
    if elsewhere is not None:
        during = RemoteEvaluator(elsewhere.call, model, run, valid_corpus, generation)
    graph = partial(model_graph, as_served) if elsewhere is None else None
    request, logger = StopRequest(), _logger(run, config, progress, place)
    metric = _deciding_metric(config, valid_corpus, report)
    evaluation = PeriodicEvaluation(
        during.quick,
        keep=partial(during.save, run),
        every=config.evaluate_every if config.is_stated("evaluate_every") else None,
        metric=metric,
        patience=config.patience,
        weights=average.applied if average else nullcontext,
        request=request,
    )
    plan, end = plan_of(config, budget, epoch_steps), StopAtBudget(budget)
    watch = display_of(report, Outlook(budget, epoch_steps, evaluation))
    rows = partial(_rows_of_step, config, train_corpus, batches)
    decided_by_chief = [
        NanGuard(config.skip_nonfinite, rows, run.folder / "nonfinite.json"),
        watch,
        plan,
        end,
        evaluation,
        end,  # an evaluation takes time too
        TensorBoardLog(logger, evaluation, graph),
        StopOnSignal(request, evaluation),
        checkpoint,
    ]
    chief = ChiefCallbacks(decided_by_chief, place, request, report)
    callbacks = [
        *([StepProfiler(run.tensorboard_path, *profile, report)] if profile else []),
        FollowBudget(budget, [model, schedule]),
        *([WeightAveraging(average)] if average else []),
        chief,
    ]
    with request, logger, checkpoint.files:
        try:
            if chief.resume(model):
                with watch if place.is_chief else nullcontext():
                    _fit(model, batches, config, place, callbacks)

            # Evaluate
            with request.at_once():
                if not place.is_chief:
                    return as_served
                report(f"{SCORING} on all {len(valid_corpus):,} rows ...")
                if elsewhere is not None:
                    corpora = train_corpus, valid_corpus
                    for line in elsewhere.call(_score, run.folder, budget, corpora):
                        report(line)
                    return as_served
                best, scores = _best(run, evaluator, evaluation, checkpoint)
                train_texts = texts(train_corpus)
                baselines = task_of(config).baseline_scores(train_texts, valid_corpus, best)
        except StopNow:
            raise Interrupted(
                request.signal_number or signal.SIGTERM,
                stopped_line(run, progress.step),
            ) from None
        logger.log_final(progress.step, scores.values)

    # Report
    log_embedding(run, best)
    write_metrics(run, config, progress, best, scores, baselines, metric.name, report)
    for line in closing_lines(run, best, valid_corpus):
        report(line)
    return best


def _served(
    model: EncoderDecoder,
    config: RunConfig,
    tokenizer: Tokenizer,
    place: DistributionContext,
) -> EncoderDecoder:
    """Returns what is evaluated, kept and served: the model itself, or a copy of it.

    A strategy's variables are on devices that may know neither strings nor searches, and what is
    evaluated, kept and served computes in float32.
    """
    alike = place.strategy is None and config.precision == "float32"
    elsewhere = not place.is_chief or place.tensorflow is not None
    return model if alike or elsewhere else build_model(config, tokenizer)


def _score(
    folder: Path, budget: Budget, corpora: tuple[PairCorpus | PreparedCorpus, PairCorpus]
) -> list[str]:
    """Resumes here what another process has trained to its end; returns what there is to report."""
    run, lines = Run(folder), []  # type: Run, list[str]
    train(run.read_config(), run, budget, lines.append, corpora=corpora)
    return lines[1 + next(i for i, line in enumerate(lines) if line.startswith(SCORING)) :]


def _logger(run: Run, config: RunConfig, progress: Progress, place: DistributionContext) -> Any:
    """Opens the log for TensorBoard, which forgets steps that are made anew; at the chief alone."""
    if not place.is_chief:
        return nullcontext()
    logger = RunLogger(run.tensorboard_path, progress.step + 1 if progress.step else 0)
    logger.log_hyperparameters(config.to_dict())
    return logger


def _deciding_metric(
    config: RunConfig, valid_corpus: PairCorpus, report: Callable[[str], None]
) -> Metric:
    """Returns the metric that decides which weights are best; reports if it is another one."""
    metric = deciding_metric(config, valid_corpus)
    if metric.name != config.metric:
        report(
            f"validation: {config.metric} has no value on these references, which would score 0 "
            f"themselves; {metric.name} decides which weights are best"
        )
    return metric


def _rows_of_step(
    config: RunConfig, corpus: PairCorpus | PreparedCorpus, batches: BatchStream, step: int
) -> list[PairOrigin]:
    """Returns where the rows of a step, counted from 1, are from."""
    rows = batches.rows_of_step(step - 1, config.accumulate_steps)
    return corpus.origins([int(row) for row in rows])


def _fit(
    model: EncoderDecoder,
    batches: BatchStream,
    config: RunConfig,
    place: DistributionContext,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Fits one endless epoch: what happens when is counted in steps.

    Raises:
        DataError: A file of the training corpus cannot be read any more.
    """
    first_step = progress_of(model).step
    dataset = place.dataset(batches, first_step, config.accumulate_steps, static=config.jit)
    try:
        place.fit(model, dataset, callbacks)
    except Exception as error:
        # TensorFlow makes an error of its own of what its input raises.
        if batches.error is None:
            raise
        raise batches.error from error
    finally:
        batches.end()


def _best(
    run: Run, evaluator: Evaluator, evaluation: PeriodicEvaluation, checkpoint: TrainingCheckpoint
) -> tuple[TextToText, Scores]:
    """Returns the best model and its scores with the search of the config.

    It is that of the best evaluation, or of the last step if its scores are better: evaluations are
    greedy, and of some rows.
    """
    if not evaluation.progress.best_step:
        raise ConfigError(
            f"{run.folder} has no model.keras yet that was evaluated, as it could not be written: "
            "give the same command again where there is room."
        )
    best = run.load(truncate=True)
    scores = Evaluator(best, evaluator.corpus, evaluator.config).full()
    progress, metric = evaluation.progress, evaluation.metric
    last = progress.history[-1]
    if progress.step == progress.best_step or progress.step != last["step"]:
        return best, scores
    with evaluation.weights():
        last_scores = evaluator.full()
        value, before = last_scores.values[metric.name], scores.values[metric.name]
        if not metric.is_better(value, before) or not evaluation.keep(last[metric.name]):
            return best, scores
    told = f"{metric.name} {shown(value)}, not {shown(before)}"
    evaluation.report(f"step {progress.step:>7,}  better in full: {told}")
    checkpoint.save()
    return run.load(truncate=True), last_scores
