"""Which workers there are, from TF_CONFIG or the options, and what is refused."""

import json

import pytest

from attention_zoo.recipes.distribute.cluster import Cluster
from attention_zoo.zoo.errors import ConfigError


def test_the_cluster_of_tf_config():
    workers_only = {
        "cluster": {"worker": ["a:1", "b:2"]},
        "task": {"type": "worker", "index": 1},
    }
    with_chief = {
        "cluster": {"chief": ["a:1"], "worker": ["b:2", "c:3"]},
        "task": {"type": "worker", "index": 0},
    }
    read = lambda config: Cluster.from_environment({"TF_CONFIG": json.dumps(config)})  # noqa: E731
    assert read(workers_only) == Cluster(("a:1", "b:2"), 1)
    assert read(with_chief) == Cluster(("a:1", "b:2", "c:3"), 1)
    with_chief["task"] = {"type": "chief", "index": 0}
    assert read(with_chief) == Cluster(("a:1", "b:2", "c:3"), 0)
    assert read({"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}}) is None
    assert Cluster.from_environment({}) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "TF_CONFIG is"),
        ("[1]", "TF_CONFIG is"),
        ('{"cluster": {"worker": ["a:1", "b:1"], "ps": ["c:1"]}}', "TF_CONFIG has ps"),
        ('{"cluster": {"worker": ["a:1", "b"]}}', "host:port. Received: 'b'"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 2}}', "index 2"),
    ],
)
def test_an_impossible_tf_config_is_refused(text, message):
    with pytest.raises(ConfigError) as error:
        Cluster.from_environment({"TF_CONFIG": text})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("given", "index", "message"),
    [
        ("a:1,b:2", None, "--workers needs --index"),
        ("a:1,a:1", 0, "a:1 is there twice"),
        ("a:1,b:99999", 0, "'b:99999'"),
        ("a:1,b:2", 2, "numbered from 0 to 1. Received: index 2"),
    ],
)
def test_impossible_options_are_refused(given, index, message):
    with pytest.raises(ConfigError) as error:
        Cluster.from_options(given, index)
    assert message in str(error.value)
