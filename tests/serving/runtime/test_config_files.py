"""Configuration files against the official messages, and against what a server does with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from attention_zoo.serving.runtime.batching import BatchingParameters
from attention_zoo.serving.runtime.config_files import (
    batching_text,
    models_text,
    monitoring_text,
    read_batching,
    read_models,
    write_config,
)
from attention_zoo.serving.runtime.errors import ServingError
from attention_zoo.serving.runtime.model_config import ModelConfig, VersionPolicy
from attention_zoo.serving.server.sources import find_configs

DOCUMENTED = """
model_config_list {
  config {
    name: 'en_de' base_path: '/models/en_de' model_platform: 'tensorflow'
    model_version_policy { specific { versions: 42 versions: 43 } }
    version_labels { key: 'stable' value: 42 }
    version_labels { key: 'canary' value: 43 }
  }
  config {
    name: 'all' base_path: '/models/all' model_platform: 'tensorflow'
    model_version_policy { all {} }
  }
  config {
    name: 'two' base_path: '/models/two' model_type: TENSORFLOW
    model_version_policy { latest { num_versions: 2 } }
  }
  config { name: 'newest' base_path: '/models/newest' model_platform: 'tensorflow' }
}
"""


def test_models_as_they_are_documented(tmp_path):
    (tmp_path / "models.config").write_text(DOCUMENTED)
    en_de, everything, two, newest = read_models(tmp_path / "models.config")
    assert en_de.name == "en_de"
    assert str(en_de.base_path) == "/models/en_de"
    assert en_de.policy == VersionPolicy(specific=(42, 43))
    assert en_de.labels == {"stable": 42, "canary": 43}
    assert everything.policy.all
    assert two.policy.latest == 2
    assert newest.policy == VersionPolicy()


def test_written_models_read_back_in_the_official_message(tmp_path):
    (tmp_path / "models.config").write_text(DOCUMENTED)
    configs = read_models(tmp_path / "models.config")
    text = models_text(configs)
    message = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    first = message.model_config_list.config[0]
    assert (first.name, first.model_platform) == ("en_de", "tensorflow")
    assert list(first.model_version_policy.specific.versions) == [42, 43]
    assert dict(first.version_labels) == {"stable": 42, "canary": 43}
    (tmp_path / "again.config").write_text(text)
    assert read_models(tmp_path / "again.config") == configs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "Cannot read"),
        ("", "Only ModelConfigList is currently supported"),
        ("model_config_list { config { base_path: '/m' } }", "has no name"),
        ("model_config_list { config { name: 'm' } }", "Model m has no base path"),
        (
            "model_config_list { config { name: 'm' base_path: '/a' model_type: TENSORFLOW } "
            "config { name: 'm' base_path: '/b' model_platform: 'tensorflow' } }",
            "Illegal to list model m multiple times in config list",
        ),
        (
            "model_config_list { config { name: 'm' base_path: '/a' model_platform: 'onnx' } }",
            "has platform onnx",
        ),
        (
            "model_config_list { config { name: 'm' base_path: '/a' } }",
            "no platform in its config.*add model_platform: 'tensorflow'",
        ),
        (
            "model_config_list { config { name: 'm' base_path: '/a' model_platform: 'tensorflow' "
            "model_version_policy { specific {} } } }",
            "names none",
        ),
    ],
)
def test_configurations_that_cannot_be_served(text, message, tmp_path):
    (tmp_path / "models.config").write_text(text)
    with pytest.raises(ServingError, match=message):
        read_models(tmp_path / "models.config")


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(ServingError, match=r"Cannot read .*models.config"):
        read_models(tmp_path / "models.config")


def test_batching_files(tmp_path):
    text = """
        max_batch_size { value: 128 }
        batch_timeout_micros { value: 1000 }
        max_enqueued_batches { value: 50 }
        num_batch_threads { value: 8 }
        thread_pool_name { value: "pool" }
        allowed_batch_sizes: 32 allowed_batch_sizes: 128
        pad_variable_length_inputs: true
        enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 128 }
    """
    parameters = read_batching(text)
    assert parameters == BatchingParameters(128, 1000, 50, 8, (32, 128), True, True, 128)
    assert read_batching(batching_text(parameters)) == parameters
    assert read_batching("") == BatchingParameters()
    assert "splitting" not in batching_text(BatchingParameters())
    with pytest.raises(ServingError, match="must rise and end with"):
        read_batching("max_batch_size { value: 4 } allowed_batch_sizes: 2")
    with pytest.raises(ServingError, match="has no field named"):
        read_batching("max_size: 4")
    assert "max_batch_size {\n  value: 128\n}" in batching_text(parameters)


def test_monitoring_file():
    assert monitoring_text() == (
        'prometheus_config {\n  enable: true\n  path: "/monitoring/prometheus/metrics"\n}\n'
    )


def test_a_folder_of_files_for_a_server_elsewhere(tmp_path):
    configs = [
        ModelConfig(
            "en-de", tmp_path / "exports" / "en-de", VersionPolicy(specific=(1, 2)), {"stable": 1}
        )
    ]
    files = write_config(configs, tmp_path / "config", served_from="/models")
    assert sorted(path.name for path in (tmp_path / "config").iterdir()) == sorted(files)
    (found,) = read_models(files["models.config"])
    assert str(found.base_path) == "/models/en-de"
    assert found.labels == {"stable": 1}
    (here,) = read_models(write_config(configs, tmp_path / "config")["models.config"])
    assert here.base_path == (tmp_path / "exports" / "en-de").resolve()


def test_a_label_for_a_version_that_is_not_served_is_refused(tmp_path):
    config = ModelConfig("m", tmp_path, VersionPolicy(specific=(1,)), {"stable": 2})
    with pytest.raises(ServingError, match="Label stable of model m names version 2"):
        write_config([config], tmp_path / "config")
    assert not (tmp_path / "config").exists()


def test_a_model_that_is_a_link_keeps_its_name(tmp_path, monkeypatch):
    (tmp_path / "trained" / "today" / "1").mkdir(parents=True)
    (tmp_path / "models").mkdir()
    link = tmp_path / "models" / "en-de"
    link.symlink_to(tmp_path / "trained" / "today")
    monkeypatch.chdir(tmp_path / "models")
    for directory in (Path(), tmp_path / "models", Path("en-de"), link):
        found = find_configs(directory)
        assert [config.name for config in found] == ["en-de"]
        for served_from, path in (("/models", Path("/models/en-de")), (None, link)):
            files = write_config(found, tmp_path / "config", served_from)
            assert read_models(files["models.config"])[0].base_path == path


SPLIT = {"enable_large_batch_splitting": True, "max_batch_size": 8, "max_execution_batch_size": 3}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_batch_size": 0}, "Received: max_batch_size=0"),
        ({"num_batch_threads": 0}, "Received: num_batch_threads=0"),
        ({"batch_timeout_micros": -1}, "Received: batch_timeout_micros=-1"),
        ({"max_batch_size": 8, "allowed_batch_sizes": (2, 4)}, "must rise and end with"),
        ({"max_batch_size": 4, "allowed_batch_sizes": (4, 2, 4)}, "must rise and end with"),
        ({**SPLIT, "allowed_batch_sizes": (4, 8)}, "end with `max_execution_batch_size`, here 3"),
        ({**SPLIT, "max_execution_batch_size": 9}, "Received: max_execution_batch_size=9"),
        ({"max_execution_batch_size": 0}, "Received: max_execution_batch_size=0"),
    ],
)
def test_impossible_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        BatchingParameters(**parameters)
