"""How values are written in JSON: digits, escapes and the descriptions in error messages."""

from __future__ import annotations

import json

import numpy as np
import pytest

from attention_zoo.serving.rest_json.json_parser import parse
from attention_zoo.serving.rest_json.json_reply import write_outputs
from attention_zoo.serving.rest_json.json_writer import decimals, describe, quote
from attention_zoo.serving.runtime.errors import ServingError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (0.2, "0.2"),
        (100000.0, "100000.0"),
        (1000000.0, "1e+06"),
        (9000000.0, "9e+06"),
        (0.00003, "3e-05"),
        (1 / 3, "0.333333343"),
        (16777217.0, "16777216.0"),
        (3.4028235e38, "3.40282347e+38"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_a_float_is_written_as_the_official_server_does(value, text):
    assert decimals(np.float32([value])) == [text]


def test_every_number_reads_back_as_itself():
    bits = np.random.default_rng(5).integers(0, 2**32, 20_000, dtype=np.uint32)
    single = bits.view(np.float32)
    single = single[np.isfinite(single)]
    assert np.array_equal(np.array([float(t) for t in decimals(single)], np.float32), single)
    double = np.random.default_rng(6).normal(size=5000) * 10.0 ** np.arange(5000).clip(0, 300)
    assert np.array_equal(np.array([float(t) for t in decimals(double)]), double)


def test_strings_are_escaped_where_they_must_be_and_nowhere_else():
    text = "".join(map(chr, range(0x20))) + '"\\/ü漢🙂'
    assert json.loads(quote(text)) == text
    assert quote(text).endswith('\\u001F\\"\\\\/ü漢🙂"')


def test_a_reply_by_row_has_objects_of_bytes_in_the_layout_of_the_writer():
    reply = write_outputs({"x_bytes": np.array([[b"a", b"b"]], object)}, by_row=True)
    assert json.loads(reply) == {"predictions": [[{"b64": "YQ=="}, {"b64": "Yg=="}]]}


def test_a_reply_without_outputs_is_refused():
    with pytest.raises(ServingError, match="Cannot convert empty tensor map to JSON"):
        write_outputs({}, by_row=True)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"a": [1, 2.5, "x"]}', '{\n    "a": [1, 2.5, "x"]\n}'),
        (
            '[{"a": {"b": null}}, {}]',
            '[{\n        "a": {\n            "b": null\n        }\n    }, {}]',
        ),
        ("[1e30, 1e-7, 0.00001, 123456789.0, true]", "[1e30, 1e-7, 0.00001, 123456789.0, true]"),
        ("[]", "[]"),
        ("[NaN, 1]", "["),
    ],
)
def test_a_description_has_the_layout_of_the_writer(body, text):
    assert describe(parse(body.encode())) == text


def test_a_description_is_cut_off():
    described = describe(parse(b'["' + b"x" * 100 + b'", "' + b"y" * 200 + b'", "z", "z"]'))
    assert described == '["' + "x" * 100 + '", "' + "y" * 200 + '"'
    assert len(describe(parse(b"[" * 10_000 + b"]" * 10_000))) == 256
