"""Warm-up requests: in the format of TensorFlow Serving, made before anybody else's."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from tensorflow.core.framework import tensor_pb2, types_pb2

from attention_zoo.serving.export.warmup import (
    MAX_RECORDS,
    WARMUP_FILE,
    choose_batches,
    warm_up,
    write_warmup,
)
from attention_zoo.serving.runtime import protos
from attention_zoo.serving.runtime.errors import Code, ServingError
from attention_zoo.serving.runtime.metrics import Metrics
from attention_zoo.serving.runtime.records import masked_crc, read_records, write_records
from attention_zoo.serving.runtime.session import SavedModelSession
from attention_zoo.serving.server import loading
from attention_zoo.serving.server.loading import Loader
from attention_zoo.serving.server.server_options import ServerOptions

TEXT = np.dtype(object)
TOO_LARGE = tensor_pb2.TensorProto(dtype=types_pb2.DT_UINT8, int_val=[300])
TOO_LARGE.tensor_shape.dim.add(size=1)


def test_records_are_those_of_tensorflow(tmp_path):
    import tensorflow as tf

    records = [b"", b"a", b"\x00" * 1000, "漢字".encode()]
    write_records(tmp_path / "ours", records)
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(tmp_path / "ours"))] == records
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in records:
            writer.write(record)
    assert (tmp_path / "theirs").read_bytes() == (tmp_path / "ours").read_bytes()
    assert list(read_records(tmp_path / "theirs")) == records


def test_the_checksum_is_the_known_one():
    # CRC-32C of "123456789" is 0xE3069283, by the definition of the algorithm.
    rotated = ((0xE3069283 >> 15) | (0xE3069283 << 17)) & 0xFFFFFFFF
    assert masked_crc(b"123456789") == (rotated + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:5], lambda d: b"x" + d[1:]])
def test_damaged_records_are_found(damage, tmp_path):
    write_records(tmp_path / "file", [b"some", b"records"])
    (tmp_path / "file").write_bytes(damage((tmp_path / "file").read_bytes()))
    with pytest.raises(ValueError, match="is damaged at byte"):
        list(read_records(tmp_path / "file"))


def test_batches_have_several_lengths_and_sizes():
    batches = choose_batches(["middle", "", "a", "the longest one"], large=5)
    assert batches == [
        ["a"],
        ["middle", "a"],
        ["the longest one"],
        ["a", "middle", "the longest one", "a", "middle"],
    ]
    assert choose_batches([""]) == []
    assert choose_batches(["a"], large=2) == [["a"], ["a", "a"], ["a"], ["a", "a"]]


def test_an_export_warms_up_every_signature_in_the_official_format(exported):
    from tensorflow_serving.apis import prediction_log_pb2

    requests = [
        prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        for record in read_records(exported / WARMUP_FILE)
    ]
    assert {request.model_spec.name for request in requests} == {"toy"}
    names = [request.model_spec.signature_name for request in requests]
    assert sorted(set(names)) == ["document", "explain", "n_best", "score", "serving_default"]
    sizes = {len(request.inputs["text"].string_val) for request in requests}
    assert sizes == {1, 2, 8}
    lengths = {len(text) for request in requests for text in request.inputs["text"].string_val}
    assert len(lengths) > 3
    score = requests[names.index("score")]
    assert sorted(score.inputs) == ["target", "text"]
    with SavedModelSession(exported) as session:
        result = warm_up(session, exported)
    assert result.records == len(requests) == 20
    assert 0 < result.slowest <= result.seconds


def test_inputs_of_several_names_get_what_the_samples_name(tmp_path):
    from tensorflow_serving.apis import prediction_log_pb2

    samples = [{"context": "Tom is in the hall.", "question": "Where?"}, {"text": "a", "length": 7}]
    number = np.dtype(np.int32)
    inputs = {"ask": {"context": TEXT, "question": TEXT, "target": TEXT, "length": number}}
    assert write_warmup(tmp_path, "m", inputs, samples) == 4
    shortest, _, longest, _ = (
        prediction_log_pb2.PredictionLog.FromString(record).predict_log.request.inputs
        for record in read_records(tmp_path / WARMUP_FILE)
    )
    assert list(longest["context"].string_val) == [b"Tom is in the hall."]
    assert list(longest["question"].string_val) == [b"Where?"]
    assert list(longest["target"].string_val) == [b"Tom is in the hall. Where?"]
    assert list(longest["length"].int_val) == [0]
    assert list(shortest["context"].string_val) == [b"a"]
    assert list(shortest["length"].int_val) == [7]


@pytest.fixture
def copy(wire_folder, tmp_path):
    """A copy of a model without warm-up requests."""
    return shutil.copytree(wire_folder / "1", tmp_path / "1")


def test_without_a_file_nothing_is_warmed_up(copy):
    with SavedModelSession(copy) as session:
        assert warm_up(session, copy).records == 0


@pytest.mark.parametrize(
    ("signature", "name", "message"),
    [
        ("nope", "text", "Warm-up request 0 of .* fails: Serving signature key"),
        ("echo", "words", "signature echo has no input words"),
        ("refuse", "x", "fails: Expects arg"),
    ],
)
def test_a_version_whose_warm_up_fails_is_not_loaded(signature, name, message, copy):
    write_warmup(copy, "calc", {signature: {name: TEXT}}, ["a", "b"])
    metrics = Metrics()
    with pytest.raises(ServingError, match=message):
        Loader(metrics=metrics)(copy)
    assert f'model_path="{copy}",status="' in metrics.page()


@pytest.mark.parametrize("fault", [None, MemoryError("no room")])
def test_a_version_that_cannot_be_warmed_up_is_freed(fault, copy, monkeypatch):
    (copy / WARMUP_FILE).unlink(missing_ok=True)
    (copy / WARMUP_FILE).mkdir(parents=True)  # a folder, which nobody can read as a file
    sessions = []

    def open_session(*arguments, **settings):
        sessions.append(SavedModelSession(*arguments, **settings))
        if fault is not None:
            sessions[-1].run = lambda *arguments: (_ for _ in ()).throw(fault)
            (copy / WARMUP_FILE).rmdir()
            write_warmup(copy, "calc", {"echo": {"text": TEXT}}, ["a"])
        return sessions[-1]

    monkeypatch.setattr(loading, "SavedModelSession", open_session)
    expected = (MemoryError, "no room") if fault else (ServingError, "Cannot read warm-up")
    with pytest.raises(expected[0], match=expected[1]):
        Loader()(copy)
    with pytest.raises(ServingError, match="is closed"):
        SavedModelSession.run(sessions[0], "echo", {"text": np.array([b"a"], object)})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda request: request.output_filter.append("gone"), "signature echo has no output gone"),
        (
            lambda request: request.inputs["text"].ParseFromString(TOO_LARGE.SerializeToString()),
            "Cannot read warm-up requests",
        ),
    ],
)
def test_a_warm_up_request_that_asks_for_what_cannot_be_is_refused(changed, message, copy):
    write_warmup(copy, "calc", {"echo": {"text": TEXT}}, ["a"])
    log = protos.PredictionLog.FromString(next(iter(read_records(copy / WARMUP_FILE))))
    changed(log.predict_log.request)
    write_records(copy / WARMUP_FILE, [log.SerializeToString()])
    with SavedModelSession(copy) as session, pytest.raises(ServingError, match=message):
        warm_up(session, copy)


def test_damaged_or_endless_warm_up_requests_are_refused(copy):
    (copy / WARMUP_FILE).parent.mkdir()
    (copy / WARMUP_FILE).write_bytes(b"no records at all")
    with SavedModelSession(copy) as session:
        with pytest.raises(ServingError, match="Cannot read warm-up requests") as error:
            warm_up(session, copy)
        assert error.value.code == Code.DATA_LOSS
        write_warmup(copy, "calc", {"echo": {"text": TEXT}}, ["a"])
        (record, *_) = read_records(copy / WARMUP_FILE)
        write_records(copy / WARMUP_FILE, [record] * (MAX_RECORDS + 1))
        with pytest.raises(ServingError, match="exceeds the maximum"):
            warm_up(session, copy)
        write_records(copy / WARMUP_FILE, [b""])
        with pytest.raises(ServingError, match="is none for Predict"):
            warm_up(session, copy)


def test_a_version_says_how_its_requests_are_put_together(copy):
    (copy / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }")
    session = Loader()(copy)
    try:
        with pytest.raises(ServingError, match="larger than maximum input batch size 2"):
            session.run("serving_default", {"x": np.float32([1, 2, 3])})
        assert session.run("serving_default", {"x": np.float32([1, 2])})["y"].tolist() == [2.5, 3.0]
    finally:
        session.close()
    single = Loader(ServerOptions(enable_batching=False))(copy)
    assert len(single.run("serving_default", {"x": np.float32([1, 2, 3])})["y"]) == 3
    single.close()
    (copy / "batching_params.pbtxt").write_text("max_batch_size { value: 0 }")
    with pytest.raises(ServingError, match="Received: max_batch_size=0"):
        Loader()(copy)


@pytest.mark.parametrize(
    ("asked", "processors", "threads"), [(None, 2, 1), (None, 16, 4), (0, 16, 0), (3, 2, 3)]
)
def test_operations_take_a_quarter_of_the_processors_if_nothing_is_asked(
    asked, processors, threads, exported, monkeypatch
):
    opened = []

    def open_session(*arguments, **settings):
        opened.append(settings["intra_op_threads"])
        return SavedModelSession(*arguments, **settings)

    monkeypatch.setattr(loading, "SavedModelSession", open_session)
    monkeypatch.setattr(loading, "available_cpus", lambda: processors)
    Loader(ServerOptions(intra_op_threads=asked, warm_up=False))(exported).close()
    assert opened == [threads]
