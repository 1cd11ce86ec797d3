"""Cases of addresses, methods, and the order in which a body is checked; see `rest_cases`."""

from __future__ import annotations

import json
from typing import Any

from rest_case import CALC, PREDICT, Case, ask


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
        "...JSON Parse error: ",
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
