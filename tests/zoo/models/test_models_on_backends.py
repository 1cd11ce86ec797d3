"""The models on every Keras backend, where no TensorFlow is needed to read and to learn."""

import sys

import keras
import numpy as np
import pytest

import attention_zoo
from attention_zoo.zoo.training import SmoothedCrossEntropy

SIZES = {"embedding_dim": 8, "encoder_units": 6, "decoder_units": 8, "attention_units": 4}
TRANSFORMER = {"width": 8, "encoder_layers": 1, "decoder_layers": 1, "feedforward_dim": 16}
MODELS = {
    "rnn": SIZES,
    "rnn-bahdanau": SIZES,
    "rnn-luong": SIZES,
    "rnn-qkv": SIZES,
    "pointer-generator": SIZES,
    "memory-network": SIZES,
    "transformer-tiny": TRANSFORMER,
}
SOURCE = np.array([[5, -1, 7, 3], [8, 9, 3, 0]], "int32")
TARGET = np.array([[2, -1], [2, 4]], "int32")
LABELS = np.array([[-1, 3], [4, 0]], "int32")


@pytest.mark.parametrize("name", MODELS)
def test_losses_are_those_of_the_logits(name):
    model = attention_zoo.build(name, vocab_size=20, **MODELS[name])
    inputs = {"source": SOURCE, "target": TARGET}
    assert tuple(model(inputs).shape) == (2, 2, 20)
    model.loss = SmoothedCrossEntropy(0.1)
    logits = {"num_unknown": keras.ops.convert_to_tensor(1), **inputs} if model.copies else inputs
    logits = keras.ops.convert_to_numpy(model.call(logits)).astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    columns = np.where(LABELS < 0, 20 if model.copies else 1, LABELS)
    chosen = np.take_along_axis(log_p, columns[..., None], -1)[..., 0]
    smoothed, plain = (
        keras.ops.convert_to_numpy(x) for x in model.token_losses(inputs, LABELS, False)
    )
    expected = -chosen.ravel()[:3]
    np.testing.assert_allclose(plain[:3], expected, atol=1e-4)
    means = log_p[..., :20].mean(-1).ravel()[:3]
    np.testing.assert_allclose(smoothed[:3], 0.9 * expected - 0.1 * means, atol=1e-4)


def test_tensorflow_is_loaded_by_its_own_backend_alone():
    own = keras.backend.backend() == "tensorflow"
    assert own or not {"tensorflow", "tensorflow_text", "sentencepiece"} & set(sys.modules)
