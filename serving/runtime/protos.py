"""The parts of TensorFlow's protocol buffers that serving reads, without importing TensorFlow.

Importing TensorFlow takes seconds and hundreds of megabytes, and gives a process a Python runtime
that a model server does not have. Checking an export in a process that has none of it needs a
handful of messages only; they are declared here, field numbers as in TensorFlow, in a pool of
their own. Fields that are not declared are kept unread. So are the messages of the gRPC interface,
whose official Python module brings TensorFlow with it: on the wire nobody can tell them apart. The
messages of configuration files that `tensorflow-serving-api` leaves out stand here as well.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "attention_zoo.wire"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}

# Message: {field: (number, type)}. "[X]" is a repeated field, "{X}" a map from strings to X, and
# "X|name" one of the choices of that name. Enumerations are declared as numbers.
_SCHEMA: dict[str, dict[str, tuple[int, str]]] = {
    "ShapeDim": {"size": (1, "int64"), "name": (2, "string")},
    "TensorShape": {"dim": (2, "[ShapeDim]"), "unknown_rank": (3, "bool")},
    "Encoding": {},
    "TensorInfo": {
        "name": (1, "string"),
        "dtype": (2, "int32"),
        "tensor_shape": (3, "TensorShape"),
        "coo_sparse": (4, "Encoding"),
        "composite_tensor": (5, "Encoding"),
    },
    "SignatureDef": {
        "inputs": (1, "{TensorInfo}"),
        "outputs": (2, "{TensorInfo}"),
        "method_name": (3, "string"),
    },
    "AttrValue": {"b": (5, "bool")},
    "NodeDef": {"name": (1, "string"), "op": (2, "string"), "attr": (5, "{AttrValue}")},
    "OpDef": {"name": (1, "string")},
    "OpList": {"op": (1, "[OpDef]")},
    "FunctionDef": {
        "signature": (1, "OpDef"),
        "node_def": (3, "[NodeDef]"),
        "attr": (5, "{AttrValue}"),
    },
    "FunctionLibrary": {"function": (1, "[FunctionDef]")},
    "GraphDef": {"node": (1, "[NodeDef]"), "library": (2, "FunctionLibrary")},
    "MetaGraphDef": {"graph_def": (2, "GraphDef"), "signature_def": (5, "{SignatureDef}")},
    "SignatureMap": {"signature_def": (1, "{SignatureDef}")},
    "SavedModel": {"meta_graphs": (2, "[MetaGraphDef]")},
    "TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShape"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "[float]"),
        "double_val": (6, "[double]"),
        "int_val": (7, "[int32]"),
        "string_val": (8, "[bytes]"),
        "int64_val": (10, "[int64]"),
        "bool_val": (11, "[bool]"),
        "uint32_val": (16, "[uint32]"),
        "uint64_val": (17, "[uint64]"),
    },
    "HealthCheckRequest": {"service": (1, "string")},
    "HealthCheckResponse": {"status": (1, "int32")},
    "Int64Value": {"value": (1, "int64")},
    "StringValue": {"value": (1, "string")},
    "BoolValue": {"value": (1, "bool")},
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"),
        "allowed_batch_sizes": (6, "[int64]"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Int64Value|version_choice"),
        "signature_name": (3, "string"),
        "version_label": (4, "string|version_choice"),
    },
    "PredictRequest": {
        "model_spec": (1, "ModelSpec"),
        "inputs": (2, "{TensorProto}"),
        "output_filter": (3, "[string]"),
    },
    "PredictResponse": {"outputs": (1, "{TensorProto}"), "model_spec": (2, "ModelSpec")},
    "Any": {"type_url": (1, "string"), "value": (2, "bytes")},
    "GetModelMetadataRequest": {
        "model_spec": (1, "ModelSpec"),
        "metadata_field": (2, "[string]"),
    },
    "GetModelMetadataResponse": {"model_spec": (1, "ModelSpec"), "metadata": (2, "{Any}")},
    "StatusProto": {"error_code": (1, "int32"), "error_message": (2, "string")},
    "ModelVersionStatus": {
        "version": (1, "int64"),
        "state": (2, "int32"),
        "status": (3, "StatusProto"),
    },
    "GetModelStatusRequest": {"model_spec": (1, "ModelSpec")},
    "GetModelStatusResponse": {"model_version_status": (1, "[ModelVersionStatus]")},
    # The configuration is kept as the bytes of its official message.
    "ReloadConfigRequest": {"config": (1, "bytes")},
    "ReloadConfigResponse": {"status": (1, "StatusProto")},
    "ClassificationRequest": {"model_spec": (1, "ModelSpec")},
    "RegressionRequest": {"model_spec": (1, "ModelSpec")},
    "MultiInferenceRequest": {},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
    "RunOptions": {"timeout_in_ms": (2, "int64")},
    "ConfigProto": {
        "intra_op_parallelism_threads": (2, "int32"),
        "inter_op_parallelism_threads": (5, "int32"),
        "use_per_session_threads": (9, "bool"),
    },
}


def _set_type(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"


def _add_map_entry(message: descriptor_pb2.DescriptorProto, name: str, kind: str) -> str:
    """Declares the nested message of a map's entries and returns its full name."""
    entry = message.nested_type.add()
    entry.name = "".join(part.capitalize() for part in name.split("_")) + "Entry"
    entry.options.map_entry = True
    entry.field.add(
        name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL, json_name="key"
    )
    value = entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL, json_name="value")
    _set_type(value, kind)
    return f".{_PACKAGE}.{message.name}.{entry.name}"


def _declare(schema: dict[str, dict[str, tuple[int, str]]]) -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="attention_zoo/wire.proto", package=_PACKAGE, syntax="proto3"
    )
    for message_name, fields in schema.items():
        message = file.message_type.add(name=message_name)
        for name, (number, kind) in fields.items():
            field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
            kind, _, choice = kind.partition("|")
            if choice:
                if choice not in [known.name for known in message.oneof_decl]:
                    message.oneof_decl.add(name=choice)
                field.oneof_index = len(message.oneof_decl) - 1
            if kind[0] == "{":
                field.label = _Field.LABEL_REPEATED
                field.type = _Field.TYPE_MESSAGE
                field.type_name = _add_map_entry(message, name, kind[1:-1])
            elif kind[0] == "[":
                field.label = _Field.LABEL_REPEATED
                _set_type(field, kind[1:-1])
            else:
                _set_type(field, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in schema
    }


_MESSAGES = _declare(_SCHEMA)


def __getattr__(name: str) -> Any:
    """Returns the class of a message."""
    if name not in _MESSAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _MESSAGES[name]
