"""Checkpoints of transformers as models of the zoo: logits by formula, tokens, and what is refused.

`benchmarks/interchange.py` compares them with transformers itself.
"""

import json

import numpy as np
import pytest
import sentencepiece
from checkpoints import (
    TEXTS,
    bart_config,
    bart_weights,
    marian,
    marian_logits,
    t5_logits,
    write_folder,
)
from checkpoints import t5 as t5_folder
from pieces import pieces_of, train_pieces

from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.interchange.checkpoint import read_json
from attention_zoo.zoo.interchange.huggingface import read_checkpoint
from attention_zoo.zoo.interchange.vocabulary import read_vocabularies
from attention_zoo.zoo.pipeline.text_to_text import TextToText
from attention_zoo.zoo.text.source_format import SourceFormat
from attention_zoo.zoo.text.special_ids import END_ID, START_ID


def vocabularies_of(folder, **languages):
    config = read_json(folder / "config.json")
    return read_vocabularies(folder, config["model_type"], config, **languages)


def check_logits(folder, formula, start):
    """The model's logits of some ids beside those of the formula, for the rows of these ids."""
    imported, vocabularies = read_checkpoint(folder), vocabularies_of(folder)
    target, source = vocabularies.target, vocabularies.source or vocabularies.target
    random = np.random.default_rng(0)
    ids = random.integers(4, len(source.rows), 6), random.integers(4, len(target.rows), 5)
    inputs = {"source": [[*ids[0], END_ID]], "target": [[START_ID, *ids[1]]]}
    found = imported.model({k: np.array(v, np.int32) for k, v in inputs.items()}).numpy()[0]
    rows = source.rows[[*ids[0], END_ID]], np.array([start, *target.rows[ids[1]]])
    expected = formula(*rows)
    kept = ~target.is_repeated
    np.testing.assert_allclose(found[:, kept], expected[:, target.rows[kept]], atol=1e-4)
    assert (found[:, ~kept] < -1e3).all()
    # Each row of the checkpoint can be written, by one id.
    assert sorted(target.rows[kept]) == list(range(expected.shape[1]))
    return imported


def test_marian_has_the_logits_of_the_formula(tmp_path):
    weights, vocabulary = marian(tmp_path / "m")
    imported = check_logits(
        tmp_path / "m", lambda s, t: marian_logits(weights, s, t), vocabulary["<pad>"]
    )
    assert imported.settings["beam_size"] == 3 and imported.max_sentences == 0
    assert imported.settings["max_target_length"] == 48
    assert not imported.settings["shared_vocabulary"]


@pytest.mark.parametrize("gated", [False, True])
def test_t5_has_the_logits_of_the_formula(gated, tmp_path):
    weights = t5_folder(tmp_path / "t", gated)
    check_logits(tmp_path / "t", lambda s, t: t5_logits(weights, s, t, gated), 0)


def test_the_pieces_of_marian_are_those_of_both_its_models(tmp_path):
    folder = tmp_path / "m"
    _, vocabulary = marian(folder)
    imported, found = read_checkpoint(folder), vocabularies_of(folder)
    for side, rows, tokenizer in (
        ("source", found.source.rows, imported.tokenizer.source),
        ("target", found.target.rows, imported.tokenizer),
    ):
        theirs = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm"))
        own = pieces_of((folder / f"{side}.spm").read_bytes())
        known = [x for x in vocabulary if len(x) == 1 and not any(x in piece for piece in own)]
        assert known  # to the checkpoint, though not to this model
        texts = [*TEXTS[side == "target" : 6 : 2], "a ☃ a", "", f"a {known[0]} e"]
        for text, ids in zip(texts, tokenizer.encode(texts), strict=True):
            pieces = theirs.encode(text, out_type=str)
            # What a model has no piece for is unknown, and so is what the checkpoint has not.
            expected = [vocabulary.get(piece, vocabulary["<unk>"]) for piece in pieces]
            assert rows[ids].tolist() == expected
    # The sign of a language is one token in front of a source, and no text of a target.
    (ids,) = imported.tokenizer.source.encode([">>deu<< a house"])
    assert found.source.rows[ids[0]] == vocabulary[">>deu<<"]
    (plain,) = imported.tokenizer.source.encode(["a house"])
    assert ids[1:].tolist() == plain.tolist()
    sign = list(found.target.rows).index(vocabulary[">>deu<<"])
    assert imported.tokenizer.decode([[sign, *imported.tokenizer.encode(["Haus"])[0]]]) == ["Haus"]


def test_what_the_target_model_has_no_piece_for_can_be_written(tmp_path):
    folder = tmp_path / "m"
    _, vocabulary = marian(folder)
    imported, found = read_checkpoint(folder), vocabularies_of(folder)
    target = pieces_of((folder / "target.spm").read_bytes())
    only_source = [
        p for p in pieces_of((folder / "source.spm").read_bytes())[3:-2] if p not in target
    ]
    assert only_source
    ids = [list(found.target.rows).index(vocabulary[piece]) for piece in only_source]
    expected = "".join(only_source).replace("▁", " ").strip()
    assert imported.tokenizer.decode([ids]) == [expected]


def m2m(folder, **files):
    model = train_pieces(TEXTS, 60, "bpe", unk_id=0, bos_id=1, eos_id=2)
    names = ["<s>", "<pad>", "</s>", "<unk>", *pieces_of(model)[3:]]
    special = {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    rows = len(names) + 3 + 8
    weights = bart_weights(rows, final_norms=True)
    config = bart_config("m2m_100", rows, "relu", **special)
    tags = {"additional_special_tokens": ["__de__", "__en__", "__fr__"]}
    files = {"vocab__json": {name: i for i, name in enumerate(names)}, **files}
    pieces = {"sentencepiece__bpe__model": model, "special_tokens_map__json": tags}
    return write_folder(folder, config, weights, **pieces, **files), len(names)


def test_languages_stand_in_front_of_sources_and_targets(tmp_path):
    folder, first = m2m(tmp_path / "m")
    languages = {"source_language": "en", "target_language": "de"}
    imported, found = read_checkpoint(folder, **languages), vocabularies_of(folder, **languages)
    assert (imported.source_tag, imported.target_tag) == ("__en__", "__de__")
    assert imported.max_sentences == 1
    tokenizer, rows = imported.tokenizer, found.target.rows
    assert [rows[tokenizer.id_of(tag)] for tag in ("__de__", "__en__")] == [first, first + 1]
    inputs = SourceFormat(tag="__en__", target_tag="__de__", leave_out_long=True)
    generation = GenerationOptions(beam_size=2, max_length=6)
    pipeline = TextToText(imported.model, tokenizer, generation, 32, source_format=inputs)
    (explanation,) = pipeline.explain(["a house"])
    assert explanation.source_tokens[0] == "__en__" and explanation.target_tokens[0] == "__de__"
    assert "__" not in explanation.target
    # The score of what was written is that of the given target with the same tag.
    plain = pipeline.with_generation(length_penalty=0.0, beam_size=1, max_length=12)
    (written,) = plain.predict(["a house"])
    ids = tokenizer.encode([written.text])[0]
    source = np.array([[tokenizer.id_of("__en__"), *tokenizer.encode(["a house"])[0], END_ID]])
    target = np.array([[START_ID, tokenizer.id_of("__de__"), *ids, END_ID]])
    logits = imported.model({"source": source, "target": target[:, :-1]}).numpy()[0]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    scores, counts = plain.score(["a house"], [written.text])
    expected = log_p[np.arange(len(ids) + 2), target[0, 1:]].sum()
    np.testing.assert_allclose(scores[0], expected, rtol=1e-4)
    assert counts[0] == len(ids) + 2


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ({}, "source language of .* is not said; give --source-language, one of de, en, fr"),
        ({"source_language": "en", "target_language": "xx"}, "target language of .* is 'xx'"),
    ],
)
def test_a_language_that_there_is_not_is_refused(languages, message, tmp_path):
    folder, _ = m2m(tmp_path / "m")
    with pytest.raises(ConfigError, match=message):
        read_checkpoint(folder, **languages)


def test_what_cannot_be_imported_is_told_in_one_line(tmp_path):
    folder = tmp_path / "m"
    weights, _ = marian(folder)
    config = json.loads((folder / "config.json").read_text())
    refused = {
        "model of type 'bert'; what can be imported is marian": {"model_type": "bert"},
        "there is no activation 'elu'": {"activation_function": "elu"},
        "ffn_dim of encoder and decoder differ: 12 and 16": {"decoder_ffn_dim": 16},
        r"it has no encoder_layers": {"encoder_layers": None},
    }
    for message, change in refused.items():
        changed = {k: v for k, v in {**config, **change}.items() if v is not None}
        (folder / "config.json").write_text(json.dumps(changed))
        with pytest.raises(ConfigError, match=message):
            read_checkpoint(folder)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="signs such as >>fra<<"):
        read_checkpoint(folder, source_language="en")
    del weights["model.decoder.layers.1.fc2.bias"], weights["model.decoder.layers.1.fc2.weight"]
    write_folder(folder, config, weights)
    with pytest.raises(ConfigError, match=r"not whole: it has no model\.decoder\.layers\.1\.fc2"):
        read_checkpoint(folder)
    (folder / "source.spm").unlink()
    with pytest.raises(ConfigError, match=r"no source\.spm, the SentencePiece model"):
        read_checkpoint(folder)
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        read_checkpoint(tmp_path)
