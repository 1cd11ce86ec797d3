"""What commands read, and a tokenization, a corpus or a disk that is not there any more."""

import errno
import io
import json
import sys
from pathlib import Path

import pytest
from reverse_task import arguments
from sacrebleu.metrics import bleu

from attention_zoo.recipes.cli import use as cli_using
from attention_zoo.recipes.cli.app import Refused
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.cli.sources import read_lines
from attention_zoo.recipes.core import config, corpora
from attention_zoo.recipes.core.config import RunConfig
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.core.task import TASKS, Task, source_format, with_max_sentences
from attention_zoo.recipes.data.corpus import PairCorpus, SkippedRow
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.pipeline import parallel


def test_a_byte_order_mark_is_no_part_of_a_line(monkeypatch):
    text = '\ufeff{"text": "a"}\r\n\ufeffb\n'.encode()
    Path("in.txt").write_bytes(text)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    for path in ("in.txt", None):
        assert read_lines(path) == ['{"text": "a"}', "b"]


@pytest.mark.usefixtures("eager")
def test_the_sources_of_a_table_are_predicted(trained, reverse_files, refused, capsys):
    run, path = str(trained[0]), reverse_files / "valid.tsv"
    rows = [line.split("\t") for line in path.read_text().splitlines()[:3]]
    Path("in.txt").write_text("".join(f"{source}\n" for source, _ in rows))
    assert run_command(app, ["predict", run, "--input", "in.txt"]) == 0
    expected = capsys.readouterr().out
    Path("in.csv").write_text("nr,source\n" + "".join(f"7,{source}\n" for source, _ in rows))
    Path("in.jsonl").write_text("".join(json.dumps({"text": row[0]}) + "\n" for row in rows))
    Path("one.csv").write_text("source\n" + "".join(f"{row[0]}\n" for row in rows))
    Path("in.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    for name in ("in.csv#source", "in.csv#2", "in.jsonl", "one.csv", "in.tsv"):
        assert run_command(app, ["predict", run, "--input", name]) == 0
        printed = capsys.readouterr()
        assert printed.out == expected and name.partition("#")[0] in printed.err
    Path("in.txt").write_text("".join("\t".join(row) + "\n" for row in rows))
    assert "text 1: A tab parts" in refused(run_command(app, ["predict", run, "--input", "in.txt"]))


def test_sources_of_several_inputs_in_a_table(capsys):
    questions, dialogue = TASKS["question-answering"], TASKS["dialogue"]
    Path("q.csv").write_text('story,query,answer\n"Anna, Tom",Who?,Tom\n')
    Path("q.tsv").write_text("Anna.\tWho?\n")
    Path("q.jsonl").write_text(json.dumps({"question": "Who?", "context": "Anna, Tom"}))
    Path("d.jsonl").write_text('["hi", "hello", "how are you?"]\n')
    Path("d.tsv").write_text("hi\thello\thow are you?\n")
    expected = {"context": "Anna, Tom", "question": "Who?"}
    for name in ("q.csv", "q.jsonl", "q.csv#1,2"):
        (line,) = read_lines(name, questions.source_format)
        assert questions.parse_source(line) == expected
    (line,) = read_lines("q.tsv", questions.source_format)
    assert questions.parse_source(line) == {"context": "Anna.", "question": "Who?"}
    for name in ("d.jsonl", "d.tsv"):
        (line,) = read_lines(name, dialogue.source_format)
        assert dialogue.parse_source(line) == {"history": "hi\nhello", "text": "how are you?"}
    Path("q.jsonl").write_text('{"why": "x"}')
    with pytest.raises(Refused, match=r"q\.jsonl has why, expected context, question"):
        read_lines("q.jsonl", questions.source_format)


def test_a_file_in_utf_16_without_a_mark_is_read():
    Path("in.txt").write_bytes("abc\nab\n".encode("utf-16-le"))
    assert read_lines("in.txt") == ["abc", "ab"]


@pytest.mark.usefixtures("eager")
def test_evaluate_says_which_rows_were_left_out(trained, reverse_files, capsys):
    rows = (reverse_files / "valid.tsv").read_text().splitlines() * 25
    rows[10], rows[20] = "ab\t", "ab"
    Path("bad.tsv").write_text("\n".join(rows))
    named = [
        "bad.tsv:11: the target is empty",
        "bad.tsv:21: no tab between source and target",
    ]
    command = ["evaluate", str(trained[0]), "--data", "bad.tsv"]
    assert run_command(app, command) == 0
    printed = capsys.readouterr().out
    assert f"rows: 198\n2 rows skipped: {'; '.join(named)}\n" in printed
    assert run_command(app, [*command, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["rows"], values["skipped"], values["skipped_rows"]) == (198, 2, named)


def test_baselines_tell_of_rows_that_they_cannot_learn_from(monkeypatch, capsys):
    corpus = PairCorpus([], [], "a.tsv", 1, [SkippedRow("a.tsv", 7, "not UTF-8")])
    monkeypatch.setattr(corpora, "read_training_texts", lambda config: corpus)
    monkeypatch.setattr(Task, "baseline_scores", lambda *_: {})
    assert cli_using._baselines(RunConfig("dialogue"), None, None) == {}
    assert capsys.readouterr().err == "baselines: 1 row skipped: a.tsv:7: not UTF-8\n"


@pytest.mark.usefixtures("eager")
def test_outputs_as_long_as_allowed_are_told_by_every_command(trained, reverse_files, capsys):
    run, short = str(trained[0]), ["--max-length", "1"]
    words = "or as long as --max-length"
    for command in (
        ["predict", run, "abc"],
        ["predict", run, "abc", "--n-best", "2"],
        ["explain", run, "abc"],
        ["explain", run, "abc", "--output", "a.html"],
    ):
        assert run_command(app, [*command, *short]) == 0
        assert f"{words} and --max-length-ratio allow; among them text 1" in capsys.readouterr().err
    Path("in.txt").write_text("abc\n")
    command = ["explain", run, "--input", "in.txt", "--output", "a.jsonl", *short]
    assert run_command(app, command) == 0 and words in capsys.readouterr().err
    command = ["evaluate", run, "--data", str(reverse_files / "valid.tsv"), *short]
    assert run_command(app, command) == 0 and words in capsys.readouterr().out


@pytest.mark.usefixtures("eager")
def test_a_tab_in_a_row_is_white_space_and_outputs_of_several_lines_are_told(trained, capsys):
    rows = ["ab\tc", "a\nb", "c"]
    Path("in.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    assert run_command(app, ["predict", str(trained[0]), "--input", "in.jsonl"]) == 0
    assert "several lines, among them that of text 2" in capsys.readouterr().err
    assert run_command(app, ["predict", str(trained[0]), "a\nb"]) == 0
    assert "lines" not in capsys.readouterr().err


@pytest.mark.usefixtures("eager")
def test_texts_that_begin_as_options_do(trained, refused, capsys):
    run = str(trained[0])
    for command in ("predict", "explain"):
        line = refused(run_command(app, [command, run, "-5 March"]))
        assert "No such option: -5" in line and f'{command} ... -- "-5 degrees"' in line
        assert run_command(app, [command, run, "--", "-ab"]) == 0
        assert capsys.readouterr().out
    assert "--" not in refused(run_command(app, ["list", "-5"]))


def test_a_tokenization_that_cannot_be_made_is_found_at_once(
    trained, reverse_files, refused, monkeypatch
):
    def fail(name):
        raise RuntimeError("\nInstall it.\n")

    monkeypatch.setattr(bleu, "_get_tokenizer", fail)
    for name in ("training.evaluation.Evaluator", "training.launch.read_corpora"):
        monkeypatch.setattr(f"attention_zoo.recipes.{name}", lambda *_: pytest.fail("late"))
    command = arguments(reverse_files, "other", settings=["bleu_tokenize=ja-mecab"])
    for options in (
        command,
        ["evaluate", str(trained[0]), "--tokenize", "ja-mecab"],
    ):
        assert "cannot tokenize by ja-mecab here" in refused(run_command(app, options))


def test_scores_are_told_where_the_training_corpus_has_changed(monkeypatch, capsys):
    def refuse(config):
        raise ConfigError("prepared with vocab_size=9")

    monkeypatch.setattr(corpora, "read_training_texts", refuse)
    assert cli_using._baselines(RunConfig("dialogue"), None, None) == {}
    assert capsys.readouterr().err == "no baselines: prepared with vocab_size=9\n"


def test_a_full_disk_is_one_line_whatever_was_written(refused, monkeypatch):
    def write():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(config, "describe_settings", write)
    assert refused(run_command(app, ["settings"])) == "error: No space left on device\n"


@pytest.mark.usefixtures("eager")
def test_blank_lines_stay_blank(trained, capsys):
    run = str(trained[0])
    Path("in.txt").write_text("abc\n\n   \n\u200b\u3000\ncba\n")
    assert run_command(app, ["predict", run, "--input", "in.txt"]) == 0
    first, *blank, last = capsys.readouterr().out.split("\n")[:-1]
    assert blank == [""] * 3 and first and last
    assert run_command(app, ["predict", run, ""]) == 0
    assert capsys.readouterr().out == "\n"
    for more in ([], ["--layer", "1"], ["--output", "empty.html"], ["--output", "empty.png"]):
        assert run_command(app, ["explain", run, "\u00a0", *more]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("more", [[], ["--n-best", "2"]])
def test_what_outputs_lack_is_told_text_by_text(trained, capsys, more):
    texts = ["abc", *["{n} ab"] * 12]
    assert run_command(app, ["predict", str(trained[0]), *texts, *more]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "lack" in line]
    assert told == [
        *(f"the output of text {number} lacks {{n}}" for number in range(2, 12)),
        "and the outputs of 2 more lack addresses, placeholders or markup of their texts",
    ]


def test_whole_texts_are_split_unless_they_are_not_to_be(trained, capsys, refused):
    run, long = str(trained[0]), "abc. " * 100
    assert Run(run).read_config().parts.source_format.max_sentences == 1
    texts = ["abc.", "dcb.", "abc. dcb.\n\n abc.\n", long.strip()]
    assert run_command(app, ["predict", run, *texts]) == 0
    printed = capsys.readouterr().out
    ab, cd = printed.split("\n")[:2]
    whole = f"{ab} {cd}\n\n {ab}\n"
    assert printed == "\n".join([ab, cd, whole, " ".join([ab] * 100), ""])
    # Lines of a file are texts, and an empty one stays empty.
    Path("in.txt").write_text("abc. dcb.\n\nabc.\n")
    assert run_command(app, ["predict", run, "--input", "in.txt"]) == 0
    assert capsys.readouterr().out == f"{ab} {cd}\n\n{ab}\n"
    # A text of too many tokens is refused where it is not to be read in parts.
    Path("long.tsv").write_text(f"{long}\tabc\nabc\tcba\n")
    for command in (
        ["predict", run, "--no-split", long],
        ["predict", run, "--n-best", "2", long],
        ["evaluate", run, "--no-split", "--data", "long.tsv"],
    ):
        assert "1 sources are longer than" in refused(run_command(app, command))


def test_the_number_of_sentences_that_a_model_knows_is_that_of_its_corpus():
    rows = ["One. Two.", "One. Two. Three."] * 60 + ["One. " * 40]
    corpus = PairCorpus(rows, rows, "a.tsv")
    config = with_max_sentences(RunConfig("translation"), corpus)
    assert source_format(config).max_sentences == 3
    assert with_max_sentences(RunConfig("summarization"), corpus) == RunConfig("summarization")


@pytest.mark.usefixtures("eager")
def test_batches_get_their_own_threads_where_there_are_several(trained, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(parallel, "limit_operation_threads", lambda: asked.append(1))
    for rows, times in ((2, 0), (70, 1)):
        texts = ["abcd"[: 1 + row % 4] for row in range(rows)]
        Path("in.txt").write_text("".join(f"{text}\n" for text in texts))
        assert run_command(app, ["predict", str(trained[0]), "--input", "in.txt"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(asked) == times and len(lines) == rows
        assert len(dict(zip(texts, lines, strict=True))) == len(set(zip(texts, lines, strict=True)))
