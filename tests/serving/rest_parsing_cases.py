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
    _parse("too many digits", f'{{"a":-{"9" * 310}}}', "Number too big to be stored in double.", 5),
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
