"""Trained models by name, and the one file in which a trained model travels."""
