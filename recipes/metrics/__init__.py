"""Scores of written texts, their confidence intervals, and baselines."""
