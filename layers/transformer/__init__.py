"""Blocks of a Transformer's encoder and decoder, and the decoder's single-token step."""
