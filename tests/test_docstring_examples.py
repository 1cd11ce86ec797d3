"""Examples of docstrings, run as they are written.

An example sees its own module, as in `doctest`, and what it takes for granted: `GIVEN`. Those that
need a server, a dataset or a training of their own are compiled only.
"""

import ast
import doctest
import importlib
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import attention_zoo
from attention_zoo.recipes import training
from attention_zoo.recipes.data.batching import TokenizedPairs
from attention_zoo.recipes.metrics import Metric
from attention_zoo.zoo.models.embedding import ScaledEmbedding
from attention_zoo.zoo.models.outputs import VocabularyOutput
from attention_zoo.zoo.models.recurrent_decoder import RecurrentDecoder
from attention_zoo.zoo.models.transformer_parts import TransformerEncoder
from attention_zoo.zoo.training.averaging import WeightAverage
from attention_zoo.zoo.training.loss import SmoothedCrossEntropy
from attention_zoo.zoo.training.schedules import CosineToZero
from attention_zoo.zoo.visualization.explanation import Explanation

CHECKOUT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
# Where what is taken for granted is more than texts and arrays.
COMPILED_ONLY = {
    "recipes/analysis/comparison.py:compare",  # trained runs
    "recipes/metrics/metric.py:register_metric",  # stays registered
    "recipes/training/launch.py:train",  # a corpus, and an hour
    "recipes/training/warm_start.py:config_of_file",  # a trained run
    "recipes/training/warm_start.py:start_config",  # the same
    "serving/client/client.py:AsyncClient",  # a server
    "serving/client/client.py:Client",  # the same
    "serving/export/export.py:export",  # a trained run
    "serving/export/saved_model.py:PreparedWeights",  # a function of one's own
    "serving/runtime/session.py:SavedModelSession",  # an export
    "serving/server/models.py:ModelManager",  # the same
    "serving/server/server.py:ServerThread",  # the same
    "zoo/catalog.py:register_model",  # parts of a user's own
    "zoo/interchange/ctranslate2_model.py:write_ctranslate2",  # a trained run
    "zoo/interchange/huggingface.py:read_checkpoint",  # the files of a checkpoint
    "zoo/models/copying.py:PointerGeneratorOutput",  # is built by its model
    "zoo/models/unroll.py:BidirectionalGRU",  # the same
    "zoo/pipeline/text_to_text.py:TextToText",  # a trained run
}


def examples(text):
    """The code of a docstring: its prompts together, and each of its blocks."""
    code = "".join(found.source for found in doctest.DocTestParser().get_examples(text))
    return [*([code] if code else []), *FENCE.findall(text)]


def all_examples():
    for folder in ("layers", "zoo", "serving", "recipes"):
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    codes = examples(ast.get_docstring(node) or "")
                    for number, code in enumerate(codes):
                        name = f"{path.relative_to(CHECKOUT)}:{getattr(node, 'name', '')}"
                        runs = name not in COMPILED_ONLY and folder != "layers"
                        marks = [pytest.mark.slow] if runs else []
                        yield pytest.param(name, code, id=f"{name}:{number}", marks=marks)


@pytest.fixture(scope="module")
def given():
    """Arrays, texts and small models by the names that examples use for them."""
    random = np.random.default_rng(1)

    def floats(*shape):
        return keras.ops.convert_to_tensor(random.normal(size=shape).astype("float32"))

    tokenizer = attention_zoo.Tokenizer.train(["ein Haus", "a house by the sea"] * 10, 40)
    model = attention_zoo.build("transformer-tiny", vocab_size=40, dropout=0.0)
    ids = np.array([[5, 6, 3], [7, 3, 0]])
    model({"source": ids, "target": ids})
    options = attention_zoo.GenerationOptions(max_length=4)
    layer = attention_zoo.layers.SelfAttention(2, 4, causal=True)
    mask = np.array([[True] * 4, [True] * 2 + [False] * 2])
    return {
        "B": 2, "batch_size": 2, "batch": 2, "max_length": 4, "source_length": 4,
        "x": floats(2, 4, 16), "inputs": floats(2, 4, 16), "target": floats(2, 3, 16),
        "query": floats(2, 3, 16), "source_states": floats(2, 4, 16), "source_mask": mask,
        "mask": mask, "hidden": floats(2, 3, 128), "embedded": floats(2, 4, 16),
        "lengths": np.array([4, 2]), "decoder_states": floats(2, 3, 16),
        "encoder_states": floats(2, 4, 16), "decoder_state": floats(2, 16),
        "source_ids": np.array([[5, 6, 7, 3], [7, 3, 0, 0]]), "questions": floats(2, 1, 128),
        "sentences": floats(2, 4, 128), "is_sentence": mask, "layer": layer, "model": model,
        "tokenizer": tokenizer, "options": options, "tf": tf, "np": np, "keras": keras,
        "attention_zoo": attention_zoo, "ops": keras.ops,
        "batches": tf.data.Dataset.from_tensors(({"source": ids, "target": ids}, ids)),
        "translator": attention_zoo.TextToText(model, tokenizer, options),
    }  # fmt: skip


def in_a_fit(given):
    """What the callbacks of a training are used with, in a `fit` of a user's own."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("adam", loss="mse")
    x = np.ones((8, 3), "float32")
    y = x.sum(axis=1, keepdims=True)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    return {
        **{name: getattr(training, name) for name in training.__all__},
        "Metric": Metric, "CosineToZero": CosineToZero, "WeightAverage": WeightAverage,
        "model": model, "x": x, "y": y, "dataset": dataset, "batches": dataset,
        "scores": lambda: {"accuracy": 1.0}, "save": lambda: None, "explanations": [],
        "share_of_exact_outputs": lambda model: 1.0,
    }  # fmt: skip


OF_MODULE = {
    "recipes/data/batching.py": lambda given: {
        "pairs": TokenizedPairs([np.array([5, 6], np.int32)], [np.array([7], np.int32)])
    },
    "recipes/distribute/patched_fit.py": in_a_fit,
    "recipes/metrics/baselines.py": lambda given: {"texts": ["a house", "a house by the sea"]},
    "recipes/tensorboard": in_a_fit,
    "recipes/training": in_a_fit,
    "layers/attention_gru_cell.py": lambda given: {
        "source_states": given["source_states"][..., :10],
        "start": given["x"][:, :3, :6],
        "x": given["x"][:, :3],
    },
    "layers/attention/base.py": lambda given: {
        "layer": attention_zoo.layers.BahdanauAttention(8),
        "source": given["source_states"],
    },
    "layers/attention/coverage.py": lambda given: {
        "layer": attention_zoo.layers.CoverageAttention(8),
        "query": given["query"][:, :1],
    },
    "layers/attention/dot_product.py": lambda given: {"source": given["source_states"]},
    "layers/pointer_generator.py": lambda given: {
        "source": given["source_ids"],
        "states": given["target"],
        "embedded": given["target"],
        "logits": given["hidden"][..., :40],
        "labels": np.ones((2, 3), "int32"),
    },
    "zoo/decoding": lambda given: {"source": given["source_ids"]},
    "zoo/models/encoder_decoder.py": lambda given: {
        "ScaledEmbedding": ScaledEmbedding,
        "SmoothedCrossEntropy": SmoothedCrossEntropy,
        **{
            part.__name__: part for part in (TransformerEncoder, RecurrentDecoder, VocabularyOutput)
        },
    },
    "zoo/visualization/plotting.py": lambda given: {
        "Explanation": Explanation,
        "explanation": given["translator"].explain(["a house"])[0],
    },
}


@pytest.mark.parametrize(("name", "code"), [*all_examples()])
def test_an_example_runs(name, code, given):
    compiled = compile(code, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if name in COMPILED_ONLY:
        return
    layers = {
        public: getattr(attention_zoo.layers, public) for public in attention_zoo.layers.__all__
    }
    module = name.partition(".py:")[0].replace("/", ".").removesuffix(".__init__")
    own = vars(importlib.import_module(f"attention_zoo.{module}"))
    more = next((make for start, make in OF_MODULE.items() if name.startswith(start)), dict.copy)
    exec(compiled, {**given, **layers, **own, **more(given)})
