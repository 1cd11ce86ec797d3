"""A loss that is no number: the run stops and names the lines, or leaves the batch out."""

import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from reverse_task import assert_same_run, final_state, train

from attention_zoo.recipes.core.checkpoint import Checkpoints
from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.recipes.training.nan_guard import NanGuard
from attention_zoo.recipes.training.training_checkpoint import TrainingCheckpoint
from attention_zoo.zoo.models import EncoderDecoder
from attention_zoo.zoo.training.averaging import WeightAverage
from attention_zoo.zoo.training.optimizers import FusedAdam

BAD_STEP = 4


@pytest.fixture
def spoilt(monkeypatch):
    """The loss of one step is NaN."""
    token_losses = EncoderDecoder.token_losses

    def spoilt_losses(self, inputs, labels, training):
        smoothed, plain = token_losses(self, inputs, labels, training)
        bad = tf.equal(self.optimizer.iterations, BAD_STEP - 1) if training else False
        return smoothed * tf.where(bad, np.nan, 1.0), plain

    monkeypatch.setattr(EncoderDecoder, "token_losses", spoilt_losses)


def test_a_run_stops_and_names_step_rate_and_lines(spoilt, reverse_files, tmp_path, capsys):
    output = tmp_path / "run"
    assert train(reverse_files, output, model="rnn", settings=("batch_tokens=30",)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"step {BAD_STEP}, loss nan, learning rate 5.00e-02, " in error
    told = re.search(r"train.tsv lines ([\d, ]+)", error)[1]

    # What was read in that step, found in another way than by the lines.
    corpus = read_pairs(str(reverse_files / "train.tsv"))
    step = json.loads((output / "nonfinite.json").read_text())[-1]
    rows = [(row["source"], row["target"]) for row in step["rows"]]
    for row, pair in zip(step["rows"], rows, strict=True):
        assert (corpus.sources[row["line"] - 1], corpus.targets[row["line"] - 1]) == pair
    assert told.split(", ") == [str(line) for line in sorted(row["line"] for row in step["rows"])]
    # The state before the bad step is there to go on from.
    assert [p.name for p in sorted((output / "checkpoints").iterdir())][-1] == "step-000000003.npz"


def test_a_run_goes_on_without_the_batch_and_back(
    spoilt, fake_evaluator, reverse_files, tmp_path, capsys
):
    output, skip = tmp_path / "run", ("skip_nonfinite=true",)
    more = {"model": "rnn", "steps": 6}
    whole = ("evaluate_every=6", "average_decay=0.9")
    assert train(reverse_files, output, settings=whole, **more) == 2
    assert "Go on from the last checkpoint with --set skip_nonfinite=true" in capsys.readouterr()[1]
    assert train(reverse_files, output, settings=(*whole, *skip), **more) == 0
    told = capsys.readouterr().out
    assert "going on at step 3 after" in told and f"left out: step {BAD_STEP}, loss nan" in told
    assert "going on with other settings: skip_nonfinite=True, False before\n" in told
    assert json.loads((output / "config.json").read_text())["skip_nonfinite"] is True

    # As one that skips it from the beginning; and a later part of it need not.
    more["steps"] = 8
    for folder, settings in ((output, whole), (tmp_path / "one", (*whole, *skip))):
        assert train(reverse_files, folder, settings=settings, **more) == 0
        assert json.loads((folder / "metrics.json").read_text())["skipped_steps"] == 1
    assert_same_run(output, tmp_path / "one", 8)


def test_a_checkpoint_with_the_count_of_earlier_versions_is_read(tmp_path):
    """They saved the optimizer's count of skipped steps after its other variables."""
    restored = []
    for skip in (True, False):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(FusedAdam(0.1, skip_nonfinite=skip), loss="mse")
        model.optimizer.build(model.trainable_variables)
        average, weights = WeightAverage(model), list(model.variables)
        state = [*weights, *model.optimizer.variables, *average.variables]
        checkpoint = TrainingCheckpoint(tmp_path, average=average)
        if skip:
            model.fit(np.ones((4, 2)), np.full((4, 1), np.nan), verbose=0)
            Checkpoints(tmp_path).save(1, state, {"step": 1, "skipped": 1})
            assert state.pop(-1 - len(average.variables)) is model.optimizer.skipped
            assert int(model.optimizer.skipped) == 1
            model.optimizer.skipped.assign(0)
        assert checkpoint.restore(model) == 1 and checkpoint.progress.skipped == 1
        restored.append([np.asarray(variable) for variable in state])
        assert not skip or int(model.optimizer.skipped) == 1
    for one, other in zip(*restored, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_of_spoilt_weights_is_passed_over(tmp_path):
    """A gradient may be NaN where the loss is not: the step after it tells."""
    files, weight = Checkpoints(tmp_path), keras.Variable([1.0, 2.0])
    files.save(1, [weight], {"step": 1})
    weight.assign([1.0, np.nan])
    files.save(2, [weight], {"step": 2})
    assert files.restore([weight]) == {"step": 1}
    np.testing.assert_array_equal(weight.numpy(), [1.0, 2.0])


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_run_leaves_the_batch_out_and_counts_it(
    precision, spoilt, reverse_files, tmp_path, capsys
):
    output = tmp_path / "run"
    settings = ("skip_nonfinite=true", "average_decay=0", "evaluate_every=6")
    settings += (f"precision={precision}",)
    assert train(reverse_files, output, model="rnn", steps=6, settings=settings) == 0
    assert f"left out: step {BAD_STEP}, loss nan" in capsys.readouterr().out
    metrics = json.loads((output / "metrics.json").read_text())
    # With a scaled loss Keras does not count the step either, and it is spoilt again.
    skipped = 1 if precision == "float32" else 3
    assert metrics["skipped_steps"] == skipped and metrics["steps"] == 6
    assert all(np.isfinite(array).all() for array in final_state(output, 6).values())


def test_lines_are_those_of_the_file_and_rows_where_there_is_none(tmp_path):
    (tmp_path / "pairs.tsv").write_text("a\tb\nno tab\nc\td\ne\tf\n")
    corpus = read_pairs(str(tmp_path / "pairs.tsv"), max_bad_rows=1)
    for one in (corpus, corpus.reversed()):
        guard = NanGuard(rows=lambda step, one=one: one.origins([2, 1][:step]))
        note = guard.note(2, 0.1, np.inf)
        assert note.endswith("pairs.tsv lines 3, 4")
    made = PairCorpus(list("abcdefghijkl"), list("ABCDEFGHIJKL"), "made")
    note = NanGuard(rows=lambda step: made.origins(range(12))).note(1, 0.1, np.nan)
    assert note == (
        "step 1, loss nan, learning rate 1.00e-01, made lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 "
        "and 2 more"
    )


def test_steps_of_before_are_kept_but_for_those_that_are_made_again(tmp_path):
    def noted():
        return [entry["step"] for entry in json.loads((tmp_path / "nonfinite.json").read_text())]

    def note(*steps):
        """As a process does that goes on with a run."""
        guard = NanGuard(path=tmp_path / "nonfinite.json")
        for step in steps:
            guard.note(step, 0.1, float("nan"))

    note(2, 3)
    note(8, 9)
    assert noted() == [2, 3, 8, 9]
    note(8)  # a kill came before the checkpoint after it
    assert noted() == [2, 3, 8]
    (tmp_path / "nonfinite.json").write_text("{")
    note(10)
    assert noted() == [10]
