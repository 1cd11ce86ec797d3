"""Models composed from the layers, decoding, subwords, and the catalog of named models."""
