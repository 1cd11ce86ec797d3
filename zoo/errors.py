"""Errors that a user can mend. The command line shows each as one line, with exit status 2."""

from __future__ import annotations


class ConfigError(ValueError):
    """A setting that is unknown or has an impossible value."""


class DataError(ValueError):
    """A corpus that cannot be used. The message is one line: what, where, and what to do."""
