"""Profiles of steps: what is written and when, and what is refused."""

import pytest
import tensorflow as tf

from attention_zoo.recipes.cli.app import Refused
from attention_zoo.recipes.cli.train import parse_profile
from attention_zoo.recipes.tensorboard.profiling import StepProfiler


def run_steps(profiler, steps):
    """So many steps; after each whether there is a profile."""
    written = []
    for step in range(steps):
        profiler.on_train_batch_begin(step)
        tf.reduce_sum(tf.ones(3)).numpy()
        profiler.on_train_batch_end(step)
        written.append(bool(profiles(profiler.log_dir)))
    profiler.on_train_end()
    return written


def profiles(folder):
    return list(folder.glob("plugins/profile/*/*.xplane.pb"))


def test_the_steps_asked_for_are_profiled(tmp_path):
    told = []
    assert run_steps(StepProfiler(tmp_path, 2, 3, told.append), 4) == [False, False, True, True]
    (profile,) = profiles(tmp_path)
    # The marks of the steps, and no other.
    assert b"step_num" in profile.read_bytes()
    assert len(told) == 1 and told[0].startswith("profile of steps 2 to 3: tensorboard --logdir ")


def test_a_training_that_ends_before_leaves_what_there_is(tmp_path):
    told = []
    run_steps(StepProfiler(tmp_path, 2, 9, told.append), 3)
    assert len(profiles(tmp_path)) == 1
    assert "steps 2 to 3:" in told[0]


def test_a_training_that_never_comes_there_has_none(tmp_path):
    told = []
    run_steps(StepProfiler(tmp_path, 5, 9, told.append), 3)
    assert not profiles(tmp_path) and not told


def test_steps_are_parsed():
    assert parse_profile("10,20") == (10, 20)
    assert parse_profile("1,1") == (1, 1)


@pytest.mark.parametrize("text", ["", "10", "0,3", "5,4", "a,b", "1,2,3", "-1,2", "1.5,2"])
def test_other_steps_are_refused(text):
    with pytest.raises(Refused, match=rf"takes FIRST,LAST.* Received: {text}$"):
        parse_profile(text)
