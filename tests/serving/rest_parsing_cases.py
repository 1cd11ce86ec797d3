"""Cases of the status of models, and of JSON that is good or broken; see `rest_cases`."""

from __future__ import annotations

from typing import Any

from rest_case import CALC, PREDICT, Case, ask


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


def _refused(name: str, body: str | bytes) -> Case:
    return (f"JSON: {name}", "POST", PREDICT, body, 400, "...JSON Parse error: ")


def _accepted(name: str, body: str | bytes, values: list) -> Case:
    return (f"JSON: {name}", "POST", PREDICT, body, 200, {"predictions": values})


PARSING: list[Case] = [
    _refused("no body", ""),
    _refused("only white space", " \n "),
    _refused("no JSON", "instances = [1, 2]"),
    _refused("half an object", "{"),
    _refused("name without quotes", "{instances: [1]}"),
    _refused("no colon", '{"a" 1}'),
    _refused("no value", '{"a":}'),
    _refused("no comma between members", '{"a":1 "b":2}'),
    _refused("comma at the end", '{"a":1,}'),
    _refused("open object", '{"a":1'),
    _refused("open list", '{"a":[1'),
    _refused("list ends in a comma", '{"a":[1,]}'),
    _refused("half a word", '{"a":nul}'),
    _refused("open string", '{"a":"b'),
    _refused("line break in a string", '{"instances":["a\nb"]}'),
    _refused("unknown escape", '{"a":"\\x"}'),
    _refused("escape that is no number", '{"a":"\\u12G4"}'),
    _refused("half a pair of surrogates", '{"a":"\\ud800"}'),
    _refused("the other half", '{"signature_name":"echo","instances":["\\udc00 and \\ud83d"]}'),
    _refused("no digits after the point", '{"a":1.x}'),
    _refused("no digits in the exponent", '{"a":1ex}'),
    _refused("too large a number", '{"a":1e999}'),
    _refused("far too many digits", f'{{"a":-{"9" * 5000}}}'),
    _refused("only a byte order mark", b"\xef\xbb\xbf"),
    _refused("endless depth", '{"instances": [1], "x": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    _refused("brackets alone", "[" * 1_000_001),
    (
        "JSON: too many digits",
        "POST",
        PREDICT,
        f'{{"instances":[-{"9" * 310}]}}',
        400,
        "A number is too big to be stored in double",
    ),
    _accepted("byte order mark", b'\xef\xbb\xbf \n{"instances": [1.0]}', [3.5]),
    _accepted("anything after the object", '{"instances": [1.0]} and more', [3.5]),
    _accepted("numbers that are none", '{"instances": [Infinity, 1]}', [float("inf"), 3.5]),
    _accepted("numbers with large exponents", '{"instances": [1], "x": 1e100}', [3.5]),
    _accepted("the first of two members", '{"instances": [1], "instances": [2]}', [3.5]),
    _accepted("some depth", '{"instances": [1], "x": ' + "[" * 500 + "]" * 500 + "}", [3.5]),
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
        'JSON Value: {"signature_name": 100} not formatted correctly. '
        "'signature_name' key must be a string value.",
    ),
    (
        "a deep one",
        "POST",
        PREDICT,
        '{"signature_name": ' + "[" * 500 + "]" * 500 + "}",
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
