"""Batches side by side: in what order, how many at a time, and what an exception ends."""

import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import tiny_model

from attention_zoo.zoo.cpus import available_cpus
from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.pipeline import parallel, text_functions
from attention_zoo.zoo.pipeline.parallel import (
    MOST_BATCHES,
    batches_by_length,
    parallel_batches,
    run_parallel,
)
from attention_zoo.zoo.pipeline.text_to_text import TextToText
from attention_zoo.zoo.text.tokenizer import Tokenizer


def test_batches_have_rows_of_like_lengths_the_longest_begin_first_but_for_the_first():
    lengths = np.random.default_rng(0).permutation(23).tolist()
    batches = batches_by_length(lengths, 5)
    read = [[lengths[row] for row in rows] for rows in batches]
    assert read == [[0, 1, 2, 3, 4], [20, 21, 22], *([*range(n, n + 5)] for n in (15, 10, 5))]
    assert batches_by_length([], 5) == []
    assert batches_by_length([7], 5) == [[0]]


def test_so_many_run_at_a_time_and_the_first_alone():
    together = threading.Barrier(3, timeout=20)  # breaks if there are ever fewer than three
    running, seen = [], []

    def work(item):
        running.append(item)
        seen.append(len(running))
        if item:
            together.wait()
        running.remove(item)

    run_parallel(work, range(7), at_a_time=3)
    assert seen[0] == 1 and max(seen) <= 3 and len(seen) == 7
    done = []
    run_parallel(done.append, range(5), at_a_time=1)
    assert done == [0, 1, 2, 3, 4]
    run_parallel(done.append, [], at_a_time=2)


@pytest.mark.parametrize("failing", [0, 2])
def test_an_exception_is_raised_and_ends_the_rest(failing):
    begun = []

    def work(item):
        begun.append(item)
        if item == failing:
            raise ValueError(f"item {item}")
        if item > failing:
            failed.wait(timeout=20)

    failed = threading.Event()
    timer = threading.Timer(0.2, failed.set)
    timer.start()
    with pytest.raises(ValueError, match=f"item {failing}"):
        run_parallel(work, range(50), at_a_time=2)
    timer.cancel()
    assert len(begun) < 10


def test_an_exception_ends_the_rest_while_an_earlier_item_still_runs():
    begun, failed = [], threading.Event()

    def work(item):
        begun.append(item)
        if item == 1:
            failed.wait(timeout=20)
            time.sleep(0.3)
        if item == 2:
            failed.set()
            raise ValueError("item 2")
        time.sleep(0.01)  # items without any work would all be done before anyone looks

    with pytest.raises(ValueError, match="item 2"):
        run_parallel(work, range(500), at_a_time=2)
    assert len(begun) < 250


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_without_rows_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"Received: batch_size={batch_size}"):
        batches_by_length([3, 1], batch_size)


def test_as_many_batches_as_processors_but_one_in_a_scope(monkeypatch):
    accelerators = []
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: accelerators)
    assert parallel_batches() == min(available_cpus(), MOST_BATCHES)
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        assert parallel_batches() == 1
    accelerators.append("a device")
    assert parallel_batches() == 1


WORDS = ["a", "red", "house", "dog", "两只"]


@pytest.mark.parametrize("sampled", [False, True])
def test_a_text_gets_the_same_whatever_runs_beside_it(sampled, monkeypatch):
    tokenizer = Tokenizer.train([" ".join(WORDS)] * 5, vocab_size=30)
    model = tiny_model("transformer", tokenizer.vocab_size, seed=1)
    options = GenerationOptions(
        2, max_length=9, min_length=3, do_sample=sampled, seed=4 if sampled else None
    )
    random = np.random.default_rng(1)
    texts = [" ".join(random.choice(WORDS, count)) for count in random.integers(1, 9, 40)]

    def outputs(at_a_time):
        monkeypatch.setattr(text_functions, "parallel_batches", lambda: at_a_time)
        pipeline = TextToText(model, tokenizer, options)
        return pipeline.predict(texts, batch_size=4), pipeline.score(texts, texts, batch_size=4)

    (alone, scored), (beside, scored_beside) = outputs(1), outputs(4)
    assert len({round(row.score, 3) for row in alone}) > 5
    assert [row.text for row in alone] == [row.text for row in beside]
    scores = [row.score for row in alone]
    np.testing.assert_allclose([row.score for row in beside], scores, rtol=1e-5)
    np.testing.assert_allclose(scored_beside, scored, rtol=1e-5)


def test_operations_get_the_threads_of_one_batch_where_nothing_was_computed(monkeypatch):
    asked = []
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", asked.append)
    for cores, threads in ((2, 1), (8, 1), (32, 4)):
        monkeypatch.setattr(parallel, "available_cpus", lambda cores=cores: cores)
        parallel.limit_operation_threads()
        assert asked.pop() == threads

    def refuse(count):
        raise RuntimeError("cannot be modified after initialization")

    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", refuse)
    parallel.limit_operation_threads()
