import errno
import io
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugin_util import markdown_to_safe_html
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import backend_context, get_experiment, list_session_groups
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.api_pb2 import (
    GetExperimentRequest,
    ListSessionGroupsRequest,
    Status,
)
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_ndarray

from attention_zoo.recipes.tensorboard.run_logger import RunLogger
from attention_zoo.zoo.visualization.explanation import Explanation


def read(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})  # all of them
    accumulator.Reload()
    return accumulator


def series(accumulator, tag):
    return [
        (event.step, make_ndarray(event.tensor_proto).tolist())
        for event in accumulator.Tensors(tag)
    ]


def plugin(accumulator, tag):
    return accumulator.SummaryMetadata(tag).plugin_data.plugin_name


def explanations(sharpness):
    weights = np.array([[sharpness, 1 - sharpness], [1 - sharpness, sharpness]])
    return [
        Explanation("星期一 | <b>", "Monday", ["▁星期", "一"], ["▁Mon", "day"], weights, -0.1),
        Explanation("ein Haus", "a house", ["▁ein", "▁Haus"], ["▁a", "▁house"], weights, -0.2),
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "deep" / "tensorboard"
    with RunLogger(folder) as logger:
        logger.log_hyperparameters(
            {"model": "rnn", "training": {"dropout": 0.5, "layers": [1, 2]}, "tie": True, "seed": 7}
        )
        for step in (10, 20, 30):
            logger.log_training(step, {"loss": 1 / step, "learning_rate": np.float32(0.001)})
        for step in (20, 30):
            samples = [("星期一", "Monday", "Monday"), (f"step {step}", "", "")]
            logger.log_evaluation(
                step, {"loss": 2.0, "bleu": step}, samples, explanations(step / 30)
            )
    return folder


def test_curves_of_training_and_validation(run):
    train, valid = read(run / "train"), read(run / "valid")
    assert set(train.Tags()["tensors"]) == {"loss", "learning_rate"}
    assert [step for step, _ in series(train, "loss")] == [10, 20, 30]
    values = [value for _, value in series(train, "loss")]
    np.testing.assert_allclose(values, [1 / 10, 1 / 20, 1 / 30], rtol=1e-6)
    assert plugin(train, "loss") == plugin(valid, "loss") == "scalars"
    assert series(valid, "bleu") == [(20, 20.0), (30, 30.0)]


def test_pictures_of_attention_at_every_evaluation(run):
    valid = read(run / "valid")
    assert plugin(valid, "attention/01") == plugin(valid, "attention/02") == "images"
    events = valid.Tensors("attention/01")
    assert [event.step for event in events] == [20, 30]
    pictures = []
    for event in events:
        width, height, encoded = make_ndarray(event.tensor_proto)
        picture = Image.open(io.BytesIO(encoded))
        assert (int(width), int(height)) == picture.size
        assert 100 < picture.width < 400 and 100 < picture.height < 400
        pictures.append(np.asarray(picture))
    assert not np.array_equal(*pictures)  # the attention changed between the evaluations
    description = valid.SummaryMetadata("attention/01").summary_description
    assert markdown_to_safe_html(description).count("<") == len("<p></p>") - 5  # only the paragraph


def test_of_a_model_without_attention_no_picture(tmp_path):
    with RunLogger(tmp_path) as logger:
        logger.log_evaluation(1, {"bleu": 0.0}, [], explanations(0.5)[:1])
        nothing = Explanation("a", "b", ["a"], ["b"], [[0.0]], 0.0)
        unwritten = Explanation("a", "", ["a"], [], np.zeros((0, 1)), 0.0)
        logger.log_evaluation(2, {"bleu": 0.0}, [], [nothing, unwritten])
    valid = read(tmp_path / "valid")
    assert [event.step for event in valid.Tensors("attention/01")] == [1]
    assert [event.step for event in valid.Tensors("attention/02")] == [2]


class Cells(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.rows, self.tags = [], set()
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not attributes
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data


HOSTILE = [
    ("<script>alert('1')</script>", "a | b || c", "&lt; &amp; &#124;"),
    ("**bold** _it_ `code` ~~no~~", "[x](http://example.com) ![y](z)", "\\| \\* # head"),
    ("שלום\u202e <img src=x onerror=alert(1)>", "1. list", "今天 $x^2$ \"quoted\" 'too'"),
    ("two\nlines\ttab", "---", "|"),
    ("x" * 10_000, "", "   "),
]


def test_samples_show_any_text_as_it_is(tmp_path):
    with RunLogger(tmp_path) as logger:
        logger.log_evaluation(5, {}, HOSTILE)
    valid = read(tmp_path / "valid")
    assert plugin(valid, "samples") == "text"
    ((step, text),) = series(valid, "samples")
    assert step == 5
    cells = Cells(markdown_to_safe_html(text.decode()))  # what TensorBoard sends to the browser
    assert cells.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    assert cells.rows[0] == ["source", "reference", "output"]
    shown = [[cell.strip() for cell in row] for row in cells.rows[1:]]
    expected = [[cell.replace("\u202e", "").strip() for cell in row] for row in HOSTILE]
    expected[3][0] = r"two\nlines\ttab"
    assert shown == expected


def test_hyperparameters_and_how_the_run_ended(run):
    final = read(run / "final")
    content = {
        tag: final.SummaryMetadata(tag).plugin_data.content
        for tag in final.PluginTagToContent("hparams")
    }
    start = hparams_metadata.parse_session_start_info_plugin_data(
        content[hparams_metadata.SESSION_START_INFO_TAG]
    )
    values = {name: value.WhichOneof("kind") for name, value in start.hparams.items()}
    assert values == {
        "model": "string_value",
        "training.dropout": "number_value",
        "training.layers": "string_value",
        "tie": "bool_value",
        "seed": "number_value",
    }
    assert start.hparams["training.layers"].string_value == "[1, 2]"
    end = hparams_metadata.parse_session_end_info_plugin_data(
        content[hparams_metadata.SESSION_END_INFO_TAG]
    )
    assert end.status == 1  # STATUS_SUCCESS


def test_the_hparams_tab_shows_settings_beside_the_final_scores(tmp_path):
    for rate, bleu in ((0.1, 12.5), (0.2, 10.0)):
        folder = tmp_path / f"rate={rate}" / "tensorboard"
        with RunLogger(folder) as logger:
            logger.log_hyperparameters({"learning_rate": rate, "model": "rnn"})
            logger.log_evaluation(100, {"bleu": bleu - 5, "attention_entropy/cross_1": 1.0})
            logger.log_final(100, {"bleu": bleu})

    # What TensorBoard's own plugin makes of it.
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    backend = backend_context.Context(TBContext(data_provider=provider))
    request = GetExperimentRequest(include_metrics=True)
    experiment = get_experiment.Handler(RequestContext(), backend, "", request).run()
    columns = [metric.name for metric in experiment.metric_infos]
    assert [name.tag for name in columns] == ["final/bleu"]  # and not all that is logged
    assert {info.name for info in experiment.hparam_infos} == {"learning_rate", "model"}
    request = ListSessionGroupsRequest(
        start_index=0,
        slice_size=10,
        allowed_statuses=[Status.STATUS_SUCCESS],
        col_params=[{"metric": name} for name in columns],
    )
    handler = list_session_groups.Handler(RequestContext(), backend, "", request)
    shown = {
        group.hparams["learning_rate"].number_value: [m.value for m in group.metric_values]
        for group in handler.run().session_groups
    }
    assert shown == {0.1: [12.5], 0.2: [10.0]}


def test_a_failed_run_says_so(tmp_path):
    def train():
        with RunLogger(tmp_path) as logger:
            logger.log_hyperparameters({"model": "rnn"})
            raise KeyError

    with pytest.raises(KeyError):
        train()
    content = read(tmp_path / "final").PluginTagToContent("hparams")
    end = hparams_metadata.parse_session_end_info_plugin_data(
        content[hparams_metadata.SESSION_END_INFO_TAG]
    )
    assert end.status == 2  # STATUS_FAILURE


def test_a_resumed_run_replaces_what_came_after_the_checkpoint(tmp_path, monkeypatch):
    killed = RunLogger(tmp_path)
    for step in range(1, 9):
        killed.log_training(step, {"loss": 1.0})
        killed.log_evaluation(step, {"bleu": 1.0})
    killed.flush()  # and never closed
    later = time.time() + 5
    monkeypatch.setattr(time, "time", lambda: later)  # files are read in the order of their times
    with RunLogger(tmp_path, purge_step=5) as resumed:
        for step in range(5, 8):
            resumed.log_training(step, {"loss": 2.0})
            resumed.log_evaluation(step, {"bleu": 2.0})
    expected = [(step, 1.0) for step in range(1, 5)] + [(step, 2.0) for step in range(5, 8)]
    assert len(list((tmp_path / "train").iterdir())) == 2
    assert series(read(tmp_path / "train"), "loss") == expected
    assert series(read(tmp_path / "valid"), "bleu") == expected


def test_flush_and_evaluation_reach_the_disk_at_once(tmp_path):
    logger = RunLogger(tmp_path)
    logger.log_training(1, {"loss": 1.0})
    logger.flush()
    assert series(read(tmp_path / "train"), "loss") == [(1, 1.0)]
    logger.log_evaluation(1, {"loss": 3.0})
    assert series(read(tmp_path / "valid"), "loss") == [(1, 3.0)]
    logger.close()
    logger.close()  # a second time does nothing


def test_refuses_a_step_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="Received: purge_step=-1"):
        RunLogger(tmp_path / "logs", purge_step=-1)
    assert not Path(tmp_path / "logs").exists()


def test_a_full_disk_ends_the_log_and_not_the_training(tmp_path, monkeypatch):
    logger = RunLogger(tmp_path)
    logger.log_training(1, {"loss": 3.0})
    logger.flush()

    def fail(self):
        if "/valid/" in self._writer.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(RecordWriter, "flush", fail)
        with pytest.warns(UserWarning, match=r"log in .*valid ends here: .*No space left"):
            logger.log_evaluation(2, {"bleu": 1.0})
    logger.log_evaluation(3, {"bleu": 2.0})
    logger.log_training(3, {"loss": 2.0})  # the other file goes on
    logger.close()
    assert [step for step, _ in series(read(tmp_path / "train"), "loss")] == [1, 3]
    valid = read(tmp_path / "valid")
    assert "bleu" not in valid.Tags()["tensors"] or series(valid, "bleu") == [(2, 1.0)]
