"""Models that copy: the mixture, its loss against the written-out one, coverage, arguments."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import COPYING, TINY, random_source, random_target, tiny_model

from attention_zoo.layers.pointer_generator import first_positions
from attention_zoo.zoo.catalog import MODELS, build
from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.decoding.search import generate
from attention_zoo.zoo.models.copying import CopySource, is_copyable, mixture_losses
from attention_zoo.zoo.models.recurrent import recurrent
from attention_zoo.zoo.models.transformer import transformer
from attention_zoo.zoo.text.special_ids import END_ID, START_ID, UNKNOWN_ID
from attention_zoo.zoo.training.loss import SmoothedCrossEntropy
from attention_zoo.zoo.training.training_step import KeptRows

V = 12
MARK = 4


@pytest.fixture(scope="module")
def data():
    source = random_source(1, [5, 1, 3], V, padding=1)
    target, labels = random_target(2, [3, 4, 1], V)
    labels[0, 0] = source[0, 0]  # copied, and also at another place
    source[0, 2] = source[0, 0]
    target[0, 1] = labels[0, 0]
    return {"source": source, "target": target}, labels


def attention_by_steps(model, inputs):
    memory = model.encode(tf.constant(inputs["source"]))
    state, attention = model.initial_state(memory), []
    for t in range(inputs["target"].shape[1]):
        _, state, scores = model.step(inputs["target"][:, t : t + 1], state, memory)
        attention.append(scores.numpy()[:, 0])
    return np.stack(attention, axis=1)  # (B, T, S)


def expected_losses(labels, log_p, smoothing):
    """Smoothed and plain loss (B, T) with the target distribution written out."""
    targets = (1 - smoothing) * np.eye(V)[labels] + smoothing / V
    return -(targets * log_p).sum(-1), -(np.eye(V)[labels] * log_p).sum(-1)


@pytest.mark.parametrize("kind", COPYING)
def test_logits_are_the_logarithm_of_the_mixture(kind, data):
    inputs, _ = data
    model = tiny_model(kind, V, seed=5)
    probabilities = np.exp(model(inputs).numpy())
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, atol=1e-5)
    written = tf.nn.softmax(
        model.output_layer.vocabulary_logits(model._teacher_forced(inputs).hidden)
    ).numpy()
    p_gen = model.p_gen(inputs).numpy()
    assert p_gen.std() > 0.02
    expected = p_gen[..., None] * written
    attention = attention_by_steps(model, inputs)
    for b, t, s in np.ndindex(attention.shape):
        copied = (1 - p_gen[b, t]) * attention[b, t, s]
        if inputs["source"][b, s] == END_ID:
            expected[b, t] += copied * written[b, t]
        else:
            expected[b, t, inputs["source"][b, s]] += copied
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


@pytest.mark.parametrize(("static_shapes", "ignored"), [(False, None), (True, -100)], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("kind", COPYING)
def test_loss_is_that_of_the_mixture(kind, smoothing, static_shapes, ignored, data):
    inputs, labels = data
    model = tiny_model(kind, V, seed=5)
    model.loss = SmoothedCrossEntropy(smoothing, ignored)
    model.static_shapes = static_shapes
    expected = expected_losses(labels, model(inputs).numpy(), smoothing)
    counts = np.ones_like(labels, bool) if ignored is None else labels != 0
    marked = np.where(counts, labels, ignored or 0)
    for one, other in zip(model.token_losses(inputs, marked, False), expected, strict=True):
        other = (other * counts).ravel() if static_shapes else other[counts]
        np.testing.assert_allclose(one, other, rtol=1e-4)


@pytest.fixture(scope="module")
def unknown(data):
    """The same with unknown words: one at two places, another, and one of the other row."""
    inputs, labels = (
        {name: ids.copy() for name, ids in data[0].items()},
        data[1].copy(),
    )
    inputs["source"][0, [0, 2]], inputs["source"][0, 3], inputs["source"][2, 1] = -1, -2, -1
    labels[0, 0], labels[2, 0], inputs["target"][0, 1] = -1, -1, -1
    return inputs, labels


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("kind", COPYING)
def test_each_unknown_word_is_copied_for_itself(kind, smoothing, unknown):
    inputs, labels = unknown
    model = tiny_model(kind, V, seed=5)
    log_p = model({**inputs, "num_unknown": tf.constant(2)}).numpy()
    assert log_p.shape == (*labels.shape, V + 2)
    np.testing.assert_allclose(np.exp(log_p).sum(-1), 1.0, atol=1e-5)
    attention, p_gen = attention_by_steps(model, inputs), model.p_gen(inputs).numpy()
    for word in (-1, -2):
        paid = (attention * (inputs["source"] == word)[:, None]).sum(-1)
        copied = np.exp(log_p)[..., V - 1 - word]
        np.testing.assert_allclose(copied, (1 - p_gen) * paid, atol=1e-6)
    model.loss = SmoothedCrossEntropy(smoothing)
    columns = np.where(labels < 0, V - 1 - labels, labels)
    plain = -np.take_along_axis(log_p, columns[..., None], -1)[..., 0]
    smoothed = (1 - smoothing) * plain - smoothing * log_p[..., :V].mean(-1)
    losses = model.token_losses(inputs, labels, False)
    for one, other in zip(losses, (smoothed, plain), strict=True):
        np.testing.assert_allclose(one, other[labels != 0], rtol=1e-4)


@pytest.mark.parametrize("kind", ["bahdanau", "transformer", "none"])
def test_without_copying_the_unknown_token_is_shared_by_attention(kind, unknown):
    inputs, labels = unknown
    model = tiny_model(kind, V, seed=5)
    plain = tf.nn.softmax(model(inputs)).numpy()
    found = tf.nn.softmax(model({**inputs, "num_unknown": tf.constant(2)})).numpy()
    weights = attention_by_steps(model, inputs)
    paid = [(weights * (inputs["source"] == word)[:, None]).sum(-1) for word in (-1, -2)]
    paid = np.stack(paid, -1)
    if kind == "none":  # the same for all that are there
        paid += np.array([[1, 1], [0, 0], [1, 0]])[:, None]
    total = paid.sum(-1, keepdims=True)
    shares = np.divide(paid, total, out=np.zeros_like(paid), where=total > 0)
    np.testing.assert_allclose(found[..., V:], plain[..., UNKNOWN_ID, None] * shares, atol=1e-6)
    kept = np.arange(V) != UNKNOWN_ID
    np.testing.assert_allclose(found[..., :V][..., kept], plain[..., kept], atol=1e-6)
    np.testing.assert_allclose(found[1, ..., :V], plain[1], atol=1e-6)  # which has none
    assert not found[[0, 2], ..., UNKNOWN_ID].any()
    model.loss = SmoothedCrossEntropy(0.0)
    one, other = (
        model.token_losses(inputs, ids, False)[0]
        for ids in (labels, np.where(labels < 0, UNKNOWN_ID, labels))
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", COPYING)
def test_gradients_of_the_loss_are_those_of_the_mixture(kind, data):
    inputs, labels = data
    model = tiny_model(kind, V, seed=5)
    model.loss = SmoothedCrossEntropy(0.2)
    weights = model.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        short = tf.reduce_mean(model.token_losses(inputs, labels, False)[0])
        long = model.loss(labels, model(inputs))
    np.testing.assert_allclose(short, long, rtol=1e-5)
    values = [weight.value for weight in weights]
    for weight, *pair in zip(
        weights, tape.gradient(short, values), tape.gradient(long, values), strict=True
    ):
        one, other = (tf.convert_to_tensor(gradient) for gradient in pair)
        np.testing.assert_allclose(one, other, atol=2e-6, err_msg=weight.path)


@pytest.mark.parametrize(
    ("kind", "options", "start"),
    [
        ("pointer", {}, 0.75),
        ("pointer", {"copying": False}, 3),
        ("pointer", {}, 2.5),
        ("copying-transformer", {"coverage": True}, 3),
        ("transformer", {"coverage": True}, 0.75),
    ],
)
def test_coverage_loss_is_added_from_its_step_on(kind, options, start, data):
    inputs, labels = data
    options = {"coverage_weight": 2.0, "coverage_start": start, **options}
    model = tiny_model(kind, V, seed=5, **options)
    model.compile(keras.optimizers.SGD(), loss=SmoothedCrossEntropy(0.1))
    before, plain = model.token_losses(inputs, labels, True)
    np.testing.assert_allclose(before, model.token_losses(inputs, labels, False)[0], rtol=1e-5)
    if start > 1:
        model.optimizer.iterations.assign(2)
        np.testing.assert_array_equal(before, model.token_losses(inputs, labels, True)[0])
        model.optimizer.iterations.assign(3)
    else:
        model.optimizer.iterations.assign(1000)
        np.testing.assert_array_equal(before, model.token_losses(inputs, labels, True)[0])
        model.set_progress(0.75)
    after, same = model.token_losses(inputs, labels, True)
    np.testing.assert_array_equal(plain, same)
    attention = attention_by_steps(model, inputs)
    covered = np.cumsum(attention, axis=1) - attention
    expected = 2 * np.minimum(attention, covered).sum(-1)[labels != 0]
    assert expected.max() > 0.5
    np.testing.assert_allclose(after - before, expected, atol=1e-5)
    np.testing.assert_allclose(model.token_losses(inputs, labels, False)[0], before, rtol=1e-5)


@pytest.mark.parametrize("kind", ["pointer", "copying-transformer"])
def test_half_precision_agrees_and_trains(kind, data):
    inputs, labels = data
    expected = tiny_model(kind, V, seed=5)(inputs)
    model = tiny_model(kind, V, seed=5, dtype="mixed_float16")
    np.testing.assert_allclose(model(inputs), expected, atol=2e-2)
    model.compile(keras.optimizers.SGD(0.1), loss=SmoothedCrossEntropy(0.1))
    before = model.token_losses(inputs, labels, True)[0].numpy().mean()
    model.optimizer.build(model.trainable_variables)
    step = tf.function(lambda: model.train_step((inputs, labels))["loss"], autograph=False)
    losses = [step().numpy() for _ in range(3)]
    np.testing.assert_allclose(losses[0], before, rtol=1e-3)
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.04), ("float16", 0.005)])
def test_frequent_words_have_their_whole_gradient_in_half_precision(dtype, tolerance):
    rows, width = 3000, 4
    random = np.random.default_rng(0)

    def tensor(*shape, mean=0.0):
        return tf.cast(tf.cast(random.normal(mean, 0.3, shape), "bfloat16"), tf.float32)

    tensors = [tensor(rows, 2, width, mean=0.5), tensor(V, width), tensor(V)]
    labels = tf.constant(random.integers(4, V, (rows, 2)) * [1, 0] + [0, END_ID], tf.int32)
    source = tf.constant(random.integers(4, V, (rows, 3)) * [1, 1, 0] + [0, 0, MARK], tf.int32)
    attention, gate = tf.fill((rows, 2, 3), 1 / 3), tensor(rows, 2)
    copied = CopySource(source, first_positions(source), is_copyable(source))
    kept = KeptRows(tf.ones_like(labels, tf.bool), static_shapes=False)

    def gradients(dtype):
        # The loss is scaled as that of float16 is.
        given, scale = [tf.cast(x, dtype) for x in tensors], 2.0**10
        with tf.GradientTape() as tape:
            tape.watch(given)
            hidden, kernel, bias = given
            losses = mixture_losses(
                SmoothedCrossEntropy(0.9),
                labels,
                copied,
                hidden,
                attention,
                gate,
                (kernel, bias),
                kept,
            )
            mean = scale * tf.reduce_mean(losses[0])
        return [np.array(tf.cast(x, tf.float64)) / scale for x in tape.gradient(mean, given)]

    for half, exact in zip(gradients(dtype), gradients("float32"), strict=True):
        assert np.linalg.norm(half - exact) <= tolerance * np.linalg.norm(exact)


def marked_words(seed, low, high, rows=64):
    """Sources of four words with a mark before one of them, which is the target."""
    random = np.random.default_rng(seed)
    words, places = random.integers(low, high, (rows, 4)), random.integers(0, 4, rows)
    pairs = zip(words, places, strict=True)
    source = np.array([[*row[:i], MARK, *row[i:], END_ID] for row, i in pairs], np.int32)
    wanted = words[np.arange(rows), places].astype(np.int32)
    start, end = np.full(rows, START_ID, np.int32), np.full(rows, END_ID, np.int32)
    return {"source": source, "target": np.stack([start, wanted], 1)}, np.stack([wanted, end], 1)


def test_words_that_were_never_written_are_copied():
    keras.utils.set_random_seed(2)
    sizes = dict.fromkeys(TINY, 16)
    model = recurrent(40, **sizes, dropout=0.0, copying=True, coverage=True)
    model.build()
    model.compile(keras.optimizers.Adam(0.02), loss=SmoothedCrossEntropy(0.0))
    batches = [marked_words(seed, 5, 25) for seed in range(120)]
    inputs = {name: tf.stack([x[name] for x, _ in batches]) for name in ("source", "target")}
    labels = tf.stack([y for _, y in batches])
    model.fit(tf.data.Dataset.from_tensor_slices((inputs, labels)), verbose=0)
    new, labels = marked_words(500, 25, 40)  # none of which the training had
    assert (model(new).numpy()[:, 0].argmax(-1) == labels[:, 0]).all()
    assert (model.p_gen(new).numpy()[:, 0] < 0.1).all()


def asked_words(seed, rows=64):
    """A cue, and two unknown words, each before a word; the target is the one that is asked for."""
    random = np.random.default_rng(seed)
    asked, known = random.integers(0, 2, rows), random.integers(6, 8, (2, rows))
    one, end = np.ones(rows, int), np.full(rows, END_ID)
    source = np.stack([4 + asked, -one, known[0], -2 * one, known[1], end], 1).astype(np.int32)
    labels = np.stack([-1 - asked, end], 1).astype(np.int32)
    target = np.stack([np.full(rows, START_ID), labels[:, 0]], 1).astype(np.int32)
    return {"source": source, "target": target}, labels


def test_which_unknown_word_to_copy_is_learnt():
    keras.utils.set_random_seed(1)
    model = recurrent(8, **dict.fromkeys(TINY, 16), dropout=0.0, copying=True)
    model.build()
    model.compile(keras.optimizers.Adam(0.02), loss=SmoothedCrossEntropy(0.0))
    batches = [asked_words(seed) for seed in range(100)]
    inputs = {name: tf.stack([x[name] for x, _ in batches]) for name in ("source", "target")}
    labels = tf.stack([y for _, y in batches])
    model.fit(tf.data.Dataset.from_tensor_slices((inputs, labels)), verbose=0)
    new, labels = asked_words(999, rows=200)
    options = GenerationOptions(beam_size=2, max_length=3, replace_unknown=True)
    found = generate(model, new["source"], options)
    assert (found.ids.numpy()[:, 0, 0] == labels[:, 0]).mean() > 0.95  # by chance a half
    assert (np.exp(found.scores.numpy()[:, 0]) > 0.9).mean() > 0.95


def test_r_drop_is_refused(data):
    model = tiny_model("pointer", V)
    model.loss = SmoothedCrossEntropy(r_drop=1.0)
    with pytest.raises(ValueError, match=r"leave out r_drop.*Received: r_drop=1.0"):
        model.token_losses(*data, training=True)


def test_the_catalog_has_the_model_of_the_paper():
    model = build("pointer-generator", 20, **TINY)
    assert model.copies
    assert model.decoder.cell.has_coverage
    assert MODELS["pointer-generator"].training["replace_unknown"]
    names = {weight.path.split("/", 1)[1] for weight in model.weights}
    plain = build("rnn-bahdanau", 20, **TINY)
    assert names - {weight.path.split("/", 1)[1] for weight in plain.weights} == {
        "output/pointer/kernel",
        "output/pointer/bias",
        "decoder/attention/coverage_kernel",
        "decoder/attention/location_kernel",
    }


@pytest.mark.parametrize(
    ("family", "options", "received"),
    [
        (recurrent, {"attention": "none", "copying": True}, "attention='none'"),
        (recurrent, {"attention": "luong", "coverage": True}, "attention='luong'"),
        (recurrent, {"location_window": 1}, "location_window=1, coverage=False"),
        (recurrent, {"copying": "yes"}, "copying='yes'"),
        (transformer, {"coverage": 1}, "coverage=1"),
        (transformer, {"coverage": True, "coverage_weight": -1.0}, "coverage_weight=-1.0"),
        (transformer, {"coverage_start": -5}, "coverage_start=-5"),
        (transformer, {"coverage_start": "late"}, "coverage_start='late'"),
    ],
)
def test_impossible_arguments_are_refused(family, options, received):
    with pytest.raises(ValueError, match=f"Received: .*{received}"):
        family(vocab_size=20, **options)
