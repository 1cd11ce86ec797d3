"""Cases of values in rows and in columns, and how they are written; see `rest_cases`."""

from __future__ import annotations

from typing import Any

from rest_case import PREDICT, Case, ask


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
        "JSON Value: {\"instances\": []} No values in 'instances' array",
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
        "Failed to process element: 1 of 'instances' list. JSON object: {\"a\": 1} "
        "keys must be equal to: a,b",
    ),
    _row("bad base64", "echo", [{"b64": "*"}], _element(0, "Unable to base64 decode")),
    _row(
        "base64 that is no string",
        "echo",
        [{"text": {"b64": 5}}],
        _element(0, 'JSON Value: {"b64": 5} not formatted correctly for base64 data', key="text"),
    ),
    _row(
        "object for a number",
        None,
        [{"x": {"y": 1}}],
        _element(0, 'JSON Value: {"y": 1} Type: Object is not of expected type: float', key="x"),
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
