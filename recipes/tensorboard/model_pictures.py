"""Graph and embedding of a model for TensorBoard."""

from __future__ import annotations

from ...zoo.pipeline.text_to_text import TextToText
from ..core.run import Run
from .embedding_projector import write_embedding


def model_graph(model: TextToText) -> bytes:
    """The graph from a text and its target to the log probability, as a serialized `GraphDef`.

    It is the signature `score`, which an evaluation has made already: text, subwords, encoder,
    decoder, and the loss but for its smoothing.
    """
    function = model.signatures()["score"].get_concrete_function()
    return function.graph.as_graph_def().SerializeToString()


def log_embedding(run: Run, model: TextToText) -> None:
    """Writes the embedding for the projector, with the subwords as labels."""
    embedding = getattr(model.model, "embedding", None)
    if embedding is not None:
        pieces = model.tokenizer.pieces(range(model.tokenizer.vocab_size))
        write_embedding(run.tensorboard_path / "valid", pieces, embedding.embeddings.numpy())
