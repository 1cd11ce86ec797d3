"""Parameters of a batching file, by which requests are put together."""

from __future__ import annotations

from dataclasses import dataclass

# The most that any server has a use for; a process with more threads ends.
_MOST = {
    "max_batch_size": 2**20,
    "max_enqueued_batches": 2**20,
    "num_batch_threads": 512,
    "max_execution_batch_size": 2**20,
}


@dataclass(frozen=True)
class BatchingParameters:
    """Parameters of dynamic batching; the names and defaults of TensorFlow Serving.

    The local server fills up no batch, pads no inputs and takes no request apart: no answer depends
    on that.

    Args:
        max_batch_size: most rows in a batch; a request with more is refused.
        batch_timeout_micros: how long a batch that is not full waits for more while a thread is
            free.
        max_enqueued_batches: batches that may wait; beyond them requests are refused.
        num_batch_threads: batches that run at a time; the number of processors if `None`.
        allowed_batch_sizes: if given, a batch is filled up to one of these sizes with copies of
            its first row; rising, and the last is the size of the largest batch.
        pad_variable_length_inputs: whether inputs that differ beyond the first dimension are
            padded with their first value, as the official server does, and put together.
        enable_large_batch_splitting: whether a request may have more rows than a batch, and is
            taken apart.
        max_execution_batch_size: most rows in a batch then, where `max_batch_size` is that of a
            request; `max_batch_size` if `None`.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int | None = None
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise ValueError(f"`{name}` is a number from 1 to {most}. Received: {name}={value}")
        if not 0 <= self.batch_timeout_micros <= 10**8:
            raise ValueError(
                "`batch_timeout_micros` is a number from 0 to 100000000. "
                f"Received: batch_timeout_micros={self.batch_timeout_micros}"
            )
        if self.execution_size > self.max_batch_size:
            raise ValueError(
                "A batch has `max_execution_batch_size` rows, at most as many as a request, "
                f"{self.max_batch_size}. Received: "
                f"max_execution_batch_size={self.max_execution_batch_size}"
            )
        sizes = self.allowed_batch_sizes
        if sizes and (sorted(set(sizes)) != list(sizes) or sizes[-1] != self.execution_size):
            limit = "max_execution" if self.enable_large_batch_splitting else "max"
            raise ValueError(
                f"`allowed_batch_sizes` must rise and end with `{limit}_batch_size`, here "
                f"{self.execution_size}. Received: allowed_batch_sizes={sizes}"
            )

    @property
    def execution_size(self) -> int:
        """Most rows in a batch."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size
