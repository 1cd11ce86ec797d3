"""Errors with the canonical status codes that gRPC, REST and TensorFlow share."""

from __future__ import annotations

import enum


class Code(enum.IntEnum):
    """The canonical codes, numbered as TensorFlow and gRPC number them."""

    http_status: int  # under which TensorFlow Serving answers this code

    def __new__(cls, number: int, http_status: int = 0) -> Code:
        code = int.__new__(cls, number)
        code._value_ = number
        code.http_status = http_status
        return code

    OK = 0, 200
    CANCELLED = 1, 499
    UNKNOWN = 2, 500
    INVALID_ARGUMENT = 3, 400
    DEADLINE_EXCEEDED = 4, 504
    NOT_FOUND = 5, 404
    ALREADY_EXISTS = 6, 409
    PERMISSION_DENIED = 7, 403
    RESOURCE_EXHAUSTED = 8, 429
    FAILED_PRECONDITION = 9, 400
    ABORTED = 10, 409
    OUT_OF_RANGE = 11, 400
    UNIMPLEMENTED = 12, 501
    INTERNAL = 13, 500
    UNAVAILABLE = 14, 503
    DATA_LOSS = 15, 500
    UNAUTHENTICATED = 16, 401

    @classmethod
    def from_http_status(cls, status: int) -> Code:
        """The code a client reads from an HTTP status; the usual one where several share it."""
        other = {408: cls.DEADLINE_EXCEEDED, 409: cls.ABORTED, 413: cls.INVALID_ARGUMENT}
        other |= {500: cls.INTERNAL, 502: cls.UNAVAILABLE}
        first = (code for code in cls if code.http_status == status)
        return other.get(status) or next(first, cls.UNKNOWN)


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
        # Without that of `Exception`, which would keep the message alone for other processes.
        self.code = code
        self.message = message
        self.permanent = permanent

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code.name}, {self.message!r})"

    @property
    def status_text(self) -> str:
        """Code and message as TensorFlow prints a status inside another message."""
        return f"{self.code.name}: {self.message}"


def invalid_argument(*parts: object) -> ServingError:
    """An INVALID_ARGUMENT error whose message is the parts, one after another."""
    return ServingError(Code.INVALID_ARGUMENT, "".join(str(part) for part in parts))


def not_found(*parts: object) -> ServingError:
    """A NOT_FOUND error whose message is the parts, one after another."""
    return ServingError(Code.NOT_FOUND, "".join(str(part) for part in parts))
