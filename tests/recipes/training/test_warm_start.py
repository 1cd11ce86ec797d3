"""A run that starts from the weights and the tokens of another."""

import json
import shutil

import numpy as np
import pytest
from prepared_folders import prepare, rows_of
from reverse_task import final_state, write_pairs

import attention_zoo
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.config import RunConfig
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.data.batching import TokenizedPairs
from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.recipes.data.prepared import BAKED, PreparedCorpus
from attention_zoo.recipes.training.warm_start import (
    config_of_file,
    start_config,
    start_preparation,
)
from attention_zoo.zoo.errors import ConfigError


def start(parent, output, *more, steps=1):
    return run_command(
        app,
        ["train", "translation", "--start-from", str(parent), "--output", str(output)]
        + ["--max-steps", str(steps), *map(str, more)],
    )


def weights(folder):
    return attention_zoo.load(folder).model.get_weights()


@pytest.fixture
def law(tmp_path):
    """Other pairs, in letters that the run started from has never seen among them."""
    for name, rows in (("law", 12), ("law-dev", 4)):
        path = write_pairs(tmp_path / f"{name}.tsv", rows, seed=7)
        path.write_text(path.read_text().replace("a", "z"))
    return "--train", tmp_path / "law.tsv", "--valid", tmp_path / "law-dev.tsv"


@pytest.mark.usefixtures("eager", "fake_evaluator")
def test_it_begins_with_the_best_weights_and_the_tokens_of_the_other_run(
    trained, law, tmp_path, capsys
):
    parent, _ = trained
    before = {path: path.read_bytes() for path in parent.rglob("*") if path.is_file()}
    still = "--set", "learning_rate=1e-20", "--set", "average_decay=0"
    assert start(parent, tmp_path / "child", *law, *still) == 0
    told = capsys.readouterr().out
    assert f"starts with the weights of {parent}\n" in told
    assert "training: unknown tokens: " in told and "in sources; no output has them" in told
    for ours, theirs in zip(weights(tmp_path / "child"), weights(parent), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    tokens = [folder / "tokenizer.model" for folder in (tmp_path / "child", parent)]
    assert tokens[0].read_bytes() == tokens[1].read_bytes()
    assert {path: path.read_bytes() for path in parent.rglob("*") if path.is_file()} == before


def test_the_settings_are_those_of_the_other_run_but_for_what_is_said(trained):
    parent, _ = trained
    theirs = Run(parent).read_config()
    ours = start_config(parent, "translation", settings=["learning_rate=0.5", "model.dropout=0.4"])
    changed = {"start_from": str(parent), "learning_rate": 0.5}
    options = {**theirs.model_options, "dropout": 0.4}
    assert ours.to_dict() == {**theirs.to_dict(), **changed, "model_options": options}


def test_a_default_that_has_changed_since_is_what_it_was(trained, tmp_path):
    parent = tmp_path / "parent"
    shutil.copytree(trained[0], parent)
    values = json.loads((parent / "config.json").read_text())
    values["model_defaults"] |= {
        "attention_query": "previous_state",
        "dropout": 0.7,
        "no_longer": 1,
    }
    (parent / "config.json").write_text(json.dumps(values))
    options = start_config(parent, "translation").model_options
    assert options == {
        **Run(trained[0]).read_config().model_options,
        "attention_query": "previous_state",
    }


def test_a_corpus_is_read_as_it_is_said_and_the_other_runs_turned_once_more(trained):
    parent, _ = trained
    theirs = Run(parent).read_config()
    again = start_config(parent, "translation", "rnn-bahdanau", reverse=True)
    assert (again.train, again.valid, again.reverse) == (theirs.train, theirs.valid, True)
    given = start_config(parent, "translation", train="a.tsv", valid="b.tsv")
    assert (given.train, given.valid, given.reverse) == ("a.tsv", "b.tsv", False)
    assert start_config(parent, "translation", train="a.tsv").valid is None  # a part is held out
    with pytest.raises(ConfigError, match="--valid needs --train too"):
        start_config(parent, "translation", valid="b.tsv")


def test_a_task_with_one_direction_is_not_turned(tmp_path):
    Run(tmp_path / "parent").open(
        RunConfig("dialogue", metric="f1", train="a.jsonl", valid="b.jsonl")
    )
    for start in (start_config, start_preparation):
        with pytest.raises(ConfigError, match="dialogue has one direction"):
            start(tmp_path / "parent", "dialogue", reverse=True)


@pytest.mark.usefixtures("eager", "fake_evaluator")
def test_what_was_stopped_goes_on_where_it_was_without_the_other_weights(
    trained, law, tmp_path, capsys
):
    parent = tmp_path / "parent"
    shutil.copytree(trained[0], parent)
    assert start(parent, tmp_path / "whole", *law, steps=4) == 0
    assert start(parent, tmp_path / "parts", *law, steps=2) == 0
    (parent / "model.keras").unlink()
    capsys.readouterr()
    assert start(parent, tmp_path / "parts", *law, steps=4) == 0
    told = capsys.readouterr().out
    assert "going on at step 2" in told and "starts with" not in told
    whole, parts = (final_state(tmp_path / name, 4) for name in ("whole", "parts"))
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name], err_msg=name)


@pytest.mark.usefixtures("eager")
def test_with_its_state_it_goes_on_as_the_other_run_would_have(
    trained, fake_evaluator, tmp_path, capsys
):
    parent = tmp_path / "parent"
    shutil.copytree(trained[0], parent)
    kept = "--keep-state", "--set", "evaluate_every=7"
    assert start(parent, tmp_path / "child", *kept, steps=23) == 0
    told = capsys.readouterr().out
    assert f"going on at step 20 of {parent} after " in told and "starts with" not in told
    whole = Run(parent).read_config().to_dict()
    options = [part for name in ("train", "valid") for part in (f"--{name}", whole[name])]
    command = ["train", "translation", "--config", str(parent / "config.json"), *options]
    assert run_command(app, [*command, "--output", str(parent), "--max-steps", "23"]) == 0
    ours, theirs = (final_state(tmp_path / name, 23) for name in ("child", "parent"))
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    history = json.loads((tmp_path / "child" / "metrics.json").read_text())["history"]
    assert [entry["step"] for entry in history] == [21, 23]  # its own evaluations

    # At another rate and batch size, from its own checkpoint once it has one.
    other = "--keep-state", "--set", "learning_rate=0.01", "--set", "batch_tokens=40"
    assert start(parent, tmp_path / "other", *other, steps=24) == 0
    shutil.rmtree(parent / "checkpoints")
    command = ["train", "translation", "--config", str(tmp_path / "other"), "--max-steps", "25"]
    assert run_command(app, [*command, "--output", str(tmp_path / "other")]) == 0
    assert "going on at step 24 after " in capsys.readouterr().out
    assert Run(tmp_path / "other").read_config().learning_rate == 0.01


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--set", "average_decay=0"), "belongs to another model: it holds"),
        (("--config", "c.json"), "--config those of a file; give one."),
    ],
)
def test_a_state_that_does_not_fit_is_refused(trained, tmp_path, refused, more, words):
    assert words in refused(start(trained[0], tmp_path / "child", "--keep-state", *more, steps=21))
    assert not (tmp_path / "child").exists()


def test_without_a_state_none_is_kept(trained, tmp_path, refused):
    assert "--keep-state needs --start-from too" in refused(
        run_command(app, ["train", "translation", "--keep-state"])
    )
    parent = tmp_path / "parent"
    shutil.copytree(trained[0], parent, ignore=shutil.ignore_patterns("checkpoints"))
    assert "has no checkpoint, as what is packed" in refused(
        start(parent, tmp_path / "child", "--keep-state")
    )


def test_a_config_of_a_file_is_that_of_its_run_but_for_what_is_said(trained, tmp_path):
    theirs = Run(trained[0]).read_config()
    path = tmp_path / "copied.json"
    shutil.copy(trained[0] / "config.json", path)
    for file in (path, trained[0]):
        assert config_of_file(file, "translation").to_dict() == theirs.to_dict()
    said = config_of_file(
        path, "translation", train="a.tsv", settings=["seed=5", "model.dropout=0"]
    )
    options = {**theirs.model_options, "dropout": 0}
    changed = {"train": "a.tsv", "seed": 5, "model_options": options}
    assert said.to_dict() == {**theirs.to_dict(), **changed}
    other = config_of_file(path, "translation", "transformer-tiny", reverse=True)
    assert (other.model, other.model_options, other.reverse) == ("transformer-tiny", {}, True)
    for call in (
        lambda: config_of_file(path, "summarization"),
        lambda: config_of_file(tmp_path / "none.json", "translation"),
    ):
        with pytest.raises(ConfigError, match=r"is of translation\. Rec|There is no file"):
            call()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--model", "rnn"), "is a run with the model rnn-bahdanau"),
        (("--set", "vocab_size=20"), "leave out vocab_size, which is 13 there. Received: vocab"),
        (("--set", "tokenizer=char"), "leave out tokenizer, which is bpe there"),
        (("--set", "metric=f1"), "metric of translation is one of"),
        (
            ("--set", "model.decoder_units=20"),
            "shape (16, 16) there and (20, 16) here",
        ),
        (("--set", "model.encoder_layers=2"), "Leave out what changes the shape of the model."),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(trained, tmp_path, refused, more, words):
    parent, _ = trained
    assert words in refused(start(parent, tmp_path / "child", *more))
    assert not (tmp_path / "child").exists()


def test_another_task_and_what_is_no_run_are_refused(trained, tmp_path, refused):
    parent, _ = trained
    dialogue = ["train", "dialogue", "--start-from", str(parent)]
    assert "with the task translation" in refused(run_command(app, dialogue))
    assert "is no run: it has no config.json" in refused(start(tmp_path, tmp_path / "child"))
    unfinished = tmp_path / "unfinished"
    shutil.copytree(parent, unfinished)
    (unfinished / "model.keras").unlink()
    message = refused(start(unfinished, tmp_path / "child"))
    assert f"{unfinished} has no model.keras yet" in message
    assert not (tmp_path / "child").exists()


def test_a_corpus_prepared_in_other_tokens_is_refused(trained, tmp_path, refused):
    parent, _ = trained
    pairs = write_pairs(tmp_path / "other.tsv", 40, seed=3)
    settings = ["vocab_size=13", "max_target_length=12"]
    assert prepare(tmp_path / "prepared", pairs, settings=settings) == 0
    more = "--train", tmp_path / "prepared", "--valid", pairs
    message = refused(start(parent, tmp_path / "child", *more))
    assert "was prepared with other tokens than those of" in message


@pytest.mark.usefixtures("eager", "fake_evaluator")
def test_a_corpus_is_prepared_in_the_tokens_of_a_run(trained, law, tmp_path, capsys):
    parent, _ = trained
    corpus, valid = law[1], law[3]
    assert prepare(tmp_path / "law", corpus, settings=(), more=["--start-from", str(parent)]) == 0
    told = capsys.readouterr().out
    assert f"with the tokens of {parent}\n" in told and "learning" not in told
    prepared, theirs = PreparedCorpus(tmp_path / "law"), Run(parent).read_config()
    assert prepared.tokenizer().model == (parent / "tokenizer.model").read_bytes()
    assert prepared.settings == {name: getattr(theirs, name) for name in (*BAKED, "reverse")}
    pairs, limits = read_pairs(str(corpus)), (theirs.max_source_length, theirs.max_target_length)
    expected = TokenizedPairs.encode(
        pairs.sources, pairs.targets, Run(parent).read_tokenizer(), *limits
    )
    assert [row[:2] for row in rows_of(prepared)] == [
        (source.tolist(), target.tolist())
        for source, target in zip(expected.sources, expected.targets, strict=True)
    ]
    assert start(parent, tmp_path / "child", "--train", tmp_path / "law", "--valid", valid) == 0
    for ours, old in zip(weights(tmp_path / "child"), weights(parent), strict=True):
        assert 0 < abs(ours - old).max() < 0.1


def test_a_corpus_is_prepared_in_reverse_as_it_is_said(trained, law, tmp_path):
    more = ["--start-from", str(trained[0]), "--reverse"]
    assert prepare(tmp_path / "law", law[1], settings=(), more=more) == 0
    prepared = PreparedCorpus(tmp_path / "law")
    pairs = read_pairs(str(law[1]))
    assert prepared.settings["reverse"] and prepared.sample().sources == pairs.targets


def test_what_is_prepared_for_a_run_is_not_what_is_prepared_without(
    trained, law, tmp_path, refused
):
    parent, _ = trained
    more = ["--start-from", str(parent)]
    assert prepare(tmp_path / "law", law[1], settings=["max_target_length=9"], more=more) == 0
    assert PreparedCorpus(tmp_path / "law").settings["max_target_length"] == 9
    settings = ["max_target_length=9", "vocab_size=13"]
    message = refused(prepare(tmp_path / "law", law[1], settings=settings))
    assert f"start_from was {parent} and is None now" in message


@pytest.mark.parametrize(
    ("task", "setting", "words"),
    [
        ("translation", "vocab_size=20", "leave out vocab_size, which is 13 there"),
        ("translation", "learning_rate=0.1", "prepare takes vocab_size, "),
        ("dialogue", "max_target_length=9", "is a run with the task translation"),
    ],
)
def test_what_cannot_be_prepared_for_a_run_is_refused(
    trained, law, tmp_path, refused, task, setting, words
):
    more = ["--start-from", str(trained[0])]
    done = prepare(tmp_path / "law", law[1], task=task, settings=[setting], more=more)
    assert words in refused(done)
    assert not (tmp_path / "law").exists()


def test_a_run_without_tokens_is_refused(tmp_path, law, refused):
    parent = tmp_path / "parent"
    Run(parent).open(RunConfig("translation", train="a", valid="b"))
    line = refused(
        prepare(tmp_path / "law", law[1], settings=(), more=["--start-from", str(parent)])
    )
    assert "has no tokens yet" in line


def test_damaged_tokens_are_refused_before_a_text_is_read(trained, tmp_path, refused):
    parent = tmp_path / "parent"
    shutil.copytree(trained[0], parent)
    (parent / "tokenizer.model").write_bytes(b"damaged")
    more = ["--start-from", str(parent)]
    assert "cannot be read" in refused(prepare(tmp_path / "law", "no.tsv", settings=(), more=more))


def test_targets_that_the_tokens_of_the_other_run_cannot_write_are_refused(
    trained, tmp_path, refused, capsys
):
    for name in ("law", "law-dev"):
        path = write_pairs(tmp_path / f"{name}.tsv", 8, seed=7)
        path.write_text(path.read_text().translate(str.maketrans("abcd", "ёжик")))
    files = "--train", tmp_path / "law.tsv", "--valid", tmp_path / "law-dev.tsv"
    told = refused(start(trained[0], tmp_path / "child", *files))
    assert "50% of the tokens of the targets are unknown to" in told
    assert "Train without --start-from" in told and not (tmp_path / "child").exists()
