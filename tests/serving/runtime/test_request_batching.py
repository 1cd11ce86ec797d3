"""Putting requests together: who runs with whom, and what each one gets."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from recording import Recorder, hold, x

from attention_zoo.serving.runtime.batching import BatchingParameters, BatchingSession
from attention_zoo.serving.runtime.errors import Code, ServingError


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def make(recorder):
    made = []

    def build(observer=None, **parameters):
        parameters.setdefault("num_batch_threads", 1)
        made.append(BatchingSession(recorder, BatchingParameters(**parameters), observer))
        return made[-1]

    yield build
    recorder.go.set()
    for session in made:
        session.close()


def test_a_request_alone_runs_at_once(make):
    session = make()
    assert session.run("f", x(2.0, 3.0))["y"].tolist() == [4.0, 9.0]


def test_requests_that_wait_run_together_and_get_their_own_rows(make, recorder):
    session = make()
    first = hold(session, recorder)
    others = [session.submit("f", x(*range(n, 2 * n))) for n in (1, 2, 3)]
    recorder.go.set()
    assert first.result(5)["y"].tolist() == [1.0]
    for n, future in zip((1, 2, 3), others, strict=True):
        assert future.result(5)["y"].tolist() == [float(v * v) for v in range(n, 2 * n)]
    assert [len(batch["x"]) for batch in recorder.batches] == [1, 6]


def test_only_like_requests_run_together(make, recorder):
    session = make()
    hold(session, recorder)
    waiting = [
        session.submit("f", x(1.0)),
        session.submit("g", x(1.0)),
        session.submit("f", {"x": np.float32([[1.0, 2.0]])}),
        session.submit("f", x(1.0), outputs=["y"]),
        session.submit("f", {"x": np.int32([1])}),
        session.submit("f", {"x": np.int64([1])}),  # a type of its own, refused or not
        session.submit("f", x(2.0)),
    ]
    recorder.go.set()
    for future in waiting:
        future.result(5)
    assert sorted(len(batch["x"]) for batch in recorder.batches) == [1, 1, 1, 1, 1, 1, 2]


def test_a_full_batch_is_closed_and_another_opened(make, recorder):
    session = make(max_batch_size=4)
    hold(session, recorder)
    waiting = [session.submit("f", x(1.0, 2.0, 3.0)) for _ in range(3)]
    recorder.go.set()
    for future in waiting:
        assert future.result(5)["y"].tolist() == [1.0, 4.0, 9.0]
    assert [len(batch["x"]) for batch in recorder.batches] == [1, 3, 3, 3]


def test_a_request_without_rows_spoils_no_batch(make, recorder):
    session = make(max_batch_size=8)
    hold(session, recorder)
    nothing, some = session.submit("f", x()), session.submit("f", x(5.0, 6.0, 7.0))
    recorder.go.set()
    assert nothing.result(5)["y"].tolist() == []
    assert some.result(5)["y"].tolist() == [25.0, 36.0, 49.0]
    assert recorder.batches[-1]["x"].tolist() == [5.0, 6.0, 7.0]
    assert session.run("f", x())["y"].tolist() == []


def test_a_batch_waits_for_more_if_told(make, recorder):
    session = make(batch_timeout_micros=200_000)
    start = time.monotonic()
    futures = [session.submit("f", x(float(n))) for n in range(3)]
    for future in futures:
        future.result(5)
    assert time.monotonic() - start >= 0.15
    assert [len(batch["x"]) for batch in recorder.batches] == [3]


def test_a_full_batch_does_not_wait(make, recorder):
    session = make(batch_timeout_micros=60_000_000, max_batch_size=2)
    futures = [session.submit("f", x(1.0)) for _ in range(2)]
    assert [future.result(5)["y"].tolist() for future in futures] == [[1.0], [1.0]]


def test_a_request_too_large_for_any_batch_is_refused(make):
    session = make(max_batch_size=2)
    with pytest.raises(ServingError, match="Task size 3 is larger than maximum input batch size 2"):
        session.submit("f", x(1.0, 2.0, 3.0))


def test_a_full_queue_refuses_further_requests(make, recorder):
    session = make(max_batch_size=1, max_enqueued_batches=2)
    hold(session, recorder)
    waiting = [session.submit("f", x(1.0)) for _ in range(2)]
    with pytest.raises(ServingError, match="queue to which this task was submitted is full; task"):
        session.submit("f", x(1.0))
    recorder.go.set()
    assert [future.result(5)["y"].tolist() for future in waiting] == [[1.0], [1.0]]
    assert session.run("f", x(3.0))["y"].tolist() == [9.0]


def test_a_request_larger_than_a_batch_runs_alone_if_told(make, recorder):
    session = make(enable_large_batch_splitting=True, max_batch_size=8, max_execution_batch_size=3)
    hold(session, recorder)
    large, small = session.submit("f", x(2.0, 3.0, 4.0, 5.0)), session.submit("f", x(6.0))
    recorder.go.set()
    assert large.result(5)["y"].tolist() == [4.0, 9.0, 16.0, 25.0]
    assert small.result(5)["y"].tolist() == [36.0]
    assert [len(batch["x"]) for batch in recorder.batches] == [1, 4, 1]
    with pytest.raises(ServingError, match="Task size 9 is larger than maximum input batch size 8"):
        session.submit("f", x(*range(9)))


def test_nobody_gets_an_error_for_what_a_neighbour_sent(make, recorder):
    session = make()
    hold(session, recorder)
    good, bad, also_good = (session.submit("f", x(value)) for value in (2.0, 13.0, 3.0))
    recorder.go.set()
    assert good.result(5)["y"].tolist() == [4.0]
    assert also_good.result(5)["y"].tolist() == [9.0]
    with pytest.raises(ServingError, match="13 is refused"):
        bad.result(5)


def test_a_deadline_that_passes_in_the_queue(make, recorder):
    session = make()
    hold(session, recorder)
    late = session.submit("f", x(2.0), deadline=time.monotonic() + 0.01)
    good = session.submit("f", x(3.0), deadline=time.monotonic() + 60)
    time.sleep(0.05)
    recorder.go.set()
    with pytest.raises(ServingError, match="timeout exceeded while waiting in batching queue") as e:
        late.result(5)
    assert e.value.code == Code.DEADLINE_EXCEEDED
    assert good.result(5)["y"].tolist() == [9.0]
    assert recorder.batches[1]["x"].tolist() == [3.0]
    assert 50 < recorder.timeouts[1] < 61


def test_what_is_too_late_for_all_is_not_run_once_more_for_each(make, recorder):
    def take_too_long(*arguments, timeout):
        recorder.timeouts.append(timeout)
        time.sleep(timeout + 0.01)
        raise ServingError(Code.DEADLINE_EXCEEDED, "it took too long")

    session = make()
    hold(session, recorder)
    recorder.run = lambda *arguments: take_too_long(*arguments[:-1], timeout=arguments[-1])
    late = [session.submit("f", x(n), deadline=time.monotonic() + 0.2) for n in (1, 2, 3)]
    recorder.go.set()
    for future in late:
        with pytest.raises(ServingError, match="timeout exceeded"):
            future.result(5)
    assert len(recorder.timeouts) == 2  # of the one that held it up, and of all three


def test_a_request_that_was_given_up_is_not_run(make, recorder):
    session = make()
    hold(session, recorder)
    gone = session.submit("f", x(2.0))
    kept = session.submit("f", x(3.0))
    assert gone.cancel()
    recorder.go.set()
    assert kept.result(5)["y"].tolist() == [9.0]
    assert recorder.batches[1]["x"].tolist() == [3.0]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "must have at least one input tensor"),
        ({"x": np.float32(1.0)}, "must have at least one dimension"),
        ({"x": np.float32([1]), "z": np.float32([1, 2])}, "equal 0th-dimension size"),
    ],
)
def test_what_cannot_be_put_together(inputs, message, make):
    with pytest.raises(ServingError, match=message) as error:
        make().submit("f", inputs)
    assert error.value.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("scalar", "Batched output tensor has 0 dimensions"),
        ("short", "0th dimension does not equal the sum of the 0th dimension sizes"),
    ],
)
def test_outputs_that_cannot_be_taken_apart(signature, message, make):
    with pytest.raises(ServingError, match=message) as error:
        make().run(signature, x(1.0, 2.0))
    assert error.value.code == Code.FAILED_PRECONDITION


def test_closing_finishes_what_waits(make, recorder):
    session = make()
    hold(session, recorder)
    waiting = session.submit("f", x(3.0))
    closing = threading.Thread(target=session.close)
    closing.start()
    recorder.go.set()
    closing.join(5)
    assert waiting.result(5)["y"].tolist() == [9.0]
    assert recorder.closed
    with pytest.raises(ServingError, match="is closed"):
        session.submit("f", x(1.0))


def test_many_threads_each_get_their_own_rows(make):
    session = make(num_batch_threads=2, max_batch_size=16, max_enqueued_batches=1000)
    faults = []

    def ask(seed):
        random = np.random.default_rng(seed)
        for _ in range(100):
            values = random.integers(14, 100, random.integers(1, 5)).astype(np.float32)
            got = session.run("f", {"x": values}, timeout=30)["y"]
            if not np.array_equal(got, values * values):
                faults.append((values, got))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_threads_that_are_free_share_a_large_batch(make, recorder):
    session = make(num_batch_threads=2, batch_timeout_micros=100_000)
    time.sleep(0.05)  # both threads wait
    futures = [session.submit("f", x(float(value))) for value in range(20, 60)]
    for value, future in zip(range(20, 60), futures, strict=True):
        assert future.result(10)["y"].tolist() == [float(value * value)]
    assert [len(batch["x"]) for batch in recorder.batches] == [20, 20]


def test_a_small_batch_after_a_large_one_waits_for_the_others(make, recorder):
    session = make(batch_timeout_micros=0)
    session._usual_rows, session._usual_seconds = 30.0, 4.0  # as after a large and slow batch
    first = session.submit("f", x(1.0))
    time.sleep(0.1)
    assert not recorder.batches
    others = [session.submit("f", x(2.0)) for _ in range(24)]
    assert first.result(10)["y"].tolist() == [1.0]
    assert all(future.result(10)["y"].tolist() == [4.0] for future in others)
    assert len(recorder.batches[0]["x"]) > 20


def test_a_client_that_is_alone_soon_waits_no_more(make, recorder):
    session = make()
    session._usual_rows, session._usual_seconds = 64.0, 0.2
    for _ in range(20):
        session.run("f", x(1.0))
    session._usual_seconds = 100.0  # of which it would wait for 15
    start = time.monotonic()
    session.run("f", x(1.0))
    assert time.monotonic() - start < 10
    assert session._usual_rows < 1.5
