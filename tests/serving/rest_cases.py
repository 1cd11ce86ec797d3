"""Requests over REST and the replies of TensorFlow Serving.

The cases restate what its own tests and documentation fix: which addresses exist, in which order a
body is checked, with which words it is refused, and how values are written. Each case is
(name, method, address, body, status, expected): a `dict` is the whole reply, a string is the error
message or, after "...", a part of it.
"""

from rest_case import PREDICT, Case, ask
from rest_parsing_cases import PARSING, STATUS
from rest_routing_cases import ROUTING
from rest_value_cases import COLUMNS, ROWS

__all__ = ["ALL", "PREDICT", "ask"]

ALL: list[Case] = [*ROUTING, *STATUS, *PARSING, *ROWS, *COLUMNS]
