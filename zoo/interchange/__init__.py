"""Weights and vocabularies from and to other toolkits."""
