"""The folder of a run: claimed once, gone on with, never mixed with another."""

import dataclasses
import json
import os
import signal
from types import SimpleNamespace

import pytest
from run_folders import files, refusal

from attention_zoo.recipes.core.config import RunConfig
from attention_zoo.recipes.core.make_config import make_config
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.core.saved_model import text_to_text
from attention_zoo.recipes.core.task import source_format
from attention_zoo.zoo.catalog import MODELS
from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.files import write_json


@pytest.fixture
def config():
    return RunConfig(model="rnn", train="a.tsv", valid="b.tsv")


def test_a_new_folder_is_claimed_and_gone_on_with(tmp_path, config):
    run = Run(tmp_path / "runs" / "mine")
    assert run.open(config) is False
    assert files(run.folder) == ["config.json"]
    assert run.read_config() == config
    assert Run(run.folder).open(config) is True


@pytest.mark.parametrize(
    "model", ["rnn", "pointer-generator", "memory-network", "transformer-tiny"]
)
def test_every_kind_of_model_is_gone_on_with(tmp_path, model):
    """Defaults that JSON has no type for, such as tuples, are the same when they are read again."""
    config = make_config("translation", model, "a.tsv", "b.tsv")
    assert Run(tmp_path / "run").open(config) is False
    assert Run(tmp_path / "run").open(config) is True
    assert Run(tmp_path / "run").former_defaults() == {}


def test_an_empty_folder_can_be_claimed(tmp_path, config):
    assert Run(tmp_path).open(config) is False


def test_what_a_kill_leaves_is_no_obstacle_and_is_removed(tmp_path, config):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    (run.folder / ".config.partial.json").write_text("{")
    assert run.check(config) is False
    (run.folder / ".photo.partial.jpg").touch()
    assert "is no run of attention-zoo" in refusal(run.open, config)
    (run.folder / ".photo.partial.jpg").unlink()
    assert run.open(config) is False
    assert files(run.folder) == ["config.json"]
    run.checkpoints.folder.mkdir()
    for name in (".step-000000009.partial.npz", "step-000000008.npz"):
        (run.checkpoints.folder / name).touch()
    for name in (".model.partial.keras", ".tokenizer.partial.model", ".note.partial.txt"):
        (run.folder / name).touch()
    assert run.open(config) is True
    kept = [".note.partial.txt", "checkpoints", "checkpoints/step-000000008.npz", "config.json"]
    assert files(run.folder) == kept


def test_another_run_is_refused_with_the_differences(tmp_path, config):
    run = Run(tmp_path / "run")
    run.open(config)
    before = run.config_path.read_bytes()
    other = config.with_settings(["seed=5", "model.dropout=0.5"])
    message = refusal(run.open, other)
    assert "holds another run" in message
    assert "seed is 1 there and 5 here" in message
    assert "model.dropout is 0.3 there and 0.5 here" in message
    assert "learning_rate" not in message
    assert run.config_path.read_bytes() == before


def test_a_default_that_has_changed_is_told(tmp_path, config, monkeypatch):
    run = Run(tmp_path / "run")
    run.open(config)
    entry = MODELS[config.model]
    changed = dataclasses.replace(entry, options={**entry.options, "dropout": 0.25})
    monkeypatch.setitem(MODELS._entries, config.model, changed)
    assert "model.dropout is 0.3 there and 0.25 here" in refusal(run.open, config)
    assert run.open(config.with_settings(["model.dropout=0.3"])) is True


def test_a_run_that_has_no_defaults_of_its_model_is_gone_on_with(tmp_path, config):
    run = Run(tmp_path / "run")
    run.open(config)
    values = json.loads(run.config_path.read_text())
    assert values.pop("model_defaults")["dropout"] == 0.3
    run.config_path.write_text(json.dumps(values))
    assert run.open(config) is True and run.read_config() == config
    run.config_path.write_text(json.dumps({**values, "model_defaults": [1]}))
    assert "model_defaults is no object: [1]" in refusal(run.open, config)


def test_a_run_keeps_the_sentences_that_it_learned_from(tmp_path):
    config = RunConfig(model="memory-network", train="a.tsv", valid="b.tsv")
    run = Run(tmp_path / "run")
    run.open(config)
    assert source_format(run.read_config()).sentences == 1
    assert run.check(config)
    values = json.loads(run.config_path.read_text())
    del values["source_format"]["sentences"]  # as earlier versions wrote it
    write_json(run.config_path, values)
    assert source_format(run.read_config()).sentences == 0
    assert "version of sentence splitting is 0 there and 1 here" in refusal(run.check, config)
    values["source_format"]["sentences"] = 7
    write_json(run.config_path, values)
    assert "rules of version 1, or not (0). Received: sentences=7" in refusal(run.read_config)


def test_a_run_remembers_its_texts(tmp_path, config):
    run, texts = Run(tmp_path / "run"), {"train": 3, "valid": 4}
    assert run.open(config, texts) is False and run.read_config() == config
    before = run.config_path.read_bytes()
    assert run.open(config, texts) is True and run.check(config) is True
    for changed, expected in (
        ({"train": 5}, "other training texts than a.tsv has now"),
        ({"valid": 5}, "other validation texts than b.tsv has now"),
        ({"train": 4, "valid": 3}, "other training and validation texts than a.tsv and b.tsv has"),
    ):
        message = refusal(run.open, config, {**texts, **changed})
        assert expected in message
        assert f"learn on from that run with --start-from {run.folder}" in message
    assert run.config_path.read_bytes() == before


def test_how_a_run_is_run_may_change_and_is_written_down(tmp_path, config):
    run, texts = Run(tmp_path / "run"), {"train": 3, "valid": 4}
    assert run.changes(config) == {}  # of a run that has not begun
    run.open(config, texts, max_length_ratio=2.0)
    values = json.loads(run.config_path.read_text())
    how = {"patience": 3, "evaluate_every": 7, "evaluate_rows": 9, "checkpoint_minutes": 0.5}
    how |= {"skip_nonfinite": True, "jit": True}
    other = dataclasses.replace(config, train="moved/a.tsv", valid="moved/b.tsv", **how)
    assert run.changes(other)["train"] == ("a.tsv", "moved/a.tsv")
    assert run.open(other, texts) is True
    moved = {"train": "moved/a.tsv", "valid": "moved/b.tsv"}
    assert json.loads(run.config_path.read_text()) == {**values, **how, **moved}
    assert run.read_config() == other and run.changes(other) == {}
    assert "begun with other training texts than a.tsv has now" in refusal(
        run.open, config, {**texts, "train": 5}
    )


@pytest.mark.parametrize(
    "setting",
    ["learning_rate=0.5", "batch_tokens=9", "metric=chrf", "precision=mixed_bfloat16", "seed=2"],
)
def test_what_a_run_learns_may_not_change(tmp_path, config, setting):
    run = Run(tmp_path / "run")
    run.open(config)
    before = run.config_path.read_bytes()
    name, _, value = setting.partition("=")
    message = refusal(run.open, config.with_settings([setting, "patience=2"]))
    assert f"{name} is " in message and value in message and "patience" not in message
    assert f"under other settings by --start-from {run.folder} --keep-state" in message
    assert run.config_path.read_bytes() == before


def test_evaluations_stay_where_their_weights_are_averaged(tmp_path, config):
    averaged = config.with_settings(["average_last=2"])
    Run(tmp_path / "run").open(averaged)
    other = averaged.with_settings(["evaluate_every=7"])
    assert "evaluate_every is 500 there and 7 here" in refusal(Run(tmp_path / "run").check, other)


def test_a_file_becomes_no_share_and_no_default(tmp_path, config):
    run, texts = Run(tmp_path / "run"), {"train": 3, "valid": 4}
    run.open(config, texts)
    for valid in ("0.1", None):
        message = refusal(run.check, dataclasses.replace(config, valid=valid))
        assert f"valid is 'b.tsv' there and {valid!r} here" in message


def test_a_run_that_knows_no_texts_is_of_the_files_it_names(tmp_path, config):
    run = Run(tmp_path / "run")
    run.open(config)
    message = refusal(run.check, dataclasses.replace(config, train="moved/a.tsv"))
    assert "train is 'a.tsv' there and 'moved/a.tsv' here" in message


def test_a_run_that_knows_no_texts_is_gone_on_with(tmp_path, config):
    run, texts = Run(tmp_path / "run"), {"train": 3, "valid": 4}
    run.open(config)
    before = run.config_path.read_bytes()
    assert run.open(config, texts) is True and run.changed_texts(texts) == []
    assert run.config_path.read_bytes() == before
    values = json.loads(before)
    run.config_path.write_text(json.dumps({**values, "texts": [1]}))
    assert "texts is no object: [1]" in refusal(run.open, config, texts)


def test_the_search_is_that_of_the_config():
    settings = {"beam_size": 2, "coverage_penalty": 0.5, "no_repeat_ngram": 3}
    config = RunConfig(max_target_length=9, max_length_ratio=0.0, replace_unknown=True, **settings)
    model = SimpleNamespace(check_lengths=lambda *lengths: None)
    found = text_to_text(model, None, config).generation
    assert found == GenerationOptions(
        max_length=9, max_length_ratio=None, replace_unknown=True, **settings
    )


@pytest.mark.parametrize(("model", "expected"), [("pointer-generator", True), ("rnn", False)])
def test_unknown_characters_are_copied_where_a_model_copies(model, expected):
    assert make_config("summarization", model).replace_unknown is expected
    chosen = make_config("summarization", model, settings=[f"replace_unknown={not expected}"])
    assert chosen.replace_unknown is not expected


def test_sources_that_a_run_keeps(tmp_path, config):
    run = Run(tmp_path)
    run.open(config)
    assert run.read_samples() is None
    run.save_samples(["x" * length for length in range(20, 0, -1)])
    assert [len(text) for text in run.read_samples()] == [1, 3, 6, 9, 11, 14, 17, 20, 1 + 1 + 3]
    run.samples_path.write_text('[["a"], 5]')
    assert "is not a list of sources" in refusal(run.read_samples)


def test_an_export_reads_texts_of_the_run_alone(tmp_path, monkeypatch, config):
    """The settings of a stranger's run may name any file as its validation data."""
    from attention_zoo.recipes.cli import export as command
    from attention_zoo.recipes.cli import model_card_notes
    from attention_zoo.recipes.cli.app import app
    from attention_zoo.recipes.cli.main import run_command
    from attention_zoo.serving.export import export as publishing

    private = tmp_path / "private.tsv"
    private.write_text("a secret\tword\n")
    run = Run(tmp_path / "run")
    run.open(dataclasses.replace(config, valid=str(private)))
    run.save_samples(["a source of the run"])
    monkeypatch.setattr(Run, "load", lambda *_, **options: SimpleNamespace())
    monkeypatch.setattr(command, "load_tensorflow", lambda: None)
    read, given = [], {}
    monkeypatch.setattr(model_card_notes, "read_validation", read.append)
    monkeypatch.setattr(publishing, "export", lambda *_, **settings: given.update(settings))
    assert run_command(app, ["export", str(run.folder), str(tmp_path / "models")]) == 0
    assert given["samples"] == ["a source of the run"] and not read

    # A kill ends the command as an error does, so that what is half written is removed.
    monkeypatch.setattr(publishing, "export", lambda *_, **s: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as end:
        run_command(app, ["export", str(run.folder), str(tmp_path / "models")])
    assert end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
