"""Pair files: every form of a corpus, and one clear line for all that can be wrong with it."""

import gzip
import json
import sys
import types

import pytest

from attention_zoo.recipes.data.corpus import SKIPPED_ROWS_KEPT
from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.zoo.errors import DataError


@pytest.fixture
def write(tmp_path):
    """Writes bytes to a file in a folder of this test's own and returns its path as a string."""

    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


def refusal(spec, **options):
    """The message with which a corpus is refused: always one line."""
    with pytest.raises(DataError) as caught:
        read_pairs(spec, **options)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


# What can be read


def test_tsv_ignores_further_columns(write):
    corpus = read_pairs(write("a.tsv", "one\teins\tignored\tby all\ntwo\tzwei\n"))
    assert list(corpus) == [("one", "eins"), ("two", "zwei")]
    assert len(corpus) == 2 and corpus.num_skipped == 0


def test_several_targets_are_a_list_or_columns_of_that_name(write):
    lines = ['{"source": "a", "target": ["A", "AA"]}', '{"source": "b", "target": "B"}']
    as_json = read_pairs(write("a.jsonl", "\n".join(lines)))
    as_tsv = read_pairs(write("a.tsv", "source\ttarget\ttarget\na\tA\tAA\nb\tB\n"))
    turned = read_pairs(write("b.tsv", "target\tsource\ttarget\nA\ta\tAA\nB\tb\t \n"))
    for corpus in (as_json, as_tsv, turned):
        assert list(corpus) == [("a", "A"), ("b", "B")]
        assert corpus.references() == [("A", "AA"), ("B",)]
    # A word that is called so is no line of names.
    assert len(read_pairs(write("c.tsv", "source\tQuelle\ntarget\tZiel\n"))) == 2


def test_lists_of_no_target_are_named(write):
    for empty in ("[]", '[" "]', '["a", 1]'):
        rows = f'{{"source": "a", "target": "A"}}\n{{"source": "a", "target": {empty}}}\n'
        message = refusal(write("a.jsonl", rows), min_pairs=1)
        assert "a.jsonl:2: " in message


def test_last_line_needs_no_line_end_and_windows_line_ends_are_removed(write):
    assert read_pairs(write("a.tsv", "one\teins\r\ntwo\tzwei")).targets == ["eins", "zwei"]


def test_byte_order_mark_is_not_text(write):
    assert read_pairs(write("a.tsv", b"\xef\xbb\xbfone\teins\ntwo\tzwei\n")).sources[0] == "one"


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_only_a_line_feed_ends_a_line(write, character):
    text = f"a{character}b"
    content = f"{text}\t{text}\ntwo\tzwei\n"
    assert read_pairs(write("a.tsv", content)).sources == [text, "two"]
    row = json.dumps({"source": text, "target": text}, ensure_ascii=False)
    assert read_pairs(write("a.jsonl", f"{row}\n{row}\n")).targets == [text, text]
    sides = write("a.en", f"{text}\ntwo\n") + "," + write("a.de", f"{text}\nzwei\n")
    assert read_pairs(sides).sources == [text, "two"]


def test_jsonl(write):
    rows = [{"source": "one\ttab", "target": "eins", "id": 3}, {"target": "二", "source": "two"}]
    content = "\n".join(json.dumps(row) for row in rows)
    assert list(read_pairs(write("a.jsonl", content))) == [("one\ttab", "eins"), ("two", "二")]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.tsv.gz", "a\tb\nc\td\n"), ("a.jsonl.gz", '{"source": "a", "target": "b"}\n' * 2)],
)
def test_gzip(write, name, content):
    assert read_pairs(write(name, gzip.compress(content.encode()))).sources[0] == "a"


def test_parallel_files_one_of_them_packed(write):
    source, target = write("a.en.gz", gzip.compress(b"one\ntwo\n")), write("a.de", "eins\nzwei\n")
    assert list(read_pairs(f"{source},{target}")) == [("one", "eins"), ("two", "zwei")]


def test_file_with_a_comma_in_its_name_is_one_file(write):
    assert len(read_pairs(write("a,b.tsv", "one\teins\ntwo\tzwei\n"))) == 2


def test_reverse_swaps_the_sides(write):
    corpus = read_pairs(write("a.tsv", "one\teins\ntwo\tzwei\n"), reverse=True)
    assert list(corpus) == [("eins", "one"), ("zwei", "two")]


def test_one_pair_is_enough_to_evaluate(write):
    path = write("a.tsv", "one\teins\n")
    assert list(read_pairs(path, min_pairs=1)) == [("one", "eins")]
    assert "has only 1 usable row. Expected at least 2." in refusal(path)


# Rows that cannot be used


def good_rows(count):
    return [f"source {i}\ttarget {i}" for i in range(count)]


def test_few_bad_rows_are_skipped_and_reported(write):
    rows = [row.encode() for row in good_rows(400)]
    rows[6], rows[10], rows[20] = b"no tab", b"one\t ", b"caf\xe9\tx"
    content = b"\n".join(rows)
    path = write("a.tsv", content)
    corpus = read_pairs(path)
    assert len(corpus) == 397 and corpus.num_skipped == 3
    assert "source 6" not in corpus.sources and corpus.sources[6] == "source 7"
    assert corpus.report().splitlines() == [
        f"{path}: 397 pairs (columns 1 and 2 of 2, tab-separated, no header), 3 rows skipped",
        f"  {path}:7: no tab between source and target",
        f"  {path}:11: the target is empty",
        f"  {path}:21: not UTF-8",
    ]
    with open(path, "rb") as file:
        assert file.read() == content


def test_one_row_in_a_hundred_is_the_limit(write):
    at_limit = write("a.tsv", "\n".join([*good_rows(198), "bad", "bad"]))
    assert read_pairs(at_limit).num_skipped == 2
    over = write("b.tsv", "\n".join([*good_rows(197), "bad", "bad", "bad"]))
    message = refusal(over)
    assert message.startswith(f"{over}:198: no tab")
    assert "3 of the 200 rows" in message and message.endswith(
        "at most 2 may be bad: correct them."
    )


def test_small_file_may_have_no_bad_row(write):
    path = write("a.tsv", "\n".join([*good_rows(3), "bad"]))
    assert "1 of the 4 rows" in refusal(path)
    assert len(read_pairs(path, max_bad_rows=1)) == 3


def test_limit_of_the_caller(write):
    path = write("a.tsv", "\n".join([*good_rows(500), "bad", "bad"]))
    assert "at most 1" in refusal(path, max_bad_rows=1)


def test_file_with_no_good_row_is_refused_whatever_the_limit(write):
    path = write("a.en", "one\ntwo\n")
    message = refusal(path, max_bad_rows=10)
    assert "SOURCE_FILE,TARGET_FILE" in message  # it looks like one half of a parallel corpus


def test_report_is_cut(write):
    bad = SKIPPED_ROWS_KEPT + 5
    corpus = read_pairs(write("a.tsv", "\n".join(good_rows(5) + ["bad"] * bad)), max_bad_rows=bad)
    assert corpus.num_skipped == bad
    assert corpus.report().endswith("and 5 more")
    assert len(corpus.report().splitlines()) == SKIPPED_ROWS_KEPT + 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", 'expected texts under "source" and "target"'),
        ('{"source": "a"}', 'expected texts under "source" and "target"'),
        ('{"source": "a", "target": 3}', 'expected texts under "source" and "target"'),
        ('{"source": "a", "target": ""}', "the target is empty"),
        ('{"source": "", "target": "a"}', "the source is empty"),
        ('{"source": "\\ud800", "target": "a"}', "not UTF-8"),
    ],
)
def test_bad_rows_of_jsonl(write, row, reason):
    row = row if isinstance(row, bytes) else row.encode()
    path = write("a.jsonl", b'{"source": "a", "target": "b"}\n' + row + b"\n")
    assert refusal(path).startswith(f"{path}:2: {reason}.")


def test_bad_rows_of_parallel_files_name_the_file(write):
    source = write("a.en", b"one\n\nthree\nfour\nfive\n")
    target = write("a.de", b"eins\nzwei\n \nvi\xebr\nf\xc3\xbcnf\n")
    corpus = read_pairs(f"{source},{target}", max_bad_rows=3)
    assert list(corpus) == [("one", "eins"), ("five", "fünf")]
    assert [(row.file, row.line, row.reason) for row in corpus.skipped] == [
        (source, 2, "the source is empty"),
        (target, 3, "the target is empty"),
        (target, 4, "not UTF-8"),
    ]


# What is refused as a whole


def test_missing_file(tmp_path):
    path = str(tmp_path / "no.tsv")
    assert refusal(path) == f"{path} does not exist. Give the path of a text file."


def test_folder(tmp_path):
    assert "is a folder" in refusal(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["a.tsv", "a.jsonl"])
def test_empty_file(write, name, content):
    assert "is empty" in refusal(write(name, content))


def test_file_of_blank_lines(write):
    assert "is empty" in refusal(write("a.tsv", "\n\n\n"))


def test_damaged_gzip(write):
    packed = gzip.compress("\n".join(good_rows(500)).encode())
    assert "damaged gzip" in refusal(write("cut.tsv.gz", packed[:-30]))
    assert "damaged gzip" in refusal(write("bad.tsv.gz", packed[:20] + b"\0" * 50 + packed[70:]))


def test_parallel_files_of_different_lengths(write):
    source, target = write("a.en", "one\ntwo\nthree\n"), write("a.de", "eins\nzwei\n")
    for spec, counts in ((f"{source},{target}", (3, 2)), (f"{target},{source}", (2, 3))):
        message = refusal(spec)
        assert f"has {counts[0]} lines" in message and f"has {counts[1]}." in message


@pytest.mark.parametrize("spec", ["a.en,", ",a.de", ",", "a,b,c", "hf:", "tfds:@train", "hf:x#a"])
def test_malformed_spec(spec):
    assert refusal(spec).endswith(f"Received: {spec}")


def test_one_of_two_parallel_files_is_missing(write, tmp_path):
    source = write("a.en", "one\ntwo\n")
    missing = str(tmp_path / "a.de")
    assert refusal(f"{source},{missing}").startswith(f"{missing} does not exist")


# Datasets by name. The libraries are stood in for: what matters is what we make of their records.


def hugging_face(monkeypatch, records):
    """A `datasets` package whose only data set is `records`; returns the calls made to it."""
    calls = []

    class Dataset(list):
        column_names = list(records[0]) if records else []

    def load_dataset(path, config, split):
        calls.append((path, config, split))
        if path == "unknown":
            raise FileNotFoundError("Dataset 'unknown' is not there.\nSecond line.")
        return Dataset(records)

    package = types.SimpleNamespace(load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", package)
    return calls


def test_hugging_face_columns_and_split(monkeypatch):
    records = [{"id": 1, "en": "one", "de": "eins"}, {"id": 2, "en": "two", "de": "zwei"}]
    calls = hugging_face(monkeypatch, records)
    corpus = read_pairs("hf:some/data:small@test[:2]#en,de")
    assert calls == [("some/data", "small", "test[:2]")]
    assert list(corpus) == [("one", "eins"), ("two", "zwei")]
    read_pairs("hf:some/data#de,en")
    assert calls[-1] == ("some/data", None, "train")


def test_hugging_face_translation_feature(monkeypatch):
    records = [{"translation": {"de": "eins", "en": "one"}}] * 2
    hugging_face(monkeypatch, records)
    assert read_pairs("hf:wmt").sources == ["eins", "eins"]
    assert read_pairs("hf:wmt#en,de").sources == ["one", "one"]
    hugging_face(monkeypatch, [{"text": "hello", "translation": "bonjour"}] * 2)
    assert list(read_pairs("hf:two")) == [("hello", "bonjour")] * 2


def test_hugging_face_errors(monkeypatch):
    hugging_face(monkeypatch, [{"a": "x", "b": "y", "c": "z"}] * 2)
    assert "a, b, c" in refusal("hf:data")
    assert "It has: a, b, c" in refusal("hf:data#a,nope")
    assert refusal("hf:unknown") == "hf:unknown cannot be loaded: Dataset 'unknown' is not there."
    hugging_face(monkeypatch, [])
    assert "is empty" in refusal("hf:data")
    hugging_face(monkeypatch, [{"source": "x", "target": None}] * 2)
    assert refusal("hf:data").startswith("hf:data:1: expected texts")


def test_tfds_uses_the_supervised_keys_and_decodes(monkeypatch):
    records = [{"de": "fünf".encode(), "en": b"five", "id": 5}] * 300
    records[17] = {"de": b"f\xfcnf", "en": b"five", "id": 5}
    package = types.SimpleNamespace(
        load=lambda name, split, with_info: (
            records if (name, split, with_info) == ("ted/de_en", "validation", True) else [],
            types.SimpleNamespace(supervised_keys=("de", "en")),
        ),
        as_numpy=iter,
    )
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", package)
    corpus = read_pairs("tfds:ted/de_en@validation")
    assert corpus.sources[0] == "fünf" and corpus.targets[0] == "five"
    assert len(corpus) == 299 and corpus.skipped[0].line == 18


@pytest.mark.parametrize(
    ("spec", "package"), [("hf:data", "datasets"), ("tfds:data", "tensorflow_datasets")]
)
def test_missing_extra_is_told(monkeypatch, spec, package):
    monkeypatch.setitem(sys.modules, package, None)  # what Python itself does to block an import
    message = refusal(spec)
    assert package in message and "attention-zoo[data]" in message
