"""Workers on this machine, at addresses that nobody listens at."""

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

from attention_zoo.recipes.distribute.rendezvous import wait_for_workers
from attention_zoo.recipes.distribute.workers import WorkerError, WorkerLost, Workers


def free_addresses(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return tuple(f"127.0.0.1:{s.getsockname()[1]}" for s in sockets)


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
        if not isinstance(result, (Workers, WorkerError, WorkerLost)):
            raise result
    return results
