"""Workers that have met over loopback: common decisions, and what ends them."""

import contextlib
import errno
import signal
import threading
import time

import pytest
from loopback import together
from tensorflow.python.framework import errors_impl

from attention_zoo.recipes.core.interruption import Interrupted, StopNow, StopRequest
from attention_zoo.recipes.distribute import workers
from attention_zoo.recipes.distribute.workers import WorkerError, WorkerLost
from attention_zoo.zoo.errors import ConfigError


def test_the_chief_decides_from_the_values_of_all(three):
    blob = bytes(range(256)) * 9000
    values = together(
        *(lambda w=w: w.coordinate(w.cluster.index, lambda values: [values, "go"]) for w in three)
    )
    assert values == [[[0, 1, 2], "go"]] * 3
    assert together(*(lambda w=w: w.coordinate(None, lambda _: blob) for w in three)) == [blob] * 3


def test_workers_that_read_other_data_are_refused(three):
    errors = together(
        *(lambda w=w: w.check_same("training data", [7, w.cluster.index // 2]) for w in three)
    )
    for error in errors:
        assert isinstance(error, WorkerError)
        assert "worker 2" in str(error) and "other training data" in str(error)
    assert together(*(lambda w=w: w.check_same("data", {"rows": 3}) for w in three)) == [None] * 3


@pytest.fixture
def ended(monkeypatch):
    """The status that the process would have been ended with."""
    statuses = []
    monkeypatch.setattr(workers.os, "_exit", statuses.append)
    return statuses


@pytest.mark.parametrize("stop", [None, Interrupted(15, "stopped")])
def test_all_leave_together(three, ended, stop):
    times = {}

    def work(worker):
        with contextlib.suppress(Interrupted), worker:
            time.sleep(0.2 if worker.is_chief else 0)
            times[worker.cluster.index] = time.monotonic()
            if stop:
                raise stop
        return time.monotonic()

    left = together(*(lambda w=w: work(w) for w in three))
    assert min(left) >= times[0]  # none before the chief was ready
    time.sleep(0.1)
    assert [worker.lost for worker in three] == [None] * 3 and ended == []


def test_a_worker_that_is_done_may_die(three, ended):
    channel = three[2]._channels[0]
    channel.send(workers.DONE)
    time.sleep(0.1)
    three[2]._leaving = True
    channel.close()

    def leave(worker):
        with worker:
            time.sleep(0.1)

    assert together(*(lambda w=w: leave(w) for w in three[:2])) == [None, None]
    assert three[0].lost is None and three[1].lost is None and ended == []


def test_a_chief_that_fails_while_it_decides_tells_the_others(three, ended):
    def work(worker):
        with worker:
            worker.coordinate(None, stop)

    def stop(values):
        raise Interrupted(15, "stopped")

    errors = together(*(lambda w=w: work(w) for w in three))
    assert isinstance(errors[0], Interrupted)
    for error in errors[1:]:
        assert isinstance(error, WorkerLost) and "worker 0" in str(error)


def kill(worker):
    worker._leaving = True  # a dead worker says nothing
    worker._channels[0].close()  # as the system does for it


def test_a_worker_that_dies_is_named_at_all_others(three, ended):
    kill(three[2])
    errors = together(*(lambda w=w: w.coordinate(None, lambda _: 1) for w in three[:2]))
    for error in errors:
        assert isinstance(error, WorkerLost)
        assert "worker 2 (127.0.0.1:" in str(error) and "has gone" in str(error)
        assert "start all workers again" in str(error)


def test_a_process_that_cannot_be_told_is_ended(three, ended, capsys):
    for worker in three:
        worker._ending.interval = 0.1
    kill(three[2])
    until = time.monotonic() + 30
    while len(ended) < 2 and time.monotonic() < until:
        time.sleep(0.05)  # as if in a sum of gradients
    assert ended == [workers.TRY_AGAIN] * 2
    assert capsys.readouterr().err.count("error: worker 2") == 2


def test_a_process_that_was_told_is_not_ended(three, ended):
    for worker in three:
        worker._ending.interval = 1.0
    kill(three[2])
    together(*(lambda w=w: w.coordinate(None, lambda _: 1) for w in three[:2]))
    time.sleep(1.5)
    assert ended == []


def test_sigterm_at_a_worker_breaks_off_what_the_chief_does(three):
    three[1].ask_chief_to_stop()  # nothing waits for a signal, so none is sent
    time.sleep(0.2)

    def evaluate():
        with request.at_once():
            three[2].ask_chief_to_stop()
            time.sleep(5)

    with StopRequest() as request:
        with pytest.raises(StopNow):
            evaluate()
        assert request.signal_number == signal.SIGTERM
    # Between the messages of both nothing is lost.
    assert together(*(lambda w=w: w.coordinate(1, sum) for w in three)) == [3] * 3


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (OSError("No space left on device"), WorkerLost),
        (ConfigError("learning_rate must be positive"), WorkerError),  # and stays wrong
    ],
)
def test_an_error_in_one_worker_is_told_to_all(three, ended, failure, told):
    def work(worker):
        with worker:
            if worker.cluster.index == 1:
                raise failure
            worker.coordinate(None, lambda _: 1)

    errors = together(*(lambda w=w: work(w) for w in three))
    assert errors[1] is failure
    for error in (errors[0], errors[2]):
        assert type(error) is told
        assert "worker 1" in str(error) and str(failure) in str(error)


def test_the_reason_that_is_not_read_yet_is_told_where_a_message_cannot_be_sent(three, ended):
    def gone(value):
        threading.Timer(0.2, three[0]._report_failure, ["worker 1: disk full", True]).start()
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    three[2]._channels[0].send = gone
    with pytest.raises(WorkerLost, match="worker 1: disk full"):
        three[2].coordinate(None, lambda _: 1)


def test_what_tensorflow_fails_with_is_explained_by_a_lost_worker(three, ended):
    three[0].explain(RuntimeError("collective aborted"), seconds=0.05)  # nobody is lost
    threading.Timer(0.1, three[1]._report_failure, ["worker 1: disk full", True]).start()
    with pytest.raises(WorkerLost, match="disk full"):
        three[0].explain(RuntimeError("collective aborted"), seconds=2.0)


@pytest.mark.parametrize("kind", ["Unavailable", "DeadlineExceeded", "Aborted", "Cancelled"])
def test_what_tensorflow_says_of_a_worker_that_is_paused_or_cut_off_is_a_lost_worker(
    three, ended, kind
):
    error = getattr(errors_impl, f"{kind}Error")(None, None, "heartbeat timeout\nat a.cc:1")

    def work(worker):
        with worker:
            if worker.is_chief:
                worker.explain(error, seconds=0.01)
            worker.coordinate(None, lambda _: 1)

    found = together(*(lambda w=w: work(w) for w in three))
    for other in found:
        assert isinstance(other, WorkerLost)
        assert f"does not answer ({kind}Error); start all workers again" in str(other)
    three[0].explain(errors_impl.InvalidArgumentError(None, None, "shapes"), seconds=0.01)


def test_a_chief_that_is_stopped_while_it_scores_the_best_model_stops_all(three, ended):
    def work(worker):
        with worker:
            if worker.is_chief:
                raise Interrupted(signal.SIGTERM, "stopped")

    for error in together(*(lambda w=w: work(w) for w in three)):
        assert isinstance(error, Interrupted) and error.exit_status == workers.TRY_AGAIN
