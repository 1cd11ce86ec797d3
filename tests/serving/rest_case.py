"""What the cases of the REST interface are written in."""

from __future__ import annotations

import json
from typing import Any

CALC = "/v1/models/calc"
PREDICT = f"{CALC}:predict"
Case = tuple[str, str, str, Any, int, Any]


def ask(signature: str | None = None, **members: Any) -> str:
    """A body for a signature."""
    named = {} if signature is None else {"signature_name": signature}
    return json.dumps({**named, **members})
