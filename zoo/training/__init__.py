"""Losses and the training step: plain Keras objects for anybody's `fit`."""
