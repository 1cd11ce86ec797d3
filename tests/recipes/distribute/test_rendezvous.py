"""Workers that meet over loopback, and the reasons why they do not."""

import http.server
import socket
import threading
import time

import pytest
from loopback import free_addresses, together, wait_together

from attention_zoo.recipes.distribute import rendezvous, workers
from attention_zoo.recipes.distribute.cluster import Cluster
from attention_zoo.recipes.distribute.rendezvous import wait_for_workers
from attention_zoo.recipes.distribute.workers import WorkerError, WorkerLost

pytestmark = pytest.mark.usefixtures("no_late_end")


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
