"""A random sample of a stream whose length is not known, in bounded memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Reservoir(Generic[Item]):
    """Keeps items of a stream so that each is kept with the same probability.

    There are two limits: the number of kept items, and their total size. If the size exceeds its
    limit, half of the items are dropped and the first limit is halved. While neither limit is
    reached all items are kept, in their order.

    Args:
        items: Largest number of items.
        size: Largest total size.
        measure: Computes the size of an item.
        seed: Seed of the draws.

    Reference: Vitter 1985, algorithm R.
    """

    def __init__(self, items: int, size: float, measure: Callable[[Item], float], seed: int):
        self.kept: list[Item] = []
        self.seen = 0
        self._limit = items
        self._size_limit = size
        self._size = 0.0
        self._measure = measure
        self._random = random.Random(seed)

    def add(self, item: Item) -> None:
        """Takes the next item of the stream and decides whether it is kept."""
        self.seen += 1
        if len(self.kept) < self._limit:
            self.kept.append(item)
        else:
            position = int(self._random.random() * self.seen)
            if position >= self._limit:
                return
            self._size -= self._measure(self.kept[position])
            self.kept[position] = item
        self._size += self._measure(item)
        while self._size > self._size_limit and len(self.kept) > 1:
            self._halve()

    def _halve(self) -> None:
        """Drops half of the items at random; what is left of a sample is a sample."""
        self._limit = max(1, len(self.kept) // 2)
        self.kept = self.draw(self._limit)
        self._size = sum(map(self._measure, self.kept))

    def draw(self, count: int) -> list[Item]:
        """A random choice of that many items, or all, in the order in which they are kept."""
        if count >= len(self.kept):
            return list(self.kept)
        return [self.kept[i] for i in sorted(self._random.sample(range(len(self.kept)), count))]
