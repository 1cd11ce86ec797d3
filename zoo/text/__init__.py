"""Texts before they are tokens: tokenizers, sources of several inputs, sentences."""

from .sentences import split_sentences
from .source_format import SourceFormat

__all__ = ["SourceFormat", "split_sentences"]
