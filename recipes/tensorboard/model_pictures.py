"""The graph and the embedding of a model, as TensorBoard shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from ...zoo.files import written_atomically
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.visualization.labels import clean_text
from ..core.run import Run

MAX_POINTS = 10_000  # a browser moves no more of them smoothly
CONFIG = "projector_config.pbtxt"  # the name by which the plugin finds it
VECTORS, LABELS = "embedding.tsv", "tokens.tsv"


def model_graph(model: TextToText) -> bytes:
    """The graph from a text and its target to the log probability, as a serialized `GraphDef`.

    It is what an evaluation has traced to score a corpus: text, tokens, encoder, decoder, and the
    loss but for its smoothing.
    """
    function = model.function("score_written").get_concrete_function()
    return function.graph.as_graph_def().SerializeToString()


def log_embedding(run: Run, model: TextToText) -> None:
    """Writes the embedding for the projector, with the tokens as labels."""
    vectors = model.model.target_embedding.embeddings.numpy()
    pieces = model.tokenizer.pieces(range(model.tokenizer.vocab_size))
    write_embedding(run.tensorboard_path / "valid", pieces, vectors)


def write_embedding(folder: Path, labels: Sequence[str], vectors: np.ndarray) -> None:
    """Writes vectors with their labels into the folder of a run of TensorBoard.

    Args:
        folder: of the event files, made if it is not there.
        labels: of each vector, one line each; control characters are written out.
        vectors: float (V, D); of more than `MAX_POINTS` the first, which are the most frequent.

    Raises:
        ValueError: there are more or fewer labels than vectors.
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or len(labels) != len(vectors):
        raise ValueError(
            "Each vector needs one label. "
            f"Received: {len(labels)} labels and vectors of shape {vectors.shape}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with written_atomically(folder / VECTORS) as aside:
        np.savetxt(aside, vectors[:MAX_POINTS], fmt="%.4g", delimiter="\t")
    with written_atomically(folder / LABELS) as aside:
        lines = (f"{_label(label)}\n" for label in labels[:MAX_POINTS])
        aside.write_text("".join(lines), encoding="utf-8")
    config = ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "embedding"
    embedding.tensor_path, embedding.metadata_path = VECTORS, LABELS
    # Last, as this file is what makes the others count.
    with written_atomically(folder / CONFIG) as aside:
        aside.write_text(text_format.MessageToString(config), encoding="utf-8")


def _label(label: str) -> str:
    """One line; an empty one would be taken for no label, and those after it move up."""
    return clean_text(label).strip() or "\u2423"
