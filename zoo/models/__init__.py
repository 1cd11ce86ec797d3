"""Encoders, decoders and the model families of the catalog."""
