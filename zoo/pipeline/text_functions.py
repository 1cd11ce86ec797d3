"""Text to text in the graph: the functions behind the signatures of a model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import tensorflow as tf

from ..decoding.options import NEG_INF, GenerationOptions, Hypotheses
from ..decoding.search import generate
from ..decoding.shortlist import Shortlist
from ..models.encoder_decoder import EncoderDecoder
from ..text.composing import compose, graph_function, without_tag
from ..text.source_format import PLAIN, SourceFormat
from ..text.spans import telling
from ..text.special_ids import PAD_ID, START_ID
from ..text.tokenizer import Tokenizer, with_end
from ..text.unknown import SurfaceReader, decode_tensor, known_ids, may_be_written, pieces_tensor
from .documents import Units, in_chunks, join_document, split_document
from .parallel import batches_by_length, parallel_batches, run_parallel

TARGET = tf.TensorSpec((None,), tf.string, name="target")
PREFIX = tf.TensorSpec((None,), tf.string, name="prefix")


class TextFunctions:
    """The signatures of a model as functions of string tensors; `TextToText` runs them.

    Attributes:
        model: The model.
        tokenizer: Of the source and the target.
        generation: How targets are searched for.
        max_source_length: The most tokens of a source.
        source_format: How the inputs become one source.
        max_document_sentences: The most sentences of a text that are read.
        shortlist: The likely tokens for those of a source, or `None`.
    """

    model: EncoderDecoder
    tokenizer: Tokenizer
    generation: GenerationOptions
    max_source_length: int
    source_format: SourceFormat
    max_document_sentences: int
    shortlist: Shortlist | None
    _functions: dict[str, Callable] | None = None
    _inner: dict[str, Callable]  # those that are no signatures

    def signatures(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """The graph functions by name, each returning a dictionary of tensors."""
        if (functions := self._functions) is None:
            required = self.source_format.required
            tell = functools.partial(telling, inputs=self.source_format)
            functions = {
                "serving_default": graph_function(tell(self._best), required),
                "n_best": graph_function(tell(self._n_best), required),
                "explain": graph_function(tell(self._explain), required),
                "score": graph_function(self._score, required, TARGET),
            }
            if self.source_format.can_be_split:
                functions["document"] = graph_function(tell(self._document), required)
            functions["with_prefix"] = graph_function(tell(self._with_prefix), required, PREFIX)
            for item in self.source_format.optional:
                inputs = tuple(x for x in self.source_format.inputs if not x.optional or x is item)
                functions[f"with_{item.name}"] = graph_function(tell(self._best), inputs)
            self._functions = functions  # set at once, as other threads may read it
        return functions

    def _forget_functions(self) -> None:
        self._functions, self._inner = None, {}

    def function(self, name: str) -> tf.types.experimental.PolymorphicFunction:
        """A signature by its name; `"units"` splits texts, `"score_written"` scores a corpus."""
        if name in self.signatures():
            return self.signatures()[name]
        if name not in self._inner:
            required = self.source_format.required
            if name == "units":
                self._inner[name] = graph_function(self._units, required)
            else:
                method = functools.partial(self._score, written_only=True)
                self._inner[name] = graph_function(method, required, TARGET)
        return self._inner[name]

    def _run(self, signature: str, arguments: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        try:
            return self._called(signature, arguments)
        except tf.errors.NotFoundError:
            # TensorFlow drops the SentencePiece resource of a tokenizer whenever its caches of
            # kernels are cleared, as `keras.utils.set_random_seed` does. A new one is the same.
            self.tokenizer = self.tokenizer.renewed()
            self._forget_functions()
            return self._called(signature, arguments)

    def _rows(
        self, signature: str, batch_size: int, columns: dict[str, list]
    ) -> Iterator[dict[str, Any]]:
        """Runs a signature in batches of like lengths; one dictionary a row.

        Columns that the signature does not take are left out.
        """
        taken = [columns[spec.name] for spec in self.function(signature).input_signature]
        texts = [column for column in taken if column and isinstance(column[0], str)]
        lengths = [sum(map(len, row)) for row in zip(*texts, strict=True)]
        rows: list[dict[str, Any]] = [{}] * len(lengths)

        def run(chosen: list[int]) -> None:
            arguments = [tf.constant([column[i] for i in chosen]) for column in taken]
            outputs = self._run(signature, arguments)
            arrays = {name: tensor.numpy() for name, tensor in outputs.items()}
            for position, row in enumerate(chosen):
                rows[row] = {name: array[position] for name, array in arrays.items()}

        # Draws come one after the other: which text gets which would not be the same each time.
        at_a_time = 1 if self.generation.do_sample else parallel_batches()
        run_parallel(run, batches_by_length(lengths, batch_size), at_a_time)
        return iter(rows)

    def _called(self, name: str, arguments: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        function = self.function(name)
        if not tf.config.functions_run_eagerly():
            # Each has one graph. TensorFlow takes those of many models for one function that is
            # traced again and again, and warns, unless it is told that a graph is wanted.
            function = function.get_concrete_function()
        return function(*arguments)

    def _best(self, **columns):
        return self._best_of(self._write(columns))

    def _with_prefix(self, prefix, **columns):
        limit = self.generation.max_length
        composed = compose(self.tokenizer, PLAIN, {"text": prefix}, limit)
        outputs = self._best_of(self._write(columns, prefix=composed.ids.to_tensor(PAD_ID)))
        return {**outputs, "truncated": outputs["truncated"] | composed.is_cut(limit)}

    def _best_of(self, written):
        found, _, surfaces, truncated = written
        return {
            "text": decode_tensor(self.tokenizer, found.ids[:, 0], surfaces),
            "score": found.scores[:, 0],
            "truncated": truncated,
        }

    def _units(self, **columns):
        """Parts of texts (B,) that are read at a time, see `Units`."""
        (texts,) = columns.values()
        tags, room = self.source_format.tags, self.max_source_length
        if tags:
            room -= 2  # a space and a tag
            texts, tag = without_tag(texts, tags)
        source, inputs = self.tokenizer.source, self.source_format
        most = self.max_document_sentences
        units = split_document(texts, source, room, inputs.max_sentences, most)
        if tags:
            own = without_tag(units.texts, tags)[1]  # a line may have another
            tag = tf.where(own == "", tf.gather(tag, units.rows), "")
            tagged = tf.strings.join([tag, units.texts])
            units = units._replace(texts=tf.where(units.texts != "", tagged, ""))
        return units._asdict()

    def _document(self, **columns):
        ((name, texts),) = columns.items()
        units = Units(**self._units(**columns))

        def write(part):
            best = self._best(**{name: part})
            return best["text"], best["score"], best["truncated"]

        types = [tf.string, tf.float32, tf.bool]
        written, scores, truncated = in_chunks(write, units.texts, types)
        count = tf.size(texts)
        truncated = tf.math.unsorted_segment_max(tf.cast(truncated, tf.int32), units.rows, count)
        return {
            "text": join_document(units, written),
            "score": tf.math.unsorted_segment_sum(scores, units.rows, count),
            "truncated": (truncated > 0) | units.cut,
        }

    def _n_best(self, **columns):
        found, source, surfaces, truncated = self._write(columns)
        size, wider = self.generation.beam_size, self.generation.wider()
        texts = self._texts(found, surfaces)
        if self.generation.do_sample or size == 1:
            return {"text": texts, "score": found.scores, "truncated": truncated}
        texts, scores = _distinct(texts, found.scores, size)
        if wider == size:
            return {"text": texts, "score": scores, "truncated": truncated}
        # Several tokenizations of a text took beams from others, which more beams find.
        is_text = found.ids[:, 0, 0] != PAD_ID
        short = tf.where(is_text & (scores[:, -1] <= NEG_INF / 2))[:, 0]
        options = replace(self.generation, beam_size=wider)
        more = self._search(tf.gather(source, short), options)
        best, others = tf.gather(scores, short), more.scores
        # The best stays the one of the other signatures.
        others = tf.where(others > best[:, :1], NEG_INF, others)
        if surfaces is not None:
            surfaces = tf.gather(surfaces, short)
        others_texts = self._texts(more, surfaces)
        filled = _distinct(
            tf.concat([tf.gather(texts, short), others_texts], axis=1),
            tf.concat([best, others], axis=1),
            size,
        )
        texts, scores = (
            tf.tensor_scatter_nd_update(whole, short[:, None], part)
            for whole, part in zip((texts, scores), filled, strict=True)
        )
        return {"text": texts, "score": scores, "truncated": truncated}

    def _texts(self, found: Hypotheses, surfaces):
        """Texts (B, N) of hypotheses; "" for those that are not there."""
        ids = tf.reshape(found.ids, (-1, tf.shape(found.ids)[2]))  # (B*N, T)
        if surfaces is not None:
            surfaces = tf.repeat(surfaces, tf.shape(found.scores)[1], axis=0)
        texts = tf.reshape(decode_tensor(self.tokenizer, ids, surfaces), tf.shape(found.scores))
        return tf.where(found.scores > NEG_INF / 2, texts, "")

    def _explain(self, **columns):
        found, source, surfaces, truncated = self._write(columns, return_attention=True)
        ids = found.ids[:, 0]
        read = tf.where(ids[:, :1] == PAD_ID, PAD_ID, source)  # nothing of a blank text
        outputs = {
            "text": decode_tensor(self.tokenizer, ids, surfaces),
            "score": found.scores[:, 0],
            "truncated": truncated,
            "source_tokens": pieces_tensor(self.tokenizer.source, read, surfaces),
            "target_tokens": pieces_tensor(self.tokenizer, ids, surfaces),
            "attention": found.attention[:, 0],
        }
        start = tf.fill([tf.shape(ids)[0], 1], START_ID)
        inputs = {
            "source": known_ids(source),
            "target": tf.concat([start, known_ids(ids[:, :-1])], axis=1),
        }
        if self.model.has_attention_maps:
            weights = self.model.attention_maps(inputs).cross
            kept = (ids != PAD_ID)[:, None, None, :, None]
            outputs["attention_heads"] = tf.where(kept, weights, 0.0)
        if self.model.copies:
            outputs["p_gen"] = tf.where(ids != PAD_ID, self.model.p_gen(inputs), 0.0)
        return outputs

    def _score(self, target, written_only=False, **columns):
        # The scopes are for people who look at the graph, as TensorBoard shows this one.
        with tf.name_scope("source_tokens"):
            source, blank, truncated = self._source(columns, reader := self._reader())
        with tf.name_scope("target_tokens"):
            limit = self.generation.max_length
            form = self.source_format.targets
            composed = compose(self.tokenizer, form, {"text": target}, limit, reader)
            labels = with_end(composed.ids)
            inputs = {}
            if reader is not None:
                source, labels, surfaces = reader.number(source, labels)
                inputs = {"num_unknown": tf.shape(surfaces)[1]}
            start = tf.fill([tf.shape(labels)[0], 1], START_ID)
            written = tf.concat([start, labels[:, :-1]], axis=1)
        logits = self.model({"source": source, "target": written, **inputs}, training=False)
        with tf.name_scope("log_probability"):
            columns = tf.where(labels < 0, self.model.vocab_size - 1 - labels, labels)
            log_p = -tf.nn.sparse_softmax_cross_entropy_with_logits(
                columns, tf.cast(logits, tf.float32)
            )
            counted = (labels != PAD_ID) & ~blank[:, None]
            if written_only:
                counted &= may_be_written(labels, self.generation)
            counts = tf.cast(counted, tf.int32)
            return {
                "score": tf.reduce_sum(log_p * tf.cast(counts, tf.float32), axis=1),
                "tokens": tf.reduce_sum(counts, axis=1),
                "truncated": truncated | composed.is_cut(limit),
            }

    def _write(self, columns, return_attention: bool = False, prefix: tf.Tensor | None = None):
        """Hypotheses, their source ids (B, S), texts of unknown pieces or `None`, and a mask.

        The mask (B,) is that of the texts of which a part was not read, or whose best hypothesis
        had to end. A blank text has one hypothesis without a token, even an end.
        """
        source, blank, truncated = self._source(columns, reader := self._reader())
        surfaces = None
        if reader is not None:
            source, _, surfaces = reader.number(source)
        found = self._search(source, self.generation, return_attention, prefix)
        ids = tf.where(blank[:, None, None], PAD_ID, found.ids)
        one = tf.one_hot(0, self.generation.beam_size, on_value=0.0, off_value=NEG_INF)
        found = found._replace(ids=ids, scores=tf.where(blank[:, None], one, found.scores))
        if return_attention:
            attention = tf.where(blank[:, None, None, None], 0.0, found.attention)
            found = found._replace(attention=attention)
        truncated |= ~found.finished[:, 0] & ~blank
        return found, source, surfaces, truncated

    def _reader(self) -> SurfaceReader | None:
        return SurfaceReader() if self.generation.replace_unknown else None

    def _search(
        self,
        source,
        options: GenerationOptions,
        return_attention=False,
        prefix=None,
        static_shapes=False,
    ):
        tag = self.source_format.target_tag
        if tag is not None:
            first = tf.fill([tf.shape(source)[0], 1], self.tokenizer.id_of(tag))
            prefix = first if prefix is None else tf.concat([first, prefix], axis=1)
        starts = self.tokenizer.word_starts() if options.no_repeat_ngram else None
        return generate(
            self.model,
            source,
            options,
            return_attention,
            prefix,
            word_starts=starts,
            static_shapes=static_shapes,
            shortlist=self.shortlist,
        )

    def _source(self, columns, reader: SurfaceReader | None = None):
        """Source ids (B, S), and masks (B,) of the blank texts and of those that are cut."""
        tokenizer, limit = self.tokenizer.source, self.max_source_length
        composed = compose(tokenizer, self.source_format, columns, limit, reader)
        return with_end(composed.ids), composed.blank, composed.is_cut(limit)


def _distinct(texts: tf.Tensor, scores: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The `size` best different texts of each row, the best first, each with its best score.

    Args:
        texts: Strings (B, M).
        scores: float32 (B, M), `NEG_INF` for what is not there.
        size: N, at most M.

    Returns:
        Texts (B, N) and scores (B, N), "" and `NEG_INF` where there are no more.
    """
    scores, order = tf.math.top_k(scores, scores.shape[1])
    texts = tf.gather(texts, order, batch_dims=1)
    equal = texts[:, :, None] == texts[:, None]
    before = tf.range(scores.shape[1])[:, None] > tf.range(scores.shape[1])
    repeated = tf.reduce_any(equal & before, axis=-1)
    scores, order = tf.math.top_k(tf.where(repeated, NEG_INF, scores), size)
    texts = tf.gather(texts, order, batch_dims=1)
    return tf.where(scores > NEG_INF / 2, texts, ""), scores
