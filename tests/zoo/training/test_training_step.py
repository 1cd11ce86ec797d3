"""Steps of `fit`: on several batches as on one, with padding as without, by either loss."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import random_source, random_target, tiny_model

from attention_zoo.zoo.training.loss import SmoothedCrossEntropy
from attention_zoo.zoo.training.optimizers import FusedAdam

V = 11
# Of sources and of targets, in batches with very different numbers of tokens.
LENGTHS = [([3], [1]), ([2, 5, 4], [6, 2, 5]), ([1, 1], [3, 2])]


def batch(seed, source_lengths, target_lengths):
    target, labels = random_target(seed, target_lengths, V)
    return {"source": random_source(seed + 50, source_lengths, V), "target": target}, labels


def together(batches):
    """One batch of all rows, padded to the longest."""

    def stack(parts):
        longest = max(part.shape[1] for part in parts)
        return np.concatenate(
            [np.pad(part, [(0, 0), (0, longest - part.shape[1])]) for part in parts]
        )

    inputs = {name: stack([part[name] for part, _ in batches]) for name in ("source", "target")}
    return inputs, stack([labels for _, labels in batches])


def fitted(kind, data, optimizer, run_eagerly=True):
    """Weights, optimizer state and logs after `fit` on one or several steps."""
    model = tiny_model(kind, vocab_size=V, seed=4)
    model.compile(optimizer, loss=SmoothedCrossEntropy(0.1), run_eagerly=run_eagerly)
    history = model.fit(data, shuffle=False, verbose=0).history
    state = [np.array(value) for value in (*model.trainable_variables, *optimizer.variables)]
    return state, {name: values[-1] for name, values in history.items()}


# A graph is needed once; for two steps it is quicker without one.
@pytest.mark.parametrize(("kind", "run_eagerly"), [("bahdanau", False), ("transformer", True)])
def test_accumulated_batches_are_one_large_batch(kind, run_eagerly):
    batches = [batch(seed, *lengths) for seed, lengths in enumerate(LENGTHS)]
    (inputs, labels), *further = batches
    optimizer = {"learning_rate": 0.01, "global_clipnorm": 0.5}
    several = tf.data.Dataset.from_tensors(({**inputs, "accumulated": tuple(further)}, labels))
    actual, logs = fitted(kind, several.repeat(2), FusedAdam(**optimizer), run_eagerly)
    one = tf.data.Dataset.from_tensors(together(batches))
    expected, expected_logs = fitted(kind, one.repeat(2), FusedAdam(**optimizer))
    for first, second in zip(actual, expected, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
    assert logs["tokens"] == expected_logs["tokens"] == 2 * (2 + (7 + 3 + 6) + (4 + 3))
    for name in ("loss", "cross_entropy"):
        np.testing.assert_allclose(logs[name], expected_logs[name], rtol=1e-5)


def test_an_epoch_is_told_by_all_its_tokens_and_a_batch_by_its_own():
    batches = [batch(seed, *lengths) for seed, lengths in enumerate(LENGTHS[:2])]
    inputs, labels = together(batches)
    model = tiny_model("none", vocab_size=V, seed=4)
    model.compile("sgd", SmoothedCrossEntropy(0.1), run_eagerly=True)
    model.optimizer.learning_rate = 0.0
    each = []
    told = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda _, logs: each.append(dict(logs))
    )
    spec = tf.nest.map_structure(lambda _: tf.TensorSpec((None, None), tf.int32), batches[0])
    data = tf.data.Dataset.from_generator(lambda: batches, output_signature=spec)
    history = model.fit(data, epochs=2, verbose=0, callbacks=[told]).history
    logits = model(inputs)
    for name, smoothing in (("loss", 0.1), ("cross_entropy", 0.0)):
        expected = float(SmoothedCrossEntropy(smoothing)(labels, logits))
        np.testing.assert_allclose(history[name], [expected] * 2, rtol=1e-5)
    assert history["tokens"] == [18, 18]
    assert [logs["tokens"] for logs in each] == [2, 16] * 2
    alone = SmoothedCrossEntropy(0.1)(batches[1][1], model(batches[1][0]))
    np.testing.assert_allclose(each[1]["loss"], alone, rtol=1e-5)
    # What is not learnt from is told alike, in whatever batches it comes.
    for given in ((data,), together(batches)):
        found = model.evaluate(*given, return_dict=True, verbose=0)
        for name in ("loss", "cross_entropy", "tokens"):
            np.testing.assert_allclose(found[name], history[name][0], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "more", "message"),
    [
        ({"metrics": ["accuracy"]}, {}, r"leave them out.*Received: metrics=\['accuracy'\]"),
        ({}, {"weights": 1.0}, "Received: 1 accumulated batches"),
        ({"loss": "mse"}, {}, "Received: 1 accumulated batches and the loss 'mse'"),
    ],
    ids=str,
)
def test_what_a_step_would_take_no_notice_of_is_refused(options, more, message):
    inputs, labels = batch(1, *LENGTHS[1])
    model = tiny_model("bahdanau", vocab_size=V)
    model.compile(**{"loss": SmoothedCrossEntropy(0.1), **options})
    data = ({**inputs, "accumulated": ((inputs, labels),)}, labels, *more.values())
    with pytest.raises(ValueError, match=message):
        model.train_step(data)


def test_fit_traces_a_step_once_with_the_optimizer_made_before(monkeypatch):
    model = tiny_model("bahdanau", vocab_size=V, seed=4)
    model.compile(FusedAdam(0.01), loss=SmoothedCrossEntropy(0.1), jit_compile=False)
    step, built = type(model).train_step, []

    def counted(self, data):
        built.append(self.optimizer.built)
        return step(self, data)

    monkeypatch.setattr(type(model), "train_step", counted)
    model.fit(tf.data.Dataset.from_tensors(batch(1, *LENGTHS[1])).repeat(3), verbose=0)
    assert built == [True]


def weights_after_a_step(loss, inputs, labels, sample_weight=None, static_shapes=False):
    """What one step of gradient descent through `fit` makes of a model's weights."""
    model = tiny_model("bahdanau", vocab_size=V, seed=4)
    model.static_shapes = static_shapes
    model.compile(keras.optimizers.SGD(1.0), loss=loss)
    data = (inputs, labels) if sample_weight is None else (inputs, labels, sample_weight)
    dataset = tf.data.Dataset.from_tensors(data)
    losses = model.fit(dataset, verbose=0).history["loss"]
    return model.get_weights(), losses[0]


@pytest.fixture(scope="module")
def unpadded():
    target, labels = random_target(5, [4, 4, 4], V)
    return {"source": random_source(6, [3, 3, 3], V), "target": target}, labels


def test_fit_descends_as_with_kerass_own_loss_on_one_hot_labels(unpadded):
    inputs, labels = unpadded
    actual, loss = weights_after_a_step(SmoothedCrossEntropy(0.2), inputs, labels)
    keras_loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    one_hot = np.eye(V, dtype="float32")[labels]
    expected, expected_loss = weights_after_a_step(keras_loss, inputs, one_hot)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_fit_descends_alike_with_and_without_padding_and_by_either_way(unpadded):
    inputs, labels = unpadded
    expected, loss = weights_after_a_step(SmoothedCrossEntropy(0.2), inputs, labels)
    padded = {name: np.pad(ids, [(0, 1), (0, 2)]) for name, ids in inputs.items()}
    padded_labels = np.pad(labels, [(0, 1), (0, 2)])
    # Weights of one make Keras compute the logits of all positions and call the loss on them.
    ones = np.ones(padded_labels.shape, "float32")
    for weight, static_shapes, ignored in ((None, False, 0), (None, True, -1), (ones, False, -100)):
        marked = np.where(padded_labels == 0, ignored, padded_labels)
        loss_of_marked = SmoothedCrossEntropy(0.2, ignored)
        step = weights_after_a_step(loss_of_marked, padded, marked, weight, static_shapes)
        np.testing.assert_allclose(step[1], loss, rtol=1e-5)
        for one, other in zip(step[0], expected, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-6)


@pytest.mark.parametrize(("static_shapes", "r_drop"), [(True, 0.0), (False, 1.0)])
def test_a_step_on_padding_alone_changes_nothing(unpadded, static_shapes, r_drop):
    inputs, labels = unpadded
    model = tiny_model("bahdanau", vocab_size=V, seed=4)
    model.static_shapes = static_shapes
    model.compile(keras.optimizers.SGD(1.0), SmoothedCrossEntropy(0.1, r_drop=r_drop))
    before = model.get_weights()
    logs = model.train_step((inputs, np.zeros_like(labels)))
    assert {name: float(value) for name, value in logs.items()} == {
        "loss": 0.0,
        "cross_entropy": 0.0,
        "tokens": 0.0,
    }
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    # If no class is left out, padding counts.
    model.loss = SmoothedCrossEntropy(0.1, ignore_class=None, r_drop=r_drop)
    logs = model.train_step((inputs, np.zeros_like(labels)))
    assert float(logs["tokens"]) == labels.size and float(logs["loss"]) > 0


def test_r_drop_with_sample_weights_is_refused(unpadded):
    inputs, labels = unpadded
    ones = np.ones(labels.shape, "float32")
    with pytest.raises(ValueError, match=r"no sample weights.*Received: r_drop=5\.0"):
        weights_after_a_step(SmoothedCrossEntropy(0.1, r_drop=5.0), inputs, labels, ones)
