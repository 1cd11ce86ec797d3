"""A run from a text file to a model; stopped or killed and gone on with, it ends the same."""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from fake_evaluator import FakeEvaluator
from reverse_task import STEPS, arguments, assert_same_run, final_state, train

import attention_zoo
from attention_zoo.recipes.core.config import Budget
from attention_zoo.recipes.core.interruption import Interrupted
from attention_zoo.recipes.core.make_config import make_config
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.training.callbacks import FollowBudget
from attention_zoo.recipes.training.launch import run_task
from attention_zoo.zoo.files import partial_file
from attention_zoo.zoo.text.tokenizer import Tokenizer
from attention_zoo.zoo.training.averaging import Average


def test_a_run_leaves_all_its_files(trained):
    output, printed = trained
    for name in ("config.json", "tokenizer.model", "model.keras", "metrics.json"):
        assert (output / name).stat().st_size > 0
    assert [path.name for path in sorted((output / "checkpoints").iterdir())] == [
        "step-000000019.npz",
        "step-000000020.npz",
    ]
    for part in ("train", "valid"):
        assert list((output / "tensorboard" / part).glob("events.out.tfevents.*"))
    assert not [path for path in output.rglob("*") if "partial" in path.name]
    assert "train.tsv: 40 pairs" in printed and "valid.tsv: 8 pairs" in printed
    assert re.search(r"rnn-bahdanau: [\d,]+ parameters, \d+ tokens, 40 training pairs", printed)
    assert len(re.findall(r"step +\d+  validation: chrf", printed)) == 2
    assert "still rising" not in printed


def test_metrics_tell_the_course_of_the_run(trained):
    output, printed = trained
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics["steps"], metrics["ended"]) == (STEPS, "budget")
    assert [entry["step"] for entry in metrics["history"]] == [10, 20]
    assert metrics["best_step"] in (10, 20)
    assert metrics["beam_size"] == 2
    assert metrics["valid"]["bleu"] is None and metrics["metric"] == "chrf"  # each is one word
    for name in ("chrf", "exact_match", "cross_entropy", "perplexity"):
        assert np.isfinite(metrics["valid"][name])
    assert "tok:" in metrics["signatures"]["bleu"] and metrics["signatures"]["bleu"] in printed
    assert metrics["parameters"] == attention_zoo.load(output).model.count_params()


def test_the_loaded_run_predicts_what_its_metrics_were_taken_from(trained, reverse_files):
    from attention_zoo.recipes.metrics.scores import translation_scores

    output, _ = trained
    model = attention_zoo.load(output)
    assert model.name == "trained"
    assert model.generation.beam_size == 2
    rows = [line.split("\t") for line in (reverse_files / "valid.tsv").read_text().splitlines()]
    predictions = [prediction.text for prediction in model.predict([row[0] for row in rows])]
    scores = translation_scores(predictions, [row[1] for row in rows])
    assert scores.values == {
        name: json.loads((output / "metrics.json").read_text())["valid"][name]
        for name in scores.values
    }


def test_training_learns(trained):
    output, _ = trained
    # Of 13 tokens, from which an untrained model chooses at random.
    history = json.loads((output / "metrics.json").read_text())["history"]
    assert history[1]["perplexity"] < history[0]["perplexity"] < 13 / 2


# Stopping and going on

KILLED_IN_THE_MIDDLE_OF_A_CHECKPOINT = """
import os, signal, sys
import numpy
from attention_zoo.recipes.cli.main import app, run_command

save, saves = numpy.savez, 0

def save_or_die(path, **arrays):
    global saves
    saves += 1
    if saves == 7:
        path.write_bytes(b"PK half a checkpoint")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    save(path, **arrays)

numpy.savez = save_or_die
run_command(app, sys.argv[1:])
"""


def test_a_killed_run_ends_like_one_never_killed(
    trained, reverse_files, tmp_path, capsys, fake_evaluator
):
    output = tmp_path / "trained"
    command = [sys.executable, "-c", KILLED_IN_THE_MIDDLE_OF_A_CHECKPOINT]
    killed = subprocess.run(
        [*command, *arguments(reverse_files, output)], capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    epoch = int(re.search(r"(\d+) batches an epoch", killed.stdout)[1])
    assert 6 % epoch and 7 % epoch  # neither here nor there does an epoch end
    names = sorted(path.name for path in (output / "checkpoints").iterdir())
    assert names[1:] == ["step-000000005.npz", "step-000000006.npz"]  # the first is the half one

    best_step = json.loads((trained[0] / "metrics.json").read_text())["best_step"]
    fake_evaluator.values = (50.0, 40.0) if best_step == 10 else (40.0, 50.0)
    assert train(reverse_files, output) == 0
    assert "going on at step 6" in capsys.readouterr().out
    assert_same_run(output, trained[0])
    assert not [path for path in output.rglob("*") if "partial" in path.name]


def send_at_step(monkeypatch, number, step):
    """Sends this process a signal in the middle of a step of training."""
    begin = FollowBudget.on_train_batch_begin

    def on_train_batch_begin(self, batch, logs=None):
        begin(self, batch, logs)
        if self.progress.step == step - 1:
            signal.raise_signal(number)

    monkeypatch.setattr(FollowBudget, "on_train_batch_begin", on_train_batch_begin)


def fill_disk_at_save(monkeypatch, number):
    """Has the disk full while checkpoint number so and so is written, and only then."""
    save, saves = np.savez, itertools.count(1)

    def save_or_fail(path, **arrays):
        if next(saves) == number:
            os.symlink("/dev/full", path)
        save(path, **arrays)

    monkeypatch.setattr(np, "savez", save_or_fail)


def fill_disk_at_model(monkeypatch, number):
    """The same of the best model."""
    save, saves = Run.save_model, itertools.count(1)

    def save_or_fail(run, model):
        if next(saves) == number:
            os.symlink("/dev/full", partial_file(run.model_path))
        save(run, model)

    monkeypatch.setattr(Run, "save_model", save_or_fail)


def test_a_run_in_parts_ends_like_one_in_one_part(
    trained, reverse_files, tmp_path, capsys, monkeypatch, fake_evaluator
):
    output = tmp_path / "trained"
    fake_evaluator.values = (1.0, 2.0, 3.0, 4.0)  # so that the last is the best
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    # Told to stop at step 3
    with monkeypatch.context() as context:
        send_at_step(context, signal.SIGTERM, 3)
        assert train(reverse_files, output) == 75
    told = capsys.readouterr()
    assert "stopped and saved at step 3; give the same command to go on" in told.out
    # There was no evaluation yet, but there is a model to ask.
    assert f"attention-zoo predict {output} TEXT" in told.out
    assert len(attention_zoo.load(output).predict(["abc"])) == 1
    assert told.err == ""
    assert sorted(final_state(output, 3)) == sorted(final_state(trained[0]))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

    # Seven steps in all; the disk is full after one of them
    with monkeypatch.context() as context:
        fill_disk_at_save(context, 2)
        fill_disk_at_model(context, 1)
        assert train(reverse_files, output, steps=7) == 2
    told, error = capsys.readouterr()
    assert "going on at step 3" in told
    assert "step       5  no checkpoint could be written: No space left on device" in told
    assert "step       7  the best model could not be written: No space left on device" in told
    assert error.startswith(f"error: {output} has no model.keras yet") and error.count("\n") == 1

    # With room there is a model of the same steps
    assert train(reverse_files, output, steps=7) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics["steps"], metrics["best_step"]) == (7, 7)

    # Told to stop in the middle of the evaluation of step 10
    fake_evaluator.killed_at = 2
    capsys.readouterr()
    assert train(reverse_files, output) == 75
    assert "stopped and saved at step 10" in capsys.readouterr().out
    assert fake_evaluator.killed_at is None

    # It is made up for, then Ctrl-C at the very last step
    with monkeypatch.context() as context:
        send_at_step(context, signal.SIGINT, STEPS)
        assert train(reverse_files, output) == 130
    told = capsys.readouterr().out
    assert told.index("step      10  validation") < told.index("stopped and saved at step 20")

    # Told to stop while the best model is scored
    with monkeypatch.context() as context:
        context.setattr(FakeEvaluator, "full", lambda self: signal.raise_signal(signal.SIGTERM))
        assert train(reverse_files, output) == 75
    assert "stopped and saved at step 20" in capsys.readouterr().out
    assert json.loads((output / "metrics.json").read_text())["steps"] == 7

    # There is nothing left to train, but the end to be written
    assert train(reverse_files, output) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics["steps"], metrics["best_step"]) == (20, 20)
    assert [entry["step"] for entry in metrics["history"]] == [7, 7, 10, 20]
    one, other = final_state(output), final_state(trained[0])
    for name in other:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("line", [1, 2, 4])
def test_sigterm_before_the_first_step_ends_with_75_too(reverse_files, tmp_path, line):
    before, told = signal.getsignal(signal.SIGTERM), []

    def report(text):
        told.append(text)
        if len(told) == line:
            signal.raise_signal(signal.SIGTERM)

    config = make_config("translation", "rnn", *map(str, reverse_files.glob("*.tsv")))
    with pytest.raises(Interrupted, match="nothing new to save; give the same command") as stopped:
        run_task(config, tmp_path / "run", Budget(max_steps=1), report)
    assert stopped.value.exit_status == 75 and len(told) == line
    assert signal.getsignal(signal.SIGTERM) is before
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("eager")
def test_training_stops_when_it_gets_no_better_and_keeps_the_best(
    reverse_files, tmp_path, fake_evaluator, capsys, monkeypatch
):
    output = tmp_path / "run"
    fake_evaluator.values = (40.0, 30.0, 30.0, 20.0, 99.0)
    fill_disk_at_model(monkeypatch, 1)  # so 30 is the best there is
    settings = ("evaluate_every=2", "patience=2", "average_decay=0")
    assert train(reverse_files, output, model="rnn", steps=100, settings=settings) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics["steps"], metrics["ended"]) == (8, "patience")
    assert metrics["best_step"] == 4
    assert [entry["chrf"] for entry in metrics["history"]] == [40.0, 30.0, 30.0, 20.0]
    # The best model is that of step 4, the checkpoint that of step 8.
    state = final_state(output, 8)
    best = attention_zoo.load(output).model
    kernel = best.decoder.cell.recurrent_kernel.numpy()
    assert not any(np.array_equal(kernel, array) for array in state.values())

    # Given the same command again it has nothing to do.
    assert train(reverse_files, output, model="rnn", steps=100, settings=settings) == 0
    assert json.loads((output / "metrics.json").read_text())["steps"] == 8


@pytest.mark.usefixtures("eager")
def test_where_bleu_has_no_value_chrf_decides(reverse_files, tmp_path, fake_evaluator, capsys):
    output = tmp_path / "run"
    fake_evaluator.values = (40.0, 50.0, 60.0)
    settings = ("metric=bleu", "evaluate_every=2", "patience=2")
    assert train(reverse_files, output, model="rnn", steps=6, settings=settings) == 0
    told = "validation: bleu has no value on these references, which would score 0 themselves; chrf"
    assert told in capsys.readouterr().out
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics["metric"], metrics["best_step"], metrics["ended"]) == ("chrf", 6, "budget")


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("last_is_better", [True, False])
def test_the_weights_of_the_last_step_are_kept_if_they_are_better_in_full(
    reverse_files, tmp_path, fake_evaluator, capsys, monkeypatch, last_is_better
):
    output, settings = tmp_path / "run", ("evaluate_every=1",)
    fake_evaluator.values = (40.0, 30.0)  # by greedy search the first are the best
    scored, averaged = [], []
    applied = Average.applied

    @contextlib.contextmanager
    def recorded(average):
        with applied(average):
            averaged.append(average)
            yield
            averaged.pop()

    monkeypatch.setattr(Average, "applied", recorded)

    def in_full(weights):
        scored.append(weights)
        assert len(averaged) == len(scored) - 1  # the kept model is one; the last step has one
        return 50.0 if (len(scored) == 2) == last_is_better else 45.0

    monkeypatch.setattr(fake_evaluator, "in_full", staticmethod(in_full))
    assert train(reverse_files, output, steps=2, settings=settings) == 0
    printed = capsys.readouterr().out
    line = "step       2  better in full: chrf 50.00, not 45.00"
    assert (line in printed) == last_is_better
    best_step = 2 if last_is_better else 1
    assert f"best at step {best_step} of 2" in printed
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics["best_step"], metrics["valid"]["chrf"]) == (best_step, 50.0)
    kept = attention_zoo.load(output).model.get_weights()
    for one, other in zip(kept, scored[int(last_is_better)], strict=True):
        np.testing.assert_array_equal(one, other)
    # The same command once more changes nothing.
    scored.clear()
    monkeypatch.setattr(fake_evaluator, "in_full", staticmethod(lambda weights: 50.0))
    assert train(reverse_files, output, steps=2, settings=settings) == 0
    assert f"best at step {best_step} of 2" in capsys.readouterr().out


def test_what_is_evaluated_and_kept_is_the_average(trained):
    output, _ = trained
    state = final_state(output)
    kernel = attention_zoo.load(output).model.decoder.cell.recurrent_kernel.numpy()
    metrics = json.loads((output / "metrics.json").read_text())
    alike = [name for name, array in state.items() if np.array_equal(kernel, array)]
    if metrics["best_step"] == STEPS:
        # Not among the model's own weights, which come first, but among their averages.
        assert len(alike) == 1 and int(alike[0]) > len(state) / 2


def test_the_tokenizer_is_that_of_both_sides(trained, reverse_files):
    tokenizer = Tokenizer.load(trained[0] / "tokenizer.model")
    text = (reverse_files / "train.tsv").read_text()
    for line in text.splitlines():
        for side, ids in zip(line.split("\t"), tokenizer.encode(line.split("\t")), strict=True):
            assert tokenizer.decode([ids]) == [side]
