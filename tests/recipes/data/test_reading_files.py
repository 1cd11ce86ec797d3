"""Files as programs and people write them: read rightly, or refused with the words that help."""

import bz2
import csv
import gzip
import io
import json
import lzma
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_zoo.recipes.data.conversation_files import read_conversation_rows
from attention_zoo.recipes.data.corpus import Rows
from attention_zoo.recipes.data.files import opening
from attention_zoo.recipes.data.files.opening import open_text
from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.recipes.data.question_files import read_question_rows
from attention_zoo.zoo.errors import DataError

PAIRS = [
    ("May I borrow your bike?", "我能借一下您的自行车吗？"),
    ('He said, "I\'m from Canada."', "他说，我来自加拿大。"),
    ("Tell me; now, please.", "现在告诉我吧！"),
    ("Money makes the world go round.", "金钱让世界转动。"),
]
GERMAN = [("the house", "das schöne Häuschen für Müller"), ("a street", "die große Straße übt")] * 9
TAIWAN = [("the house", "這是一個很大的房子"), ("I like you", "我喜歡你們的國家")] * 9


def delimited(rows, delimiter=",", quoting=csv.QUOTE_MINIMAL, end="\r\n"):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)
    return text.getvalue()


def named(*keys):
    return [dict(zip(keys, pair, strict=True)) for pair in PAIRS]


def json_lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def tmx(*languages):
    def unit(texts):
        variants = (
            f'<tuv xml:lang="{language}"><seg>{text.replace("&", "&amp;")}</seg></tuv>'
            for language, text in zip(languages, texts, strict=True)
        )
        return f"<tu>{''.join(variants)}</tu>"

    units = "".join(unit((*pair, "x")[: len(languages)]) for pair in PAIRS)
    return f'<?xml version="1.0"?><tmx version="1.4"><header/><body>{units}</body></tmx>'


IDS = [(1276 + 3 * i, *pair) for i, pair in enumerate(PAIRS)]
TATOEBA = [(number, source, 9000 - number, target) for number, source, target in IDS]
KEYS = named("en", "zh")
# Multi-line cells, as of addresses.
LINES = [("one\ntwo", "eins\nzwei"), ("three", "drei")]

READ = {
    "comma.csv": (delimited(PAIRS), PAIRS),
    "header.csv": (delimited([("source", "target"), *PAIRS]), PAIRS),
    "languages.csv": (delimited([("English", "Chinese"), *PAIRS], ";"), PAIRS),
    "codes.csv": (delimited([("id", "en", "zh"), *IDS]), PAIRS),
    "all quoted.csv": (delimited(PAIRS, quoting=csv.QUOTE_ALL), PAIRS),
    "semicolon.csv": (delimited(PAIRS, ";"), PAIRS),
    "bar.csv": (delimited(PAIRS, "|"), PAIRS),
    "tab.csv": (delimited(PAIRS, "\t"), PAIRS),
    "excel.csv": ("sep=;\r\n" + delimited(PAIRS, ";"), PAIRS),
    "mark.csv": ("\ufeff" + delimited([("source", "target"), *PAIRS]), PAIRS),
    "lines.csv": (delimited(LINES), LINES),
    "pandas.csv": (delimited([("", "a", "b"), *((i, *IDS[i][1:]) for i in range(4))]), PAIRS),
    "names.csv": (delimited([("nr", "q", "w"), *IDS]), PAIRS),
    "spaces.csv": ('"a, b", "c d"\n"e f", "g, h"\n', [("a, b", "c d"), ("e f", "g, h")]),
    "reversed.csv": (delimited([("target", "source"), *(p[::-1] for p in PAIRS)]), PAIRS),
    "text_en.csv": (delimited([("text_en", "text_zh"), *PAIRS]), PAIRS),
    "plain.tsv": ("".join(f"{a}\t{b}\n" for a, b in PAIRS), PAIRS),
    "header.tsv": ("English\tChinese\n" + "".join(f"{a}\t{b}\n" for a, b in PAIRS), PAIRS),
    "quoted.tsv": (delimited(PAIRS, "\t"), PAIRS),
    "all quoted.tsv": (delimited([("source", "target"), *PAIRS], "\t", csv.QUOTE_ALL), PAIRS),
    "lines.tsv": (delimited(LINES, "\t"), LINES),
    "tatoeba.tsv": (delimited(TATOEBA, "\t", csv.QUOTE_NONNUMERIC), PAIRS),
    "ids.tsv": ("".join("\t".join(map(str, row)) + "\n" for row in TATOEBA), PAIRS),
    "scores.tsv": ("".join(f"1.0{i}\t{a}\t{b}\n" for i, (a, b) in enumerate(PAIRS)), PAIRS),
    "marked.tsv": ("".join(f"en\t{a}\tzh\t{b}\n" for a, b in PAIRS), PAIRS),
    "further.txt": ("".join(f"{a}\t{b}\tCC-BY 2.0 (x)\n" for a, b in PAIRS), PAIRS),
    "speech.tsv": (
        '"Yes," he said.\t"Ja", sagte er.\n"No."\t"Nein."\n',
        [('"Yes," he said.', '"Ja", sagte er.'), ('"No."', '"Nein."')],
    ),
    "years.tsv": (
        "1984\tnineteen eighty-four\n1777\tseventeen\n",
        [("1984", "nineteen eighty-four"), ("1777", "seventeen")],
    ),
    "a.jsonl": (json_lines(named("source", "target")), PAIRS),
    "keys.jsonl": (json_lines(named("en", "zh")), PAIRS),
    "order.jsonl": (json_lines([{"target": b, "source": a} for a, b in PAIRS]), PAIRS),
    "two.jsonl": (json_lines([{"n": 3, "foo": a, "bar": b} for a, b in PAIRS]), PAIRS),
    "nested.jsonl": (json_lines([{"id": 1, "translation": row} for row in KEYS]), PAIRS),
    "a.ndjson": (json_lines(named("src", "tgt")), PAIRS),
    "A.JSONL": (json_lines(named("prompt", "completion")), PAIRS),
    "lists.jsonl": (json_lines(map(list, PAIRS)), PAIRS),
    "list.json": (json.dumps(named("source", "target"), indent=1), PAIRS),
    "data.json": (json.dumps({"version": 1, "data": named("en", "zh")}), PAIRS),
    "columns.json": (json.dumps({"en": [a for a, _ in PAIRS], "zh": [b for _, b in PAIRS]}), PAIRS),
    "dictionary.json": (json.dumps(dict(PAIRS)), PAIRS),
    "lines.json": (json_lines(named("document", "summary")), PAIRS),
    "a.tmx": (tmx("en", "zh-CN"), PAIRS),
    "inline.tmx": (
        '<tmx><body><tu><tuv lang="en"><seg>a <bpt i="1">&lt;b></bpt>big<ept i="1"/> <hi>cat</hi>'
        '</seg></tuv><tuv lang="de"><seg>x</seg></tuv></tu></body></tmx>',
        [("a big cat", "x")],
    ),
    "utf16.tsv": (delimited(PAIRS, "\t").encode("utf-16"), PAIRS),
    "no mark.csv": (delimited(PAIRS).encode("utf-16-le"), PAIRS),
    "gb18030.csv": (delimited(PAIRS).encode("gb18030"), PAIRS),
    "big5.tsv": ("".join(f"{a}\t{b}\n" for a, b in TAIWAN).encode("big5"), TAIWAN),
    "windows.tsv": ("".join(f"{a}\t{b}\n" for a, b in GERMAN).encode("cp1252"), GERMAN),
    "gzip.csv.gz": (gzip.compress(delimited(PAIRS).encode()), PAIRS),
    "bzip2.tsv.bz2": (bz2.compress(delimited(PAIRS, "\t").encode()), PAIRS),
    "xz.jsonl.xz": (lzma.compress(json_lines(named("source", "target")).encode()), PAIRS),
    "mac.csv": (delimited(PAIRS, end="\r"), PAIRS),
}


@pytest.fixture
def write(tmp_path):
    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read(name, write):
    content, pairs = READ[name]
    corpus = read_pairs(write(name, content), min_pairs=1)
    assert list(corpus) == pairs and corpus.num_skipped == 0
    assert corpus.note and "\n" not in corpus.report()


THREE = [{"id": 1, "a": "x", "b": "y", "c": "z"}] * 3

REFUSED = {
    "three.jsonl": (json_lines(THREE), ["a, b, c", "three.jsonl#a,b"]),
    "numbers.tsv": ("7\tseven\tsieben\n3\tthree\tdrei\n7\tseven\tacht\n", ["#1,2", "columns, of"]),
    "labels.tsv": ("1\teng\thello there\n2\tdeu\tguten Tag\n3\teng\tbye\n" * 9, ["#1,2"]),
    "commas.csv": ("Hello, Tom\nBye\nYes, no, maybe\n", ["commas", ".tsv"]),
    "both.csv": ("a;b,c\nd;e,f\n", ["semicolon-separated", "source;target"]),
    "open.csv": ('a,b\n"c,d\ne,f\n', ["open.csv:2", "never closed"]),
    "half.en": ("one\ntwo\n", ["no tab", "SOURCE_FILE,TARGET_FILE"]),
    "three.tmx": (tmx("en", "zh", "de"), ["en, zh, de", "three.tmx#en,zh"]),
    "bomb.tmx": ('<!DOCTYPE x [<!ENTITY a "b">]><tmx>&a;</tmx>', ["is no TMX"]),
    "cut.tmx": ("<tmx><body><tu>", ["is no TMX"]),
    "a.xlf": ('<?xml version="1.0"?><xliff/>', ["XML", "TMX"]),
    "a.csv": ("<!DOCTYPE html><p>404", ["web page"]),
    "old.xls": (b"\xd0\xcf\x11\xe0" + b"\0" * 99, [".xlsx, .csv or .tsv"]),
    "data.parquet": (b"PAR1xx", ["Parquet", "JSON lines"]),
    "a.zip": (b"PK\x03\x04xx", ["zip archive", "unpack"]),
    "object.json": ('{"version": 3}', ["no list of rows", '"source"']),
    "broken.json": ('[{"source": "a"', ["is not JSON"]),
    "latin.tsv": (("the\tcittà è più\n" * 30).encode("cp1252"), ["is not UTF-8", "iconv -f"]),
    "cut.bz2": (bz2.compress(b"a\tb\n" * 99)[:-9], ["damaged bzip2"]),
    "cut.xz": (lzma.compress(b"a\tb\n" * 99)[:-9], ["damaged xz"]),
    "empty.csv": ("", ["is empty"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_with_the_words_that_help(name, write):
    content, words = REFUSED[name]
    with pytest.raises(DataError) as caught:
        read_pairs(write(name, content))
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


def test_columns_are_chosen_by_name_and_by_number(write):
    rows = [("id", "note", "en", "zh"), *((n, "x y", *pair) for n, pair in enumerate(PAIRS))]
    path = write("a.csv", delimited(rows))
    for columns in ("en,zh", "3,4", " en , zh "):
        assert list(read_pairs(f"{path}#{columns}")) == PAIRS
    assert list(read_pairs(f"{path}#4,3")) == [pair[::-1] for pair in PAIRS]
    assert read_pairs(f"{path}#en,zh").note == (
        "columns 3 and 4 of 4, comma-separated, names in the first line"
    )
    path = write("a.jsonl", json_lines(THREE))
    assert list(read_pairs(f"{path}#c,a")) == [("z", "x")] * 3
    for columns, words in (("a", "expected 2"), ("a,a", "expected 2"), ("a,d", "has no d")):
        with pytest.raises(DataError, match=words):
            read_pairs(f"{path}#{columns}")
    assert len(read_pairs(write("a#b,c.tsv", "a\tb\nc\td\n"))) == 2


def test_a_word_of_english_is_no_name_of_a_language(write):
    pairs = [("hi", "no"), ("is it", "it is")]
    assert list(read_pairs(write("a.tsv", "hi\tno\nis it\tit is\n"))) == pairs


def test_the_standard_input_is_read_once_and_kept(monkeypatch):
    class Input:
        buffer = io.BytesIO(gzip.compress(delimited(PAIRS).encode()))

    monkeypatch.setattr(sys, "stdin", Input())
    assert list(read_pairs("-")) == list(read_pairs("-")) == PAIRS


def test_zstd(write, monkeypatch):
    zstandard = pytest.importorskip("zstandard")
    frame = zstandard.ZstdCompressor().compress(delimited(PAIRS, "\t").encode())
    assert list(read_pairs(write("a.tsv.zst", frame + frame))) == PAIRS * 2
    with pytest.raises(DataError, match="damaged zstd"):
        read_pairs(write("cut.tsv.zst", frame[:-5]))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(DataError, match=r"attention-zoo\[data\]"):
        read_pairs(write("b.tsv.zst", frame))


def test_a_spreadsheet(tmp_path, monkeypatch):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "empty"
    sheet = book.create_sheet("pairs")
    for row in [("en", "zh", "nr"), *((*pair, 1.0) for pair in PAIRS), (None, None, None)]:
        sheet.append(row)
    path = str(tmp_path / "a.xlsx")
    book.save(path)
    corpus = read_pairs(path)
    assert list(corpus) == PAIRS and "sheet pairs" in corpus.note
    assert read_pairs(f"{path}#nr,en").sources[0] == "1"
    (tmp_path / "b.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=r"is no \.xlsx workbook"):
        read_pairs(str(tmp_path / "b.xlsx"))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"attention-zoo\[data\]"):
        read_pairs(path)


def test_other_tasks_read_the_same_files(write):
    rows = Rows("a.csv")
    questions = [("story", "query", "answers"), ("Anna, Tom", "Who?", "Tom"), ("", "Why?", "So.")]
    read_question_rows(write("a.csv", delimited(questions)), rows)
    assert rows.corpus.sources[0] == {"context": "Anna, Tom", "question": "Who?"}
    for columns in ("1,2,3", "query,answers"):
        again = Rows("a.csv")
        read_question_rows(write("a.csv", delimited(questions)) + f"#{columns}", again)
        assert again.corpus.targets == ["Tom", "So."]
    rows = Rows("b.jsonl")
    read_conversation_rows(write("b.jsonl", json_lines(named("prompt", "response"))), rows)
    assert rows.corpus.targets == [target for _, target in PAIRS]
    assert rows.corpus.note == "prompt and response, JSON lines"


def test_what_a_sample_ends_in_is_not_taken_for_damage(write, monkeypatch):
    monkeypatch.setattr(opening, "SAMPLE_BYTES", 500)
    content = delimited([(f'{a} "x" {i}', f"{b}\n{i}") for i in range(9) for a, b in PAIRS])
    for text in (content, content.encode("utf-16"), content.encode("gb18030")):
        assert len(read_pairs(write("a.csv", text))) == 36
    assert open_text(write("a.json", "é" * 99)).encoding == "utf-8"


# What Python writes is read back

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]), max_size=12)
WORDS = TEXT.map(lambda text: " ".join(text.split())).filter(lambda text: text.strip())
CELL = st.one_of(WORDS, st.sampled_from(['a "b" c', '"', "a,b", "a;b", "a|b", "x\ny", "é, ü"]))
ROWS = st.lists(st.tuples(CELL, CELL), min_size=2, max_size=5)


@settings(max_examples=150, deadline=None)
@given(
    rows=ROWS,
    delimiter=st.sampled_from("\t,;|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]),
)
def test_what_csv_writes_is_read_back(tmp_path_factory, rows, delimiter, quoting, end, encoding):
    # Names tell the delimiter from the texts, which may have all of them.
    text = delimited([("source", "target"), *rows], delimiter, quoting, end)
    path = tmp_path_factory.mktemp("csv") / ("a.tsv" if delimiter == "\t" else "a.csv")
    path.write_bytes(text.encode(encoding))
    assert list(read_pairs(str(path))) == rows


@settings(max_examples=100, deadline=None)
@given(
    rows=ROWS,
    keys=st.sampled_from([("source", "target"), ("en", "de"), ("x", "y")]),
    form=st.sampled_from(["lines", "list", "indented"]),
    ascii_only=st.booleans(),
)
def test_what_json_writes_is_read_back(tmp_path_factory, rows, keys, form, ascii_only):
    records = [dict(zip(keys, row, strict=True)) for row in rows]
    dumps = [json.dumps(record, ensure_ascii=ascii_only) for record in records]
    text = {
        "lines": "\n".join(dumps),
        "list": json.dumps(records, ensure_ascii=ascii_only),
        "indented": json.dumps(records, ensure_ascii=ascii_only, indent=2),
    }[form]
    path = tmp_path_factory.mktemp("json") / ("a.jsonl" if form == "lines" else "a.json")
    path.write_text(text, encoding="utf-8")
    assert list(read_pairs(str(path))) == rows
