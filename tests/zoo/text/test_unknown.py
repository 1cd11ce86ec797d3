"""Unknown pieces of the source, written as they stand there."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_models import random_source, tiny_model

from attention_zoo.zoo.decoding.options import GenerationOptions
from attention_zoo.zoo.decoding.search import generate
from attention_zoo.zoo.pipeline.text_to_text import TextToText
from attention_zoo.zoo.text.composing import compose
from attention_zoo.zoo.text.source_format import SourceFormat, SourceInput
from attention_zoo.zoo.text.special_ids import END_ID, PAD_ID, START_ID, UNKNOWN_ID
from attention_zoo.zoo.text.tokenizer import Tokenizer
from attention_zoo.zoo.text.unknown import SurfaceReader, decode_tensor, known_ids, pieces_tensor

CORPUS = ["a red house", "two dogs", "a red dog and two red houses", "fifty finches", "1 2"]
TEXTS = ["a 龘靐 red 龘", "two dogs", "x龘y dog", "  Ωa 靐  red", "ﬁfty ￦ ２"]
UNKNOWN = [["龘靐", "龘"], [], ["x龘"], ["Ω", "靐"], ["ﬁ", "￦", "２"]]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(CORPUS * 5, vocab_size=40, character_coverage=1.0, symbols=["<sep>"])


@pytest.fixture(scope="module")
def read(tokenizer):
    reader = SurfaceReader()
    ids = reader.tokenize(tokenizer, tf.constant(TEXTS))
    source, _, surfaces = reader.number(ids.to_tensor(PAD_ID))
    return tf.RaggedTensor.from_tensor(source, ids.row_lengths()), surfaces


def test_reads_the_ids_of_the_tokenizer_and_the_text_of_unknown_pieces(tokenizer, read):
    ids, surfaces = read
    expected = tokenizer.graph_tokenizer.tokenize(TEXTS)
    assert ids.with_values(known_ids(ids.values)).to_list() == expected.to_list()
    found = [
        [names[-1 - i].decode() for i in row if i < 0]
        for row, names in zip(ids.to_list(), surfaces.numpy(), strict=True)
    ]
    assert found == UNKNOWN
    most = max(map(len, UNKNOWN))
    assert surfaces.shape == (len(TEXTS), most) and ids.values.numpy().min() == -most


def test_unknown_words_keep_their_space_wherever_they_are_copied_to():
    tokenizer = Tokenizer.train(CORPUS * 5, 40, "word")
    reader = SurfaceReader()
    texts = ["zebras  a red", "blue a  blue\r\n\u2028\x85bird red", "a", ""]
    ids = reader.tokenize(tokenizer, tf.constant(texts))
    target = reader.tokenize(tokenizer, tf.constant(["zebras", "bird zebras blue a", "blue", "x"]))
    a, red = tokenizer.encode(["a red"])[0]
    # SentencePiece makes one piece of "blue bird".
    plain = tokenizer.encode(texts)
    assert plain[1].tolist() == [UNKNOWN_ID, a, UNKNOWN_ID, UNKNOWN_ID, red]
    assert [row.tolist() for row in plain] == tokenizer.tokenize(tf.constant(texts)).to_list()
    source, labels, surfaces = reader.number(ids.to_tensor(), target.to_tensor())
    assert surfaces.numpy().astype(str).tolist() == [
        [" zebras", ""],
        [" blue", " bird"],
        ["", ""],
        ["", ""],
    ]
    assert source.numpy().tolist()[:2] == [[-1, a, red, 0, 0], [-1, a, -1, -2, red]]
    assert labels.numpy().tolist()[:2] == [[-1, 0, 0, 0], [-2, UNKNOWN_ID, -1, a]]
    assert labels.numpy().tolist()[2:] == [[UNKNOWN_ID, 0, 0, 0]] * 2
    copied = tf.constant([[a, -1, red, END_ID], [-2, -2, a, END_ID]])
    texts = decode_tensor(tokenizer, copied, surfaces[:2]).numpy()
    assert [text.decode() for text in texts] == ["a zebras red", "bird bird a"]
    pieces = pieces_tensor(tokenizer, copied, surfaces[:2]).numpy()
    assert [piece.decode() for piece in pieces[1, 1:3]] == ["▁bird", "▁a"]


def test_numbers_go_on_over_several_inputs(tokenizer):
    reader = SurfaceReader()
    source_format = SourceFormat(
        (SourceInput("context"), SourceInput("history", "turns"), SourceInput("text"))
    )
    columns = {
        "context": tf.constant(["龘 a", "a"]),
        "history": tf.constant(["Ω\na", "two\n靐"]),
        "text": tf.constant(["Ψ", "a red Ж house"]),
    }
    composed = compose(tokenizer, source_format, columns, 50, reader)
    source, _, surfaces = reader.number(composed.ids.to_tensor(PAD_ID))
    names = pieces_tensor(tokenizer, source, surfaces).numpy()
    texts = ["".join(piece.decode() for piece in row) for row in names]
    assert texts == ["▁龘▁a<sep>▁Ω<sep>▁a<sep>▁Ψ", "▁a<sep>▁two<sep>▁靐<sep>▁a▁red▁Ж▁house"]


def test_texts_come_back_with_their_unknown_characters(tokenizer, read):
    ids, surfaces = read
    mark = tf.fill([ids.nrows(), 1], tokenizer.id_of("<sep>"))
    rest = tf.constant([[END_ID, -1, 9]] * len(TEXTS))
    padded = tf.concat([mark, ids, rest], axis=1).to_tensor(PAD_ID)
    texts = [text.decode() for text in decode_tensor(tokenizer, padded, surfaces).numpy()]
    # All else is normalized as ever.
    assert texts == ["a 龘靐 red 龘", "two dogs", "x龘y dog", "Ωa 靐 red", "ﬁfty ￦ ２"]
    plain = decode_tensor(tokenizer, padded, None).numpy()
    np.testing.assert_array_equal(plain, tokenizer.decode_tensor(known_ids(padded)).numpy())
    assert plain[1].decode() == texts[1]
    assert b"\xe2\x81\x87" in plain[0]


def test_a_piece_whose_character_another_piece_has_is_shown_as_unknown(tokenizer):
    ids = tf.constant([[-1, 7, END_ID]])
    pieces = pieces_tensor(tokenizer, ids, tf.constant([[""]])).numpy()
    assert pieces[0, 0] == b"<unk>"
    assert decode_tensor(tokenizer, ids, tf.constant([[""]])) == tokenizer.decode([[7]])[0]


# Searches

SEARCHES = [
    {"beam_size": 3},
    {"beam_size": 1},
    {"beam_size": 3, "no_repeat_ngram": 2},
    {"beam_size": 1, "no_repeat_ngram": 1},
    {"beam_size": 2, "do_sample": True, "seed": 3},
]


@pytest.fixture(scope="module")
def source():
    """Rows with two unknown pieces, one of them twice, with none, and with one."""
    ids = random_source(3, [5, 4, 3])
    ids[0, 1], ids[0, 3], ids[0, 4], ids[2, 0] = -1, -2, -1, -1
    return ids


@pytest.fixture(scope="module", params=["pointer", "transformer"])
def model(request):
    model = tiny_model(request.param, seed=3)
    bias = model.output_layer.bias.numpy()
    bias[UNKNOWN_ID] += 4.0  # which would be written often
    model.output_layer.bias.assign(bias)
    return model


@pytest.mark.parametrize("options", SEARCHES)
def test_rows_with_unknown_pieces_may_write_them_and_others_may_not(model, source, options):
    options = {"max_length": 6, "length_penalty": 0.0, **options}
    found = generate(
        model, source, GenerationOptions(**options, replace_unknown=True), return_attention=True
    )
    ids = found.ids.numpy()
    assert not (ids[1] < 0).any()
    assert (ids[[0, 2]] < 0).any() or options["beam_size"] == 1
    assert (ids[2] > -2).all()
    assert not (ids == UNKNOWN_ID).any()
    # The score is that of the target read as a whole.
    for beam in range(ids.shape[1]):
        log_p = log_probabilities(model, source, ids[:, beam])
        np.testing.assert_allclose(found.scores[:, beam], log_p, atol=1e-4)
    size = options.get("no_repeat_ngram", 0)
    for row in ids.reshape(-1, ids.shape[2]):
        runs = [tuple(row[i : i + size]) for i in range(row.tolist().index(END_ID) - size + 1)]
        assert not size or len(runs) == len(set(runs))


def log_probabilities(model, source, ids):
    start = np.full((len(ids), 1), START_ID, np.int32)
    inputs = {"source": source, "target": np.concatenate([start, ids[:, :-1]], axis=1)}
    log_p = tf.nn.log_softmax(model({**inputs, "num_unknown": tf.constant(2)})).numpy()
    columns = np.where(ids < 0, model.vocab_size - 1 - ids, ids)
    chosen = np.take_along_axis(log_p, columns[..., None], -1)[..., 0]
    return (chosen * (ids != PAD_ID)).sum(1)


def test_two_unknown_pieces_are_two_candidates(model, source):
    options = GenerationOptions(
        beam_size=9 + 81,
        max_length=3,
        max_length_ratio=None,
        early_stopping=False,
        length_penalty=0.0,
        replace_unknown=True,
    )
    found = generate(model, source[:1], options)
    words = [-2, -1, *range(4, 12)]
    targets = [(), *((a,) for a in words), *((a, b) for a in words for b in words)]
    padded = np.array([[*row, END_ID, PAD_ID, PAD_ID][:3] for row in targets], np.int32)
    log_p = log_probabilities(model, np.repeat(source[:1], len(targets), 0), padded)
    best = np.argsort(-log_p)[:50]  # all of which the beams hold
    np.testing.assert_allclose(found.scores[0, :50], log_p[best], atol=1e-4)
    np.testing.assert_array_equal(found.ids[0, :50], padded[best])
    prefix = tf.constant([[-2, 5]])
    forced = generate(model, source[:1], options, prefix=prefix).ids.numpy()[0, 0]
    assert forced[:2].tolist() == [-2, 5]


def test_a_source_of_plain_ids_has_nothing_to_be_named(model, source):
    ids = np.where(source < 0, UNKNOWN_ID, source)
    options = GenerationOptions(beam_size=2, max_length=6)
    named = GenerationOptions(beam_size=2, max_length=6, replace_unknown=True)
    expected, actual = (generate(model, ids, each) for each in (options, named))
    np.testing.assert_array_equal(actual.ids, expected.ids)
    np.testing.assert_array_equal(actual.scores, expected.scores)


# From text to text


@pytest.fixture(scope="module")
def copying(tokenizer):
    """A model that does nothing but copy what it attends to, by chance."""
    model = tiny_model("pointer", tokenizer.vocab_size, seed=4)
    model.output_layer.pointer.kernel.assign(tf.zeros_like(model.output_layer.pointer.kernel))
    model.output_layer.pointer.bias.assign([-40.0])
    bias = model.output_layer.bias.numpy()
    bias[END_ID] = 60.0  # what is left to the vocabulary, by attention to the end
    model.output_layer.bias.assign(bias)
    options = GenerationOptions(beam_size=2, max_length=9, min_length=4, replace_unknown=True)
    return TextToText(model, tokenizer, options)


@pytest.mark.usefixtures("eager")
def test_copies_characters_that_were_never_seen(copying):
    outputs = [prediction.text for prediction in copying.predict(TEXTS)]
    assert any(set(output) & set("龘靐Ω￦") for output in outputs)
    for text, output in zip(
        ["fifty ￦ 2" if "￦" in t else t for t in TEXTS], outputs, strict=True
    ):
        assert set(output) <= {*text, " "}
    without = copying.with_generation(replace_unknown=False).predict(TEXTS)
    assert not set("".join(prediction.text for prediction in without)) & set("龘靐Ω￦\u2047")
    assert [row[0].text for row in copying.n_best(TEXTS)] == outputs


@pytest.mark.usefixtures("eager")
def test_explanations_name_unknown_pieces_and_say_what_was_copied(copying):
    for text, unknown, explanation in zip(TEXTS, UNKNOWN, copying.explain(TEXTS), strict=True):
        assert [t for t in explanation.source_tokens if t in unknown] == unknown, text
        assert not {"<unk>"} & {*explanation.source_tokens, *explanation.target_tokens}
        assert explanation.p_gen.shape == (len(explanation.target_tokens),)
        assert (explanation.p_gen < 1e-6).all()


def test_exported_graphs_write_them_too(copying, tmp_path):
    archive = keras.export.ExportArchive()
    for resource in copying.trackables():
        archive.track(resource)
    archive.add_endpoint("serving_default", copying.signatures()["serving_default"])
    archive.write_out(str(tmp_path), verbose=False)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    texts = served(text=tf.constant(TEXTS))["text"].numpy()
    assert [t.decode() for t in texts] == [p.text for p in copying.predict(TEXTS)]
