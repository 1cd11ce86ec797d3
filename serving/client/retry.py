"""Asking again: when it helps, how often, and how long to wait in between."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from ..runtime.errors import Code, ServingError

RETRIED = frozenset({Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED})


@dataclass(frozen=True)
class Retry:
    """Policy by which a call is made again.

    A server that is busy, not there or being restarted may answer the next time; any other error
    would come again, and so would that of a message which is too large. The waits double, and are
    shortened at random, so that many clients that were refused together do not come back together.
    A server that says how long to wait is not asked before (`Retry-After` over REST,
    `grpc-retry-pushback-ms` over gRPC).

    Args:
        attempts: calls at most, the first one included; 1 never asks again, and `None` asks until
            the timeout of the client.
        first_wait: seconds before the second call, at most.
        longest_wait: seconds before any call, at most.
    """

    attempts: int | None = None
    first_wait: float = 0.1
    longest_wait: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise ValueError(f"There is at least one attempt. Received: attempts={self.attempts}")

    def wait_after(self, error: ServingError, attempt: int, deadline: float) -> float | None:
        """Seconds to wait after a call that failed; `None` if it is not to be made again.

        Args:
            error: what came of it.
            attempt: its number, from 1.
            deadline: on the clock of `time.monotonic`, when all must be over.
        """
        last = self.attempts is not None and attempt >= self.attempts
        if last or error.permanent or error.code not in RETRIED:
            return None
        longest = min(self.longest_wait, self.first_wait * 2.0 ** min(attempt - 1, 30))
        wait = max(error.retry_after, longest * random.uniform(0.5, 1.0))
        return wait if time.monotonic() + wait < deadline else None
