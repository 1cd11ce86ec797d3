"""Half precision and XLA: the same training but for rounding; what is kept is float32."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from reverse_task import arguments, final_state

import attention_zoo
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.config import RunConfig
from attention_zoo.recipes.distribute.context import DistributionContext
from attention_zoo.recipes.training.precision import check_precision, computing_in
from attention_zoo.zoo.catalog import MODELS
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.text.tokenizer import END_ID, START_ID
from attention_zoo.zoo.training.loss import SmoothedCrossEntropy
from attention_zoo.zoo.training.optimizers import FusedAdam
from attention_zoo.zoo.training.training_step import batch_gradients

MIXED = ("mixed_bfloat16", "mixed_float16")
RECURRENT = {"embedding_dim": 8, "encoder_units": 8, "decoder_units": 8, "attention_units": 8}
SMALL = {
    "rnn-bahdanau": RECURRENT,
    "pointer-generator": RECURRENT,
    "memory-network": RECURRENT,
    "transformer-tiny": {
        "width": 8,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "num_heads": 2,
        "feedforward_dim": 8,
    },
}


def one_step(name, precision, jit=False):
    """The model after a step on a batch, and the loss."""
    keras.utils.set_random_seed(0)
    with computing_in(precision):
        model = MODELS[name].build(vocab_size=12, dropout=0.0, **SMALL[name])
    model.static_shapes = jit
    model.compile(FusedAdam(0.01), loss=SmoothedCrossEntropy(0.1), jit_compile=jit)
    model.optimizer.build(model.trainable_variables)
    random = np.random.default_rng(0)
    ids = tf.constant(random.integers(4, 12, (3, 5)), tf.int32)
    step = tf.function(model.train_step, jit_compile=True) if jit else model.train_step
    logs = step(({"source": ids, "target": ids}, ids))
    return model, float(logs["loss"])


@pytest.mark.parametrize("precision", MIXED)
@pytest.mark.parametrize("name", list(SMALL))
def test_half_precision_takes_the_same_step_but_for_rounding(name, precision):
    whole, expected = one_step(name, "float32")
    half, loss = one_step(name, precision)
    assert loss == pytest.approx(expected, rel=0.02) and loss != expected
    assert {v.dtype for v in half.trainable_variables} == {"float32"}
    scaled = isinstance(half.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (precision == "mixed_float16")
    # The first step of Adam is as long as the rate; most weights go the same way.
    agree = [
        np.isclose(one, other, atol=0.002)
        for one, other in zip(half.get_weights(), whole.get_weights(), strict=True)
        if one.dtype == np.float32
    ]
    assert np.mean(np.concatenate([part.ravel() for part in agree])) > 0.9


def many_tokens(rows):
    """A batch of which each target has the same end, and each source."""
    random = np.random.default_rng(0)
    source, target = (random.integers(4, 12, (rows, 4)) for _ in range(2))
    source[:, -1] = target[:, -1] = END_ID
    shifted = np.concatenate([np.full((rows, 1), START_ID), target[:, :-1]], axis=1)
    ids = {"source": tf.constant(source, tf.int32), "target": tf.constant(shifted, tf.int32)}
    return ids, tf.constant(target, tf.int32)


@pytest.mark.parametrize("name", list(SMALL))
def test_gradients_over_thousands_of_rows_are_those_of_float32(name):
    batch, weights, gradients = many_tokens(1500), None, {}
    for precision in ("float32", *MIXED):
        keras.utils.set_random_seed(0)
        with computing_in(precision):
            model = MODELS[name].build(vocab_size=12, dropout=0.0, **SMALL[name])
        model.compile(FusedAdam(0.05), loss=SmoothedCrossEntropy(0.1))
        model.optimizer.build(model.trainable_variables)
        if weights is None:
            for _ in range(5):  # frequent words are expected by then, and the sums cancel out
                model.train_step(batch)
            weights = model.get_weights()
        model.set_weights(weights)
        found, _ = batch_gradients(model, batch)
        scale = float(model.optimizer.scale_loss(1.0))
        gradients[precision] = [np.array(tf.convert_to_tensor(x)) / scale for x in found]
    exact = gradients["float32"]
    largest = max(np.linalg.norm(gradient) for gradient in exact)
    for precision, tolerance in zip(MIXED, (0.05, 0.02), strict=True):
        for one, other in zip(gradients[precision], exact, strict=True):
            # Some are zero but for rounding, as that of the bias of keys is.
            size = max(np.linalg.norm(other), 0.01 * largest)
            assert np.linalg.norm(one - other) <= tolerance * size


@pytest.mark.slow
def test_xla_takes_the_same_step():
    plain, expected = one_step("transformer-tiny", "float32")
    compiled, loss = one_step("transformer-tiny", "float32", jit=True)
    assert loss == pytest.approx(expected, rel=1e-5)
    for one, other in zip(compiled.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_policy_is_restored():
    before = keras.config.dtype_policy().name
    with computing_in("mixed_bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == before == "float32"
    with pytest.raises(KeyError), computing_in("mixed_bfloat16"):
        raise KeyError
    assert keras.config.dtype_policy().name == before


@pytest.mark.usefixtures("eager", "fake_evaluator")
def test_a_run_in_half_precision_keeps_float32(reverse_files, tmp_path):
    output = tmp_path / "run"
    command = arguments(reverse_files, output, "--precision", "mixed_float16", model="rnn", steps=3)
    assert run_command(app, command) == 0
    assert json.loads((output / "config.json").read_text())["precision"] == "mixed_float16"
    state = final_state(output, 3).values()
    kinds = {array.dtype.name for array in state}
    assert "float32" in kinds and "float16" not in kinds
    assert any(array.shape == () and array == 2.0**15 for array in state)  # the scale of the loss
    model = attention_zoo.load(output).model
    assert model.dtype_policy.name == "float32"
    assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}


@pytest.mark.slow
def test_a_run_under_xla(reverse_files, tmp_path):
    output = tmp_path / "run"
    sizes = [f"model.{name}={size}" for name, size in SMALL["transformer-tiny"].items()]
    command = arguments(reverse_files, output, "--jit", model="transformer-tiny", steps=4)
    kept = [
        part
        for option, value in itertools.pairwise(command)
        if option == "--set" and not value.startswith("model.")
        for part in (option, value)
    ]
    command = [*command[: command.index("--set")], *kept, "--jit"]
    command += [part for size in sizes for part in ("--set", size)]
    assert run_command(app, command) == 0
    assert json.loads((output / "metrics.json").read_text())["steps"] == 4


def test_what_cannot_be_is_refused(reverse_files, tmp_path, capsys):
    command = arguments(reverse_files, tmp_path / "run", "--jit", settings=("accumulate_steps=2",))
    assert run_command(app, command) == 2
    assert "jit compiles a step on one batch" in capsys.readouterr().err
    command = arguments(reverse_files, tmp_path / "run", "--jit")
    assert run_command(app, command) == 2
    assert "jit is for transformers" in capsys.readouterr().err
    command = arguments(reverse_files, tmp_path / "run", "--precision", "float64")
    assert run_command(app, command) == 2
    assert "precision is one of float32, mixed_bfloat16, mixed_float16" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


class TwoReplicas:
    num_replicas_in_sync = 2


def test_what_several_replicas_cannot_is_refused():
    place = DistributionContext("mirrored", "two devices", TwoReplicas())
    check_precision(RunConfig(model="transformer-tiny", jit=True), place)
    with pytest.raises(ConfigError, match="take mixed_bfloat16"):
        check_precision(RunConfig(precision="mixed_float16"), place)
    check_precision(RunConfig(precision="mixed_bfloat16"), place)
    config = RunConfig(model="transformer-tiny", precision="mixed_float16", jit=True)
    check_precision(config, DistributionContext())
