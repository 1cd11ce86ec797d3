"""Errors with the canonical status codes that gRPC, REST and TensorFlow share."""

from __future__ import annotations

import enum
from typing import Any


class Code(enum.IntEnum):
    """The canonical codes, numbered as TensorFlow and gRPC number them."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def http_status(self) -> int:
        """The HTTP status under which TensorFlow Serving answers this code."""
        return _HTTP_STATUS[self]

    @classmethod
    def from_http_status(cls, status: int) -> Code:
        """The code a client reads from an HTTP status; the usual one where several share it."""
        return _FROM_HTTP_STATUS.get(status, cls.UNKNOWN)


_HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

_FROM_HTTP_STATUS = {
    200: Code.OK,
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ABORTED,
    413: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


class ServingError(Exception):
    """Error that a server answers instead of a result, or that a client was answered.

    Args:
        code: the canonical status code.
        message: the text on the wire.
        permanent: whether the same call would fail again, even where other errors of this code
            pass.

    Attributes:
        retry_after: seconds that a server asked for before the next call.
    """

    retry_after = 0.0

    def __init__(self, code: Code, message: str, permanent: bool = False):
        super().__init__(message)
        self.code = code
        self.message = message
        self.permanent = permanent

    def __reduce__(self) -> tuple[Any, ...]:
        # By default an exception is made again of its message alone, which is too little here: one
        # that came up in another process would end the pool of processes in place of its call.
        return _made_again, (type(self), self.__dict__)

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code.name}, {self.message!r})"

    @property
    def status_text(self) -> str:
        """Code and message as TensorFlow prints a status inside another message."""
        return f"{self.code.name}: {self.message}"


def _made_again(kind: type[ServingError], state: dict[str, Any]) -> ServingError:
    error = kind.__new__(kind, state["message"])
    error.__dict__.update(state)
    return error


def invalid_argument(*parts: object) -> ServingError:
    """An INVALID_ARGUMENT error whose message is the parts, one after another."""
    return ServingError(Code.INVALID_ARGUMENT, "".join(str(part) for part in parts))


def not_found(*parts: object) -> ServingError:
    """A NOT_FOUND error whose message is the parts, one after another."""
    return ServingError(Code.NOT_FOUND, "".join(str(part) for part in parts))
