"""The command line, `attention-zoo`."""
