"""Runs, tasks and settings."""
