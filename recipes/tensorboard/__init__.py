"""Logs for TensorBoard."""
