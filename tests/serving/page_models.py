"""A model for the tests of the page: it writes words backwards and looks at where they stood."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

NUM_LAYERS, NUM_HEADS = 2, 3
LONGEST = 20_000  # characters; a text beyond it is refused
LONGEST_PIECE = 4  # letters
MOST_PIECES = 64  # of a source; what comes after them is not read


def tokens_of(text: tf.Tensor) -> tf.RaggedTensor:
    """Pieces (B, S) of at most four letters, marked as SentencePiece does; Chinese by letter."""
    text = tf.strings.regex_replace(text, r"(^|\s)\s*(\S)", " \u2581\\2")
    text = tf.strings.regex_replace(text, rf"(\w{{{LONGEST_PIECE}}})(\w)", r"\1 \2")
    text = tf.strings.regex_replace(text, r"(\p{Han})", r" \1")
    pieces = tf.strings.split(text)[:, :MOST_PIECES]
    return tf.concat([pieces, tf.fill([tf.shape(text)[0], 1], "</s>")], axis=1)


def backwards(text: tf.Tensor) -> tf.Tensor:
    """Texts (B,) with their words in reverse order."""
    return tf.strings.reduce_join(tf.strings.split(text)[:, ::-1], axis=1, separator=" ")


def attention_of(source: tf.RaggedTensor, target: tf.RaggedTensor, shift: int) -> tf.Tensor:
    """Weights (B, T, S): 0.9 where pieces are the same, moved on by `shift`; the rest is spread."""
    source, target = source.to_tensor(), target.to_tensor()
    same = tf.cast(target[:, :, None] == source[:, None, :], tf.float32)
    same = tf.roll(same / (tf.reduce_sum(same, -1, keepdims=True) + 1e-9), shift, axis=2)
    known = tf.cast((target != "")[:, :, None] & (source != "")[:, None, :], tf.float32)
    spread = known / (tf.reduce_sum(known, -1, keepdims=True) + 1e-9)
    return (0.9 * same + 0.1 * spread) * known


def check(text: tf.Tensor) -> tf.Tensor:
    """The same texts, if they are short enough."""
    length = tf.reduce_max(tf.strings.length(text, unit="UTF8_CHAR"))
    with tf.control_dependencies([tf.debugging.Assert(length <= LONGEST, ["too long:", length])]):
        return tf.identity(text)


def serving_default(text):
    pieces = tokens_of(text).row_lengths()
    outputs = {"text": backwards(check(text)), "score": tf.fill(tf.shape(text), -0.25)}
    return {**outputs, "truncated": pieces > MOST_PIECES}


def document(text):
    """Line by line, and nothing is cut."""
    lines = tf.strings.split(text, "\n")
    written = lines.with_values(backwards(lines.values))
    return {"text": tf.strings.reduce_join(written, axis=1, separator="\n")}


def n_best(text):
    texts = tf.stack([backwards(text), tf.strings.upper(text), tf.zeros_like(text)], axis=1)
    return {"text": texts, "score": tf.tile([[-0.25, -1.5, -1e9]], [tf.shape(text)[0], 1])}


def explain(text):
    written = serving_default(text)
    source, target = tokens_of(text), tokens_of(written["text"])
    heads = [
        [attention_of(source, target, layer * NUM_HEADS + head) for head in range(NUM_HEADS)]
        for layer in range(NUM_LAYERS)
    ]
    return {
        **written,
        "source_tokens": source.to_tensor(),
        "target_tokens": target.to_tensor(),
        "attention": attention_of(source, target, 0),
        "attention_heads": tf.transpose(tf.convert_to_tensor(heads), [2, 0, 1, 3, 4]),
    }


def copying(text):
    """With the share that was written: less of each piece than of the one before."""
    outputs = explain(text)
    del outputs["attention_heads"]
    pieces = tf.shape(outputs["target_tokens"])
    written = 1.0 / tf.range(1.0, tf.cast(pieces[1], tf.float32) + 1.0)
    return {**outputs, "p_gen": tf.tile(written[None], [pieces[0], 1])}


def answer(context, question):
    return {"text": tf.strings.join([question, context], separator=" / ")}


def with_length(text, length):
    short = tf.strings.substr(text, tf.zeros_like(length), length, unit="UTF8_CHAR")
    return {"text": short, "score": tf.fill(tf.shape(text), -0.5)}


def signatures() -> dict[str, tf.types.experimental.GenericFunction]:
    """The signatures by name."""
    text = tf.TensorSpec([None], tf.string, name="text")
    specs = {
        serving_default: [text],
        document: [text],
        n_best: [text],
        explain: [text],
        copying: [text],
        answer: [
            tf.TensorSpec([None], tf.string, name="context"),
            tf.TensorSpec([None], tf.string, name="question"),
        ],
        with_length: [text, tf.TensorSpec([None], tf.int32, name="length")],
    }
    return {
        function.__name__: tf.function(function, input_signature=inputs, autograph=False)
        for function, inputs in specs.items()
    }


def write(path: Path) -> None:
    """Writes a version to `path`."""
    archive = keras.export.ExportArchive()
    for name, function in signatures().items():
        function.get_concrete_function()
        archive.add_endpoint(name, function)
    archive.write_out(str(path), verbose=False)
