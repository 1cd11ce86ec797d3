"""Workers of this process, which have met."""

import pytest
from loopback import free_addresses, wait_together

from attention_zoo.recipes.distribute import workers
from attention_zoo.recipes.distribute.cluster import Cluster


@pytest.fixture
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
def three(no_late_end):
    """Three workers that have met."""
    addresses = free_addresses(3)
    found = wait_together([Cluster(addresses, i) for i in range(3)])
    assert all(isinstance(worker, workers.Workers) for worker in found), found
    return found
