"""The REST interface against the replies of TensorFlow Serving."""

from __future__ import annotations

import gzip
import json
import math

import pytest
import rest_cases
from rest_case import send


def close(got, expected):
    """Whether two parsed replies agree, numbers to the precision of a float."""
    if isinstance(expected, dict):
        same = isinstance(got, dict) and got.keys() == expected.keys()
        return same and all(close(got[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        same = isinstance(got, list) and len(got) == len(expected)
        return same and all(close(a, b) for a, b in zip(got, expected, strict=True))
    if isinstance(expected, float):
        return isinstance(got, float) and math.isclose(got, expected, rel_tol=1e-7)
    return type(got) is type(expected) and got == expected


def test_the_table_is_as_long_as_promised_and_has_no_case_twice():
    assert len(rest_cases.ALL) >= 120
    assert len({case[0] for case in rest_cases.ALL}) == len(rest_cases.ALL)


@pytest.mark.parametrize("case", rest_cases.ALL, ids=[case[0] for case in rest_cases.ALL])
def test_a_request_is_answered_as_the_official_server_does(case, server):
    _, method, path, body, status, expected = case
    got_status, headers, reply = send(server, method, path, body)
    document = json.loads(reply)
    assert got_status == status, document
    assert headers["Content-Type"] == "application/json"
    assert int(headers["Content-Length"]) == len(reply)
    if isinstance(expected, dict):
        assert close(document, expected), document
    elif expected.startswith("..."):
        assert list(document) == ["error"]
        assert expected[3:] in document["error"]
    else:
        assert document == {"error": expected}


def test_layout_of_replies(server):
    predict = rest_cases.PREDICT
    _, _, one = send(server, "POST", predict, rest_cases.ask("echo", instances=["a", "b"]))
    assert one == b'{"predictions": ["a", "b"]}'
    body = rest_cases.ask("add", instances=[{"a": 1, "b": 2}])
    _, _, several = send(server, "POST", predict, body)
    assert several == b'{"predictions": [{"difference": -1, "sum": 3}]}'
    _, _, columns = send(server, "POST", predict, rest_cases.ask("echo", inputs=["a", "b"]))
    assert columns == b'{"outputs": ["a", "b"]}'
    _, _, error = send(server, "GET", "/v1/models")
    assert error == b'{\n    "error": "Missing model name in request."\n}'
    _, _, status = send(server, "GET", "/v1/models/calc/versions/1")
    assert status == (
        b'{\n "model_version_status": [\n  {\n   "version": "1",\n   "state": "AVAILABLE",\n'
        b'   "status": {\n    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
    )


def test_numbers_are_written_in_the_fewest_digits_that_read_back(server):
    values = [1.0, 0.2, 1e6, 9000000.0, 3e-5, 1 / 3, float("nan"), float("inf"), -float("inf")]
    halves = [2 * (value - 3.0) for value in values]
    body = json.dumps({"instances": [halves]})
    _, _, reply = send(server, "POST", rest_cases.PREDICT, body)
    text = reply.decode()
    assert text.startswith('{"predictions": [[1.0, 0.20000005, 1000000.0, 9000000.0, 3.0')
    assert text.endswith(", 0.33333325, NaN, Infinity, -Infinity]]}")


def test_text_passes_unchanged_and_bytes_that_are_no_text_too(server):
    text = 'quotes " and \\ and / and \t and \n and \x01 and ü and 🙂'
    body = rest_cases.ask("echo", instances=[text])
    _, _, reply = send(server, "POST", rest_cases.PREDICT, body)
    assert json.loads(reply) == {"predictions": [text]}
    assert "ü".encode() in reply
    assert b" / " in reply and b"\\u0001" in reply
    body = b'{"signature_name": "echo", "instances": ["\xff\xfe \\ud83d\\ude42"]}'
    _, _, reply = send(server, "POST", rest_cases.PREDICT, body)
    assert b'"\xff\xfe \xf0\x9f\x99\x82"' in reply


def test_metadata_describes_every_signature(server):
    status, _, reply = send(server, "GET", "/v1/models/calc/labels/stable/metadata")
    document = json.loads(reply)
    assert status == 200
    assert document["model_spec"] == {"name": "calc", "signature_name": "", "version": "1"}
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert "__saved_model_init_op" in signatures
    assert signatures["add"]["method_name"] == "tensorflow/serving/predict"
    assert signatures["add"]["defaults"] == {}
    assert signatures["add"]["inputs"]["a"] == {
        "dtype": "DT_INT32",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
        "name": "add_a:0",
    }
    assert signatures["serving_default"]["inputs"]["x"]["tensor_shape"] == {
        "dim": [],
        "unknown_rank": True,
    }


@pytest.mark.parametrize("path", ["/index.html", "/page/", "/v2/models/calc", "/v1", "/etc/passwd"])
def test_other_addresses_are_not_found(path, server):
    status, headers, reply = send(server, "GET", path)
    assert status == 404
    assert headers["Content-Type"].startswith("text/html")
    assert b"<TITLE>404 Not Found</TITLE>" in reply


def test_preflight_requests(server):
    headers = {"Origin": "https://example.org"}
    assert send(server, "OPTIONS", rest_cases.PREDICT, headers=headers)[::2] == (200, b"")
    assert send(server, "OPTIONS", rest_cases.PREDICT)[::2] == (400, b"")


def test_compressed_requests(server):
    body = gzip.compress(rest_cases.ask(instances=[1.0]).encode())
    headers = {"Content-Encoding": "gzip"}
    status, _, reply = send(server, "POST", rest_cases.PREDICT, body, headers)
    assert (status, json.loads(reply)) == (200, {"predictions": [3.5]})
    status, _, reply = send(server, "POST", rest_cases.PREDICT, b"no gzip", headers)
    assert status == 400


def test_the_toy_model_answers_in_both_forms(server, toy):
    texts = ["the little dog", "", "a cat sleeps in the old house"]
    path = "/v1/models/toy:predict"
    _, _, rows = send(server, "POST", path, json.dumps({"instances": texts}))
    _, _, columns = send(server, "POST", path, json.dumps({"inputs": {"text": texts}}))
    predictions = json.loads(rows)["predictions"]
    outputs = json.loads(columns)["outputs"]
    expected = toy.serving_default(texts)
    assert [row["text"] for row in predictions] == outputs["text"]
    assert outputs["text"] == [text.decode() for text in expected["text"].numpy()]
    assert outputs["score"] == pytest.approx(expected["score"].numpy().tolist(), abs=1e-4)


@pytest.mark.parametrize("signature", ["serving_default", "n_best", "explain"])
@pytest.mark.parametrize("depth", [1, 2, 31, 32, 63, 64, 254, 300])
def test_texts_in_lists_are_refused(depth, signature, server):
    nested = "[" * depth + '"the little dog"' + "]" * depth
    for body in (f'{{"instances": [{nested}]', f'{{"inputs": [{nested}]'):
        body += f', "signature_name": "{signature}"}}'
        status, _, reply = send(server, "POST", "/v1/models/toy:predict", body)
        assert status == 400, reply
        assert b"expected shape [?]" in reply or b"at most 32 dimensions" in reply


def test_a_large_request_and_reply_are_whole(server):
    values = [float(number) for number in range(50_000)]
    status, _, reply = send(server, "POST", rest_cases.PREDICT, json.dumps({"instances": values}))
    assert status == 200
    assert json.loads(reply)["predictions"] == [value / 2 + 3 for value in values]
