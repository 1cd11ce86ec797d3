"""The figures and the manifest of docs/scaling.md."""

import re
from pathlib import Path

import pytest

from attention_zoo.zoo.catalog import MODELS

GUIDE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w-]+)` \| ([\d,]+) \|(.*)\|$", re.MULTILINE)


def table():
    """Weights, then the other columns, by model."""
    return {
        name: (int(weights.replace(",", "")), [float(x.split()[0]) for x in rest.split("|")])
        for name, weights, rest in ROW.findall(GUIDE)
    }


def test_the_table_follows_from_the_weights():
    assert len(table()) == 4
    for weights, columns in table().values():
        of_two, of_eight = (2 * (n - 1) / n * 4 * weights for n in (2, 8))
        expected = [of_two / 1e6, of_eight / 1e6, of_two * 8 / 1e9, of_two * 8 / 1e10]
        assert columns == pytest.approx(expected, abs=0.051), columns


@pytest.mark.parametrize("name", ["transformer-tiny", "rnn-bahdanau"])
def test_the_weights_are_those_of_the_model(name):
    assert MODELS[name].build(vocab_size=8000).count_params() == table()[name][0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer-base", "transformer-big"])
def test_the_weights_are_those_of_the_large_model(name):
    assert MODELS[name].build(vocab_size=8000).count_params() == table()[name][0]


def test_kubernetes_takes_the_manifest():
    yaml = pytest.importorskip("yaml")
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    (block,) = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    service, job = yaml.safe_load_all(block)
    for document in (service, job):
        kubernetes_validate.validate(document, "1.33", strict=True)
    # The names in --workers are those that the Job and the Service give its pods.
    (container,) = job["spec"]["template"]["spec"]["containers"]
    hosts = [f"{job['metadata']['name']}-{i}.{service['metadata']['name']}" for i in range(2)]
    assert ",".join(f"{host}:9000" for host in hosts) in container["args"][0]
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
