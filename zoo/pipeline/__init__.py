"""Whole texts in and out of a model with its tokenizer."""
