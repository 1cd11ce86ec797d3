"""Folders for CTranslate2: what it writes with our weights, and what it is not given."""

import sys

import numpy as np
import pytest
import sentencepiece
from checkpoints import TEXTS
from tiny_models import tiny_model

from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.interchange.ctranslate2_model import missing_parts, write_ctranslate2
from attention_zoo.zoo.models.transformer import transformer
from attention_zoo.zoo.pipeline.text_to_text import TextToText
from attention_zoo.zoo.text.source_format import SourceFormat, SourceInput
from attention_zoo.zoo.text.tokenizer import Tokenizer

MODELS = {
    "pre-norm": {},
    "post-norm": {"norm_first": False, "positions": "sinusoidal-published", "activation": "silu"},
    "learned": {"positions": "learned", "max_length": 40, "tie_embeddings": False},
    "t5": {
        "positions": "relative",
        "norm": "rms",
        "gated": True,
        "activation": "gelu_tanh",
        "embedding_scale_power": 0.0,
    },
}


def pipeline(options, **format_options):
    tokenizer = Tokenizer.train(TEXTS, 60, "unigram")
    model = transformer(tokenizer.vocab_size, 16, 2, 2, 2, 24, **options)
    model.build()
    random = np.random.default_rng(0)
    for weight in model.weights:
        is_scale = weight.path.endswith(("gamma", "scale"))
        weight.assign(random.normal(1.0 if is_scale else 0.0, 0.4, weight.shape))
    # CTranslate2 could write padding and the start, which the zoo never does.
    bias = random.normal(0, 0.3, tokenizer.vocab_size)
    bias[[0, 2]] = -100
    model.output_layer.bias.assign(bias)
    generation = GenerationOptions(1, 0.0, max_length=16, max_length_ratio=None)
    inputs = SourceFormat(**format_options) if format_options else None
    return TextToText(model, tokenizer, generation, 32, source_format=inputs)


@pytest.mark.parametrize("options", MODELS)
def test_ctranslate2_writes_the_same(options, tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2")
    ours = pipeline(MODELS[options])
    left = tmp_path / ".model.partial"  # by an export that was killed
    left.mkdir()
    (left / "old.bin").write_bytes(b"old")
    write_ctranslate2(ours, tmp_path / "model")
    assert not left.exists() and not (tmp_path / "model" / "old.bin").exists()
    processor = sentencepiece.SentencePieceProcessor(str(tmp_path / "model" / "source.model"))
    translator = ctranslate2.Translator(str(tmp_path / "model"), device="cpu")
    texts = [*TEXTS[:6], "a cat", "the sea sees a dog by the house", "Haus"]
    tokens = [processor.encode(text, out_type=str) for text in texts]
    # Greedy, and without an end before the limit it writes none.
    found = translator.translate_batch(
        tokens,
        beam_size=1,
        length_penalty=0,
        min_decoding_length=0,
        max_decoding_length=15,
        disable_unk=True,
    )
    target = sentencepiece.SentencePieceProcessor(str(tmp_path / "model" / "target.model"))
    theirs = [target.decode(row.hypotheses[0]) for row in found]
    written = [prediction.text for prediction in ours.predict(texts)]
    assert theirs == written
    targets = texts[::-1]
    scored = translator.score_batch(tokens, [target.encode(t, out_type=str) for t in targets])
    scores, _ = ours.with_generation(max_length=40).score(texts, targets)
    np.testing.assert_allclose([sum(row.log_probs) for row in scored], scores, atol=2e-3)


def test_smaller_variants_are_smaller(tmp_path):
    pytest.importorskip("ctranslate2")
    ours, sizes = pipeline({"positions": "relative"}), []
    for variant in ("float32", "float16", "int8"):
        write_ctranslate2(ours, tmp_path / variant, variant)
        sizes.append((tmp_path / variant / "model.bin").stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]
    with pytest.raises(ConfigError, match="int8 exists; give a folder that does not"):
        write_ctranslate2(ours, tmp_path / "int8")
    assert len(list(tmp_path.iterdir())) == 3  # nothing that was begun stays


@pytest.mark.parametrize(
    ("kind", "named"),
    {
        "rotary": "rotary positions",
        "alibi": "alibi positions",
        "copying-transformer": "PointerGeneratorOutput",
        "bahdanau": "RecurrentDecoder",
        "memory": "Encoder",
    }.items(),
)
def test_what_ctranslate2_has_not_is_refused_by_name(kind, named):
    assert named in " ".join(missing_parts(tiny_model(kind, 12, seed=1)))
    assert missing_parts(tiny_model("transformer", 12, seed=1)) == []


def test_an_attention_of_another_kind_is_refused_by_name(tmp_path):
    model = transformer(12, 16, 1, 1, 2, 24, cross_attention="bahdanau")
    model.build()
    (named,) = missing_parts(model)
    assert named == "cross_attention of the kind BahdanauAttention"


def test_without_the_package_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctranslate2.specs", None)
    with pytest.raises(ConfigError, match=r"pip install 'attention-zoo\[ctranslate2\]'"):
        write_ctranslate2(pipeline({}), tmp_path / "model")
    inputs = (SourceInput("context"), SourceInput("question"))
    with pytest.raises(ConfigError, match="takes one text, no context, question"):
        write_ctranslate2(pipeline({}, inputs=inputs), tmp_path / "model")
    with pytest.raises(ConfigError, match="Received: float8"):
        write_ctranslate2(pipeline({}), tmp_path / "model", "float8")
