"""Attention Zoo: sequence-to-sequence models with attention for Keras 3 and TensorFlow."""

__version__ = "0.1.0"
