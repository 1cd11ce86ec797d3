"""`attention-zoo prepare`: what ends up in the folder, what is refused, and going on."""

import gzip
import json
import sys
import types

import numpy as np
import pytest
from prepared_folders import prepare, prepared, rows_of, small_blocks, write_words
from reverse_task import arguments

from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core import part_writer, preparing
from attention_zoo.recipes.core.make_config import make_config
from attention_zoo.recipes.core.task import task
from attention_zoo.recipes.data.batching import TokenizedPairs
from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.recipes.data.pair_store import PairWriter
from attention_zoo.recipes.data.prepared import PreparedCorpus, is_prepared
from attention_zoo.zoo.errors import DataError
from attention_zoo.zoo.text.tokenizer import Tokenizer

ROWS = 90


@pytest.fixture
def words(tmp_path):
    return write_words(tmp_path / "words.tsv", ROWS, seed=1)


@pytest.fixture
def refusal(refused):
    """What is said where the command is refused."""
    return lambda *arguments, **options: refused(prepare(*arguments, **options))


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def encoded(corpus, tokenizer, *limits_and_format):
    """The rows that a training on a corpus in memory would have."""
    limits = limits_and_format or (128, 128)
    pairs = TokenizedPairs.encode(corpus.sources, corpus.targets, tokenizer, *limits)
    both = zip(pairs.sources, pairs.targets, strict=True)
    return [(source.tolist(), target.tolist()) for source, target in both]


def test_subwords_and_rows_are_those_of_the_corpus_in_memory(words, tmp_path, monkeypatch, capsys):
    with small_blocks(monkeypatch):
        corpus = prepared(tmp_path / "out", words)
    pairs = read_pairs(str(words))
    tokenizer = Tokenizer.train([*pairs.sources, *pairs.targets], vocab_size=30)
    assert corpus.tokenizer().model == tokenizer.model
    expected = encoded(pairs, tokenizer)
    assert rows_of(corpus) == [(*row, line) for line, row in enumerate(expected, start=1)]
    assert len(corpus) == ROWS
    counts = np.bincount([len(target) for _, target in expected])
    assert corpus.parts[0].target_lengths == counts.tolist()
    printed = capsys.readouterr().out
    assert f"read {ROWS} rows, " in printed and f"encoded {ROWS} rows of {ROWS} (100%)" in printed
    # What needs texts has all of them, as there are few.
    assert list(corpus.sample()) == list(pairs)


def test_the_size_of_the_parts_changes_no_row(words, tmp_path, monkeypatch):
    whole = prepared(tmp_path / "whole", words)
    with small_blocks(monkeypatch, chunk=5, tokens=30):
        parts = prepared(tmp_path / "parts", words)
    assert rows_of(whole) == rows_of(parts)
    for name in ("pairs.rows", "pairs.ids", "prepared.json"):
        assert (whole.folder / name).read_bytes() == (parts.folder / name).read_bytes()


def test_long_rows_are_left_out_and_bad_ones_told(tmp_path, capsys):
    path = tmp_path / "a.tsv.gz"
    lines = [f"a b {i}\tb a {i}" for i in range(200)]
    lines[16], lines[20] = "no tab", "a b " * 30 + "\ta"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    corpus = prepared(tmp_path / "out", path, settings=("vocab_size=20", "max_source_length=20"))
    (part,) = corpus.parts
    assert (part.pairs, part.too_long, part.num_skipped) == (198, 1, 1)
    assert [line for *_, line in rows_of(corpus)] == [i for i in range(1, 201) if i not in (17, 21)]
    printed = capsys.readouterr().out
    assert f"{path}: 198 pairs, 1 too long, 1 rows skipped" in printed
    assert f"{path}:17: no tab between source and target" in printed


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"a\tb\nno tab\nc\td\n", "a.tsv:2: no tab"),
        (b"a\tb\n\xff\tb\nc\td\n", "a.tsv:2: not UTF-8"),
        (b"a\tb\n", "only 1 usable row"),
    ],
)
def test_bad_files_are_refused_before_there_is_a_folder(content, expected, tmp_path, refusal):
    (tmp_path / "a.tsv").write_bytes(content)
    assert expected in refusal(tmp_path / "out", tmp_path / "a.tsv")
    assert not (tmp_path / "out").exists()


def test_text_without_spaces_counts_for_more_in_a_sample():
    spaced = (1, "a house by the sea and two dogs in front of it", "b")
    assert part_writer.sample_size(spaced) == len(spaced[1]) + 1
    chinese = (1, {"history": "海" * 30, "text": "好"}, "山" * 40)
    assert part_writer.sample_size(chinese) == 4 * 30 + 1 + 4 * 40


def test_the_subwords_are_learnt_from_no_more_than_the_sample(words, tmp_path, capsys):
    corpus = prepared(tmp_path / "out", words, more=("--sample", "20"))
    assert "learning tokens from 20 of 90 rows" in capsys.readouterr().out
    assert len(corpus.sample()) == 20 and len(corpus) == ROWS
    assert set(corpus.sample()) <= set(read_pairs(str(words)))


def test_rows_that_are_all_too_long_are_refused(words, tmp_path, refusal):
    settings = ("vocab_size=30", "max_source_length=2")
    found = refusal(tmp_path / "out", words, settings=settings)
    assert "All 90 rows are longer than 2" in found
    with pytest.raises(DataError, match="not whole"):
        is_prepared(str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"settings": ("learning_rate=1",)}, "prepare takes vocab_size, "),
        ({"settings": ("vocab_size=many",)}, "vocab_size takes a value of type int"),
        ({"task": "poetry"}, "no task 'poetry'"),
        ({"task": "dialogue", "settings": (), "more": ("--reverse",)}, "has one direction"),
        ({"more": ("--weights", "1,2")}, "a number for each --train. Received: 2 for 1"),
        ({"more": ("--weights", "0")}, "--weights must be positive"),
        ({"more": ("--weights", "much")}, "--weights takes numbers"),
    ],
)
def test_wrong_options_are_refused(options, expected, words, tmp_path, refusal):
    assert expected in refusal(tmp_path / "out", words, **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(words, tmp_path, refusal):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    assert "is no prepared corpus" in refusal(tmp_path / "photos", words)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    for name in ("prepared.json", "preparing.json"):
        for content in ("{}", "[]", "[" * 100_000):
            folder = tmp_path / "other"
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(content)
            assert f"{folder / name} " in refusal(folder, words)
            (folder / name).unlink()
    assert "cat.jpg is a file" in refusal(tmp_path / "photos" / "cat.jpg" / "a", words)
    # But for what a kill leaves of the first file of all.
    (tmp_path / "photos" / "cat.jpg").rename(tmp_path / "photos" / ".preparing.partial.json")
    assert len(prepared(tmp_path / "photos", words)) == ROWS
    assert not [path for path in (tmp_path / "photos").iterdir() if "partial" in path.name]


# Going on


def stop_at_block(context, number, error=KeyboardInterrupt):
    """Ctrl-C comes while so many blocks are written, when half of the next one is."""
    append, written = PairWriter.append, []

    def append_or_stop(self, sources, targets, lines):
        if len(written) == number:
            with open(self.folder / "pairs.ids", "ab") as file:
                file.write(b"half of a block")
            raise error
        written.append(lines)
        append(self, sources, targets, lines)

    context.setattr(PairWriter, "append", append_or_stop)


def test_what_was_stopped_goes_on_and_ends_the_same(
    words, tmp_path, monkeypatch, capsys, refused, refusal
):
    other = write_words(tmp_path / "other.tsv", 40, seed=2)
    with small_blocks(monkeypatch):
        prepared(tmp_path / "whole", words, other)
        for number in (0, 2, 4):
            with monkeypatch.context() as context:
                stop_at_block(context, number)
                assert prepare(tmp_path / "parts", words, other) == 130
            assert "stopped; give the same command to go on" in capsys.readouterr().out
            # It is not taken for a whole one, and says what to do.
            command = arguments(tmp_path, tmp_path / "run", "--train", str(tmp_path / "parts"))
            assert "is not whole" in refused(run_command(app, command))
        found = refusal(tmp_path / "parts", words, other, settings=("vocab_size=29",))
        assert "vocab_size was 30 and is 29 now" in found
        assert prepare(tmp_path / "parts", words, other) == 0
        assert "read " not in capsys.readouterr().out  # the first pass was made
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


def test_one_that_is_whole_is_left_as_it_is(words, tmp_path, capsys, refusal):
    prepared(tmp_path / "out", words)
    before = files_of(tmp_path / "out")
    assert prepare(tmp_path / "out", words) == 0
    assert "out is whole" in capsys.readouterr().out
    found = refusal(tmp_path / "out", words, more=("--weights", "2"))
    assert "weights was None and is [2.0] now" in found
    write_words(words, ROWS + 1, seed=1)
    assert "files was" in refusal(tmp_path / "out", words)
    assert files_of(tmp_path / "out") == before


def test_a_corpus_that_changes_meanwhile_is_found(words, tmp_path, monkeypatch, refusal):
    make = preparing._Preparation._encode_all

    def change_and_encode(self):
        write_words(words, ROWS - 1, seed=1)
        make(self)

    monkeypatch.setattr(preparing._Preparation, "_encode_all", change_and_encode)
    found = refusal(tmp_path / "out", words)
    assert "changed while it was prepared: it had 90 rows and has 89" in found


def test_rows_that_were_lost_are_told(words, tmp_path, monkeypatch, refusal):
    with small_blocks(monkeypatch):
        with monkeypatch.context() as context:
            stop_at_block(context, 2)
            assert prepare(tmp_path / "parts", words) == 130
        (tmp_path / "parts" / "pairs.rows").write_bytes(b"few")
        found = refusal(tmp_path / "parts", words)
        assert "pairs.rows is damaged: it has less than" in found


# Tasks and sources


def as_in_memory(name, spec, corpus, seed=1):
    """The rows that a training on the file itself would have."""
    chosen = task(name)
    read = chosen.prepare(chosen.read_file(spec), seed)
    limits = corpus.settings["max_source_length"], corpus.settings["max_target_length"]
    turns = chosen.source_format.with_turns(corpus.settings["history_turns"])
    return encoded(read, corpus.tokenizer(), *limits, turns)


def write_task_file(name, folder):
    rows = {
        "question-answering": [f"Mary has {i}.\tWhat is it?\t{i}" for i in range(40)],
        "dialogue": [f"say {i - i % 4 and i}\tsay {i + 1}" for i in range(40)],  # pairs that go on
        "summarization": [f"a b c {i} d e f\ta {i}" for i in range(40)],
    }
    (folder / "a.tsv").write_text("".join(f"{row}\n" for row in rows[name]))
    return str(folder / "a.tsv")


@pytest.mark.parametrize("name", ["question-answering", "dialogue", "summarization"])
def test_other_tasks_are_as_in_memory(name, tmp_path):
    spec = write_task_file(name, tmp_path)
    settings = ("vocab_size=90", "max_source_length=12", "history_turns=2")
    corpus = prepared(tmp_path / "out", spec, task=name, settings=settings)
    assert [row[:2] for row in rows_of(corpus)] == as_in_memory(name, spec, corpus)
    assert list(corpus.sample()) == list(task(name).read_file(spec))


def test_wishes_for_a_length_are_drawn_anew_for_each_chunk(tmp_path, monkeypatch):
    spec = write_task_file("summarization", tmp_path)
    with small_blocks(monkeypatch, chunk=20):
        corpus = prepared(tmp_path / "o", spec, task="summarization", settings=("vocab_size=70",))
    tokenizer = corpus.tokenizer()
    symbol = tokenizer.id_of("<length=2>")
    wished = [row[0][0] == symbol for row in rows_of(corpus)]
    assert 5 <= sum(wished[:20]) <= 15 and 5 <= sum(wished[20:]) <= 15
    assert wished[:20] != wished[20:]


def test_reversed(words, tmp_path):
    corpus = prepared(tmp_path / "out", words, more=("--reverse",))
    assert list(corpus.sample()) == [(target, source) for source, target in read_pairs(str(words))]
    source, target, _ = rows_of(corpus)[0]
    assert corpus.tokenizer().decode([target, source]) == list(next(iter(read_pairs(str(words)))))


def test_sources_may_have_a_vocabulary_of_their_own(words, tmp_path):
    settings = ("vocab_size=30", "source_tokenizer=word", "target_tokenizer=char")
    corpus = prepared(tmp_path / "out", words, settings=settings)
    pairs, tokenizer = read_pairs(str(words)), corpus.tokenizer()
    assert not tokenizer.shares_vocabulary
    assert [row[:2] for row in rows_of(corpus)] == encoded(pairs, tokenizer)
    config = make_config("translation", "rnn", str(tmp_path / "out"))
    assert config.kinds_of_tokens == ("word", "char")
    (row,) = corpus.origins([7])
    assert (row.line, row.target) == (8, pairs.targets[7])


def test_a_dataset_by_name_is_streamed(tmp_path, monkeypatch):
    calls = []

    def load_dataset(path, config, split, streaming=False):
        calls.append((path, config, split, streaming))
        return ({"translation": {"de": f"eins {i}", "en": f"one {i}"}} for i in range(30))

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    corpus = prepared(tmp_path / "out", "hf:data:small@test#de,en")
    assert calls == [("data", "small", "test", True)] * 2  # once for each pass
    assert list(corpus.sample())[29] == ("eins 29", "one 29")


def test_a_dataset_that_breaks_off_is_one_line(tmp_path, monkeypatch, refusal):
    def load_dataset(path, config, split, streaming):
        yield {"source": "a", "target": "b"}
        raise ConnectionError("the network is down\nmore")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    found = refusal(tmp_path / "out", "hf:data")
    assert "hf:data cannot be loaded: the network is down" in found


# Reading it


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda values: values.update(format=2), "is of format 2, expected 3; prepare the corpus"),
        (lambda values: values.pop("parts"), "cannot be read: 'parts'"),
        (lambda values: values.update(settings={"heads": 1}), "settings of something else: heads"),
    ],
)
def test_a_manifest_of_something_else(spoil, expected, words, tmp_path):
    path = prepared(tmp_path / "out", words).folder / "prepared.json"
    values = json.loads(path.read_text())
    spoil(values)
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=expected):
        PreparedCorpus(tmp_path / "out")


def test_damaged_subwords_are_told(words, tmp_path):
    corpus = prepared(tmp_path / "out", words)
    for content in (b"", b"no subwords"):
        (corpus.folder / "tokenizer.model").write_bytes(content)
        with pytest.raises(DataError, match=r"tokenizer\.model is damaged"):
            corpus.tokenizer()
