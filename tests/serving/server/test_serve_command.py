"""`attention-zoo serve` and `serve-config`: their options, and which server they run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attention_zoo.recipes.cli import server as cli_server
from attention_zoo.recipes.cli.app import app
from attention_zoo.recipes.cli.main import run_command
from attention_zoo.recipes.cli.server_options import _SWITCHES
from attention_zoo.serving.runtime.batching import BatchingParameters
from attention_zoo.serving.runtime.config_files import read_batching, read_models, read_monitoring
from attention_zoo.serving.runtime.errors import ServingError
from attention_zoo.serving.runtime.model_config import ModelConfig, VersionPolicy, with_labels
from attention_zoo.serving.server.server_options import ServerOptions
from attention_zoo.serving.server.tf_model_server import ServerFiles, server_arguments


@pytest.fixture
def models(tmp_path):
    """A folder of two models; only their folders, which is all that is looked at here."""
    for name in ("de-en/4", "en-de/1", "en-de/2"):
        (tmp_path / "models" / name).mkdir(parents=True)
    return tmp_path / "models"


@pytest.fixture
def served(monkeypatch):
    """What the command would have served: source, models, options."""
    calls = []
    monkeypatch.setattr(cli_server, "_run_local", lambda *given: calls.append(given) or 0)
    monkeypatch.setenv("PATH", "")
    return calls


def run(*arguments):
    return run_command(app, [str(argument) for argument in arguments])


def test_the_defaults_are_safe(models, served):
    assert run("serve", models) == 0
    ((source, configs, options),) = served
    assert source == models
    assert [config.name for config in configs] == ["de-en", "en-de"]
    assert options == ServerOptions(try_first=True, reread_seconds=1.0)
    assert options.host == "127.0.0.1"


def test_options_by_the_names_of_the_official_server(models, served, tmp_path):
    batching = tmp_path / "batching.config"
    batching.write_text("max_batch_size { value: 32 }")
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: false }")
    assert (
        run(
            "serve",
            "--model_base_path=" + str(models / "en-de"),
            "--model_name=other",
            "--port=1",
            "--rest_api_port=2",
            "--rest_api_timeout_in_ms=1500",
            "--rest_api_num_threads=3",
            "--rest_api_enable_cors_support",
            "--file_system_poll_wait_seconds=5",
            "--enable_batching",
            f"--batching_parameters_file={batching}",
            f"--monitoring_config_file={monitoring}",
            "--tensorflow_intra_op_parallelism=1",
            "--tensorflow_inter_op_parallelism=2",
            "--xla_cpu_compilation_enabled",
            "--allow_version_labels_for_unavailable_models",
        )
        == 0
    )
    ((_, configs, options),) = served
    assert [config.name for config in configs] == ["other"]
    assert (options.grpc_port, options.rest_port, options.timeout) == (1, 2, 1.5)
    assert (options.num_threads, options.cors, options.poll_seconds) == (3, True, 5.0)
    assert options.batching == BatchingParameters(max_batch_size=32)
    assert options.metrics_path is None
    assert (options.intra_op_threads, options.inter_op_threads) == (1, 2)
    assert options.unready_labels and options.xla_cpu_compilation
    arguments = server_arguments(configs, options, ServerFiles(), tmp_path)
    assert "--xla_cpu_compilation_enabled=true" in arguments


def test_switches_of_the_official_server_may_have_a_value(models, served):
    switches = ["--rest_api_enable_cors_support=false", "--enable_model_warmup=0"]
    assert run("serve", models, *switches, "--enable_batching=False", "--poll=2") == 0
    assert run("serve", models, "--rest_api_enable_cors_support=true", "--enable_batching=1") == 0
    (*_, off), (*_, on) = served
    assert (off.cors, off.warm_up, off.enable_batching) == (False, False, False)
    assert (on.cors, on.warm_up, on.enable_batching) == (True, True, True)
    assert run("serve", models, "--enable_batching=maybe") == 2
    for value in ("true", "false"):
        assert run("serve", models, *(f"{name}={value}" for name in _SWITCHES)) == 0


def test_versions_labels_and_limits(models, served):
    arguments = ["--version-policy", "specific:1,2", "--label", "en-de:stable=1"]
    limits = [
        "--max-pending",
        "7",
        "--max-body-mb",
        "2",
        "--max-bodies-mb",
        "9",
        "--no-batching",
        "--no-grpc",
        "--grace=1",
    ]
    limits += ["--no-page", "--reload-from=/a", "--reload-from=/b"]
    limits += ["--receive-timeout=5"]
    assert run("serve", models, *arguments, *limits) == 0
    ((_, configs, options),) = served
    assert configs[1].policy == VersionPolicy(specific=(1, 2))
    assert (configs[0].labels, configs[1].labels) == ({}, {"stable": 1})
    assert (options.max_pending, options.max_body_bytes, options.grace) == (7, 2 * 2**20, 1.0)
    assert options.max_bodies_bytes == 9 * 2**20
    assert (options.enable_batching, options.grpc_port, options.page) == (False, None, False)
    assert options.reload_from == (Path("/a"), Path("/b"))
    assert options.receive_timeout == 5.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Say once what is to be served"),
        (["{models}", "--model_config_file", "x"], "Say once what is to be served"),
        (["{models}", "--no-rest", "--no-grpc"], "answers nobody"),
        (["{models}", "--model_name", "m"], "for one model"),
        (["{models}", "--version-policy", "newest"], "latest:N, all or specific"),
        (["{models}", "--version-policy", "latest:0"], "latest:N, all or specific"),
        (["{models}", "--version-policy", "latest:4294967296"], "latest:N, all or specific"),
        (["{models}", "--version-policy", f"specific:1,{2**63}"], "latest:N, all or specific"),
        (["{models}", "--version-policy", "specific:" + "9" * 5000], "latest:N, all or specific"),
        (["{models}", "--model_name", "a/b"], "--model-name is part of addresses"),
        (["{models}", "--model_name", ""], "--model-name is part of addresses"),
        (["{models}", "--label", "stable=1"], "say which one is meant"),
        (["{models}", "--label", "xx:stable=1"], "There is no model xx"),
        (["{models}", "--label", "stable"], "A label is NAME=VERSION"),
        (["{models}", "--label", f"stable={2**63}"], "A label is NAME=VERSION"),
        (["{models}", "--label=en-de:a=1", "--label=en-de:a=2"], "A label names one version"),
        (["{models}", "--server", "docker"], "auto, local or tensorflow_model_server"),
        (["{models}", "--server", "tensorflow_model_server"], "no tensorflow_model_server on the"),
        (["{models}", "--batching_parameters_file", "/nowhere"], "/nowhere: No such file"),
        (["--model_config_file", "/nowhere"], "does not exist"),
    ],
)
def test_what_cannot_be_meant_is_one_line(arguments, words, models, served, capsys):
    assert run("serve", *(part.format(models=models) for part in arguments)) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not served


def test_a_file_of_models_has_its_own_versions(models, served, tmp_path, capsys):
    file = tmp_path / "models.config"
    file.write_text(
        "model_config_list { config { name: 'm' base_path: '/m' model_platform: 'tensorflow' } }"
    )
    assert run("serve", "--model_config_file", file) == 0
    assert served[0][:2] == (file, read_models(file))
    assert run("serve", "--model_config_file", file, "--label", "stable=1") == 2
    assert "says itself which versions" in capsys.readouterr().err


STUB = """#!{python}
import json, signal, sys, time
arguments = dict(part[2:].split("=", 1) for part in sys.argv[1:])
texts = {{name: open(path).read() for name, path in arguments.items() if name.endswith("_file")}}
def end(number, frame):
    print(json.dumps([arguments, texts]), flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, end)
print("running", flush=True)
time.sleep(60)
"""


@pytest.fixture
def stub(tmp_path):
    """A `tensorflow_model_server` that says with what it was run once it is told to end."""
    program = tmp_path / "bin" / "tensorflow_model_server"
    program.parent.mkdir()
    program.write_text(STUB.format(python=sys.executable))
    program.chmod(0o755)
    return program


def test_the_official_server_on_the_path_is_run_instead(models, stub, tmp_path):
    (models / "later").mkdir()  # without a version the official one would wait for ever
    command = [sys.executable, "-m", "attention_zoo", "serve", models.name, "--port=8600"]
    command += ["--rest_api_port=0", "--version-policy=latest:2", "--label=en-de:stable=2"]
    environment = {**os.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=models.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 7
    assert "listens on every address" in error and "--server local" in error
    arguments, texts = json.loads(out)
    assert arguments["port"] == "8600"
    assert int(arguments["rest_api_port"]) > 0  # to the official one 0 means none
    assert arguments["enable_batching"] == arguments["enable_per_model_batching_parameters"]
    assert arguments["enable_batching"] == "true"
    file = tmp_path / "models.config"
    file.write_text(texts["model_config_file"])
    policy = VersionPolicy(latest=2)
    assert read_models(file) == [
        ModelConfig("de-en", models / "de-en", policy),
        ModelConfig("en-de", models / "en-de", policy, {"stable": 2}),
    ]
    assert read_monitoring(texts["monitoring_config_file"]) == "/monitoring/prometheus/metrics"
    assert not os.path.exists(arguments["model_config_file"])  # written for this run alone


def test_links_to_files_are_handed_on_as_links(tmp_path):
    """Kubernetes changes where they point when their content is to change."""
    names = ("models", "batching", "monitoring")
    for name in names:
        (tmp_path / f"{name}.1").touch()
        (tmp_path / name).symlink_to(f"{name}.1")
    files = ServerFiles(*(Path(name) for name in names))
    arguments = server_arguments([], ServerOptions(), files, tmp_path)
    given = {part.partition("=")[2] for part in arguments if "_file=" in part}
    assert given == {str(tmp_path / name) for name in names}


def test_the_local_server_can_be_chosen(models, served, stub, monkeypatch):
    monkeypatch.setenv("PATH", str(stub.parent))
    assert run("serve", models, "--server", "local") == 0
    assert len(served) == 1


def test_files_given_are_handed_on(models, served, stub, monkeypatch, tmp_path):
    handed = []
    monkeypatch.setattr(
        "attention_zoo.serving.server.tf_model_server.run_tf_model_server",
        lambda *given: handed.append(given) or 5,
    )
    monkeypatch.setenv("PATH", str(stub.parent))
    file = tmp_path / "models.config"
    file.write_text(
        "model_config_list { config { name: 'm' base_path: '/m' model_platform: 'tensorflow' } }"
    )
    assert run("serve", "--model_config_file", file) == 5
    assert handed[0][0] == str(stub)
    assert handed[0][3] == ServerFiles(models=file)
    assert not served


def test_serve_config_writes_what_reads_back(models, tmp_path, capsys):
    output = tmp_path / "config"
    arguments = ["--served-from", "/models", "--version-policy", "latest:2"]
    labels = ["--label", "en-de:stable=1", "--label", "en-de:canary=2"]
    (models / "no-versions").mkdir()
    assert run("serve-config", models, output, *arguments, *labels, "--max-batch-size", "64") == 0
    assert capsys.readouterr().out.count("wrote") == 3
    de_en, en_de = read_models(output / "models.config")
    assert (de_en.name, str(en_de.base_path)) == ("de-en", "/models/en-de")
    assert en_de.labels == {"stable": 1, "canary": 2}
    assert en_de.policy == VersionPolicy(latest=2)
    assert read_batching((output / "batching.config").read_text()).max_batch_size == 64
    assert read_monitoring((output / "monitoring.config").read_text()) is not None


def test_serve_config_reads_a_file_of_models_as_well(models, tmp_path):
    assert run("serve-config", models, tmp_path / "first") == 0
    assert run("serve-config", tmp_path / "first" / "models.config", tmp_path / "second") == 0
    files = [tmp_path / folder / "models.config" for folder in ("first", "second")]
    assert read_models(files[0]) == read_models(files[1]) != []


def test_a_label_of_a_version_that_is_not_on_disk_is_refused(models, tmp_path, capsys):
    arguments = ["--version-policy", "specific:1", "--label", "en-de:stable=9"]
    assert run("serve-config", models, tmp_path / "config", *arguments) == 2
    assert "Label stable of model en-de names version 9" in capsys.readouterr().err


def test_labels_are_added_to_those_that_are_there(tmp_path):
    config = ModelConfig("m", tmp_path, labels={"stable": 1})
    (labelled,) = with_labels([config], ["m:canary=2", "stable=3"])
    assert labelled.labels == {"stable": 3, "canary": 2}
    with pytest.raises(ServingError, match="A label is NAME=VERSION"):
        with_labels([config], ["canary=two"])


def test_the_command_serves_without_loading_tensorflow(exported):
    """Both interfaces, asked; then the modules that the process has loaded."""
    code = (
        "import atexit, sys\n"
        "from attention_zoo.recipes.cli.main import main\n"
        "def say():\n"
        "    print('modules', 'tensorflow' in sys.modules, 'keras' in sys.modules, flush=True)\n"
        "atexit.register(say)\n"
        "main(['serve', sys.argv[1], '--rest-port=0', '--grpc-port=0', '--server=local'])\n"
    )
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(exported.parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert time.monotonic() - start < 60
        from attention_zoo.serving.client.client import Client

        urls = re.findall(r"\w+://\S+", "".join(lines))
        assert len(urls) == 2, lines
        for url in urls:
            with Client(url, exported.parent.name) as client:
                assert client.predict(["the little dog"])[0].text
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert out == "modules False False\n"
    assert process.returncode == 0
    assert "INFO Model" in error and "version 1 loaded" in error
