"""Explanations of a model's attention, and how they are drawn."""
