"""One script a task, and what they share: data, training, metrics, the command line."""
