"""Runs in which source and target have tokens of their own."""

import contextlib
import io
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from eager import eagerly
from prepared_folders import prepare
from reverse_task import SETTINGS, arguments, train

import attention_zoo
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.core.run_tokenizer import pack, unpack
from attention_zoo.serving.export.export import export
from attention_zoo.zoo.text.tokenizer import Tokenizer

NUMERALS = dict(zip("abcd", "1234", strict=True))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Words, and the same in numerals: the two sides have no letter in common."""
    folder, random = tmp_path_factory.mktemp("numerals"), np.random.default_rng(0)
    for name, rows in (("train", 40), ("valid", 8)):
        words = ["".join(random.choice(list("abcd"), n)) for n in random.integers(2, 6, rows)]
        lines = [f"{word}\t{''.join(NUMERALS[letter] for letter in word)}\n" for word in words]
        (folder / f"{name}.tsv").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """The folder of a run and what it printed."""
    output = tmp_path_factory.mktemp("runs") / "own"
    with eagerly(), contextlib.redirect_stdout(io.StringIO()) as printed:
        assert train(files, output, settings=["shared_vocabulary=false"], steps=2) == 0
    return output, printed.getvalue()


def pieces(tokenizer):
    return set("".join(tokenizer.pieces(range(4, tokenizer.vocab_size)))) - {"\u2581"}


@pytest.mark.usefixtures("eager")
def test_each_side_has_the_tokens_of_its_own_text(run, files):
    output, printed = run
    model = attention_zoo.load(output)
    assert pieces(model.tokenizer) == set("1234")
    assert pieces(model.tokenizer.source) == set("abcd")
    assert model.model.source_embedding.input_dim == model.tokenizer.source.vocab_size
    sizes = model.tokenizer.source.vocab_size, model.tokenizer.vocab_size
    assert f"{sizes[0]} source and {sizes[1]} target tokens" in printed
    assert model.explain(["abcd"])[0].source_tokens[-1] == "</s>"
    written = "".join(prediction.text for prediction in model.predict(["abcd", "dcba", "bb"]))
    assert re.fullmatch(r"[1234 ]*", written)


SPELLED = ["source_tokenizer=char", "target_tokenizer=word", "metric=token_error_rate"]


@pytest.mark.usefixtures("eager")
def test_letters_are_read_and_words_written(files, tmp_path, capsys):
    for name in ("train", "valid"):
        rows = (line.split("\t") for line in (files / f"{name}.tsv").read_text().splitlines())
        lines = [f"{word}\t{' '.join('no' + sign for sign in signs)}\n" for word, signs in rows]
        (tmp_path / f"{name}.tsv").write_text("".join(lines))
    output = tmp_path / "spelled"
    assert train(tmp_path, output, settings=SPELLED, steps=2) == 0
    assert re.search(r"token_error_rate\s+\d", capsys.readouterr().out)
    model = attention_zoo.load(output)
    assert set(model.tokenizer.pieces(range(4, 8))) == {f"\u2581no{i}" for i in "1234"}
    assert model.tokenizer.is_of_words() and pieces(model.tokenizer.source) == set("abcd")
    explanation = model.explain(["abcd"])[0]
    assert explanation.source_tokens == ["\u2581", "a", "b", "c", "d", "</s>"]
    assert set(explanation.target_tokens) <= {f"\u2581no{i}" for i in "1234"} | {"</s>"}
    log_p, tokens = model.score(["ab"], ["no1 no2"])
    assert tokens.tolist() == [3] and log_p[0] < 0
    more = ["--start-from", str(output), "--set", "target_tokenizer=char"]
    capsys.readouterr()
    command = [part for part in arguments(tmp_path, tmp_path / "next", steps=2) if part]
    assert run_command(app, [*command, *more]) == 2
    assert "leave out target_tokenizer, which is word there" in capsys.readouterr().err
    folder = tmp_path / "prepared" / "train.tsv"
    baked = *SPELLED[:2], "vocab_size=13", "max_target_length=12"
    assert prepare(folder, tmp_path / "train.tsv", settings=baked) == 0
    shutil.copy(tmp_path / "valid.tsv", folder.parent)
    assert train(folder.parent, tmp_path / "of-prepared", settings=SPELLED[2:], steps=1) == 0
    read = Run(tmp_path / "of-prepared").read_tokenizer()
    assert (read.model, read.source.model) == (model.tokenizer.model, model.tokenizer.source.model)


def test_a_run_that_lost_the_tokens_of_its_sources_is_not_one_that_shares(run, tmp_path):
    copy = shutil.copytree(run[0], tmp_path / "copy")
    (copy / "source_tokenizer.model").unlink()
    with pytest.raises(FileNotFoundError, match=r"source_tokenizer\.model"):
        attention_zoo.load(copy)


@pytest.mark.usefixtures("eager")
def test_it_is_gone_on_with_and_evaluated(run, files, capsys):
    output, _ = run
    more = arguments(files, output, settings=["shared_vocabulary=false"], steps=3)
    assert run_command(app, more) == 0
    assert "going on at step 2" in capsys.readouterr().out
    assert run_command(app, ["evaluate", str(output)]) == 0


def test_a_saved_graph_has_both_tokenizers(run, tmp_path):
    model, texts = attention_zoo.load(run[0]), ["abcd", "dcba"]
    archive = keras.export.ExportArchive()
    for resource in model.trackables():
        archive.track(resource)
    archive.add_endpoint("serving_default", model.signatures()["serving_default"])
    archive.write_out(str(tmp_path), verbose=False)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    assert [text.decode() for text in served(text=tf.constant(texts))["text"].numpy()] == [
        prediction.text for prediction in model.predict(texts)
    ]


@pytest.mark.slow
def test_it_is_exported(run, tmp_path):
    path = export(attention_zoo.load(run[0]), tmp_path / "models")
    assert (path / "saved_model.pb").is_file()  # its checks compare it with the model


def test_a_tokenizer_goes_to_other_workers_with_that_of_the_source():
    one, other = (Tokenizer.train([text] * 9, 30) for text in ("a house", "ein Haus"))
    both = unpack(pack(Tokenizer(one.model, other.model)))
    assert (both.model, both.source.model) == (one.model, other.model)
    alone = unpack(pack(one))
    assert alone.model == one.model and alone.shares_vocabulary


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["shared_vocabulary=false", "model.copying=true"], "leave out source_vocab_size"),
        (["model.source_vocab_size=30"], "set shared_vocabulary=false"),
        (["source_tokenizer=char", "bpe_dropout=0.1"], "of the kind char and bpe"),
        (["target_tokenizer=letters"], "target_tokenizer is one of none, bpe, unigram, word, char"),
        (["normalization=nfd"], "normalization is one of nfc, none, nmt_nfkc"),
        (["shared_vocabulary=maybe"], "shared_vocabulary takes a value of type bool"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, expected, files, tmp_path, capsys):
    assert run_command(app, arguments(files, tmp_path / "run", settings=settings)) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_more_positions_than_a_model_has_are_refused(files, tmp_path, capsys):
    command = arguments(files, tmp_path / "run", model="transformer-tiny")
    command = [part for part in command if part != "--set" and part not in SETTINGS]
    settings = ("model.positions=learned", "model.max_length=100")
    command += [part for setting in settings for part in ("--set", setting)]
    assert run_command(app, command) == 2
    error = capsys.readouterr().err
    assert "learned positions for 100 tokens" in error and "max_source_length=128" in error
    assert not (tmp_path / "run").exists()
