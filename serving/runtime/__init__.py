"""SavedModels in TensorFlow's C++ session, batching, and what servers and clients share."""
