"""The command line: what it answers, and one line and status 2 for all that can be wrong."""

import io
import json
import subprocess
import sys

import pytest
from reverse_task import arguments, write_pairs

import attention_zoo
from attention_zoo import recipes
from attention_zoo.recipes.cli.main import app, main, run_command
from attention_zoo.recipes.core.config import describe_settings
from attention_zoo.recipes.core.task import task
from attention_zoo.zoo.catalog import MODELS


@pytest.fixture
def data(tmp_path):
    """A folder with `train.tsv` and `valid.tsv` that a test may spoil."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_pairs(folder / "train.tsv", 12, seed=0)
    write_pairs(folder / "valid.tsv", 4, seed=1)
    return folder


@pytest.fixture
def refused(capsys):
    """Runs a command that must be refused: its one line on stderr."""

    def run(*command):
        assert run_command(app, [str(part) for part in command]) == 2
        printed = capsys.readouterr()
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1 and printed.err.endswith("\n")
        assert "Traceback" not in printed.err
        return printed.err

    return run


# Training: all that can be wrong is found before there is a folder


def spoil(content):
    def write(data):
        (data / "train.tsv").write_bytes(content)

    return write


def remove(data):
    (data / "train.tsv").unlink()


BAD_FILES = {
    "missing": (remove, ["train.tsv does not exist"]),
    "empty": (spoil(b""), ["train.tsv is empty"]),
    "no tab": (spoil(b"a\tb\nc d\ne\tf\n"), ["train.tsv:2", "no tab"]),
    "not UTF-8": (spoil(b"a\tb\n\xff\xfe\xe4\tx\ne\tf\n"), ["train.tsv:2", "not UTF-8"]),
    "one row": (spoil(b"a\tb\n"), ["only 1 usable row"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_training_files(case, data, tmp_path, refused):
    spoil_file, expected = BAD_FILES[case]
    spoil_file(data)
    output = tmp_path / "out" / "run"
    line = refused(*arguments(data, output))
    assert all(part in line for part in expected)
    assert not output.parent.exists()


@pytest.mark.parametrize("content", [b"", b"a b\n", b"\xff\xfe\xe4\t\n"])
def test_bad_validation_files(content, data, tmp_path, refused):
    (data / "valid.tsv").write_bytes(content)
    assert "valid.tsv" in refused(*arguments(data, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_parallel_files_of_different_lengths(data, tmp_path, refused):
    (data / "a.en").write_text("one\ntwo\nthree\n")
    (data / "a.de").write_text("eins\nzwei\n")
    both = f"{data}/a.en,{data}/a.de"
    line = refused(*arguments(data, tmp_path / "run", "--train", both))
    assert "a.en has 3 lines" in line and "a.de has 2" in line
    assert not (tmp_path / "run").exists()


BAD_SETTINGS = [
    "learning_rat=1",
    "seed",
    "seed=soon",
    "learning_rate=-1",
    "label_smoothing=2",
    "metric=rouge",
    "bleu_tokenize=french",
    "beam_size=0",
    "length_penalty=-1",
    "vocab_size=5",
    "batch_tokens=3",
    "max_source_length=2",
    "model.dropout=2",
    "model.dropout=high",
    "model.attention=self",
    "model.layers=3",
    "model.embedding_dim=0",
    "model.readout_units=9",
    "model.vocab_size=7",
]


@pytest.mark.parametrize("setting", BAD_SETTINGS)
def test_bad_settings(setting, data, tmp_path, refused):
    line = refused(*arguments(data, tmp_path / "run", settings=[setting]))
    assert setting.split("=")[0].removeprefix("model.") in line
    assert "CatalogEntry" not in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["train", "translation", "--model", "lstm"], "no model 'lstm'. Known: rnn,"),
        (["train", "poetry"], "no task 'poetry'. Known: translation"),
        (["train"], "It is one of translation, summarization, question-answering, dialogue"),
        (["train", "dialogue", "--epochs", "3"], "--max-steps or --max-minutes"),
        (["train"], "Missing argument 'TASK'"),
        (["train", "translation", "--train", "a.tsv"], "a.tsv does not exist"),
        (["train", "translation", "--valid", "a.tsv"], "--valid needs --train too"),
        (["train", "translation", "--max-steps", "0"], "--max-steps"),
        (["train", "translation", "--max-minutes", "0"], "--max-minutes"),
        (["train", "translation", "--max-steps", "many"], "--max-steps"),
        (["train", "translation", "--fast"], "No such option"),
        (["compare", "a", "b", "--output", "/dev/null/a"], "/dev/null is a file; give --output"),
        (["experiment", "--output", "/dev/null/a/b"], "/dev/null is a file; give --output"),
        (["serve", ".", "--grace", "inf"], "--grace"),
        (["serve", ".", "--poll", "inf"], "--poll"),
        (["serve", ".", "--receive-timeout", "1e300"], "--receive-timeout"),
        (["serve", ".", "--timeout-ms", "9" * 30], "--timeout-ms"),
        (["serve-config", ".", ".", "--max-batch-size", "9" * 30], "--max-batch-size"),
        (["trian", "translation"], "No such command 'trian'"),
    ],
)
def test_bad_arguments(options, expected, tmp_path, refused):
    output = ["--output", "run"] if options[0] == "train" and len(options) > 2 else []
    assert expected in refused(*options, *output)
    assert not list(tmp_path.iterdir())


def test_an_output_folder_of_another_run_or_of_something_else(data, trained, tmp_path, refused):
    output, _ = trained
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    line = refused(*arguments(data, output))
    assert "was begun with other training and validation texts" in line
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before

    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").touch()
    assert "is no run of attention-zoo" in refused(*arguments(data, other))
    assert [path.name for path in other.iterdir()] == ["cat.jpg"]


def test_damaged_checkpoints(trained, reverse_files, tmp_path, refused):
    folder = tmp_path / "trained"
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("config.json", "tokenizer.model"):
        (folder / name).write_bytes((trained[0] / name).read_bytes())
    (folder / "checkpoints" / "step-000000005.npz").write_bytes(b"PK")
    assert "step-000000005.npz damaged" in refused(*arguments(reverse_files, folder))


# A trained run


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
        assert expected in refused(*options), options
    names = ["a.tsv", "empty.txt", "folder.png", "latin.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


STORE = "gs://bucket/folder"


@pytest.mark.parametrize(
    "command",
    [
        ["train", "translation", "--output", STORE],
        ["distill", "run", "--model", "rnn", "--output", STORE],
        ["experiment", "--output", STORE],
        ["demo", "--output", STORE],
        ["prepare", "translation", "--train", "a.tsv", "--output", STORE],
        ["import", "folder", STORE],
        ["export", "run", STORE],
        ["pack", "run", "gs://bucket/run.zip"],
        ["presets", "build", "x", "--output", "gs://bucket/run.zip"],
        ["presets", "build", "x", "--runs", STORE],
        ["predict", "run", "a", "--output", "gs://bucket/a.txt"],
        ["explain", "run", "a", "--output", "gs://bucket/a.png"],
        ["compare", "a", "b", "--output", STORE],
        ["serve-config", "models", STORE],
    ],
)
def test_no_command_takes_a_store_for_a_folder(refused, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    assert "Only folders of this machine are written to, not gs://bucket/" in refused(*command)
    assert list(tmp_path.iterdir()) == []


# Without a run


def test_settings_are_listed(capsys):
    assert run_command(app, ["settings"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == [name for name, _, _ in describe_settings()]


@pytest.mark.parametrize("screen", [True, False])
def test_the_list_has_all_of_every_address(screen, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: screen)
    assert run_command(app, ["list"]) == 0
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert all(entry.paper in printed for entry in MODELS.values()) or screen


def test_no_command_shows_help(capsys):
    assert run_command(app, []) == 2
    assert "Usage" in capsys.readouterr().out


def test_main_exits_with_the_status_of_the_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "poetry"])
    assert stopped.value.code == 2
    assert "no task 'poetry'" in capsys.readouterr().err


def test_a_recipe_takes_the_options_of_train(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["translation.py", "--model", "lstm"])
    with pytest.raises(SystemExit) as stopped:
        recipes.run(task("translation"))
    assert stopped.value.code == 2
    assert "no model 'lstm'" in capsys.readouterr().err


LIGHT = """
import sys
from attention_zoo import recipes
from attention_zoo.recipes.cli.main import app, run_command
for command in (["list"], ["--help"], ["train", "--help"], ["settings"], ["train", "translation",
                "--model", "lstm"], ["train", "translation", "--train", "a", "--valid", "b"]):
    print(">>>", *command, run_command(app, command))
for name in ("tensorflow", "keras", "torch", "jax", "matplotlib", "sentencepiece"):
    assert name not in sys.modules, name
"""


def test_lists_help_and_refusals_load_no_tensorflow():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("rnn-bahdanau", "rnn-luong", "translation", "Bahdanau"):
        assert name in done.stdout
    statuses = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith(">>>")]
    assert statuses == ["0", "0", "0", "0", "2", "2"]
    assert len(done.stderr.splitlines()) == 2
