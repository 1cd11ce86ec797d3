"""Trainings on a folder of `attention-zoo prepare`: what they take from it, and what ends them."""

import shutil

import numpy as np
import pytest
from prepared_folders import prepare, small_blocks
from reverse_task import arguments, final_state, write_pairs

from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.corpora import read_corpora
from attention_zoo.recipes.core.make_config import make_config
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.core.run_tokenizer import run_tokenizer
from attention_zoo.recipes.data.prepared import PreparedCorpus
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def reverse_prepared(tmp_path_factory):
    """The task of the smallest run, prepared; with files to validate with."""
    folder = tmp_path_factory.mktemp("reverse")
    write_pairs(folder / "pairs.tsv", 40, seed=0)
    write_pairs(folder / "valid.tsv", 8, seed=1)
    settings = ("vocab_size=13", "max_target_length=12")
    with pytest.MonkeyPatch.context() as patch, small_blocks(patch, tokens=60):
        assert prepare(folder / "train.tsv", folder / "pairs.tsv", settings=settings) == 0
    return folder


@pytest.mark.slow
def test_a_training_in_parts_ends_like_one_in_one_part(reverse_prepared, tmp_path, capsys):
    for output, parts in ((tmp_path / "whole", (9,)), (tmp_path / "parts", (4, 9))):
        for steps in parts:
            command = arguments(reverse_prepared, output, steps=steps, model="rnn")
            assert run_command(app, command) == 0
    printed = capsys.readouterr().out
    assert "train.tsv: 40 pairs, prepared" in printed and "40 training pairs" in printed
    one, other = final_state(tmp_path / "whole", 9), final_state(tmp_path / "parts", 9)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    tokenizer = (reverse_prepared / "train.tsv" / "tokenizer.model").read_bytes()
    assert (tmp_path / "whole" / "tokenizer.model").read_bytes() == tokenizer


def test_settings_that_are_baked_in_come_from_the_folder(reverse_prepared, tmp_path, refused):
    spec, valid = (str(reverse_prepared / name) for name in ("train.tsv", "valid.tsv"))
    config = make_config("translation", "rnn", spec, valid)
    assert (config.vocab_size, config.max_target_length, config.reverse) == (13, 12, False)
    train, _ = read_corpora(config)
    assert isinstance(train, PreparedCorpus)
    for setting in ("vocab_size=14", "max_target_length=13", "tokenizer=unigram"):
        line = refused(run_command(app, arguments(reverse_prepared, tmp_path / "run",
                                                  settings=[setting])))  # fmt: skip
        name, value = setting.split("=")
        assert f"was prepared with {name}=" in line and f"Received: {name}={value}" in line
    command = arguments(reverse_prepared, tmp_path / "run", "--reverse")
    assert "was prepared with reverse=False" in refused(run_command(app, command))
    other = str(tmp_path / "turned")
    pairs, settings = reverse_prepared / "pairs.tsv", ["vocab_size=13"]
    assert prepare(other, pairs, settings=settings, more=["--reverse"]) == 0
    assert make_config("translation", "rnn", other, valid).reverse
    command = ["train", "dialogue", "--train", spec, "--valid", valid, "--output", "run"]
    assert "was prepared for translation, not for dialogue" in refused(run_command(app, command))
    command = ["train", "translation", "--train", spec, "--valid", spec, "--output", "run"]
    assert "is for --train. Give a pair file" in refused(run_command(app, command))
    assert not (tmp_path / "run").exists()


def test_damage_ends_a_training_with_the_name_of_the_file(reverse_prepared, tmp_path, refused):
    for name in ("train.tsv", "valid.tsv"):
        source = reverse_prepared / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    path = tmp_path / "train.tsv" / "pairs.ids"
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    command = arguments(tmp_path, tmp_path / "run", model="rnn", steps=9)
    assert "pairs.ids is damaged: row 39 is not" in refused(run_command(app, command))
    path.write_bytes(content[:-4])
    command = arguments(tmp_path, tmp_path / "other", model="rnn", steps=9)
    assert "pairs.ids is damaged: it has" in refused(run_command(app, command))
    assert not (tmp_path / "other").exists()


def test_a_corpus_prepared_anew_is_not_gone_on_with(reverse_prepared, tmp_path, refused):
    spec, valid = (str(reverse_prepared / name) for name in ("train.tsv", "valid.tsv"))
    config, run = make_config("translation", "rnn", spec, valid), Run(tmp_path)
    corpus = PreparedCorpus(spec)
    run.tokenizer_path.write_bytes(corpus.tokenizer().model)
    assert run_tokenizer(config, run, corpus).model == corpus.tokenizer().model
    Tokenizer.train(["a b c"] * 9, vocab_size=9).save(run.tokenizer_path)
    with pytest.raises(ConfigError, match="was prepared anew since"):
        run_tokenizer(config, run, corpus)
