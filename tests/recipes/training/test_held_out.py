"""A training from one file: the rows that it holds out are the same in all that follows."""

import json

import pytest
from prepared_folders import prepare, prepared, small_blocks, write_words
from reverse_task import arguments, assert_same_run

from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.corpora import read_corpora
from attention_zoo.recipes.core.make_config import make_config
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.zoo.errors import DataError


def one_file(data, output, *more, steps=20):
    command = arguments(data, output, steps=steps)
    at = command.index("--valid")
    return [*command[:at], *command[at + 2 :], *more]


def test_a_run_goes_on_with_the_same_rows_and_is_scored_on_them(
    reverse_files, tmp_path, capsys, refused
):
    run = tmp_path / "run"
    assert run_command(app, one_file(reverse_files, run)) == 0
    train, valid = read_corpora(Run(run).read_config())
    held_out = f"{reverse_files / 'train.tsv'}, held out: {len(valid)} pairs\n"
    assert held_out in capsys.readouterr().out
    assert not set(train.sources) & set(valid.sources) and len(valid) >= 2

    for steps in (10, 20):
        assert run_command(app, one_file(reverse_files, tmp_path / "parts", steps=steps)) == 0
    assert_same_run(tmp_path / "parts", run)
    capsys.readouterr()
    assert run_command(app, ["evaluate", str(run), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["rows"] == len(valid)
    assert scores["chrf"] == pytest.approx(Run(run).read_metrics()["valid"]["chrf"])

    other = one_file(reverse_files, run, "--valid", "0.5")
    assert "valid is None there and '0.5' here" in refused(run_command(app, other))


def test_a_prepared_corpus_has_the_rows_that_were_held_out(tmp_path, monkeypatch, refused):
    words = write_words(tmp_path / "words.tsv", 90, seed=1)
    with small_blocks(monkeypatch):
        corpus = prepared(tmp_path / "out", words, more=("--valid", "0.2"))
    whole = prepared(tmp_path / "whole", words)
    held = corpus.held_out()
    assert len(corpus) + len(held) == 90 and 8 <= len(held) <= 30
    assert not set(held.sources) & set(corpus.sample().sources)
    assert {*held, *corpus.sample()} == set(read_pairs(str(words)))
    config = make_config("translation", "rnn", str(tmp_path / "out"))
    train, valid = read_corpora(config)
    assert (train.checksum, list(valid)) == (corpus.checksum, list(held))
    for spec, share in (("whole", None), ("out", "0.1")):
        with pytest.raises(DataError, match=r"held out: give --valid FILE, or prepare it again"):
            read_corpora(make_config("translation", "rnn", str(tmp_path / spec), share))
    assert list(whole.sample()) == list(read_pairs(str(words)))
    other = prepare(tmp_path / "out", words, more=("--valid", "0.1"))
    assert "held_out was 0.2 and is 0.1 now" in refused(other)
