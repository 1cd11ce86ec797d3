"""Text in and out: tokenizers, source formats and unknown tokens."""
