"""Distribution strategies: choice, refusals, and the same weights under each of them."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import keras
import numpy as np
import pytest
import replica_runs
import tensorflow as tf
from keras.src.backend.tensorflow import trainer
from loopback import free_addresses
from tensorflow.python.framework import kernels

from attention_zoo.recipes.distribute import patched_fit
from attention_zoo.recipes.distribute.cluster import Cluster
from attention_zoo.recipes.distribute.context import DistributionContext
from attention_zoo.recipes.distribute.strategies import StrategyOptions, make_strategy
from attention_zoo.zoo.errors import ConfigError

# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "parameter_server"}, "is one of auto, single"),
        ({"index": 1}, "--index is the number of this worker in --workers"),
        ({"name": "single", "workers": "a:1,b:1", "index": 0}, "not single"),
        (
            {"name": "single", "replicas": 2},
            "--replicas is for --strategy mirrored or sharded, not single",
        ),
        (
            {"name": "tpu"},
            "(tensorflow-tpu ends at 2.20). JAX has, and takes them by itself: KERAS_BACKEND=jax",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ConfigError) as error:
        StrategyOptions(**options)
    assert message in str(error.value)


def test_divided_weights_are_for_jax(monkeypatch):
    with pytest.raises(ConfigError, match="JAX alone does: KERAS_BACKEND=jax attention-zoo train"):
        make_strategy(StrategyOptions("sharded"))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(ConfigError, match="JAX trains in one process here"):
        StrategyOptions("auto", "a:1,b:2", 1).cluster()


def test_workers_are_those_of_the_options_or_of_the_environment(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    given = StrategyOptions("auto", "a:1,b:2", 1).cluster()
    assert given == Cluster(("a:1", "b:2"), 1)
    assert StrategyOptions().cluster() is None
    with pytest.raises(ConfigError, match="needs at least two workers"):
        StrategyOptions("multiworker").cluster()
    with pytest.raises(ConfigError, match="needs at least two workers"):
        StrategyOptions("multiworker", "a:1", 0).cluster()
    assert StrategyOptions("auto", "a:1", 0).cluster() is None

    text = '{"cluster": {"worker": ["c:1", "d:2"]}, "task": {"type": "worker", "index": 1}}'
    monkeypatch.setenv("TF_CONFIG", text)
    for name in ("auto", "multiworker"):
        assert StrategyOptions(name).cluster() == Cluster(("c:1", "d:2"), 1)
    assert StrategyOptions("single").cluster() is None
    assert StrategyOptions("auto", "a:1,b:2", 0).cluster() == Cluster(("a:1", "b:2"), 0)


# The choice, on machines that are not this one


@pytest.fixture
def machine(monkeypatch):
    """Says which devices there are; keeps the calls that make strategies."""
    found = SimpleNamespace(devices={"GPU": 0, "CPU": 1}, calls=mock.Mock())

    def list_physical_devices(kind):
        return [f"{kind}:{i}" for i in range(found.devices[kind])]

    monkeypatch.setattr(tf.config, "list_physical_devices", list_physical_devices)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", found.calls.MirroredStrategy)
    return found


def test_auto_takes_what_the_machine_has(machine):
    here = make_strategy(StrategyOptions())
    assert (here.name, here.replicas, here.is_chief) == ("single", 1, True)
    cores = len(os.sched_getaffinity(0))
    assert str(here) == f"strategy single: the CPU, {cores} core{'s' * (cores > 1)}"
    machine.devices["GPU"] = 1
    assert str(make_strategy(StrategyOptions())) == "strategy single: one GPU"
    machine.devices["GPU"] = 4
    assert make_strategy(StrategyOptions()).name == "mirrored"
    machine.calls.MirroredStrategy.assert_called_once_with([f"GPU:{i}" for i in range(4)])
    assert "one GPU of 4; --strategy mirrored uses all" in str(
        make_strategy(StrategyOptions("single"))
    )


def test_mirrored_takes_so_many_gpus_and_no_more(machine):
    machine.devices["GPU"] = 2
    assert "1 of 2 GPUs" in str(make_strategy(StrategyOptions("mirrored", replicas=1)))
    with pytest.raises(ConfigError, match="Received: --replicas 3"):
        make_strategy(StrategyOptions("mirrored", replicas=3))


def test_this_tensorflow_has_no_kernels_for_tpus():
    """The reason for which they are refused, read in another way."""
    assert not kernels.get_registered_kernels_for_op("TPUExecute").kernel


def test_a_cpu_that_is_in_use_cannot_be_divided(machine, monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("initialized")

    monkeypatch.setattr(tf.config, "get_logical_device_configuration", lambda device: None)
    monkeypatch.setattr(tf.config, "set_logical_device_configuration", refuse)
    with pytest.raises(ConfigError, match="cannot be divided into 2 devices any more"):
        make_strategy(StrategyOptions("mirrored", replicas=2))
    assert make_strategy(StrategyOptions("mirrored")).name == "mirrored"  # in one part it can


# Keras's faults: once these tests fail, patched_fit.py can go.


def several_workers():
    strategy = mock.Mock(spec=tf.distribute.MultiWorkerMirroredStrategy)
    strategy.extended._in_multi_worker_mode.return_value = True
    return strategy


def test_keras_still_reduces_scalars_along_an_axis():
    strategy, loss = several_workers(), tf.constant(2.0)
    trainer.reduce_per_replica({"loss": loss}, strategy, "auto")
    strategy.reduce.assert_called_once_with("MEAN", loss, axis=0), "mended in Keras"
    strategy.reset_mock()
    patched_fit.reduce_per_replica({"loss": loss}, strategy, "auto")
    strategy.reduce.assert_called_once_with("MEAN", loss, axis=None)


def test_keras_still_builds_from_the_mean_of_the_replicas():
    strategy = several_workers()
    batch = mock.Mock(spec=tf.distribute.DistributedValues)
    batches = [(0, 0, iter([(batch, batch)]))]
    model = mock.Mock(distribute_strategy=strategy, _distribute_strategy=strategy)
    strategy.scope.return_value = mock.MagicMock()
    trainer.TensorFlowTrainer._maybe_symbolic_build(model, iterator=iter(batches))
    assert strategy.reduce.called, "mended in Keras"

    strategy.experimental_local_results.return_value = ("first", "second")
    batches = [(0, 0, iter([(batch, batch)]))]
    patched_fit._build_from_one_replica(model, iterator=iter(batches))
    model._symbolic_build.assert_called_with(data_batch=("first", "first"))


def test_fit_is_mended_inside_the_block_alone():
    before = trainer.reduce_per_replica, trainer.TensorFlowTrainer._maybe_symbolic_build
    with contextlib.suppress(KeyError), patched_fit.patched_fit():
        assert trainer.reduce_per_replica is patched_fit.reduce_per_replica
        raise KeyError
    assert before == (trainer.reduce_per_replica, trainer.TensorFlowTrainer._maybe_symbolic_build)


# The same weights


def test_one_replica_needs_no_strategy():
    here = DistributionContext()
    assert here.coordinate(7, lambda values: [*values, "chief"]) == [7, "chief"]
    assert here.broadcast_from_chief(lambda: "made", None, None) == "made"
    with here.scope():
        assert keras.Variable(1.0).numpy() == 1.0


def test_fit_under_a_strategy_learns_as_without():
    batches = replica_runs.make_batches()
    here = make_strategy(StrategyOptions("mirrored"))
    assert here.replicas == 1 and here.strategy is not None
    one, other = (
        replica_runs.learn(where, "bahdanau", batches, steps=3)
        for where in (here, DistributionContext())
    )
    np.testing.assert_array_equal(one["tokens"], other["tokens"])
    np.testing.assert_allclose(one["losses"], other["losses"], atol=1e-6)
    np.testing.assert_allclose(one["weights"], other["weights"], atol=1e-6)


def start(*arguments):
    """A process that runs the script with these arguments."""
    command = [sys.executable, Path(replica_runs.__file__), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(processes):
    for process in processes:
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Losses, tokens and weights after 20 steps, by model and number of replicas."""
    output = tmp_path_factory.mktemp("replicas") / "runs.npz"
    wait_for([start(output)])
    return replica_runs.load(output)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "expected"),
    [
        *((f"{kind} {n}", f"{kind} single") for kind in replica_runs.KINDS for n in "124"),
        ("accumulated 2", "accumulated single"),
        ("static 2", "transformer single"),
        ("compiled 2", "one shape"),
    ],
)
def test_any_number_of_replicas_learns_the_same_weights(runs, run, expected):
    one, other = runs[run], runs[expected]
    assert len(one["losses"]) == 20
    np.testing.assert_array_equal(one["tokens"], other["tokens"])
    np.testing.assert_allclose(one["losses"], other["losses"], atol=1e-5)
    np.testing.assert_allclose(one["weights"], other["weights"], atol=1e-5)
    assert one["losses"][-1] < 0.9 * one["losses"][0]


@pytest.mark.slow
def test_each_replica_draws_its_own_dropout(runs):
    assert len(set(runs["seeds"]["4"])) == 4


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_have_the_loss_curve_of_one(tmp_path, count):
    addresses = ",".join(free_addresses(count))
    outputs = [tmp_path / f"{index}.npz" for index in range(count)]
    wait_for([start(output, addresses, i) for i, output in enumerate(outputs)])
    found = [replica_runs.load(output) for output in outputs]
    batches = replica_runs.make_batches()
    for kind in replica_runs.KINDS:
        expected = replica_runs.learn(DistributionContext(), kind, batches, steps=50)
        for worker in found:
            np.testing.assert_allclose(worker[kind]["losses"], expected["losses"], atol=1e-4)
            np.testing.assert_array_equal(worker[kind]["weights"], found[0][kind]["weights"])
    assert len({int(worker["seeds"]["here"][0]) for worker in found}) == count
