"""The page for Prometheus, read as Prometheus reads it."""

from __future__ import annotations

import json
import re
import urllib.request

import pytest

from attention_zoo.serving.runtime.errors import Code
from attention_zoo.serving.runtime.metrics import Counter, Histogram, Metrics

_LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_]+="(?:[^"\\\n]|\\.)*",?)*)\} (\S+)')


def read(page):
    """Values by name and labels, and the type of each metric; every line must be understood."""
    values, types = {}, {}
    assert page.endswith("\n")
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            types[name] = kind
        else:
            match = _LINE.fullmatch(line)
            assert match, line
            values[match.group(1), match.group(2)] = float(match.group(3))
    return values, types


def test_counters():
    counter = Counter("request_count", ("model_name", "status"))
    counter.add("m", "OK")
    counter.add("m", "OK", amount=2)
    counter.add('a"b\\c\nd', "OK")
    assert counter.lines() == [
        "# TYPE :tensorflow:serving:request_count counter",
        ':tensorflow:serving:request_count{model_name="a\\"b\\\\c\\nd",status="OK"} 1',
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 3',
    ]


def test_histograms():
    histogram = Histogram("size", (), (1.0, 2.0, 4.0))
    for value in (0.5, 1.0, 3.0, 100.0):
        histogram.add(value)
    name = ":tensorflow:serving:size"
    assert histogram.lines() == [
        f"# TYPE {name} histogram",
        f'{name}_bucket{{le="1"}} 1',
        f'{name}_bucket{{le="2"}} 2',
        f'{name}_bucket{{le="4"}} 3',
        f'{name}_bucket{{le="+Inf"}} 4',
        f"{name}_sum{{}} 104.5",
        f"{name}_count{{}} 4",
    ]


def test_a_large_sum_still_grows_by_what_is_small():
    histogram = Histogram("latency", (), (1.0,))
    histogram.add(1e12)  # microseconds: a day of twelve requests at a time
    histogram.add(3.5)
    assert read("\n".join(histogram.lines()) + "\n")[0][f"{histogram.name}_sum", ""] == 1e12 + 3.5


def test_the_page_of_a_server_that_did_nothing_is_read():
    values, types = read(Metrics().page())
    assert values == {}
    assert types[":tensorflow:serving:request_latency"] == "histogram"


def test_buckets_of_latencies_are_those_of_the_official_server():
    metrics = Metrics()
    metrics.request("m", "predict", "REST", 15e-6)
    metrics.request("m", "predict", "REST", 1.0, Code.NOT_FOUND)
    values, _ = read(metrics.page())
    labels = 'model_name="m",API="predict",entrypoint="REST"'
    name = ":tensorflow:serving:request_latency"
    edges = [key for key in values if key[0] == f"{name}_bucket"]
    assert len(edges) == 34
    assert values[f"{name}_bucket", f'{labels},le="10"'] == 0
    assert values[f"{name}_bucket", f'{labels},le="18"'] == 1
    assert values[f"{name}_count", labels] == 1
    count = ":tensorflow:serving:request_count"
    assert values[count, 'model_name="m",status="NOT_FOUND"'] == 1


@pytest.fixture
def page(server):
    def get():
        url = f"{server.address.rest_url}/monitoring/prometheus/metrics"
        with urllib.request.urlopen(url, timeout=30) as reply:
            assert reply.headers["Content-Type"].startswith("text/plain")
            return read(reply.read().decode())[0]

    return get


def test_requests_are_counted(page, server):
    def ask(model, value):
        body = json.dumps({"instances": [value]}).encode()
        url = f"{server.address.rest_url}/v1/models/{model}:predict"
        try:
            urllib.request.urlopen(urllib.request.Request(url, body), timeout=30).close()
        except urllib.error.HTTPError as error:
            error.close()

    before = page()
    for model, value in (("calc", 1.0), ("calc", 2.0), ("calc", "x"), ("nobody", 1.0)):
        ask(model, value)
    after = page()

    def grown(name, labels):
        key = (f":tensorflow:serving:{name}", labels)
        return after.get(key, 0) - before.get(key, 0)

    assert grown("request_count", 'model_name="calc",status="OK"') == 2
    assert grown("request_count", 'model_name="calc",status="INVALID_ARGUMENT"') == 1
    assert grown("request_count", 'model_name="",status="NOT_FOUND"') == 1
    latency = 'model_name="calc",API="predict",entrypoint="REST"'
    assert grown("request_latency_count", latency) == 2
    assert grown("request_latency_sum", latency) > 0
    assert grown("runtime_latency_count", 'model_name="calc",API="Predict",runtime="TF1"') == 2
    assert not [labels for _, labels in after if "nobody" in labels]
