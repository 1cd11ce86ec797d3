"""The commands that take a run: what they give, and one line for all that can be wrong."""

import io
import json
import sys

import pytest

import attention_zoo
from attention_zoo.recipes.cli.main import app, run_command


@pytest.fixture(scope="module")
def run(trained):
    return str(trained[0])


@pytest.fixture(scope="module")
def model(trained):
    return attention_zoo.load(trained[0])


TEXTS = ["abc", "dcbab", "aab"]


@pytest.mark.usefixtures("eager")
def test_predict_from_stdin_to_stdout(run, model, monkeypatch, capsys):
    lines = "abc\r\ndcbab\naab"  # a Windows line end, and none at the end
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert run_command(app, ["predict", run]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [p.text for p in model.predict(TEXTS)]
    assert printed.err == ""


@pytest.mark.usefixtures("eager")
def test_predict_n_best_to_a_file(run, model, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("abc\ndcbab\n")
    command = ["predict", run, "--input", "in.txt", "--output", "out.tsv", "--n-best", "3"]
    assert run_command(app, command) == 0
    assert capsys.readouterr().out == ""
    rows = [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()]
    found = model.with_generation(beam_size=3).n_best(TEXTS[:2])
    expected = [prediction for row in found for prediction in row]
    assert [row[0] for row in rows] == ["1"] * 3 + ["2"] * 3
    assert [row[2] for row in rows] == [prediction.text for prediction in expected]
    for row, prediction in zip(rows, expected, strict=True):
        assert abs(float(row[1]) - prediction.score) < 1e-3


def test_evaluate_as_json(run, trained, reverse_files, capsys):
    data = str(reverse_files / "valid.tsv")
    assert run_command(app, ["evaluate", run, "--data", data, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    metrics = json.loads((trained[0] / "metrics.json").read_text())
    assert values.pop("rows") == 8
    values.pop("truncated", None)
    assert values.pop("signatures") == metrics["signatures"]
    # Of targets of one word BLEU has no value, which is null in both.
    assert values.pop("bleu") is None and metrics["valid"].pop("bleu") is None
    assert values == pytest.approx(metrics["valid"], rel=1e-5)


@pytest.mark.usefixtures("eager")
def test_unknown_subwords_of_a_file_are_told(run, tmp_path, capsys):
    (tmp_path / "unknown.tsv").write_text("ab\tba\nad☃\td☃☃a\n")
    assert run_command(app, ["evaluate", run, "--data", "unknown.tsv", "--json"]) == 0
    unknown = json.loads(capsys.readouterr().out)["unknown"]
    assert [unknown[side]["count"] for side in ("sources", "targets")] == [1, 1]
    assert unknown["targets"]["rows"] == 1
    assert run_command(app, ["evaluate", run, "--data", "unknown.tsv"]) == 0
    line = f"unknown tokens: 1 of {unknown['targets']['total']} ("
    assert line in capsys.readouterr().out


@pytest.mark.usefixtures("eager")
def test_the_limit_of_a_search_can_be_told(run, model, capsys):
    expected = model.with_generation(max_length=2).predict(["abcd"])[0].text
    assert expected != model.predict(["abcd"])[0].text
    assert run_command(app, ["predict", run, "abcd", "--max-length", "2"]) == 0
    assert capsys.readouterr().out == f"{expected}\n"
    assert run_command(app, ["explain", run, "abcd", "--max-length", "2", "--output", "e.txt"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == expected


@pytest.mark.usefixtures("eager")
def test_explain_in_the_terminal_and_as_a_picture(run, model, tmp_path, capsys):
    explanation = model.explain(["abc"])[0]
    assert run_command(app, ["explain", run, "abc"]) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) > len(explanation.target_tokens)
    assert run_command(app, ["explain", run, "abc", "--output", "abc.png"]) == 0
    assert explanation.target in capsys.readouterr().out
    assert (tmp_path / "abc.png").read_bytes().startswith(b"\x89PNG")
    assert run_command(app, ["explain", run, "abc", "--layer", "1", "--head", "1"]) == 0
    assert capsys.readouterr().out == printed  # the only one there is


@pytest.mark.usefixtures("eager")
def test_bad_requests_of_a_run(run, refused, tmp_path):
    (tmp_path / "latin.txt").write_bytes("Straße\n".encode("latin-1"))
    (tmp_path / "empty.txt").touch()
    (tmp_path / "a.tsv").write_text("abc\tcba\n")
    (tmp_path / "folder.png").mkdir()
    for options, expected in (
        (["predict", run, "--input", "none.txt"], "none.txt does not exist"),
        (["predict", run, "--input", "latin.txt"], "latin.txt:1: not UTF-8. Correct the"),
        (["predict", run, "--input", "empty.txt"], "empty.txt has no lines"),
        (["predict", run, "abc", "--input", "latin.txt"], "not both"),
        (["predict", run, "abc", "--n-best", "3", "--beam-size", "2"], "--beam-size 2"),
        (["predict", run, "abc", "--n-best", "0"], "--n-best"),
        (["predict", run, "abc", "--beam-size", "0"], "--beam-size"),
        (["predict", run, "abc", "--output", "none/out.txt"], "none/out.txt"),
        (["predict", run, "abc", "--output", "folder.png"], "folder.png is a folder; give --out"),
        (["predict", run, "abc", "--output", "/dev/full"], "/dev/full is no regular file"),
        (["predict", run, "abc", "--top-k", "3", "--seed", "1"], "--top-k, --seed: options of"),
        (["predict", run, "abc", "--beam-size", "1001"], "--beam-size"),
        (["predict", run, "abc", "--n-best", "1001"], "--n-best"),
        (["predict", run, "abc", "--sample", "--temperature", "inf"], "--temperature"),
        (["predict", "no-run", "abc"], "no-run is no run"),
        (["evaluate", run, "--data", "none.tsv"], "none.tsv does not exist"),
        (["evaluate", run, "--data", "empty.txt"], "empty.txt is empty"),
        (["evaluate", run, "--data", "a.tsv", "--beam-size", "0"], "--beam-size"),
        (["evaluate", run, "--data", "a.tsv", "--length-penalty", "-1"], "--length-penalty"),
        (["evaluate", run, "--data", "a.tsv", "--length-penalty", "inf"], "--length-penalty"),
        (["evaluate", run, "--data", "a.tsv", "--tokenize", "french"], "french"),
        (["evaluate", run, "--temperature", "1"], "--temperature: options of draws by chance"),
        (["chat", run, "--best", "--top-p", "1"], "there are none with --best; leave it out"),
        (["explain", run, "abc", "--output", "abc.bmp"], ".bmp"),
        (["explain", run, "abc", "--output", "folder.png"], "folder.png is a folder"),
        (["explain", run, "abc", "--output", "none/abc.png"], "There is no folder none to write"),
        (["explain", run, "abc", "--kind", "encoder"], "attention of kind cross."),
        (["explain", run, "abc", "--layer", "2"], "layer is a number from 1 to 1"),
        (["explain", run, "abc", "--kind", "self"], "--kind is cross, encoder or decoder"),
        (["explain", run, "abc", "--head", "max"], "--head is a number, mean or rollout"),
        (["explain", run, "abc", "--head", "2"], "head is a number from 1 to 1, or 'mean'"),
        (["explain", "no-run", "abc"], "no-run is no run"),
    ):
        assert expected in refused(run_command(app, options)), options
    names = ["a.tsv", "empty.txt", "folder.png", "latin.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
