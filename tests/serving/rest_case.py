"""What the cases of the REST interface are written in, and how they are sent."""

from __future__ import annotations

import http.client
import json
from typing import Any

CALC = "/v1/models/calc"
PREDICT = f"{CALC}:predict"
Case = tuple[str, str, str, Any, int, Any]


def ask(signature: str | None = None, **members: Any) -> str:
    """A body for a signature."""
    named = {} if signature is None else {"signature_name": signature}
    return json.dumps({**named, **members})


def send(server, method, path, body=None, headers=None):
    """Status, headers and body of a reply."""
    address = server.address
    connection = http.client.HTTPConnection(address.host, address.rest_port, timeout=30)
    try:
        data = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()
