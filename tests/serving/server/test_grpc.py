"""The gRPC interface, asked with the official stubs."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from attention_zoo.serving.runtime import protos
from attention_zoo.serving.runtime.tensor_protos import fill_tensor, read_tensor
from attention_zoo.serving.server.server import ServerOptions, ServerThread


@pytest.fixture(scope="module")
def channel(server):
    address = server.address
    with grpc.insecure_channel(f"{address.host}:{address.grpc_port}") as opened:
        yield opened


@pytest.fixture(scope="module")
def predictions(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def request(model="calc", signature="", version=None, label=None, filters=(), **inputs):
    made = predict_pb2.PredictRequest()
    made.model_spec.name = model
    made.model_spec.signature_name = signature
    if version is not None:
        made.model_spec.version.value = version
    if label is not None:
        made.model_spec.version_label = label
    made.output_filter.extend(filters)
    for name, value in inputs.items():
        made.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return made


def refusal(call, *arguments, **options):
    """The code and the words with which a call is refused."""
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **options)
    return error.value.code().name, error.value.details()


X = np.float32([1.0, 2.0])


def test_predict_answers_with_the_version_and_typed_fields(predictions):
    response = predictions.Predict(request(x=X))
    assert response.model_spec.name == "calc"
    assert response.model_spec.version.value == 3
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs["y"].float_val) == [3.5, 4.0]
    assert response.outputs["y"].dtype == tf.float32.as_datatype_enum
    assert [dim.size for dim in response.outputs["y"].tensor_shape.dim] == [2]


@pytest.mark.parametrize(("spec", "first"), [({"version": 1}, 2.5), ({"label": "stable"}, 2.5)])
def test_versions_and_labels(spec, first, predictions):
    response = predictions.Predict(request(x=X, **spec))
    assert response.outputs["y"].float_val[0] == first
    assert response.model_spec.version.value == 1


def test_several_inputs_outputs_and_types(predictions):
    response = predictions.Predict(request(signature="add", a=np.int32([1, 2]), b=np.int32([3, 5])))
    assert list(response.outputs["sum"].int_val) == [4, 7]
    assert list(response.outputs["difference"].int_val) == [-2, -3]
    response = predictions.Predict(
        request(
            signature="kinds",
            flag=np.array([True]),
            long=np.int64([2**60]),
            double=np.float64([1.0]),
            byte=np.uint8([7]),
        )
    )
    assert list(response.outputs["flag"].bool_val) == [False]
    assert list(response.outputs["long"].int64_val) == [-(2**60)]
    assert list(response.outputs["double"].double_val) == [1 / 3]
    assert list(response.outputs["byte"].int_val) == [8]
    response = predictions.Predict(request(signature="half", x=X))
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["y"]), X.astype(np.float16))


def test_output_filter(predictions):
    both = {"a": np.int32([1]), "b": np.int32([3])}
    response = predictions.Predict(request(signature="add", filters=["sum"], **both))
    assert list(response.outputs) == ["sum"]


def test_text_in_and_out(predictions, toy):
    texts = ["the little dog", "", "a cat sleeps in the old house"]
    response = predictions.Predict(request(model="toy", signature="explain", text=texts))
    expected = {name: t.numpy() for name, t in toy.explain(tf.constant(texts)).items()}
    for name, value in expected.items():
        got = tf.make_ndarray(response.outputs[name])
        assert got.shape == value.shape
        if value.dtype == object:
            assert got.tolist() == value.tolist()
        else:
            np.testing.assert_allclose(got, value, atol=1e-4)


def declared(size):
    """A short request for a tensor of so many numbers, all of them 0."""
    made = request(x=X)
    made.inputs["x"].CopyFrom(tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum))
    made.inputs["x"].tensor_shape.dim.add(size=size)
    return made


ERRORS = [
    (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    (request(model="", x=X), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    (request(model="foo", x=X), "NOT_FOUND", "Servable not found for request: Latest(foo)"),
    (request(version=2, x=X), "NOT_FOUND", "Servable not found for request: Specific(calc, 2)"),
    (request(label="nope", x=X), "INVALID_ARGUMENT", "Unrecognized servable version label: nope"),
    (
        request(signature="foo", x=X),
        "FAILED_PRECONDITION",
        'Serving signature key "foo" not found.',
    ),
    (
        request(),
        "INVALID_ARGUMENT",
        "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
        "Missing but required: {x}.",
    ),
    (
        request(x=X, z=X),
        "INVALID_ARGUMENT",
        "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. "
        "Missing but required: {}.",
    ),
    (
        request(signature="echo", words=["a"]),
        "INVALID_ARGUMENT",
        "Signature input alias: text(feed name: echo_text:0) not found in request and no default "
        "value provided. Inputs expected to be in the request {text}, or default input alias set: ",
    ),
    (
        request(filters=["z"], x=X),
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
    ),
    (
        request(filters=["y", "y"], x=X),
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: y",
    ),
    (declared(2**23), "INVALID_ARGUMENT", "tensor parsing error: x"),
    (
        request(x=np.int32([1])),
        "INVALID_ARGUMENT",
        "Expects arg[0] to be float but int32 is provided",
    ),
]


@pytest.mark.parametrize(("made", "code", "message"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_what_is_refused(made, code, message, predictions):
    assert refusal(predictions.Predict, made) == (code, message)


def test_long_messages_are_cut(predictions):
    _, details = refusal(predictions.Predict, request(model="m" * 3000, x=X))
    assert len(details) == 1024 + len("...TRUNCATED")
    _, details = refusal(predictions.Predict, request(model="\U0001f600" * 3000, x=X))
    assert len(details.encode()) <= 1024 + len("...TRUNCATED")  # more is no trailer any more
    assert details.endswith("\U0001f600...TRUNCATED")


def broken_tensors():
    negative = tf.make_tensor_proto(X)
    negative.tensor_shape.dim[0].size = -1
    huge = tensor_pb2.TensorProto(dtype=1, float_val=[1.0])
    huge.tensor_shape.dim.add(size=2**50)
    short = tf.make_tensor_proto(X)
    short.tensor_content = b"123"
    many = tf.make_tensor_proto(np.float32([1.0]))
    many.tensor_content = b""
    many.float_val.extend([1.0, 2.0, 3.0])
    return [negative, huge, short, many]


@pytest.mark.parametrize("index", range(4))
def test_tensors_that_are_none_are_refused(index, predictions):
    made = request()
    made.inputs["x"].CopyFrom(broken_tensors()[index])
    assert refusal(predictions.Predict, made) == ("INVALID_ARGUMENT", "tensor parsing error: x")


def write_tensor(array):
    proto = tensor_pb2.TensorProto()
    fill_tensor(proto, array)
    return proto


def test_tensors_are_read_and_written_as_tensorflow_does():
    floats, integers = (np.float32, np.float64), (np.int8, np.int16, np.int32, np.int64, np.uint8)
    for dtype in (*floats, *integers, np.bool_):
        array = np.arange(6).reshape(2, 3).astype(dtype)
        np.testing.assert_array_equal(read_tensor(tf.make_tensor_proto(array), 1000), array)
        np.testing.assert_array_equal(tf.make_ndarray(write_tensor(array)), array)
    texts = np.array([[b"a", b"\xff\x00"], [b"", b"long " * 20]], object)
    assert read_tensor(tf.make_tensor_proto(texts), 1000).tolist() == texts.tolist()
    assert tf.make_ndarray(write_tensor(texts)).tolist() == texts.tolist()
    repeated = write_tensor(np.float32([7.0]))
    repeated.tensor_shape.dim[0].size = 3
    assert read_tensor(repeated, 1000).tolist() == [7.0, 7.0, 7.0]


def test_metadata(predictions):
    asked = get_model_metadata_pb2.GetModelMetadataRequest()
    asked.model_spec.name = "calc"
    asked.model_spec.version_label = "stable"
    asked.metadata_field.append("signature_def")
    response = predictions.GetModelMetadata(asked)
    assert response.model_spec.version.value == 1
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    add = signatures.signature_def["add"]
    assert add.inputs["a"].dtype == tf.int32.as_datatype_enum
    assert add.inputs["a"].name == "add_a:0"
    assert add.method_name == "tensorflow/serving/predict"
    assert signatures.signature_def["serving_default"].inputs["x"].tensor_shape.unknown_rank


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["weights"], "Metadata field weights is not supported"),
    ],
)
def test_metadata_that_is_not_there(fields, message, predictions):
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    asked.model_spec.name = "calc"
    assert refusal(predictions.GetModelMetadata, asked) == ("INVALID_ARGUMENT", message)


def test_status(models):
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "calc"
    versions = models.GetModelStatus(asked).model_version_status
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert [(v.version, v.state, v.status.error_code) for v in versions] == [
        (3, available, 0),
        (1, available, 0),
    ]
    asked.model_spec.version.value = 1
    assert [v.version for v in models.GetModelStatus(asked).model_version_status] == [1]
    asked.model_spec.version.value = 2
    not_found = ("NOT_FOUND", "Could not find version 2 of model calc")
    assert refusal(models.GetModelStatus, asked) == not_found
    with pytest.raises(grpc.RpcError, match="Missing ModelSpec"):
        models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest())


def test_methods_for_other_signatures_are_not_there(predictions):
    asked = classification_pb2.ClassificationRequest()
    asked.model_spec.name = "calc"
    code, _ = refusal(predictions.Classify, asked)
    assert code == "UNIMPLEMENTED"
    code, _ = refusal(predictions.MultiInference, inference_pb2.MultiInferenceRequest())
    assert code == "UNIMPLEMENTED"


def test_the_deadline_of_the_client_ends_the_run(predictions):
    slow = request(signature="slow", x=np.float32([1e6]))
    code, _ = refusal(predictions.Predict, slow, timeout=0.3)
    assert code == "DEADLINE_EXCEEDED"
    assert list(predictions.Predict(request(x=X)).outputs["y"].float_val) == [3.5, 4.0]


def test_reload_replaces_the_models_and_refuses_what_cannot_be_served(wire_folder):
    options = ServerOptions(rest_port=None, grpc_port=0, poll_seconds=0)
    with ServerThread(wire_folder, options) as running:
        target = f"{running.address.host}:{running.address.grpc_port}"
        with grpc.insecure_channel(target) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            asked = model_management_pb2.ReloadConfigRequest()
            entry = asked.config.model_config_list.config.add(
                name="renamed", base_path=str(wire_folder), model_platform="tensorflow"
            )
            entry.model_version_policy.all.SetInParent()
            entry.version_labels["stable"] = 1
            assert stub.HandleReloadConfigRequest(asked).status.error_code == 0
            response = predict(request(model="renamed", label="stable", x=X))
            assert response.outputs["y"].float_val[0] == 2.5
            with pytest.raises(grpc.RpcError, match="Servable not found"):
                predict(request(x=X))
            entry.version_labels["stable"] = 9
            code, details = refusal(stub.HandleReloadConfigRequest, asked)
            assert code == "FAILED_PRECONDITION"
            assert "assign label to version 9 of model renamed" in details
            assert predict(request(model="renamed", label="stable", x=X))
            entry.base_path = str(wire_folder.parent.parent)
            code, details = refusal(stub.HandleReloadConfigRequest, asked)
            assert code == "PERMISSION_DENIED"
            assert f"({wire_folder.parent}); start the server with" in details
            with pytest.raises(grpc.RpcError, match="Only ModelConfigList is currently supported"):
                stub.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())


def test_health(channel):
    def check(service):
        call = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=protos.HealthCheckRequest.SerializeToString,
            response_deserializer=protos.HealthCheckResponse.FromString,
        )
        return call(protos.HealthCheckRequest(service=service)).status

    assert check("") == check("PredictionService") == check("ModelService") == 1
    code, _ = refusal(check, "nope")
    assert code == "NOT_FOUND"


def test_calls_are_counted(predictions, server):
    predictions.Predict(request(x=X))
    page = server.server.metrics.page()
    line = ':tensorflow:serving:request_latency_count{model_name="calc",API="Predict",entrypoint='
    assert f'{line}"GRPC"}}' in page
