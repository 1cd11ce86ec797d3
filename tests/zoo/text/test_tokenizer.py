"""Subwords: the same in Python and in the graph, and back to the text."""

import unicodedata

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from pieces import train_pieces

from attention_zoo.zoo.text.normalization import KINDS
from attention_zoo.zoo.text.special_ids import END_ID, PAD_ID, START_ID, UNKNOWN_ID
from attention_zoo.zoo.text.tokenizer import Tokenizer
from attention_zoo.zoo.text.unknown import WHITE_SPACE_MARK

TEXTS = [
    "A dog runs across the green grass.",
    "Zwei Männer überqueren die Straße, müde.",
    "星期一,三月五日,下午三点半。",
    "two 🐕 and one 🚲",
    "naïve façade — “quoted”",
    "x",
]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS * 20, vocab_size=160, character_coverage=1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind):
    trained = Tokenizer.train(TEXTS * 20, 160, kind, character_coverage=1.0)
    assert trained.decode(trained.encode(TEXTS)) == TEXTS
    assert trained.vocab_size <= 160


def test_words_and_characters_are_whole():
    words = Tokenizer.train(["the dog", "the cat"] * 5, 6, "word")
    assert words.is_of_words()
    assert words.pieces(range(4, words.vocab_size)) == ["\u2581the", "\u2581cat"]
    np.testing.assert_array_equal(words.encode(["the dog the"])[0], [4, UNKNOWN_ID, 4])
    characters = Tokenizer.train(["abba"] * 5, 9, "char")
    assert sorted(characters.pieces(range(4, characters.vocab_size))) == ["a", "b", "\u2581"]
    assert not characters.is_of_words()


WRITTEN = [
    "3½ cups, 10² m², H₂O, ①",
    "می\u200cخواهم שלום\u200f!",
    "ｗｉｄｅ？ … ℃ ﬁ",
    "  e\u0301t\u00e9  a\u0302\u0323\t\u3000ᄒ\u1161ᆫ \u00a0\r\n\u2028x ",
]


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_normalized_to_nfc_and_single_spaces(kind):
    trained = Tokenizer.train(WRITTEN * 20, 200, kind, character_coverage=1.0)
    expected = [" ".join(unicodedata.normalize("NFC", text).split()) for text in WRITTEN]
    assert expected[:3] == WRITTEN[:3] and expected[3] == "été \u1ead 한 x"
    assert trained.decode(trained.encode(WRITTEN)) == expected
    graph = trained.encode_tensor(tf.constant(WRITTEN))
    assert trained.decode_tensor(graph).numpy().tolist() == [text.encode() for text in expected]


def test_every_character_is_normalized_as_unicode_says(tokenizer):
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    signs = [chr(i) for i in range(1, 0x110000) if not 0xD800 <= i < 0xE000]
    for form in ("NFC", "NFD"):
        texts = [f"x{unicodedata.normalize(form, sign)}y" for sign in signs]
        found = processor.normalize(texts)
        for text, normal in zip(texts, found, strict=True):
            expected = " ".join(unicodedata.normalize("NFC", text).split())
            assert normal.replace(WHITE_SPACE_MARK, " ").strip() == expected.replace(
                WHITE_SPACE_MARK, " "
            )


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [("nfc", "10² Ｅé\u200ca"), ("none", "10² Ｅe\u0301\u200ca"), ("nmt_nfkc", "102 Eé a")],
)
def test_other_normalizations(normalization, expected):
    texts = ["10² Ｅe\u0301\u200ca"]
    trained = Tokenizer.train(texts * 20, 60, character_coverage=1.0, normalization=normalization)
    assert trained.decode(trained.encode(texts)) == [expected]
    graph = trained.encode_tensor(tf.constant(texts))
    assert trained.decode_tensor(graph).numpy().tolist() == [expected.encode()]


@pytest.fixture(scope="module", params=["bpe", "unigram", "char"])
def with_bytes(request):
    return Tokenizer.train(TEXTS * 20, 420, request.param, 1.0, byte_fallback=True)


UNSEEN = ["unseen: ж 🦄 <unk> </s> <0x41> <pad>", "می\u200cخواهم 龘", *TEXTS]


def test_every_text_can_be_written_with_bytes(with_bytes):
    ids = with_bytes.encode(UNSEEN)
    assert with_bytes.decode(ids) == UNSEEN
    assert not any(UNKNOWN_ID in row for row in ids)
    assert sum(with_bytes.byte_mask()) == 256
    graph = tf.function(with_bytes.encode_tensor)(tf.constant(UNSEEN))
    for row, python in zip(graph.numpy(), ids, strict=True):
        assert row[: len(python) + 1].tolist() == [*python, END_ID]
    assert with_bytes.decode_tensor(graph).numpy().tolist() == [text.encode() for text in UNSEEN]


def test_bytes_that_are_no_text_are_replaced(with_bytes):
    a = with_bytes.encode(["a"])[0].tolist()
    for octets in (
        [0xE9],
        [0xE9, 0xBE],
        [0xBE, 0x98],
        [0xFF] * 3,
        [0xED, 0xA0, 0x80],
        [0xC0, 0x80],
    ):
        row = [*a, *with_bytes.ids([f"<0x{octet:02X}>" for octet in octets]), *a]
        written = with_bytes.decode_tensor(tf.constant([row])).numpy()[0].decode()
        assert written == with_bytes.decode([row])[0] == "a" + "\ufffd" * len(octets) + " a"
    row = with_bytes.ids([f"<0x{octet:02X}>" for octet in [0xE9, *"龘".encode()]])
    assert with_bytes.decode_tensor(tf.constant([row])).numpy()[0].decode() == "\ufffd龘"


def test_bytes_are_there_from_two_thousand_tokens_on():
    random = np.random.default_rng(1)
    words = ["".join(random.choice(list("abcdefghijklmno"), 6)) for _ in range(3000)]
    texts = [" ".join(words[i : i + 6]) for i in range(0, 3000, 2)]
    large, small = (Tokenizer.train(texts, vocab_size=size) for size in (2000, 1999))
    assert large.vocab_size == 2000 and sum(large.byte_mask()) == 256
    assert not any(small.byte_mask())
    # Of a text that has fewer tokens than it may have, they would be most.
    assert not any(Tokenizer.train(TEXTS * 20, vocab_size=8000).byte_mask())
    assert not any(Tokenizer.train(texts, 2000, byte_fallback=False).byte_mask())
    # There is no room for 256 bytes beside so many characters.
    signs = "".join(chr(0x4E00 + i) for i in range(1900))
    full = Tokenizer.train([signs] * 3, 2000, character_coverage=1.0)
    assert not any(full.byte_mask()) and full.decode(full.encode([signs])) == [signs]
    of_words = Tokenizer.train(texts, 2500, "word")
    assert of_words.is_of_words() and not any(of_words.byte_mask())


def test_graph_equals_python(tokenizer):
    texts = [*TEXTS, "unseen: ж 🦄 ę", "", "   "]
    python = tokenizer.encode(texts)
    graph = tf.function(tokenizer.encode_tensor)(tf.constant(texts)).numpy()
    assert graph.dtype == np.int32
    assert graph.shape == (len(texts), max(map(len, python)) + 1)
    for row, ids in zip(graph, python, strict=True):
        expected = [*ids, END_ID]
        assert row.tolist() == expected + [PAD_ID] * (len(row) - len(expected))
    decoded = tokenizer.decode_tensor(tf.constant(graph)).numpy()
    assert [text.decode() for text in decoded] == tokenizer.decode(python)
    assert UNKNOWN_ID in python[len(TEXTS)]
    assert python[-1].size == python[-2].size == 0


def test_pieces_of_a_row(tokenizer):
    ids = tokenizer.encode(["two dogs"])[0]
    pieces = tokenizer.pieces(ids)
    assert "".join(pieces) == f"{WHITE_SPACE_MARK}two{WHITE_SPACE_MARK}dogs"
    padded = tf.constant([[*ids, END_ID, PAD_ID, PAD_ID]])
    in_graph = [piece.decode() for piece in tokenizer.pieces_tensor(padded).numpy()[0]]
    assert in_graph == [*pieces, "</s>", "", ""]


def test_cutting_keeps_the_end(tokenizer):
    whole = tokenizer.encode([TEXTS[0], "x"])
    cut = tokenizer.encode_tensor(tf.constant([TEXTS[0], "x"]), max_length=4).numpy()
    assert cut[0].tolist() == [*whole[0][:3], END_ID]
    assert cut[1].tolist() == [*whole[1], END_ID, *[PAD_ID] * (3 - len(whole[1]))]


LONG_TEXTS = [
    " ".join(TEXTS) * 40,
    "星期一三月五日下午三点半" * 200,
    "quarterback " * 300,  # of nothing but the longest piece
    unicodedata.normalize("NFD", "ᾧ Ǖ ế 한글 " * 200),
    "x" + " " * 10_000 + "x",
    " \t \u3000 a dog\n\n" * 300,
    "🐕" * 500,
    "☃ x " * 500,
    "short",
    "",
]


@pytest.mark.parametrize("keep", ["start", "end"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_subword_is_lost_by_cutting_characters(kind, keep):
    corpus = [*TEXTS * 20, *["quarterback"] * 40, *["ᾧ Ǖ ế 한글"] * 40]
    trained = Tokenizer.train(corpus, 220, kind, character_coverage=1.0)
    for limit in (2, 7, 30):
        texts, cut = trained.clip(tf.constant(LONG_TEXTS), limit, keep)
        kept = trained.graph_tokenizer.tokenize(texts).to_list()
        for text, ids, was_cut in zip(LONG_TEXTS, kept, cut.numpy(), strict=True):
            whole = trained.encode([text])[0].tolist()
            part = slice(limit) if keep == "start" else slice(-limit, None)
            assert ids[part] == whole[part]
            assert was_cut or ids == whole
    assert cut.numpy()[:3].all() and not cut.numpy()[[4, -2, -1]].any()


UNREADABLE = {
    "unknown": "☃".encode() * 100_000,
    "bytes": b"\x80" * 100_000,
    "mixed": b"\xff\x80\xe2" * 50_000,
    "wide spaces": "\u3000".encode() * 100_000,
    "text": b"two dogs " * 50_000,
}


@pytest.mark.parametrize("keep", ["start", "end"])
@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_any_text_is_bounded_before_it_is_tokenized(text, keep, tokenizer):
    longest = max(map(len, tokenizer.pieces(range(tokenizer.vocab_size))))
    for limit in (1, 10, 100):
        texts, cut = tokenizer.clip(tf.constant([text, b"x"]), limit, keep)
        assert len(texts.numpy()[0]) <= 4 * 4 * longest * limit
        assert texts.numpy()[1] == b"x" and cut.numpy().tolist() == [True, False]
        row = tokenizer.encode_tensor(tf.constant([text]), limit)
        assert 1 <= row.shape[1] <= limit and row.numpy()[0, -1] == END_ID


def test_a_bound_has_no_bound(tokenizer):
    texts, cut = tokenizer.clip(tf.constant(["two  dogs"]), 2**40)
    assert texts.numpy().tolist() == [b"two dogs"] and not cut.numpy().any()


def test_pieces_without_end_do_not_lift_the_bound():
    trained = Tokenizer.train(["y" * 3000, *TEXTS] * 5, 60, "word")
    assert max(map(len, trained.pieces(range(trained.vocab_size)))) > 3000
    texts, _ = trained.clip(tf.constant(["x " * 100_000]), 10)
    assert len(texts.numpy()[0]) == 4 * 128 * 10


def test_spaces_that_are_subwords_are_kept():
    ids = {"pad_id": PAD_ID, "unk_id": UNKNOWN_ID, "bos_id": START_ID, "eos_id": END_ID}
    texts = ["a  b", "a b", "b    a"] * 9
    spaced = Tokenizer(train_pieces(texts, 14, remove_extra_whitespaces=False, **ids))
    assert spaced.clip(tf.constant(["a   b"]), 9)[0].numpy().tolist() == [b"a   b"]


def test_decoding_stops_at_the_end_and_skips_special_ids(tokenizer):
    ids = tokenizer.encode(["two", "x"])
    row = [START_ID, *ids[0], PAD_ID, END_ID, *ids[1]]
    assert tokenizer.decode_tensor(tf.constant([row])).numpy().tolist() == [b"two"]
    assert tokenizer.decode([[START_ID, *ids[0], PAD_ID, END_ID]]) == ["two"]


def test_special_ids(tokenizer):
    pieces = tokenizer.pieces(range(4))
    assert [pieces[i] for i in (PAD_ID, UNKNOWN_ID, START_ID, END_ID)] == [
        "<pad>",
        "<unk>",
        "<s>",
        "</s>",
    ]
    # A text that spells a special piece does not become one.
    assert END_ID not in tokenizer.encode(["two</s>"])[0]


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.model")
    loaded = Tokenizer.load(tmp_path / "tokenizer.model")
    assert loaded.model == tokenizer.model
    assert loaded.vocab_size == tokenizer.vocab_size
    assert loaded.shares_vocabulary


def test_a_vocabulary_of_the_sources_is_saved_too(tokenizer, tmp_path):
    sources = Tokenizer.train(["ein roter Hund"] * 9, vocab_size=20)
    paths = tmp_path / "target.model", tmp_path / "source.model"
    both = Tokenizer(tokenizer.model, sources.model)
    both.save(*paths)
    loaded = Tokenizer.load(*paths)
    assert (loaded.model, loaded.source.model) == (tokenizer.model, sources.model)
    with pytest.raises(ValueError, match=r"vocabulary of their own.*Received: source_path=None"):
        both.save(tmp_path / "other.model")
    assert not (tmp_path / "other.model").exists()
    with pytest.raises(ValueError, match=r"share one.*Received: source_path=.*source\.model"):
        tokenizer.save(*paths)


def test_training_depends_on_the_text_alone():
    texts = [f"{a} {b}" for a in ("red", "green", "blue") for b in map(str, range(200))]
    # More sentences than are used: the sample must be the same each time.
    trained = [Tokenizer.train(texts, 60, max_sentences=150).model for _ in range(2)]
    assert trained[0] == trained[1]


@pytest.mark.parametrize(
    ("texts", "options", "expected"),
    [
        (TEXTS, {"kind": "syllable"}, "bpe, unigram, word, char.*Received: kind='syllable'"),
        (TEXTS, {"normalization": "nfd"}, "nfc, none, nmt_nfkc.*Received: normalization='nfd'"),
        # Fewer tokens than there are letters.
        (TEXTS, {"vocab_size": 10}, "must be 53 or more: .* Received: vocab_size=10"),
        (["", " "], {"vocab_size": 20}, "could not learn tokens"),
    ],
)
def test_what_cannot_be_learnt_is_refused(texts, options, expected):
    with pytest.raises(ValueError, match=expected):
        Tokenizer.train(texts, character_coverage=1.0, **options)


def test_a_model_with_other_special_ids_is_refused():
    with pytest.raises(ValueError, match=r"Received: \[-1, 0, 1, 2\]"):
        Tokenizer(train_pieces(TEXTS * 5, 120))


def test_a_vocabulary_below_the_characters_says_how_many_it_needs():
    texts = ["".join(map(chr, range(0x4E00, 0x4E00 + 300)))] * 3
    with pytest.raises(ValueError, match=r"vocab_size must be (\d+) or more") as caught:
        Tokenizer.train(texts, vocab_size=50, character_coverage=1.0)
    needed = int(str(caught.value).split(" must be ")[1].split()[0])
    assert Tokenizer.train(texts, vocab_size=needed, character_coverage=1.0).vocab_size == needed


def test_texts_that_are_written_as_symbols_are_made_of_characters():
    texts = ["say <s> or </s>, <unk> and <pad> <sep>"] * 20
    tokenizer = Tokenizer.train(texts, vocab_size=60, kind="char", symbols=["<sep>"])
    ids = tokenizer.encode(texts[:1])
    assert UNKNOWN_ID not in ids[0]
    assert tokenizer.decode(ids) == texts[:1]


def test_a_bar_leaves_no_sentence_out_of_learning():
    tokenizer = Tokenizer.train(["ab \u2585 cd"] * 20, vocab_size=30)
    assert tokenizer.decode(tokenizer.encode(["cd ab"])) == ["cd ab"]
