"""The log of a run for TensorBoard: curves, sample outputs, and attention as it develops."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.image.metadata import create_summary_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from ...zoo.files import check_local
from ...zoo.visualization.explanation import Explanation
from ...zoo.visualization.labels import clean_text
from ...zoo.visualization.plotting import heat_map_bytes

DOTS_PER_INCH = 100  # TensorBoard shrinks pictures to a card; a finer one becomes harder to read
PUNCTUATION = {ord(sign): f"&#{ord(sign)};" for sign in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"}


class RunLogger:
    """Writes what TensorBoard shows of one training run.

    Two runs appear in TensorBoard, `train` and `valid`, so that a measure of both, such as the
    loss, is drawn into one chart. A third, `final`, has the settings and the scores of the best
    model, so that the HParams tab has columns for these alone. Values are written as event files
    directly: nothing becomes part of a TensorFlow graph.

    A run that was stopped goes on in the same folder: with `purge_step`, TensorBoard forgets what
    the stopped process logged from that step on, and shows one line without a fold in it.

    Args:
        log_dir: Folder of the logs, made if it is not there.
        purge_step: The first step that will be made now: 0 in a new run, one more than that of the
            checkpoint from which training goes on.

    Raises:
        ValueError: If `purge_step` is negative.

    Example:
        >>> with RunLogger("run/tensorboard") as logger:
        ...     logger.log_hyperparameters({"model": "rnn-bahdanau", "dropout": 0.2})
        ...     logger.log_training(100, {"loss": 3.2, "learning_rate": 1e-3})
        ...     logger.log_evaluation(
        ...         100, {"loss": 3.0, "bleu": 12.5}, [("星期一", "Monday", "Monday")], explanations
        ...     )
    """

    def __init__(self, log_dir: str | PathLike[str], purge_step: int = 0) -> None:
        if purge_step < 0:
            raise ValueError(
                "`purge_step` must be the first step that will be made, 0 in a new run. "
                f"Received: purge_step={purge_step}"
            )
        check_local(log_dir)
        self._train = self._open(Path(log_dir) / "train", purge_step)
        self._valid = self._open(Path(log_dir) / "valid", purge_step)
        self._final = self._open(Path(log_dir) / "final", purge_step)
        self._has_hyperparameters = False
        self._closed = False

    @staticmethod
    def _open(folder: Path, purge_step: int) -> _EventFile:
        writer = _EventFile(folder)
        # In a new run as well: TensorBoard takes the first mark of a start for no restart.
        start = SessionLog(status=SessionLog.START)
        writer.add_event(Event(wall_time=time.time(), step=purge_step, session_log=start))
        return writer

    def log_hyperparameters(self, config: Mapping[str, Any]) -> None:
        """Enters the run into the table of TensorBoard's HParams tab.

        Args:
            config: Names and values; mappings within it are named `outer.inner`, and what is
                neither a number, a truth value nor a string is written as its text.
        """
        self._has_hyperparameters = True
        self._add(self._final, 0, hparams_pb(dict(_flatten(config))))
        self.flush()

    def log_graph(self, graph: bytes) -> None:
        """Shows the model in the Graphs tab.

        Args:
            graph: A serialized `GraphDef`.
        """
        self._valid.add_event(Event(wall_time=time.time(), graph_def=graph))

    def log_training(self, step: int, logs: Mapping[str, float]) -> None:
        """Logs measures of the training: loss, learning rate, tokens per second, gradient norm.

        Args:
            step: Optimizer steps made so far.
            logs: Names and values.
        """
        for name, value in logs.items():
            self._add(self._train, step, scalar_pb(name, float(value)))

    def log_evaluation(
        self,
        step: int,
        metrics: Mapping[str, float | None],
        samples: Sequence[tuple[str, str, str]] = (),
        explanations: Iterable[Explanation] = (),
    ) -> None:
        """Logs an evaluation, and writes everything logged so far to the disk.

        Args:
            step: Optimizer steps made so far.
            metrics: Names and values: the validation loss, BLEU, chrF and so on; `None` is left
                out.
            samples: Source, reference and output of some sentences, shown as a table.
            explanations: Attention of pinned sentences, the same ones in the same order at every
                evaluation, each shown as a heat map; a model without attention has none to show.
        """
        for name, value in metrics.items():
            if value is not None:
                self._add(self._valid, step, scalar_pb(name, float(value)))
        if samples:
            self._add(self._valid, step, text_pb("samples", _markdown_table(samples)))
        for number, explanation in enumerate(explanations, start=1):
            if explanation.attention.size and not explanation.attention.any():
                continue
            self._add(self._valid, step, _heat_map_pb(f"attention/{number:02d}", explanation))
        self.flush()

    def log_final(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Logs the scores of the best model, which the HParams tab shows beside the settings.

        Args:
            step: Optimizer steps made in all.
            metrics: Names and values; they are logged as `final/NAME`, each one value. `None` is
                left out.
        """
        for name, value in metrics.items():
            if value is not None:
                self._add(self._final, step, scalar_pb(f"final/{name}", float(value)))
        self.flush()

    def flush(self) -> None:
        """Writes everything logged so far to the disk; to be called before each checkpoint.

        A log that ends before the checkpoint would have a gap when the run is resumed from it.
        """
        self._train.flush()
        self._valid.flush()
        self._final.flush()

    def close(self, completed: bool = True) -> None:
        """Ends the log; further calls do nothing.

        Args:
            completed: Whether the training came to its end, for the HParams tab.
        """
        if self._closed:
            return
        self._closed = True
        if self._has_hyperparameters:
            status = Status.STATUS_SUCCESS if completed else Status.STATUS_FAILURE
            self._add(self._final, 0, _session_end_pb(status))
        self._train.close()
        self._valid.close()
        self._final.close()

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *error: object) -> None:
        self.close(completed=error_type is None)

    @staticmethod
    def _add(writer: _EventFile, step: int, summary: Summary) -> None:
        writer.add_event(Event(wall_time=time.time(), step=int(step), summary=summary))


class _EventFile:
    """An event file that ends where it cannot be written: a full disk costs the log, not the run.

    Args:
        folder: where it is, made if it is not there.
    """

    _number = itertools.count()

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(self._number)}"
        # Not TensorBoard's own writer: of an error in its thread Python prints a trace.
        self._writer = RecordWriter(open(folder / f"events.out.tfevents.{name}", "wb"))  # noqa: SIM115
        self._folder = folder
        self._failed = False
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self.flush()

    def add_event(self, event: Event) -> None:
        self._try(lambda: self._writer.write(event.SerializeToString()))

    def flush(self) -> None:
        self._try(self._writer.flush)

    def close(self) -> None:
        self._try(self._writer.close)

    def _try(self, write: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            write()
        except Exception as error:  # of another kind with each file system
            self._failed = True
            with suppress(OSError):  # of what was to be written still
                self._writer.close()
            warnings.warn(f"The log in {self._folder} ends here: {error}", stacklevel=4)


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            known = isinstance(value, (bool, int, float, str))
            yield f"{prefix}{name}", value if known else str(value)


def _session_end_pb(status: int) -> Summary:
    """End of the run and its time; TensorBoard's own function for it would import TensorFlow 1."""
    ended = SessionEndInfo(status=status, end_time_secs=time.time())
    summary = Summary()
    summary.value.add(
        tag=hparams_metadata.SESSION_END_INFO_TAG,
        metadata=hparams_metadata.create_summary_metadata(
            HParamsPluginData(session_end_info=ended)
        ),
        tensor=hparams_metadata.NULL_TENSOR,
    )
    return summary


def _markdown_table(samples: Sequence[tuple[str, str, str]]) -> str:
    rows = [" | ".join(map(_literal, sample)) for sample in samples]
    return "\n".join(["source | reference | output", "--- | --- | ---", *rows])


def _literal(text: str) -> str:
    """The text as Markdown which shows it letter by letter, in one cell of a table.

    Every sign that could mean something to Markdown or HTML is written by its number.
    """
    return clean_text(text).translate(PUNCTUATION) or "&nbsp;"


def _heat_map_pb(tag: str, explanation: Explanation) -> Summary:
    """The picture as it is: TensorBoard stores images as width, height and an encoded PNG."""
    picture = heat_map_bytes(explanation, dots_per_inch=DOTS_PER_INCH)
    width, height = struct.unpack(">II", picture[16:24])
    summary = Summary()
    summary.value.add(
        tag=tag,
        metadata=create_summary_metadata(display_name=None, description=_literal(explanation.text)),
        tensor=make_tensor_proto([str(width).encode(), str(height).encode(), picture]),
    )
    return summary
