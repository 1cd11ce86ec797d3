"""Graph functions run as they are written: tracing one takes longer than running it a few times."""

import contextlib


@contextlib.contextmanager
def eagerly():
    """No graph is traced within; for what is run once or twice and whose values count."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)
