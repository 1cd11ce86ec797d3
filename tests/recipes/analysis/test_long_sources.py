"""Sources longer than a model reads: refused, or cut where that is asked for, and said."""

import json

import pytest

import attention_zoo
from attention_zoo.recipes.cli.main import app, run_command

LONG = "abcd" * 60  # the run reads 128 subwords, of which each has a few letters
SAID = "source longer than 128 tokens: the start read"


@pytest.fixture(scope="module")
def run(trained):
    model = attention_zoo.load(trained[0])
    assert len(model.tokenizer.encode([LONG])[0]) >= 128
    return str(trained[0])


def done(capsys, *command):
    """Status, output and errors of a command."""
    status = run_command(app, [str(part) for part in command])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.mark.parametrize("more", [[], ["--n-best", 2]])
def test_predict(run, capsys, more):
    status, out, err = done(capsys, "predict", run, "abc", LONG, *more)
    assert (status, out) == (2, "")
    assert err.startswith("error: 1 sources are longer than the 128 tokens") and "text 2" in err
    assert "--truncate" in err and err.count("\n") == 1
    status, out, err = done(capsys, "predict", run, "abc", LONG, *more, "--truncate")
    assert status == 0 and err.startswith(f"1 {SAID}\n")
    model = attention_zoo.load(run, truncate=True)
    best = [row[0] for row in model.with_generation(beam_size=2).n_best(["abc", LONG])]
    assert all(prediction.text in out for prediction in best)
    assert done(capsys, "predict", run, "abc", *more, "--truncate")[2] == ""


def test_explain(run, capsys):
    status, out, err = done(capsys, "explain", run, LONG)
    assert (status, out) == (2, "") and "--truncate" in err
    status, out, err = done(capsys, "explain", run, LONG, "--truncate")
    assert status == 0 and err.startswith(f"1 {SAID}\n") and out


def test_evaluate(run, tmp_path, capsys):
    data = tmp_path / "long.tsv"
    data.write_text(f"abc\tcba\n{LONG}\tdcba\n")
    status, out, err = done(capsys, "evaluate", run, "--data", data)
    assert (status, out) == (2, "") and "1 sources are longer" in err and "--truncate" in err
    status, out, err = done(capsys, "evaluate", run, "--data", data, "--truncate")
    assert status == 0 and f"1 {SAID}" in out
    status, out, _ = done(capsys, "evaluate", run, "--data", data, "--truncate", "--json")
    assert status == 0 and json.loads(out)["cut"] == 1


def test_in_python(run):
    with pytest.raises(ValueError, match="1 of 2 texts have more than the 128 tokens"):
        attention_zoo.load(run).predict(["abc", LONG])
    cut, short = attention_zoo.load(run, truncate=True).predict([LONG, "abc"])
    alone = attention_zoo.load(run).predict(["abc"])[0]
    assert short.text == alone.text and not short.truncated
    assert short.score == pytest.approx(alone.score, abs=1e-4)
    assert cut.score < 0
