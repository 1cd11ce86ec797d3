"""Requests over REST and the replies of TensorFlow Serving.

The cases restate what its own tests and documentation fix: which addresses exist, in which order a
body is checked, with which words it is refused, and how values are written. Each case is
(name, method, address, body, status, expected): a `dict` is the whole reply, a string is the error
message or, after "...", a part of it.
"""

from __future__ import annotations

import json
from typing import Any

CALC = "/v1/models/calc"
PREDICT = f"{CALC}:predict"
Case = tuple[str, str, str, Any, int, Any]


def ask(signature: str | None = None, **members: Any) -> str:
    """A body for a signature."""
    named = {} if signature is None else {"signature_name": signature}
    return json.dumps({**named, **members})


def _malformed(method: str, path: str) -> Case:
    body = "" if method == "POST" else None
    return (
        f"malformed {method} {path}",
        method,
        path,
        body,
        400,
        f"Malformed request: {method} {path}",
    )


def _example(name: str, example: Any, message: str) -> Case:
    body = json.dumps({"examples": [example]})
    return (f"example: {name}", "POST", f"{CALC}:classify", body, 400, message)


def _unexpected(kind: str) -> str:
    return f"Feature: names has element with unexpected JSON type: {kind}"


_NO_REGRESSION = (
    "Expected regression signature method_name to be tensorflow/serving/regress. "
    "Was: tensorflow/serving/predict"
)

ROUTING: list[Case] = [
    _malformed("GET", "/v1/foo"),
    _malformed("POST", "/v1/foo"),
    _malformed("GET", "/v1/"),
    _malformed("GET", "/v1/models/"),
    _malformed("GET", "/v1/models/calc/calc"),
    _malformed("POST", "/v1/models"),
    _malformed("POST", CALC),
    _malformed("GET", PREDICT),
    _malformed("GET", f"{CALC}/version/1:predict"),
    _malformed("POST", f"{CALC}/version/1:regress"),
    _malformed("POST", f"{CALC}/versions/HELLO:regress"),
    _malformed("POST", f"{CALC}/versions/-1:predict"),
    _malformed("POST", f"{CALC}/versions/:predict"),
    _malformed("POST", f"{CALC}/metadata"),
    _malformed("POST", f"{CALC}/label/stable:regress"),
    _malformed("POST", f"{CALC}/versions/1/labels/stable:predict"),
    _malformed("POST", f"{CALC}/labels/:predict"),
    _malformed("POST", f"{CALC}:explain"),
    _malformed("POST", f"{CALC}:predict/"),
    _malformed("PUT", PREDICT),
    _malformed("DELETE", CALC),
    _malformed("PATCH", CALC),
    ("no model", "GET", "/v1/models", None, 400, "Missing model name in request."),
    (
        "version too large",
        "POST",
        f"{CALC}/versions/18446744073709551615:regress",
        "",
        400,
        "Failed to convert version: 18446744073709551615 to numeric.",
    ),
    (
        "version much too large",
        "GET",
        f"{CALC}/versions/{'9' * 5000}",
        None,
        400,
        f"Failed to convert version: {'9' * 5000} to numeric.",
    ),
    (
        "unknown model",
        "POST",
        "/v1/models/foo:predict",
        ask(instances=[1]),
        404,
        "Servable not found for request: Latest(foo)",
    ),
    (
        "unknown model and version",
        "POST",
        "/v1/models/foo/versions/50:predict",
        ask(instances=[1]),
        404,
        "Servable not found for request: Specific(foo, 50)",
    ),
    (
        "unknown version",
        "POST",
        f"{CALC}/versions/99:predict",
        ask(instances=[1]),
        404,
        "Servable not found for request: Specific(calc, 99)",
    ),
    (
        "unknown label",
        "POST",
        f"{CALC}/labels/nope:predict",
        ask(instances=["x"]),
        400,
        "Unrecognized servable version label: nope",
    ),
    (
        "label of an unknown model",
        "POST",
        "/v1/models/foo/labels/stable:predict",
        ask(instances=[1]),
        400,
        "Unrecognized servable version label: stable",
    ),
    (
        "newest version",
        "POST",
        PREDICT,
        ask(instances=[1.0]),
        200,
        {"predictions": [3.5]},
    ),
    (
        "version by number",
        "POST",
        f"{CALC}/versions/1:predict",
        ask(instances=[1.0]),
        200,
        {"predictions": [2.5]},
    ),
    (
        "version with leading zeros",
        "POST",
        f"{CALC}/versions/0001:predict",
        ask(instances=[1.0]),
        200,
        {"predictions": [2.5]},
    ),
    (
        "version by label",
        "POST",
        f"{CALC}/labels/stable:predict",
        ask(instances=[1.0]),
        200,
        {"predictions": [2.5]},
    ),
    (
        "label by percent escapes",
        "POST",
        f"{CALC}/labels/st%61ble:predict",
        ask(instances=[1.0]),
        200,
        {"predictions": [2.5]},
    ),
    (
        "name by percent escapes",
        "POST",
        "/v1/models/c%61lc:predict",
        ask(instances=[1.0]),
        200,
        {"predictions": [3.5]},
    ),
    (
        "address in capitals",
        "POST",
        "/V1/Models/calc:Predict",
        ask(instances=[1.0]),
        200,
        {"predictions": [3.5]},
    ),
    (
        "name in capitals is another name",
        "POST",
        "/v1/models/CALC:predict",
        ask(instances=[1.0]),
        404,
        "Servable not found for request: Latest(CALC)",
    ),
    (
        "a query is ignored",
        "POST",
        f"{PREDICT}?pretty=1",
        ask(instances=[1.0]),
        200,
        {"predictions": [3.5]},
    ),
    (
        "no way out of the folder",
        "POST",
        "/v1/models/..%2Fcalc:predict",
        ask(instances=[1.0]),
        404,
        "Servable not found for request: Latest(../calc)",
    ),
    (
        "classify needs another method",
        "POST",
        f"{CALC}:classify",
        json.dumps({"examples": [{"x": 1.0}]}),
        400,
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict",
    ),
    (
        "regress needs another method",
        "POST",
        f"{CALC}:regress",
        json.dumps({"examples": [{"x": 1.0}]}),
        400,
        _NO_REGRESSION,
    ),
    (
        "classify without a body",
        "POST",
        f"{CALC}:classify",
        "",
        400,
        "JSON Parse error: The document is empty",
    ),
    (
        "classify without examples",
        "POST",
        f"{CALC}:classify",
        "{}",
        400,
        "JSON Value: {} When method is classify, key 'examples' is expected and was not found",
    ),
    (
        "regress with examples that are no list",
        "POST",
        f"{CALC}:regress",
        '{"examples": 1}',
        400,
        "...Expecting 'examples' value to be an list/array",
    ),
    (
        "classify no examples",
        "POST",
        f"{CALC}:classify",
        '{"examples": []}',
        400,
        "...'examples' value is an empty array",
    ),
    (
        "classify what is no example",
        "POST",
        f"{CALC}:classify",
        '{"examples": [1]}',
        400,
        "Example must be JSON object but got JSON Number",
    ),
    _example("no object", [{"names": ["a"]}], "Example must be JSON object but got JSON Array"),
    _example("null", {"names": [10, None]}, _unexpected("Null")),
    _example("an object", {"names": [10, {"test": 10}]}, _unexpected("Object")),
    _example("a list in a list", {"names": [[10], 20]}, _unexpected("Array")),
    _example(
        "an integer and a float",
        {"names": [10, 10.0]},
        "Unexpected element type in feature: names expecting type: int64",
    ),
    _example(
        "a text and a truth",
        {"names": ["a", True]},
        "Unexpected element type in feature: names expecting type: bytes",
    ),
    _example(
        "more than an int64",
        {"names": [20, 18446744073709551603]},
        "Feature: names has uint64_t element. Only int64_t is supported.",
    ),
    _example("bad base64", {"names": {"b64": "*"}}, "Unable to base64 decode"),
    (
        "regress with features of every kind",
        "POST",
        f"{CALC}:regress",
        '{"context": {"query": "pizza", "location": ["sfo"]}, "examples": [{"names": ["baz", '
        '{"b64": "aGVsbG8="}], "ratings": [8.0, NaN, -Infinity], "mix": [1, true, false]}]}',
        400,
        _NO_REGRESSION,
    ),
    (
        "regress with a context that is no object",
        "POST",
        f"{CALC}:regress",
        '{"context": [{"names": ["foo", "bar"]}]}',
        400,
        "Example must be JSON object but got JSON Array",
    ),
    (
        "classify with a signature that is no string",
        "POST",
        f"{CALC}:classify",
        '{"signature_name": ["hello"], "examples": [{"names": ["foo"]}]}',
        400,
        "...'signature_name' key must be a string value.",
    ),
    (
        "classify with an unknown signature",
        "POST",
        f"{CALC}:classify",
        '{"signature_name": "foo", "examples": [{"x": 1.0}]}',
        400,
        "No signature was found with the name: foo",
    ),
    (
        "classify on an unknown model",
        "POST",
        "/v1/models/foo:classify",
        json.dumps({"examples": [{"x": 1.0}]}),
        404,
        "Servable not found for request: Latest(foo)",
    ),
]


def _version_status(*numbers: int) -> dict[str, Any]:
    ok = {"error_code": "OK", "error_message": ""}
    return {
        "model_version_status": [
            {"version": str(number), "state": "AVAILABLE", "status": ok} for number in numbers
        ]
    }


STATUS: list[Case] = [
    ("status of all versions", "GET", CALC, None, 200, _version_status(3, 1)),
    ("status of one version", "GET", f"{CALC}/versions/1", None, 200, _version_status(1)),
    ("status ignores labels", "GET", f"{CALC}/labels/stable", None, 200, _version_status(3, 1)),
    ("even unknown ones", "GET", f"{CALC}/labels/nope", None, 200, _version_status(3, 1)),
    (
        "status of an unknown model",
        "GET",
        "/v1/models/foo",
        None,
        404,
        "Could not find any versions of model foo",
    ),
    (
        "status of an unknown version",
        "GET",
        f"{CALC}/versions/2",
        None,
        404,
        "Could not find version 2 of model calc",
    ),
    (
        "metadata of an unknown model",
        "GET",
        "/v1/models/foo/metadata",
        None,
        404,
        "Servable not found for request: Latest(foo)",
    ),
    (
        "metadata of an unknown version",
        "GET",
        f"{CALC}/versions/2/metadata",
        None,
        404,
        "Servable not found for request: Specific(calc, 2)",
    ),
    (
        "metadata of an unknown label",
        "GET",
        f"{CALC}/labels/nope/metadata",
        None,
        400,
        "Unrecognized servable version label: nope",
    ),
]


def _parse(name: str, body: str | bytes, message: str, offset: int) -> Case:
    error = f"JSON Parse error: {message} at offset: {offset}"
    return (f"JSON: {name}", "POST", PREDICT, body, 400, error)


def _accepted(name: str, body: str | bytes, values: list) -> Case:
    return (f"JSON: {name}", "POST", PREDICT, body, 200, {"predictions": values})


_OPEN_LIST = "Missing a comma or ']' after an array element."

PARSING: list[Case] = [
    ("JSON: no body", "POST", PREDICT, "", 400, "JSON Parse error: The document is empty"),
    _parse("only white space", " \n ", "The document is empty.", 3),
    _parse("no JSON", "instances = [1, 2]", "Invalid value.", 0),
    _parse("half an object", "{", "Missing a name for object member.", 1),
    _parse("name without quotes", "{instances: [1]}", "Missing a name for object member.", 1),
    _parse("no colon", '{"a" 1}', "Missing a colon after a name of object member.", 5),
    _parse("no value", '{"a":}', "Invalid value.", 5),
    _parse(
        "no comma between members",
        '{"a":1 "b":2}',
        "Missing a comma or '}' after an object member.",
        7,
    ),
    _parse("comma at the end", '{"a":1,}', "Missing a name for object member.", 7),
    _parse("open object", '{"a":1', "Missing a comma or '}' after an object member.", 6),
    _parse("open list", '{"a":[1', _OPEN_LIST, 7),
    _parse("list ends in a comma", '{"a":[1,]}', "Invalid value.", 8),
    _parse("half a word", '{"a":nul}', "Invalid value.", 8),
    _parse("open string", '{"a":"b', "Missing a closing quotation mark in string.", 7),
    _parse("unknown escape", '{"a":"\\x"}', "Invalid escape character in string.", 6),
    _parse(
        "escape that is no number",
        '{"a":"\\u12G4"}',
        "Incorrect hex digit after \\u escape in string.",
        6,
    ),
    _parse(
        "half a pair of surrogates",
        '{"a":"\\ud800"}',
        "The surrogate pair in string is invalid.",
        6,
    ),
    _parse("no digits after the point", '{"a":1.x}', "Miss fraction part in number.", 7),
    _parse("no digits in the exponent", '{"a":1ex}', "Miss exponent in number.", 7),
    _parse("too large a number", '{"a":1e999}', "Number too big to be stored in double.", 5),
    _parse("a byte order mark counts", b"\xef\xbb\xbf[1", _OPEN_LIST, 5),
    _accepted("byte order mark", b'\xef\xbb\xbf{"instances": [1.0]}', [3.5]),
    _accepted("anything after the object", '{"instances": [1.0]} and more', [3.5]),
    _accepted("numbers that are none", '{"instances": [Infinity, 1]}', [float("inf"), 3.5]),
    _accepted("short for infinity", '{"instances": [-Inf, 1]}', [float("-inf"), 3.5]),
    _accepted("the first of two members", '{"instances": [1], "instances": [2]}', [3.5]),
    _parse(
        "deeper than any document",
        "[" * 1_000_001,
        "The document is nested deeper than 1000000 levels.",
        1_000_000,
    ),
    _accepted(
        "depth without end", '{"instances": [1], "x": ' + "[" * 100_000 + "]" * 100_000 + "}", [3.5]
    ),
    (
        "JSON: a number",
        "POST",
        PREDICT,
        "5",
        400,
        "JSON Value: 5 Is not object",
    ),
    (
        "JSON: a list",
        "POST",
        PREDICT,
        '[1, "a", null, true]',
        400,
        'JSON Value: [1, "a", null, true] Is not object',
    ),
    (
        "signature that is no string",
        "POST",
        PREDICT,
        '{ "signature_name": 100 }',
        400,
        'JSON Value: {\n    "signature_name": 100\n} not formatted correctly. '
        "'signature_name' key must be a string value.",
    ),
    (
        "a deep one",
        "POST",
        PREDICT,
        '{"signature_name": ' + "[" * 100_000 + "]" * 100_000 + "}",
        400,
        "...'signature_name' key must be a string value.",
    ),
    (
        "unknown signature",
        "POST",
        PREDICT,
        ask("foo", instances=[1]),
        400,
        'Serving signature name: "foo" not found in signature def',
    ),
    (
        "signature without inputs",
        "POST",
        PREDICT,
        ask("__saved_model_init_op", instances=[1]),
        400,
        "Failed to get input map for signature: __saved_model_init_op",
    ),
    (
        "empty name is the default signature",
        "POST",
        PREDICT,
        ask("", instances=[1.0]),
        200,
        {"predictions": [3.5]},
    ),
]


def _row(name: str, signature: str | None, instances: Any, expected: Any) -> Case:
    status = 200 if isinstance(expected, (dict, list)) else 400
    whole = {"predictions": expected} if isinstance(expected, list) else expected
    return (f"row: {name}", "POST", PREDICT, ask(signature, instances=instances), status, whole)


def _column(name: str, signature: str | None, inputs: Any, expected: Any) -> Case:
    status = 400 if isinstance(expected, str) else 200
    whole = expected if status == 400 else {"outputs": expected}
    return (f"column: {name}", "POST", PREDICT, ask(signature, inputs=inputs), status, whole)


def _element(index: int, rest: str, key: str | None = None) -> str:
    where = f"element: {index}" + (f" key: {key}" if key else "")
    return f"Failed to process {where} of 'instances' list. Error: INVALID_ARGUMENT: {rest}"


HELLO = {"b64": "aGVsbG8="}
WORLD = {"b64": "d29ybGQ="}

ROWS: list[Case] = [
    _row("numbers", None, [1.0, 2.0], [3.5, 4.0]),
    _row("lists", None, [[1.0, 2.0], [3.0, 4.0]], [[3.5, 4.0], [4.5, 5.0]]),
    _row("by name", None, [{"x": 1.0}, {"x": 2.0}], [3.5, 4.0]),
    _row("by name, lists", None, [{"x": [1.0]}, {"x": [2.0]}], [[3.5], [4.0]]),
    _row("whole numbers as floats", None, [1, 2.5, 0.007], [3.5, 4.25, 3.0035]),
    _row("loss of precision", None, [1435774380], [7.17887168e08]),
    _row("beyond a float", None, [1.7976931348623157e308], [float("inf")]),
    _row("below a float", None, [2.2250738585072014e-308], [3.0]),
    _row(
        "two inputs",
        "add",
        [{"a": 1, "b": 2}, {"b": 20, "a": 10}],
        [{"sum": 3, "difference": -1}, {"sum": 30, "difference": -10}],
    ),
    _row("text", "echo", ["a", "ü", "漢字"], ["a", "ü", "漢字"]),
    _row("text in lists", "echo", [["a", "b"], ["c", "d"]], [["a", "b"], ["c", "d"]]),
    _row("base64", "echo", [HELLO, WORLD], ["hello", "world"]),
    _row("base64 in lists", "echo", [[HELLO], [WORLD]], [["hello"], ["world"]]),
    _row("base64 by name", "echo", [{"text": HELLO}], ["hello"]),
    _row("base64 without padding", "echo", [{"b64": "aGVsbG8"}], ["hello"]),
    _row(
        "bytes come back as base64",
        "image",
        [HELLO, "world"],
        [{"image_bytes": HELLO, "size": 5}, {"image_bytes": WORLD, "size": 5}],
    ),
    _row("a single output of bytes", "only_bytes", [7, -1], [{"b64": "Nw=="}, {"b64": "LTE="}]),
    _row(
        "other types",
        "kinds",
        [{"flag": True, "long": 2**60, "double": 1.0, "byte": 7}],
        [{"flag": False, "long": -(2**60), "double": 1 / 3, "byte": 8}],
    ),
    _row("not a list", None, {"x": 1}, "...Expecting 'instances' to be an list/array"),
    _row("null", None, None, "...Expecting 'instances' to be an list/array"),
    _row(
        "empty",
        None,
        [],
        "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array",
    ),
    _row(
        "wrong type",
        None,
        ["x", "y"],
        _element(0, 'JSON Value: "x" Type: String is not of expected type: float'),
    ),
    _row(
        "wrong type later",
        None,
        [1.0, True],
        _element(1, "JSON Value: true Type: True is not of expected type: float"),
    ),
    _row(
        "null for a number",
        None,
        [None],
        _element(0, "JSON Value: null Type: Null is not of expected type: float"),
    ),
    _row(
        "number for a text",
        "echo",
        [5],
        _element(0, "JSON Value: 5 Type: Number is not of expected type: string"),
    ),
    _row(
        "fraction for a whole number",
        "only_bytes",
        [1.0],
        _element(0, "JSON Value: 1.0 Type: Number is not of expected type: int64"),
    ),
    _row(
        "too large for its type",
        "add",
        [{"a": 2**31, "b": 1}],
        _element(0, "JSON Value: 2147483648 Type: Number is not of expected type: int32", key="a"),
    ),
    _row(
        "number for a truth",
        "kinds",
        [{"flag": 1, "long": 1, "double": 1, "byte": 1}],
        _element(0, "JSON Value: 1 Type: Number is not of expected type: bool", key="flag"),
    ),
    _row(
        "rows of different size",
        None,
        [[1, 2], [3, 4, 5]],
        _element(1, "Expecting tensor size: 2 but got: 3"),
    ),
    _row(
        "rows of different shape",
        None,
        [[1, 2], [[3, 4]]],
        _element(1, "Expecting shape [2] but got: [1,2]"),
    ),
    _row("a number and a list", None, [1, [1]], _element(1, "Expecting shape [] but got: [1]")),
    _row(
        "ragged inside",
        None,
        [[[1, 2], [3]]],
        _element(0, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
    ),
    _row(
        "list among numbers",
        None,
        [[1, [2]]],
        _element(0, "Encountered list at unexpected level: 1 expected < 1"),
    ),
    _row(
        "number among lists",
        None,
        [[[1], 2]],
        _element(
            0, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"
        ),
    ),
    _row(
        "plain list for two inputs",
        "add",
        [1, 2],
        "instances is a plain list, but expecting list of objects as multiple input tensors "
        "required as per tensorinfo_map",
    ),
    _row("base64 for two inputs", "add", [HELLO], "...INVALID_ARGUMENT: JSON Value: {"),
    _row(
        "list among objects",
        "add",
        [{"a": 1, "b": 2}, [1, 2]],
        "Expecting object but got list at item 1 of input list",
    ),
    _row(
        "object among values",
        "echo",
        ["a", {"text": "b"}],
        "Expecting value/list but got object at item 1 of input list",
    ),
    _row(
        "unknown name",
        "add",
        [{"a": 1, "c": 2}],
        _element(0, "JSON object: does not have named input: c", key="c"),
    ),
    _row(
        "missing name",
        "add",
        [{"a": 1, "b": 2}, {"a": 1}],
        "Failed to process element: 1 of 'instances' list. JSON object: {\n    \"a\": 1\n} "
        "keys must be equal to: a,b",
    ),
    _row("bad base64", "echo", [{"b64": "*"}], _element(0, "Unable to base64 decode")),
    _row(
        "base64 that is no string",
        "echo",
        [{"text": {"b64": 5}}],
        _element(
            0, 'JSON Value: {\n    "b64": 5\n} not formatted correctly for base64 data', key="text"
        ),
    ),
    _row(
        "object for a number",
        None,
        [{"x": {"y": 1}}],
        _element(
            0, 'JSON Value: {\n    "y": 1\n} Type: Object is not of expected type: float', key="x"
        ),
    ),
    _row(
        "a scalar cannot be split into rows",
        "scalar",
        [1.0, 2.0],
        "Tensor name: y has no shape information ",
    ),
    _row(
        "nor outputs of different length",
        "uneven",
        [1.0, 2.0],
        "Tensor name: one has inconsistent batch size: 1 expecting: 2",
    ),
    _row(
        "half floats cannot be written",
        "half",
        [1.0],
        "Failed to write JSON value for tensor type: half",
    ),
    (
        "row: half floats cannot be read",
        "POST",
        PREDICT,
        ask("takes_half", instances=[1.0]),
        400,
        "Failed to process element: 0 of 'instances' list. "
        "Error: UNIMPLEMENTED: Conversion of JSON Value: 1.0 to type: half",
    ),
    _row("what the graph refuses", "refuse", [1.0, 200.0], "...x is too large"),
    _row("wrong rank", "echo", [[["deep"]]], [[["deep"]]]),
]

COLUMNS: list[Case] = [
    _column("numbers", None, [1.0, 2.0], [3.5, 4.0]),
    _column("a single number", None, 1.0, 3.5),
    _column("by name", None, {"x": [1.0, 2.0]}, [3.5, 4.0]),
    _column("lists", None, {"x": [[1.0], [2.0]]}, [[3.5], [4.0]]),
    _column(
        "two inputs", "add", {"a": [1, 2], "b": [3, 4]}, {"sum": [4, 6], "difference": [-2, -2]}
    ),
    _column(
        "an unknown name is ignored",
        "add",
        {"a": [1], "b": [3], "c": [5]},
        {"sum": [4], "difference": [-2]},
    ),
    (
        "column: base64 alone",
        "POST",
        PREDICT,
        ask("echo", inputs=HELLO),
        200,
        {"outputs": "hello"},
    ),
    _column("base64 in a list", "echo", [HELLO, "x"], ["hello", "x"]),
    _column(
        "base64 by name", "image", {"image_bytes": [HELLO]}, {"image_bytes": [HELLO], "size": [5]}
    ),
    _column("a scalar is fine", "scalar", [1.0, 2.0], 3.0),
    _column(
        "so are outputs of different length",
        "uneven",
        [1.0, 2.0],
        {"all": [1.0, 2.0], "one": [1.0]},
    ),
    _column("an empty list", None, [], []),
    _column(
        "plain list for two inputs",
        "add",
        [1, 2],
        "inputs is a plain value/list, but expecting an object as multiple input tensors "
        "required as per tensorinfo_map",
    ),
    _column("missing name", "add", {"a": [1]}, "Missing named input: b in 'inputs' object."),
    _column("empty object", None, {}, "Missing named input: x in 'inputs' object."),
    _column(
        "wrong type",
        None,
        {"x": ["a"]},
        'JSON Value: "a" Type: String is not of expected type: float',
    ),
    _column(
        "ragged",
        None,
        [[1, 2], [3]],
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    _column(
        "different number of rows",
        "add",
        {"a": [1, 2], "b": [3, 4, 5]},
        "...Incompatible shapes: [2] vs. [3]",
    ),
    _column(
        "half floats cannot be written",
        "half",
        [1.0],
        "Failed to write JSON value for tensor type: half",
    ),
    (
        "column: half floats cannot be read",
        "POST",
        PREDICT,
        ask("takes_half", inputs=[1.0]),
        501,
        "Conversion of JSON Value: 1.0 to type: half",
    ),
    ("column: neither key", "POST", PREDICT, "{}", 400, "Missing 'inputs' or 'instances' key"),
    (
        "column: both keys",
        "POST",
        PREDICT,
        ask(instances=[1], inputs=[1]),
        400,
        "...Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
    ),
]

ALL: list[Case] = [*ROUTING, *STATUS, *PARSING, *ROWS, *COLUMNS]
