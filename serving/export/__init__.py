"""Export of SavedModels and the checks before they are published."""
