"""Workers over loopback: refusals and their reasons, common decisions, and what ends them."""

import contextlib
import errno
import http.server
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from loopback import free_addresses
from tensorflow.python.framework import errors_impl

from attention_zoo.recipes.core.interruption import Interrupted, StopNow, StopRequest
from attention_zoo.recipes.distribute import rendezvous, workers
from attention_zoo.recipes.distribute.cluster import Cluster
from attention_zoo.recipes.distribute.rendezvous import wait_for_workers
from attention_zoo.recipes.distribute.workers import WorkerError, WorkerLost
from attention_zoo.zoo.errors import ConfigError


def together(*functions):
    """Results, or errors, of functions that run at the same time."""

    def result(function):
        try:
            return function()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(functions)) as threads:
        return list(threads.map(result, functions))


def wait_together(clusters, settings=None, wait=10.0):
    settings = settings or [{}] * len(clusters)
    results = together(
        *(
            lambda c=c, s=s: wait_for_workers(c, s, wait)
            for c, s in zip(clusters, settings, strict=True)
        )
    )
    for result in results:
        if not isinstance(result, (workers.Workers, WorkerError, WorkerLost)):
            raise result
    return results


@pytest.fixture(autouse=True)
def no_late_end(monkeypatch):
    """What a worker loses when a test is over must not end the process of the tests."""
    made = []
    make = workers.Workers.__init__

    def remember(self, *args, **options):
        make(self, *args, **options)
        made.append(self)

    monkeypatch.setattr(workers.Workers, "__init__", remember)
    yield
    for worker in made:
        worker._leaving = True
        worker._ending.cancel()


@pytest.fixture
def three():
    """Three workers that have met."""
    addresses = free_addresses(3)
    found = wait_together([Cluster(addresses, i) for i in range(3)])
    assert all(isinstance(worker, workers.Workers) for worker in found), found
    return found


# The rendezvous


def test_after_the_rendezvous_the_addresses_are_free_for_tensorflow(three):
    for address in three[0].cluster.addresses:
        with socket.create_server(("", int(address.split(":")[1]))):
            pass


def test_workers_may_come_late_and_in_any_order():
    addresses = free_addresses(3)
    clusters = [Cluster(addresses, i) for i in (2, 0, 1)]

    def late(cluster):
        time.sleep(0.2 * cluster.index)
        return wait_for_workers(cluster, {}, 5.0)

    found = together(*(lambda c=c: late(c) for c in clusters))
    assert [worker.cluster.index for worker in found] == [2, 0, 1]


def test_a_worker_that_does_not_come_is_named_at_all_others():
    addresses = free_addresses(3)
    chief, other = wait_together([Cluster(addresses, 0), Cluster(addresses, 1)], wait=1.0)
    for error in (chief, other):
        assert isinstance(error, WorkerLost)  # it may come later
        assert f"worker 2 ({addresses[2]}) did not come" in str(error)
        assert "Only 0, 1 of 3 came" in str(error)


def test_a_chief_that_is_not_there_is_named():
    addresses = free_addresses(2)
    (error,) = wait_together([Cluster(addresses, 1)], wait=0.5)
    assert f"does not reach worker 0 ({addresses[0]}): Connection refused" in str(error)
    wrong = ("no-such-host.invalid:9000", addresses[1])
    (error,) = wait_together([Cluster(wrong, 1)], wait=0.1)
    assert "does not reach worker 0 (no-such-host.invalid:9000)" in str(error)


def test_an_address_that_leads_nowhere_or_elsewhere_is_named():
    # Worker 1 listens on its port; only its host is wrong, as seen by the chief.
    addresses = free_addresses(2)
    wrong = (addresses[0], addresses[1].replace("127.0.0.1", "no-such-host.invalid"))
    errors = wait_together([Cluster(wrong, 0), Cluster(wrong, 1)], wait=1.0)
    for error in errors:
        assert f"worker 1 ({wrong[1]}) is not at its address" in str(error)


def test_another_server_is_not_taken_for_a_worker(monkeypatch):
    monkeypatch.setattr(rendezvous, "ANSWER_SECONDS", 0.2)
    server = http.server.ThreadingHTTPServer(("", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    addresses = (f"127.0.0.1:{server.server_port}", *free_addresses(1))
    try:
        taken, other = wait_together([Cluster(addresses, 0), Cluster(addresses, 1)], wait=0.2)
    finally:
        server.shutdown()
        server.server_close()
    assert f"worker 0 ({addresses[0]}) cannot listen" in str(taken)
    assert f"does not reach worker 0 ({addresses[0]})" in str(other)


def test_two_workers_of_one_number_on_a_machine():
    addresses = free_addresses(2)
    errors = [
        str(e) for e in wait_together([Cluster(addresses, 1), Cluster(addresses, 1)], wait=0.3)
    ]
    assert sum("Another worker with the same --index" in error for error in errors) == 1


def test_two_workers_of_one_number_on_two_machines():
    # One machine cannot have two listeners at one address, so the second worker knows another one.
    addresses = free_addresses(4)
    chief = Cluster(addresses[:3], 0)
    listener = rendezvous._Listener(Cluster((addresses[0], addresses[3]), 1))
    with listener:
        hello = {"the list of workers": list(addresses[:3])}

        def twin():
            rendezvous._register(Cluster(addresses[:3], 1), listener, hello, time.monotonic() + 2)

        errors = together(
            lambda: wait_for_workers(chief, {}, 2.0),
            lambda: wait_for_workers(Cluster(addresses[:3], 1), {}, 2.0),
            twin,
        )
    for error in errors:
        assert "Two workers say that they are number 1: one at 127.0.0.1" in str(error)


def test_a_worker_that_is_started_anew_during_the_rendezvous_is_no_second_one():
    addresses = free_addresses(3)
    clusters = [Cluster(addresses, i) for i in range(3)]

    def killed_and_started_again():
        settings = {"the list of workers": list(addresses)}
        time.sleep(0.2)  # so that the chief is there
        with rendezvous._Listener(clusters[1]) as listener:
            channel = rendezvous._connect(addresses[0])
            channel.send({"index": 1, "id": listener.id, "settings": settings})
            time.sleep(0.2)
        channel.close()
        return wait_for_workers(clusters[1], {}, 5.0)

    def late():
        time.sleep(0.8)
        return wait_for_workers(clusters[2], {}, 5.0)

    found = together(lambda: wait_for_workers(clusters[0], {}, 5.0), killed_and_started_again, late)
    assert all(isinstance(worker, workers.Workers) for worker in found), found


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ({"seed": 1}, {"seed": 2}, "seed is 2 there and 1 at worker 0"),
        ({"model": "rnn"}, {}, "model is None there and 'rnn' at worker 0"),
    ],
)
def test_workers_with_other_settings_are_refused_with_the_differences(ours, theirs, message):
    addresses = free_addresses(2)
    both = {"batch_tokens": 64}
    errors = wait_together(
        [Cluster(addresses, 0), Cluster(addresses, 1)], [{**both, **ours}, {**both, **theirs}]
    )
    for error in errors:
        assert isinstance(error, WorkerError)
        assert f"worker 1 ({addresses[1]}) was started with another command" in str(error)
        assert message in str(error) and "batch_tokens" not in str(error)


def test_workers_with_other_lists_are_refused():
    addresses = free_addresses(3)
    errors = wait_together([Cluster(addresses, 0), Cluster(addresses[:2], 1)])
    for error in errors:
        assert "the list of workers is [" in str(error)


# Together


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
