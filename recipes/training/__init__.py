"""Training of a run from its settings."""
