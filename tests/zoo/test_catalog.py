"""The catalog: models and attentions by name, and those that users add."""

import keras
import numpy as np
import pytest
from keras import ops
from tiny_models import TINY, TINY_TRANSFORMER, random_source, random_target

import attention_zoo
from attention_zoo.layers import Attention, SelfAttention
from attention_zoo.zoo.catalog import MODELS
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.models import (
    RecurrentDecoder,
    ScaledEmbedding,
    TransformerEncoder,
    VocabularyOutput,
)

INPUTS = {"source": random_source(1, [5, 2]), "target": random_target(2, [3, 4])[0]}


@keras.saving.register_keras_serializable(package="tests")
class Scaled(Attention):
    """Attention by distance, in a space of its own."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, query_shape, value_shape, key_shape=None):
        super().build(query_shape, value_shape, key_shape)
        self.query_kernel = self.add_weight((query_shape[-1], self.units), name="query_kernel")
        self.key_kernel = self.add_weight((value_shape[-1], self.units), name="key_kernel")
        self.built = True

    def project_query(self, query):
        return ops.matmul(query, self._cast(self.query_kernel))

    def project_keys(self, key):
        return ops.matmul(key, self._cast(self.key_kernel))

    def score(self, query, keys):
        return -ops.sum(ops.square(query[:, :, None] - keys[:, None]), axis=-1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@pytest.fixture
def registered():
    return attention_zoo.register_attention("test-scaled", Scaled)


@pytest.mark.parametrize(
    ("name", "sizes", "arguments"),
    [
        ("rnn-bahdanau", TINY, ["attention"]),
        ("transformer-tiny", TINY_TRANSFORMER, ["self_attention", "cross_attention"]),
    ],
)
def test_an_attention_comes_by_its_name_or_as_an_object(name, sizes, arguments, registered):
    given = Scaled(5)
    by_object = attention_zoo.build(name, 12, **sizes, **dict.fromkeys(arguments, given))
    by_name = attention_zoo.build(name, 12, **sizes, **dict.fromkeys(arguments, "test-scaled"))
    for model in (by_object, by_name):
        layers = [x for x in model._flatten_layers() if isinstance(x, Scaled)]
        blocks = 1 if name.startswith("rnn") else 2 * 3
        assert len({id(layer.query_kernel) for layer in layers}) == blocks
        memory = model.encode(INPUTS["source"])
        state = model.initial_state(memory, 1, 8)
        logits = model(INPUTS).numpy()
        for t in range(logits.shape[1]):
            step, state, _ = model.step(INPUTS["target"][:, t : t + 1], state, memory)
            np.testing.assert_allclose(step[:, 0], logits[:, t], atol=1e-5)
    assert not given.built  # each has a copy
    units = sizes.get("attention_units") or sizes["width"]
    assert {x.units for x in by_name._flatten_layers() if isinstance(x, Scaled)} == {units}


def test_self_attention_of_one_sequence_is_causal_in_the_decoder_alone():
    model = attention_zoo.build(
        "transformer-tiny", 12, **TINY_TRANSFORMER, self_attention=SelfAttention(2, 4)
    )
    sides = (model.encoder, model.decoder)
    causal = [{block.self_attention.causal for block in side.blocks} for side in sides]
    assert causal == [{False}, {True}]


def test_a_function_is_a_model_of_the_catalog():
    @attention_zoo.register_model("test-mine", training={"learning_rate": 0.001})
    def mine(vocab_size, width=8, source_vocab_size=None):
        """A Transformer reads, a recurrent decoder writes. It is small."""
        embedding = ScaledEmbedding(vocab_size, width)
        return attention_zoo.EncoderDecoder(
            TransformerEncoder(1, num_heads=2, feedforward_dim=8),
            RecurrentDecoder(6, Scaled(4)),
            VocabularyOutput(vocab_size, readout_units=width),
            embedding,
            embedding,
        )

    entry = MODELS["test-mine"]
    assert entry.training == {"learning_rate": 0.001}
    assert entry.description == "A Transformer reads, a recurrent decoder writes. It is small"
    assert entry.defaults() == {"width": 8, "source_vocab_size": None}
    assert entry.kwargs_from_tokenizer(None) == {}
    model = attention_zoo.build("test-mine", vocab_size=12, width=4)
    assert model(INPUTS).shape == (*INPUTS["target"].shape, 12)
    attention_zoo.register_model("test-mine", mine)  # again, as a notebook does
    with pytest.raises(ConfigError, match="a model 'test-mine' already"):
        attention_zoo.register_model("test-mine", test_a_function_is_a_model_of_the_catalog)
    with pytest.raises(ConfigError, match="a model 'rnn' already"):
        attention_zoo.register_model("rnn", mine)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("wiring", r"no option 'wiring'; use attention_query=.* Known: attention, "),
        ("embedding_power", "use embedding_scale_power"),
        ("units", r"no option 'units'\. Known: attention, embedding_dim"),
    ],
)
def test_an_option_that_there_is_not_is_refused_with_those_there_are(option, message):
    with pytest.raises(ConfigError, match=message):
        attention_zoo.build("rnn", 12, **{option: 1})


def test_what_makes_no_attention_is_refused():
    with pytest.raises(ConfigError, match=r"or an Attention layer\. Received: attention=<function"):
        attention_zoo.build("rnn", 12, **TINY, attention=lambda units: units)
    with pytest.raises(ConfigError, match="cannot do without"):
        attention_zoo.build("transformer-tiny", 12, **TINY_TRANSFORMER, self_attention="none")
