"""A run that is killed at twenty random moments ends like one that was left in peace.

Some of the moments are in the middle of the writing of a checkpoint or of the best model.
"""

import random
import signal
import subprocess
import sys
import time

import pytest
from reverse_task import arguments, assert_same_run, train

import attention_zoo

STARTS, SIGTERM_EVERY = 24, 6  # twenty are killed
OWN_MODEL = """
from keras import ops

from attention_zoo.layers import Attention
from attention_zoo.zoo.models.recurrent import recurrent


class DistanceAttention(Attention):
    def build(self, query_shape, value_shape=None, *more):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def score(self, query, keys):
        distances = ops.sum(ops.square(query[:, :, None] - keys[:, None]), axis=-1)
        return -self.scale * distances


def nearest(vocab_size, **options):
    return recurrent(vocab_size, attention=DistanceAttention(), **options)
"""
STEPS = 3000
SETTINGS = ("evaluate_every=500", "patience=100", "checkpoint_minutes=0.01", "batch_tokens=400")
SECONDS = 300.0  # most that a start may take, on a machine that does much else

pytestmark = pytest.mark.slow


def start(data, output):
    return subprocess.Popen(
        [sys.executable, "-m", "attention_zoo"]
        + arguments(data, output, steps=STEPS, settings=SETTINGS),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def newest(output):
    """The step of the newest checkpoint, whole or not; 0 without one."""
    return max((int(path.stem[5:]) for path in output.glob("checkpoints/step-*.npz")), default=0)


def unfinished(output):
    """The files of a run that are not whole yet."""
    return [*output.glob(".*.partial.*"), *output.glob("checkpoints/.*.partial.*")]


def wait_until(condition, process):
    until = time.monotonic() + SECONDS
    while not condition() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.0005)


def kill_at_random(process, output, chance, sent):
    """Kills while the program starts, in its first steps, in those after them or in a write.

    Returns:
        The exit status and what was printed.
    """
    if chance.random() < 0.25:
        time.sleep(chance.uniform(0, 8))
    else:
        before = newest(output)
        wait_until(lambda: newest(output) > before, process)
        time.sleep(chance.uniform(0, 2.0))
        if chance.random() < 0.5:
            before = unfinished(output)
            wait_until(lambda: set(unfinished(output)) - set(before), process)
    process.send_signal(sent)
    printed, _ = process.communicate(timeout=SECONDS)
    return process.returncode, printed


def test_killed_at_random_it_ends_as_if_never(reverse_files, tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(reverse_files, whole, steps=STEPS, settings=SETTINGS) == 0
    chance = random.Random(time.time_ns())
    reached = []
    for number in range(1, STARTS + 1):
        sent = signal.SIGTERM if number % SIGTERM_EVERY == 0 else signal.SIGKILL
        status, printed = kill_at_random(start(reverse_files, parts), parts, chance, sent)
        # SIGTERM ends the program at once while Python still starts, and well from then on.
        assert status in ({-sent} if sent == signal.SIGKILL else {-sent, 75}), printed
        assert "best at step" not in printed, f"It was at its end after {number} kills: {printed}"
        reached.append(newest(parts))
        left = [path.name for path in unfinished(parts)]
        with capsys.disabled():
            print(f"{sent.name} {number}: status {status}, checkpoint {reached[-1]}, left: {left}")
        # What there is to ask is whole.
        if (parts / "model.keras").exists():
            attention_zoo.load(parts)
    assert sorted(reached) == reached and reached[-1] > 0
    last = start(reverse_files, parts)
    printed, _ = last.communicate(timeout=600)
    assert last.returncode == 0, printed
    assert_same_run(parts, whole, STEPS)
    assert unfinished(parts) == []


def test_killed_with_an_attention_of_ones_own_it_ends_as_if_never(reverse_files, tmp_path):
    (tmp_path / "mine.py").write_text(OWN_MODEL)
    model, whole, parts = f"{tmp_path / 'mine.py'}:nearest", tmp_path / "whole", tmp_path / "parts"
    # The encoder has both directions, so that its states are as wide as the decoder's.
    settings = (*SETTINGS, "model.encoder_units=8")
    steps = {"steps": 200, "settings": settings, "model": model}
    assert train(reverse_files, whole, **steps) == 0
    command = [sys.executable, "-m", "attention_zoo", *arguments(reverse_files, parts, **steps)]
    for _ in range(2):
        before, process = newest(parts), subprocess.Popen(command)
        while newest(parts) <= before and process.poll() is None:
            time.sleep(0.002)
        assert process.poll() is None
        process.kill()
        process.wait()
    assert 0 < newest(parts) < 200
    assert subprocess.run(command).returncode == 0
    assert_same_run(parts, whole, 200)
