"""Kinds of attention. Each is a score function over one base, `base.Attention`."""
