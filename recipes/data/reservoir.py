"""A random sample of a stream whose length is not known, in bounded memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Reservoir(Generic[Item]):
    """Keeps items of a stream so that each has the same chance to be kept.

    There are two limits: on how many items are kept, and on what they take together. Where the
    second is passed half of the items are given up, and from then on so many fewer are kept.
    While neither is reached all items are there, in their order.

    Args:
        items: most items.
        size: most that they may take together.
        measure: what an item takes.
        seed: of the draws.

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
        """Takes the next item of the stream, and keeps it or not."""
        self.seen += 1
        if len(self.kept) < self._limit:
            self.kept.append(item)
        else:
            place = int(self._random.random() * self.seen)
            if place >= self._limit:
                return
            self._size -= self._measure(self.kept[place])
            self.kept[place] = item
        self._size += self._measure(item)
        while self._size > self._size_limit and len(self.kept) > 1:
            self._halve()

    def _halve(self) -> None:
        """Half of a sample, drawn from it, is a sample too."""
        self._limit = max(1, len(self.kept) // 2)
        self.kept = self.draw(self._limit)
        self._size = sum(map(self._measure, self.kept))

    def draw(self, count: int) -> list[Item]:
        """So many of the items, or all, in the order in which they are kept."""
        if count >= len(self.kept):
            return list(self.kept)
        return [self.kept[i] for i in sorted(self._random.sample(range(len(self.kept)), count))]
