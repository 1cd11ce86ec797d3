"""The callback that writes checkpoints, in the `fit` of a model that is not the zoo's."""

import shutil
import time

import numpy as np
import pytest
from plain_fit import at_step, dataset, make_model

from attention_zoo.recipes.core.checkpoint import CheckpointError
from attention_zoo.recipes.training import Budget, RunLogger, StopAtBudget, TrainingCheckpoint
from attention_zoo.zoo.errors import ConfigError


@pytest.fixture
def model():
    return make_model()


def test_a_training_goes_on_to_the_same_weights(tmp_path):
    for folder, parts in (("whole", (8,)), ("parts", (3, 5, 8))):
        for steps in parts:
            model, checkpoint = make_model(), TrainingCheckpoint(tmp_path / folder)
            rest = dataset().skip(checkpoint.restore(model))
            stop = StopAtBudget(Budget(max_steps=steps))
            model.fit(rest, verbose=0, callbacks=[stop, checkpoint])
    whole, parts = (np.load(tmp_path / name / "step-000000008.npz") for name in ("whole", "parts"))
    assert len(whole.files) > 3 * len(model.trainable_variables)  # the optimizer's too
    for name in set(whole.files) - {"progress.json"}:
        np.testing.assert_array_equal(whole[name], parts[name])


def test_checkpoints_are_written_every_few_minutes_and_where_fit_ends(model, tmp_path):
    model.fit(dataset(), verbose=0, callbacks=[TrainingCheckpoint(tmp_path / "end")])
    model.fit(dataset(), verbose=0, callbacks=[TrainingCheckpoint(tmp_path / "all", minutes=0)])
    assert [path.stem for path in (tmp_path / "end").iterdir()] == ["step-000000008"]
    assert len(list((tmp_path / "all").iterdir())) == 2  # the older ones are removed


def test_steps_go_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """Its values are those of its step all the same, and the end waits for it."""
    write, steps_meanwhile = np.savez, []

    def write_late(path, **arrays):
        until = time.monotonic() + 20
        while checkpoint.progress.step < 6 and time.monotonic() < until:
            time.sleep(0.01)
        steps_meanwhile.append(checkpoint.progress.step)
        write(path, **arrays)

    for folder in ("whole", "late"):
        model, checkpoint = make_model(), TrainingCheckpoint(tmp_path / folder)
        first = at_step(3, lambda c=checkpoint: c.save(last=False))
        model.fit(dataset(), verbose=0, callbacks=[first, checkpoint])
        monkeypatch.setattr(np, "savez", write_late)
    assert steps_meanwhile[0] >= 6
    for step in (2, 8):
        name = f"step-{step:09d}.npz"
        whole, late = (np.load(tmp_path / folder / name) for folder in ("whole", "late"))
        for array in set(whole.files) - {"progress.json"}:
            np.testing.assert_array_equal(whole[array], late[array])


def test_a_checkpoint_that_cannot_be_written_is_told_and_tried_again(model, tmp_path, capsys):
    checkpoint = TrainingCheckpoint(tmp_path / "file")
    (tmp_path / "file").touch()
    first = at_step(2, lambda: checkpoint.save(last=False))
    again = at_step(4, (tmp_path / "file").unlink)
    model.fit(dataset(), verbose=0, callbacks=[first, again, checkpoint])
    assert "step       1  no checkpoint could be written: File exists" in capsys.readouterr().out
    assert [path.stem for path in (tmp_path / "file").iterdir()] == ["step-000000008"]


def test_a_folder_that_is_removed_ends_the_training_at_once(model, tmp_path):
    checkpoint = TrainingCheckpoint(tmp_path / "run" / "checkpoints")
    written = [at_step(step, checkpoint.save) for step in (2, 5)]
    remove = at_step(4, lambda: shutil.rmtree(tmp_path / "run"))
    with pytest.raises(CheckpointError, match="has gone while a training"):
        model.fit(dataset(), verbose=0, callbacks=[*written, remove, checkpoint])
    assert checkpoint.progress.step == 4 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("make", [TrainingCheckpoint, RunLogger])
def test_no_callback_takes_a_store_for_a_folder(make, tmp_path):
    with pytest.raises(ConfigError, match=r"written to, not gs://bucket/run\. Mount"):
        make("gs://bucket/run")
    assert list(tmp_path.iterdir()) == []
