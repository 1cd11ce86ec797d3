"""Training of a run, from its texts to its best model, in the order of the work."""

from __future__ import annotations

import functools
import operator
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import keras

from ...zoo.models.base import Seq2SeqModel
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.text.tokenizer import SubwordTokenizer
from ...zoo.training.loss import SmoothedCrossEntropy
from ..core.config import LOWER_IS_BETTER, Budget, RunConfig
from ..core.interruption import Interrupted, StopNow, StopRequest
from ..core.length_limits import limit_of_corpus
from ..core.run import Run, build_model, text_to_text
from ..core.run_tokenizer import pack, run_tokenizer, unpack
from ..core.starting import load_start
from ..core.task import deciding_metric, read_corpora, task, texts
from ..data.batch_stream import BatchStream
from ..data.corpus import PairCorpus, PairOrigin
from ..data.prepared import PreparedCorpus
from ..distribute.strategies import Placement
from ..metrics.scores import Scores, shown
from ..tensorboard.model_pictures import log_embedding, model_graph
from ..tensorboard.profiling import StepProfiler
from ..tensorboard.run_logger import RunLogger
from .averaging import Average, make_average
from .batches import check_unknown, make_batches
from .callbacks import ChiefCallbacks, FollowBudget, StopAtBudget, StopOnSignal, WeightAveraging
from .evaluation import Evaluator, check_targets
from .nan_guard import NanGuard
from .optimizers import FusedAdam
from .periodic_evaluation import PeriodicEvaluation
from .precision import computing_in
from .progress import Progress, ProgressReport
from .reporting import Report, sizes_line, warn, write_metrics
from .schedules import BudgetSchedule, make_schedule
from .tensorboard_log import TensorBoardLog
from .training_checkpoint import TrainingCheckpoint


def train(
    config: RunConfig,
    run: Run,
    budget: Budget,
    report: Report = print,
    place: Placement | None = None,
    profile: tuple[int, int] | None = None,
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

    Returns:
        The best model, with the search that the config asks for. At a worker that is not the chief,
        which has no run folder, the model as it was last.

    Raises:
        ConfigError: The text and the settings do not go together, or the folder is another run's,
            or was begun with other texts.
        DataError: A corpus cannot be used, or no row of one is short enough, or a row is longer
            than a batch.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
    """
    place, progress = place or Placement(), Progress()

    # Corpora
    train_corpus, valid_corpus = read_corpora(config)
    checksums = {"train": train_corpus.checksum, "valid": valid_corpus.checksum}
    report(train_corpus.report())
    report(valid_corpus.report())
    if place.is_chief:
        run.check(config, checksums)
    keras.utils.set_random_seed(config.seed)

    # Tokenizer: one for all workers, as only the chief is sure to see the folder of the run
    tokenizer = place.from_chief(lambda: run_tokenizer(config, run, train_corpus), pack, unpack)

    # Batches
    batches = make_batches(config, train_corpus, tokenizer)
    unknown = check_unknown(config, tokenizer, train_corpus, batches)
    place.check_same("training rows", batches.checksum() if place.workers else None)

    # Model
    with place.scope(), computing_in(config.precision):
        model = build_model(config, tokenizer)
    if config.start_from and not run.checkpoints.paths():
        load_start(config, model)
        report(f"starts with the weights of {config.start_from}")
    report(sizes_line(config, model, tokenizer, batches))
    generation = limit_of_corpus(config, batches, report)
    metric = deciding_metric(config, valid_corpus)
    warn(config, unknown, check_targets(config, tokenizer, valid_corpus), metric, report)
    if place.is_chief:
        generation = _open(run, config, checksums, generation, tokenizer)

    # Compile
    follow = _compile(model, config, place)

    # State
    average = make_average(model, config)
    checkpoint = TrainingCheckpoint(
        run.checkpoints, config.checkpoint_minutes, average, progress, report
    )
    if checkpoint.restore(model, place):
        minutes = progress.seconds / 60
        report(f"going on at step {progress.step:,} after {minutes:.1f} minutes of training")
    place.prepare(model, static=config.jit)
    served = _served(model, config, tokenizer, place)
    name = run.folder.resolve().name
    as_served = text_to_text(served, tokenizer, config, name, truncate=True, **generation)
    evaluator = Evaluator(as_served, valid_corpus, config)

    # Fit: the callbacks are called in the order of their list
    with StopRequest() as request, _open_log(run, config, progress, place) as logger:
        evaluation = PeriodicEvaluation(
            evaluator.quick,
            keep=lambda: run.save_model(served),
            every=config.evaluate_every,
            metric=metric,
            is_better=operator.lt if metric in LOWER_IS_BETTER else operator.gt,
            patience=config.patience,
            weights=lambda: _evaluated_weights(model, served, average),
            request=request,
            progress=progress,
            report=report,
        )
        end = StopAtBudget(budget, progress)
        graph = functools.partial(model_graph, as_served)
        rows = functools.partial(_rows, train_corpus, batches, config.accumulate_steps)
        noted = run.folder / "nonfinite.json"
        chief = ChiefCallbacks(
            [
                NanGuard(config.skip_nonfinite, rows, noted, progress, report),
                ProgressReport(report, progress=progress),
                end,
                evaluation,
                end,  # an evaluation takes time too
                TensorBoardLog(logger, evaluation, graph, progress=progress),
                StopOnSignal(request, progress),
                checkpoint,
            ],
            place,
            progress,
            request,
        )
        callbacks = [
            FollowBudget(budget, follow, progress),
            *([WeightAveraging(average, progress)] if average else []),
            chief,
        ]
        if profile is not None and place.is_chief:
            callbacks.insert(0, StepProfiler(run.tensorboard_path, *profile, report))
        try:
            if chief.resume(model):
                _fit(model, batches, config, place, progress.step, callbacks)
            if request.signal_number is not None:
                raise StopNow
            if not place.is_chief:
                return as_served

            # Evaluate
            with request.at_once():
                best, scores = _best(run, evaluator, evaluation, checkpoint, report)
                baselines = task(config.task).baseline_scores(
                    texts(train_corpus), valid_corpus, best
                )
        except StopNow:
            raise Interrupted(
                request.signal_number or signal.SIGTERM,
                f"stopped and saved at step {progress.step:,}; give the same command to go on",
            ) from None
        logger.log_final(progress.step, scores.values)

    # Report
    log_embedding(run, best)
    write_metrics(run, config, progress, best, scores, baselines, metric, report)
    return best


def _open(
    run: Run,
    config: RunConfig,
    checksums: dict[str, int],
    generation: dict[str, Any],
    tokenizer: SubwordTokenizer,
) -> dict[str, Any]:
    """Claims the folder of the run; returns the options of generation that it was begun with."""
    if run.open(config, checksums, **generation):
        generation = run.generation()
    if not run.tokenizer_path.exists():
        run.save_tokenizer(tokenizer)
    return generation


def _compile(
    model: Seq2SeqModel, config: RunConfig, place: Placement
) -> list[Callable[[float], None]]:
    """Compiles the model; returns what follows the share of the budget that is spent."""
    with place.scope():
        schedule = make_schedule(config)
        optimizer = FusedAdam(
            schedule,
            global_clipnorm=config.clip_norm or None,
            skip_nonfinite=config.skip_nonfinite,
        )
        loss = SmoothedCrossEntropy(config.label_smoothing, r_drop=config.r_drop)
        model.compile(optimizer, loss=loss, jit_compile=config.jit)
        model.optimizer.build(model.trainable_variables)
    ends = isinstance(schedule, BudgetSchedule)
    return [model.set_spent, schedule.set_spent] if ends else [model.set_spent]


def _served(
    model: Seq2SeqModel, config: RunConfig, tokenizer: SubwordTokenizer, place: Placement
) -> Seq2SeqModel:
    """Returns what is evaluated, kept and served: the model itself, or a copy of it.

    A strategy's variables are on devices that may know neither strings nor searches, and what is
    evaluated, kept and served computes in float32.
    """
    alike = place.strategy is None and config.precision == "float32"
    return model if alike or not place.is_chief else build_model(config, tokenizer)


@contextmanager
def _evaluated_weights(
    model: Seq2SeqModel, served: Seq2SeqModel, average: Average | None
) -> Iterator[None]:
    """Inside the `with` block what is served has the averaged weights."""
    with average.applied() if average else nullcontext():
        if served is not model:
            served.set_weights(model.get_weights())
        yield


@contextmanager
def _open_log(
    run: Run, config: RunConfig, progress: Progress, place: Placement
) -> Iterator[RunLogger | None]:
    """Opens the log for TensorBoard, at the chief, which forgets steps that are made anew."""
    if not place.is_chief:
        yield None
        return
    next_step = progress.step + 1 if progress.step else 0
    with RunLogger(run.tensorboard_path, purge_step=next_step) as logger:
        logger.log_hyperparameters(config.to_dict())
        yield logger


def _rows(
    corpus: PairCorpus | PreparedCorpus, batches: BatchStream, accumulate: int, step: int
) -> list[PairOrigin]:
    """Returns where the rows of a step, counted from 1, are from."""
    return corpus.origins([int(row) for row in batches.rows_of_step(step - 1, accumulate)])


def _fit(
    model: Seq2SeqModel,
    batches: BatchStream,
    config: RunConfig,
    place: Placement,
    first_step: int,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Fits one endless epoch from a step on: when what happens is counted in steps.

    Raises:
        DataError: A file of the training corpus cannot be read any more.
    """
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
    run: Run,
    evaluator: Evaluator,
    evaluation: PeriodicEvaluation,
    checkpoint: TrainingCheckpoint,
    report: Report,
) -> tuple[TextToText, Scores]:
    """Returns the best model and its scores with the search of the config.

    It is that of the best evaluation, or of the last step if its scores are better: evaluations are
    greedy, and of some rows.
    """
    best = run.load(truncate=True)
    scores = Evaluator(best, evaluator.corpus, evaluator.config).full()
    progress, metric = evaluation.progress, str(evaluation.metric)
    last = progress.history[-1]
    if progress.step == progress.best_step or progress.step != last["step"]:
        return best, scores
    with evaluation.weights():
        last_scores = evaluator.full()
        value, before = last_scores.values[metric], scores.values[metric]
        if not evaluation.is_better(value, before) or not evaluation.keep(last[metric]):
            return best, scores
    told = f"{metric} {shown(value)}, not {shown(before)}"
    report(f"step {progress.step:>7,}  better in full: {told}")
    checkpoint.save()
    return run.load(truncate=True), last_scores
