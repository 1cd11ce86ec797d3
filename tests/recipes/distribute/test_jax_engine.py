"""Training on JAX: the same losses as on TensorFlow, on any devices, and the same run folder.

`make test-jax` runs it, in an environment that has both.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import jax_runs
import numpy as np
import pytest
import replica_runs
import reverse_task

import attention_zoo
from attention_zoo.recipes.distribute.context import DistributionContext
from attention_zoo.recipes.distribute.tensorflow_process import TensorFlowProcess

pytest.importorskip("jax")

SECONDS = 1800.0  # most that a command may take, on a machine that does much else
MODEL = ["width=16", "encoder_layers=1", "decoder_layers=1", "feedforward_dim=32", "dropout=0.2"]
SETTINGS = [
    *(setting for setting in reverse_task.SETTINGS if not setting.startswith("model.")),
    *(f"model.{option}" for option in MODEL),
    "evaluate_every=6",
    "average_decay=0.9",
    "tokenizer=char",
]
STEPS = 12


def environment(devices=1):
    """Of a process on JAX, which compiles for most of its time; small arrays gain nothing by it."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    own = {"KERAS_BACKEND": "jax", "XLA_FLAGS": flags, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    return {**os.environ, **own}


def command(*words, devices=1):
    return subprocess.Popen(
        [sys.executable, "-m", "attention_zoo", *words],
        env=environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def training(data, output, *more):
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    files = ["--train", str(data), "--valid", str(data), "--output", str(output)]
    given = ["train", "translation", "--no-fit", "--model", "transformer-tiny", *files, *settings]
    return command(*given, "--max-steps", str(STEPS), *more)


def ended(process):
    """Exit status and output of a command."""
    printed, _ = process.communicate(timeout=SECONDS)
    return process.returncode, printed


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory):
    """Rows of one length, as each of them is compiled."""
    words = ["".join(word) for word in itertools.product("abc", repeat=4)]
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words))
    return path


@pytest.fixture(scope="module")
def on_devices(tmp_path_factory):
    output = tmp_path_factory.mktemp("jax") / "found.npz"
    script = [sys.executable, jax_runs.__file__, output]
    subprocess.run(script, env=environment(4), check=True, timeout=SECONDS)
    return replica_runs.load(output)


def test_twenty_losses_are_those_of_tensorflow(on_devices):
    batches = replica_runs.make_batches(bucket_count=1)
    expected = replica_runs.learn(DistributionContext(), "transformer", batches)
    found = on_devices["single"]
    assert len(found["losses"]) == replica_runs.STEPS
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-3)
    np.testing.assert_array_equal(found["tokens"], expected["tokens"])
    np.testing.assert_allclose(found["weights"], expected["weights"], atol=1e-3)


@pytest.mark.parametrize("place", [name for name in jax_runs.PLACES if name != "single"])
def test_losses_and_weights_do_not_depend_on_the_devices(on_devices, place):
    found, expected = on_devices[place], on_devices["single"]
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-5)
    np.testing.assert_allclose(found["weights"], expected["weights"], atol=1e-5)


def test_weights_are_divided_where_they_are_to_be(on_devices):
    width, inner = on_devices["single"]["shards"]
    assert tuple(on_devices["mirrored 4"]["shards"]) == (width, inner)
    assert tuple(on_devices["sharded 2"]["shards"]) == (width, inner // 2)


def newest(folder):
    return max((int(path.stem[5:]) for path in folder.glob("checkpoints/step-*.npz")), default=0)


def test_a_killed_run_goes_on_to_the_same_weights_and_is_asked_on_tensorflow(pairs_file, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    status, printed = ended(training(pairs_file, whole))
    assert status == 0, printed
    assert "JAX on 1 of 1 devices" in printed
    process, until = training(pairs_file, parts), time.monotonic() + SECONDS
    while newest(parts) < 7 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    ended(process)
    assert 7 <= newest(parts) < STEPS
    status, printed = ended(training(pairs_file, parts))
    assert status == 0, printed
    assert "going on at step" in printed
    # This process is on TensorFlow.
    reverse_task.assert_same_run(parts, whole, STEPS)
    scores = [json.loads((run / "metrics.json").read_text())["valid"] for run in (whole, parts)]
    assert scores[0] == scores[1]
    text, *_ = attention_zoo.load(whole).predict(["abca"])
    assert (text.score < 0) and set(text.text) <= set("abc ")


def test_what_jax_cannot_do_is_refused_in_a_line(pairs_file, tmp_path):
    output = tmp_path / "none"
    refused = {
        "JAX trains without skip_nonfinite=True": ("--set", "skip_nonfinite=true"),
        "leave out jit or accumulate_steps": ("--set", "accumulate_steps=2"),
        "JAX trains in one process here": ("--workers", "a:1,b:2", "--index", "0"),
        "JAX has 1 devices. Received: --replicas 2": ("--strategy", "mirrored", "--replicas", "2"),
        "divides each copy of the weights": ("--strategy", "sharded"),
    }
    running = {message: training(pairs_file, output, *more) for message, more in refused.items()}
    running["This runs on TensorFlow: leave out KERAS_BACKEND=jax"] = command(
        "predict", "dates-en-zh", "May 5"
    )
    for message, process in running.items():
        status, printed = ended(process)
        assert status == 2, printed
        error = printed.splitlines()[-1]
        assert error.startswith("error: ") and message in error
    assert not output.exists()


def test_a_process_on_tensorflow_answers_and_raises():
    process = TensorFlowProcess()
    assert process.call(os.getenv, "KERAS_BACKEND") == "tensorflow"
    with pytest.raises(ZeroDivisionError):
        process.call(divmod, 1, 0)
    assert process.call(divmod, 7, 2) == (3, 1)
