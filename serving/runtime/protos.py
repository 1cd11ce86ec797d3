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
# Message: field = type number, ... "[X]" is a repeated field, "{X}" a map from strings to X, and
# "X|name" one of the choices of that name. Enumerations are declared as numbers, and the
# configuration of a ReloadConfigRequest as the bytes of its official message.
_SCHEMA = """
ShapeDim: size = int64 1, name = string 2
TensorShape: dim = [ShapeDim] 2, unknown_rank = bool 3
Encoding:
TensorInfo: name = string 1, dtype = int32 2, tensor_shape = TensorShape 3,
  coo_sparse = Encoding 4, composite_tensor = Encoding 5
SignatureDef: inputs = {TensorInfo} 1, outputs = {TensorInfo} 2, method_name = string 3
AttrValue: b = bool 5
NodeDef: name = string 1, op = string 2, attr = {AttrValue} 5
OpDef: name = string 1
OpList: op = [OpDef] 1
FunctionDef: signature = OpDef 1, node_def = [NodeDef] 3, attr = {AttrValue} 5
FunctionLibrary: function = [FunctionDef] 1
GraphDef: node = [NodeDef] 1, library = FunctionLibrary 2
MetaGraphDef: graph_def = GraphDef 2, signature_def = {SignatureDef} 5
SignatureMap: signature_def = {SignatureDef} 1
SavedModel: meta_graphs = [MetaGraphDef] 2
TensorProto: dtype = int32 1, tensor_shape = TensorShape 2, tensor_content = bytes 4,
  float_val = [float] 5, double_val = [double] 6, int_val = [int32] 7, string_val = [bytes] 8,
  int64_val = [int64] 10, bool_val = [bool] 11, uint32_val = [uint32] 16, uint64_val = [uint64] 17
HealthCheckRequest: service = string 1
HealthCheckResponse: status = int32 1
Int64Value: value = int64 1
StringValue: value = string 1
BoolValue: value = bool 1
BatchingParameters: max_batch_size = Int64Value 1, batch_timeout_micros = Int64Value 2,
  max_enqueued_batches = Int64Value 3, num_batch_threads = Int64Value 4,
  thread_pool_name = StringValue 5, allowed_batch_sizes = [int64] 6,
  pad_variable_length_inputs = bool 7, enable_large_batch_splitting = BoolValue 8,
  max_execution_batch_size = Int64Value 9
PrometheusConfig: enable = bool 1, path = string 2
MonitoringConfig: prometheus_config = PrometheusConfig 1
ModelSpec: name = string 1, version = Int64Value|version_choice 2, signature_name = string 3,
  version_label = string|version_choice 4
PredictRequest: model_spec = ModelSpec 1, inputs = {TensorProto} 2, output_filter = [string] 3
PredictResponse: outputs = {TensorProto} 1, model_spec = ModelSpec 2
Any: type_url = string 1, value = bytes 2
GetModelMetadataRequest: model_spec = ModelSpec 1, metadata_field = [string] 2
GetModelMetadataResponse: model_spec = ModelSpec 1, metadata = {Any} 2
StatusProto: error_code = int32 1, error_message = string 2
ModelVersionStatus: version = int64 1, state = int32 2, status = StatusProto 3
GetModelStatusRequest: model_spec = ModelSpec 1
GetModelStatusResponse: model_version_status = [ModelVersionStatus] 1
ReloadConfigRequest: config = bytes 1
ReloadConfigResponse: status = StatusProto 1
PredictLog: request = PredictRequest 1
PredictionLog: predict_log = PredictLog 6
RunOptions: timeout_in_ms = int64 2
ConfigProto: intra_op_parallelism_threads = int32 2, inter_op_parallelism_threads = int32 5,
  use_per_session_threads = bool 9
"""


def _read_schema(text: str) -> dict[str, list[tuple[str, str, int]]]:
    """Name, type and number of each field of each message."""
    messages = {}
    for line in text.replace("\n  ", " ").split("\n")[1:-1]:
        message, _, fields = line.partition(":")
        parts = [field.split() for field in fields.split(",") if field.strip()]
        messages[message] = [(name, kind, int(number)) for name, _, kind, number in parts]
    return messages


def _set_type(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind.islower():
        field.type = getattr(_Field, f"TYPE_{kind.upper()}")
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


def _declare(schema: dict[str, list[tuple[str, str, int]]]) -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="attention_zoo/wire.proto", package=_PACKAGE, syntax="proto3"
    )
    for message_name, fields in schema.items():
        message = file.message_type.add(name=message_name)
        for name, kind, number in fields:
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


_MESSAGES = _declare(_read_schema(_SCHEMA))


def __getattr__(name: str) -> Any:
    """Returns the class of a message."""
    if name not in _MESSAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _MESSAGES[name]
