"""Packs of trained runs, and how the presets of the package are built."""
