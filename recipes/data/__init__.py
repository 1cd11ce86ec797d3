"""Corpora: readers, embedded defaults, prepared corpora and batches."""
