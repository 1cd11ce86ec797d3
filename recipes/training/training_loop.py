"""What happens between the steps of a training: averages, reports, evaluations, checkpoints."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import keras

from ...zoo.models.encoder_decoder import EncoderDecoder
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.text.tokenizer import SubwordTokenizer
from ...zoo.training.loss import SmoothedCrossEntropy
from ...zoo.training.optimizers import FusedAdam
from ...zoo.training.schedules import BudgetSchedule
from ..core.checkpoint import pack, unpack
from ..core.config import Budget, RunConfig
from ..core.interruption import StopNow, StopRequest
from ..core.model import build_model
from ..core.run import Run
from ..core.saved_model import text_to_text
from ..data.batch_stream import BatchStream
from ..data.corpus import PairCorpus
from ..distribute.context import DistributionContext
from ..metrics.metric import Metric
from ..metrics.scores import Scores, shown
from ..tensorboard.model_pictures import model_graph
from ..tensorboard.run_logger import RunLogger
from .evaluation import Evaluator
from .nonfinite import NonfiniteSteps
from .optimization import make_average, make_schedule
from .progress import Progress, Window, evaluation_line, training_line

REPORT_SECONDS = 10.0


class TrainingLoop(keras.callbacks.Callback):
    """All that happens between two steps: averaging, reports, evaluations, checkpoints, the end.

    A Keras callback, so that the steps themselves are those of `Model.fit`. Where several workers
    train, the chief alone reports, evaluates and writes, and the others do what it decides.
    """

    def __init__(
        self,
        config: RunConfig,
        run: Run,
        model: EncoderDecoder,
        tokenizer: SubwordTokenizer,
        valid_corpus: PairCorpus,
        metric: Metric,
        budget: Budget,
        nonfinite: NonfiniteSteps,
        report: Callable[[str], None],
        place: DistributionContext,
        generation: dict[str, Any],
    ):
        super().__init__()
        self.place, self.metric = place, metric
        self.config, self.run, self.budget, self.report = config, run, budget, report
        self.nonfinite = nonfinite
        self.progress = Progress()
        self.trained = model
        with place.scope():
            self.schedule = make_schedule(config)
            self.optimizer = FusedAdam(
                self.schedule,
                global_clipnorm=config.clip_norm or None,
                skip_nonfinite=config.skip_nonfinite,
            )
            loss = SmoothedCrossEntropy(config.label_smoothing, r_drop=config.r_drop)
            # Keras puts the scaling of the loss that float16 needs around the optimizer.
            model.compile(self.optimizer, loss=loss, jit_compile=config.jit)
            model.optimizer.build(model.trainable_variables)
        self.average = make_average(model, config)
        # A metric's state says nothing of what is learnt, and some appear only during `fit`.
        metrics = {id(v) for metric in model.metrics for v in metric.variables}
        self.variables = [
            *(v for v in model.variables if id(v) not in metrics),
            *model.optimizer.variables,
            *(self.average.variables if self.average else []),
        ]
        # A strategy's variables are on devices that may know neither strings nor searches, and what
        # is evaluated, kept and served computes in float32.
        alike = place.strategy is None and config.precision == "float32"
        copied = place.is_chief and not alike
        self.served = build_model(config, tokenizer) if copied else model
        name = run.folder.resolve().name
        self.text_to_text = text_to_text(self.served, tokenizer, config, name, True, **generation)
        self.evaluator = Evaluator(self.text_to_text, valid_corpus, config)
        self.stop_request = StopRequest()

    def restore(self) -> None:
        """Goes on from the newest checkpoint, if there is one."""
        saved = self.place.broadcast_from_chief(
            lambda: self.run.checkpoints.restore(self.variables),
            lambda progress: pack(self.variables, progress),
            lambda state: unpack(self.variables, state),
        )
        self.place.prepare(self.trained, static=self.config.jit)
        if saved is not None:
            self.progress = Progress(**saved)
            self.report(
                f"going on at step {self.progress.step:,} "
                f"after {self.progress.seconds / 60:.1f} minutes of training"
            )

    def is_over(self) -> bool:
        return (
            self.budget.is_spent(self.progress.step, self.progress.seconds)
            or self.progress.ended_by(self.config.patience) == "patience"
        )

    def run_to_end(
        self, batches: BatchStream, callbacks: Sequence[keras.callbacks.Callback] = ()
    ) -> None:
        """Trains until the run is over.

        Args:
            batches: what is learnt from.
            callbacks: of `fit`, besides this one.

        Raises:
            StopNow: a signal came; the run is saved.
            DataError: a file of the training corpus cannot be read any more.
        """
        if not self.place.is_chief:
            self.stop_request.pass_on = self.place.ask_chief_to_stop
        self._make_up_for_evaluation()
        if not self.is_over():
            config = self.config
            dataset = self.place.dataset(
                batches, self.progress.step, config.accumulate_steps, static=config.jit
            )
            # One endless epoch: what happens when is counted in steps.
            try:
                self.place.fit(self.trained, dataset, [*callbacks, self])
            except Exception as error:
                # TensorFlow makes an error of its own of what its input raises.
                if batches.error is None:
                    raise
                raise batches.error from error
            finally:
                batches.end()
        if self.stop_request.signal_number is not None:
            raise StopNow

    def _make_up_for_evaluation(self) -> None:
        """Makes the evaluation of the last step, if a signal broke it off or it left no model."""
        progress = self.progress
        last = progress.history[-1]["step"] if progress.history else 0
        made = progress.step == last and progress.best_step > 0
        due = self.is_over() or progress.step % self.config.evaluate_every == 0
        if made or not due or not progress.step:
            return

        def evaluate(_: list[None]) -> tuple[int, int | None]:
            with contextlib.suppress(StopNow):  # as before
                self._evaluate()
                self.checkpoint()
            return progress.evaluations_since_best, self.stop_request.signal_number

        progress.evaluations_since_best, stopped = self.place.coordinate(None, evaluate)
        if stopped is not None:
            self.stop_request.signal_number = stopped
            raise StopNow

    def begin(self) -> AbstractContextManager[Any]:
        """Starts the clock and opens the log, which is closed by the block it is used for."""
        if not self.place.is_chief:
            return contextlib.nullcontext()
        next_step = self.progress.step + 1 if self.progress.step else 0
        self.logger = RunLogger(self.run.tensorboard_path, purge_step=next_step)
        self.logger.log_hyperparameters(self.config.to_dict())
        self._clock = time.perf_counter()
        self._last_report = self._last_checkpoint = self.progress.seconds
        self._window = Window()
        return self.logger

    def on_train_batch_begin(self, batch, logs=None):
        spent = self.budget.share(self.progress.step, self.progress.seconds)
        self.trained.set_progress(spent)
        if isinstance(self.schedule, BudgetSchedule):
            self.schedule.set_spent(spent)

    def on_train_batch_end(self, batch, logs=None):
        self.progress.step += 1
        if self.average:
            self.average.update(self.progress.step)
        # A schedule may follow the clock, so the chief's is that of all.
        self.trained.stop_training, self.progress.seconds, stopped = self.place.coordinate(
            self.stop_request.signal_number, lambda stops: self._end_step(logs, stops)
        )
        if stopped is not None:
            self.stop_request.signal_number = stopped

    def _end_step(
        self, logs: dict[str, Any], stops: list[int | None]
    ) -> tuple[bool, float, int | None]:
        """Reports, evaluates and saves what there is to; at the chief alone.

        Args:
            logs: of the step.
            stops: the signal that each worker has got, if it has.

        Returns:
            Whether this was the last step, the seconds of training, and the signal to stop.
        """
        progress = self.progress
        if self._is_finite(logs):
            progress.tokens += float(logs["tokens"])
            self._window.add(logs)
        self._tick()
        if progress.seconds - self._last_report >= REPORT_SECONDS and self._window.tokens:
            self._report_training()
        if self.is_over() or progress.step % self.config.evaluate_every == 0:
            with contextlib.suppress(StopNow):  # then it is made at the next start
                self._evaluate()
        received = [*stops, self.stop_request.signal_number]
        stopped = next((stop for stop in received if stop is not None), None)
        over = self.is_over() or stopped is not None
        if over or progress.seconds - self._last_checkpoint >= 60 * self.config.checkpoint_minutes:
            self.checkpoint(last=over)
        return over, progress.seconds, stopped

    def _is_finite(self, logs: dict[str, Any]) -> bool:
        """Whether the step can be counted; where it cannot, it is told, or ends the run."""
        progress, optimizer, loss = self.progress, self.optimizer, float(logs["loss"])
        skipping = self.config.skip_nonfinite
        skipped = int(optimizer.skipped.numpy()) if skipping else 0
        if math.isfinite(loss) and skipped <= progress.skipped:
            return True
        rate = float(optimizer.learning_rate)
        if not skipping:
            raise self.nonfinite.stop(progress.step, rate, loss)
        progress.skipped = max(skipped, progress.skipped + 1)  # Keras skips scaled losses uncounted
        self.report(f"left out: {self.nonfinite.note(progress.step, rate, loss)}")
        return False

    def checkpoint(self, last: bool = True) -> None:
        """Writes all that is needed to go on exactly here.

        Where that fails, mostly for a full disk, the checkpoint before stays. It is tried again
        later, and an error only if this is the last one.
        """
        self.logger.flush()
        try:
            self.run.checkpoints.save(self.progress.step, self.variables, asdict(self.progress))
        except OSError as error:
            if last:
                raise
            self.report(
                f"step {self.progress.step:>7,}  no checkpoint could be written: {error.strerror}; "
                "the one before stays, and the next is tried later"
            )
        self._last_checkpoint = self.progress.seconds

    def finish(self) -> tuple[TextToText, Scores]:
        """The best model and its scores with the search of the config: that of the best evaluation,
        or of the last step if its scores are better; evaluations are greedy, and of some rows.
        """
        best = self.run.load(truncate=True)
        scores = Evaluator(best, self.evaluator.corpus, self.config).full()
        progress, metric, last = self.progress, self.metric.name, self.progress.history[-1]
        if progress.step == progress.best_step or progress.step != last["step"]:
            return best, scores
        with self._averaged():
            last_scores = self.evaluator.full()
            value, before = last_scores.values[metric], scores.values[metric]
            if not self.metric.is_better(value, before) or not self._keep(last[metric]):
                return best, scores
        told = f"{metric} {shown(value)}, not {shown(before)}"
        self.report(f"step {progress.step:>7,}  better in full: {told}")
        self.checkpoint()
        return self.run.load(truncate=True), last_scores

    def _tick(self) -> None:
        now = time.perf_counter()
        self.progress.seconds += now - self._clock
        self.progress.token_seconds += now - self._clock
        self._window.seconds += now - self._clock
        self._clock = now

    def _report_training(self) -> None:
        values = self._window.means()
        values["learning_rate"] = float(self.trained.optimizer.learning_rate)
        self.logger.log_training(self.progress.step, values)
        self.report(training_line(self.progress, values))
        self._last_report = self.progress.seconds
        self._window = Window()

    def _evaluate(self) -> None:
        """Decodes validation rows with the averaged weights and keeps them if they are best."""
        progress = self.progress
        with self._averaged():
            better = self._compare()
        progress.evaluations_since_best = 0 if better else progress.evaluations_since_best + 1
        kept = better and progress.best_step == progress.step
        self.report(evaluation_line(progress, self.metric.name, kept))
        self._clock_evaluation()

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """What is evaluated has the averaged weights inside the `with` block."""
        with self.average.applied() if self.average else contextlib.nullcontext():
            if self.served is not self.trained:
                self.served.set_weights(self.trained.get_weights())
            yield

    def _compare(self) -> bool:
        progress = self.progress
        with self.stop_request.at_once():
            evaluation = self.evaluator.quick()
        progress.history.append(
            {"step": progress.step, "minutes": progress.seconds / 60, **evaluation.metrics}
        )
        if len(progress.history) == 1:
            self.logger.log_graph(model_graph(self.text_to_text))
        values = evaluation.metrics | evaluation.health
        self.logger.log_evaluation(
            progress.step, values, evaluation.samples, evaluation.explanations
        )
        value = evaluation.metrics[self.metric.name]
        better = not progress.best_step or self.metric.is_better(value, progress.best_value)
        if better:
            self._keep(value)
        return better

    def _keep(self, value: float | None) -> bool:
        """Writes the best model, if it can; where that fails, the one before stays the best."""
        progress = self.progress
        try:
            self.run.save_model(self.served)
        except OSError as error:
            self.report(
                f"step {progress.step:>7,}  the best model could not be written: "
                f"{error.strerror or error}; what was written before stays"
            )
            return False
        progress.best_value, progress.best_step = value, progress.step
        return True

    def _clock_evaluation(self) -> None:
        """Counts the time of an evaluation as training, but not as time for tokens."""
        now = time.perf_counter()
        self.progress.seconds += now - self._clock
        self._clock = now
        self._last_report = self.progress.seconds
