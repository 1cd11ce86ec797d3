"""JSON of requests and replies: digits, memory, and the descriptions in error messages."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from attention_zoo.serving.rest_json.json_parser import describe, expected_memory, parse
from attention_zoo.serving.rest_json.json_reply import write_outputs
from attention_zoo.serving.runtime.errors import ServingError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (0.2, "0.2"),
        (0.00003, "3e-05"),
        (1 / 3, "0.33333334"),
        (16777217.0, "16777216.0"),
        (3.4028235e38, "3.4028235e+38"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_a_float_is_written_in_the_fewest_digits(value, text):
    assert write_outputs({"x": np.float32([value])}, by_row=False) == f'{{"outputs": [{text}]}}'


@pytest.mark.parametrize("by_row", [True, False])
def test_every_number_reads_back_as_itself(by_row):
    bits = np.random.default_rng(5).integers(0, 2**32, 20_000, dtype=np.uint32)
    single = bits.view(np.float32)
    single = single[np.isfinite(single)]
    double = np.random.default_rng(6).normal(size=5000) * 10.0 ** np.arange(5000).clip(0, 300)
    whole = np.random.default_rng(7).integers(-(2**63), 2**63 - 1, 5000)
    for values in (single, double, whole, np.uint64([2**64 - 1])):
        (read,) = parse(write_outputs({"x": values}, by_row).encode()).values()
        assert np.array_equal(np.array(read, values.dtype), values)


def test_strings_of_replies_are_escaped_where_they_must_be_and_nowhere_else():
    text = "".join(map(chr, range(0x20))) + '"\\/ü漢🙂'
    reply = write_outputs({"x": np.array([text.encode()], object)}, by_row=True)
    assert json.loads(reply) == {"predictions": [text]}
    assert reply.endswith('\\u001f\\"\\\\/ü漢🙂"]}')


def test_a_reply_by_row_has_objects_of_bytes():
    reply = write_outputs({"x_bytes": np.array([[b"a", b"b"]], object)}, by_row=True)
    assert json.loads(reply) == {"predictions": [[{"b64": "YQ=="}, {"b64": "Yg=="}]]}


def test_a_reply_without_outputs_is_refused():
    with pytest.raises(ServingError, match="Cannot convert empty tensor map to JSON"):
        write_outputs({}, by_row=True)


def test_of_members_with_one_name_the_first_counts_where_it_stands():
    assert list(parse(b'{"a": 1, "b": 2, "a": 3, "b": 4}').items()) == [("a", 1), ("b", 2)]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"a":[1,2.5,"x"]}', '{"a": [1, 2.5, "x"]}'),
        ('[{"a":{"b":null}},{}]', '[{"a": {"b": null}}, {}]'),
        ("[]", "[]"),
        ('["ü\\n"]', '["ü\\n"]'),
    ],
)
def test_a_description_is_one_line(body, text):
    assert describe(parse(body.encode())) == text


def test_a_description_is_cut_off():
    described = describe(parse(b'["' + b"x" * 100 + b'", "' + b"y" * 200 + b'", "z", "z"]'))
    assert described == ('["' + "x" * 100 + '", "' + "y" * 200)[:256]
    assert describe(parse(b"[" * 500 + b"]" * 500)) == "[" * 256


@pytest.mark.parametrize(
    "element",
    [
        "1",
        "-7000",
        "1.5",
        '"ab"',
        '"words of some length"',
        f'"{"words " * 20}"',
        "[]",
        "[1.5]",
        "[[[]]]",
        "{}",
        '{"a":1}',
        '{"a":1,"a":2}',
        '{"b64":"eA=="}',
        '"漢字🙂"',
        "true",
    ],
)
def test_no_body_takes_more_memory_than_expected(element):
    body = f"[{','.join([element] * 20_000)}]".encode()
    tracemalloc.start()
    kept = parse(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == 20_000
    assert peak <= expected_memory(body) <= 12 * peak
