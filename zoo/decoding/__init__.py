"""Generation of targets: greedy search, beam search and sampling."""
