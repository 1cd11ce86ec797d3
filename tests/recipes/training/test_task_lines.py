"""Each task from its files to a served model: train, evaluate, predict, explain, export, ask."""

import io
import json
import re
import sys

import numpy as np
import pytest
from eager import eagerly

import attention_zoo
from attention_zoo.recipes.cli.app import Refused
from attention_zoo.recipes.cli.chat import talk
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.config import Budget
from attention_zoo.recipes.core.corpora import read_corpora
from attention_zoo.recipes.core.make_config import make_config
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.core.task import TASKS, source_format, task
from attention_zoo.recipes.data.stories import story_pairs
from attention_zoo.recipes.training.launch import run_task
from attention_zoo.serving.client.client import Client
from attention_zoo.serving.runtime.session import SavedModelSession
from attention_zoo.serving.server.server import ServerOptions, ServerThread
from attention_zoo.serving.server.sources import find_configs
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.pipeline.text_to_text import Prediction

SMALL = [
    *(f"model.{name}=8" for name in ("embedding_dim", "encoder_units", "decoder_units")),
    "model.attention_units=8",
    "vocab_size=90",
    "batch_tokens=400",
    "max_target_length=8",
    "evaluate_every=1",
    "evaluate_rows=4",
    "beam_size=2",
]
SENTENCES = ["red dogs ran home today", "two cats sat there", "the house by the sea is old"]


def write_summaries(folder):
    rows = [f"{a} and {b} {number}\t{a}" for number in "abc" for a in SENTENCES for b in SENTENCES]
    (folder / "train.tsv").write_text("\n".join(rows))
    (folder / "valid.tsv").write_text("\n".join(rows[:6]))
    return "train.tsv", "valid.tsv", ["max_source_length=9"]


def write_questions(folder):
    for name, size in (("train", 30), ("dev", 6)):
        rows = [
            f"{source['context']}\t{source['question']}\t{target}\n"
            for source, target in story_pairs(name, size, seed=1)
        ]
        (folder / f"{name}.tsv").write_text("".join(rows))
    return "train.tsv", "dev.tsv", ["max_source_length=20"]


def write_conversations(folder):
    rows = [json.dumps({"turns": [*SENTENCES[i % 3 :], "yes", "no", f"{i}"]}) for i in range(9)]
    (folder / "train.jsonl").write_text("\n".join(rows))
    long = json.dumps({"turns": ["no", " ".join(SENTENCES)]})  # than the model writes
    (folder / "valid.jsonl").write_text("\n".join([*rows[:3], long]))
    return "train.jsonl", "valid.jsonl", ["max_source_length=12", "history_turns=2"]


WRITERS = {
    "summarization": write_summaries,
    "question-answering": write_questions,
    "dialogue": write_conversations,
}
LINES = {
    "summarization": "two cats sat there and red dogs ran home",
    "question-answering": "Tom goes to the hall. Anna runs to the attic. Where is Tom?",
    "dialogue": "red dogs ran home today\ttwo cats sat there\tno",
}
REQUESTS = {
    "summarization": {"text": "red dogs ran"},
    "question-answering": {"context": "Tom goes to the hall.", "question": "Where is Tom?"},
    "dialogue": {"history": "red dogs ran\nyes", "text": "no"},
}


@pytest.fixture(scope="module", params=WRITERS)
def line(request, tmp_path_factory):
    """Name of the task, folder of its run, and what the training printed."""
    folder = tmp_path_factory.mktemp(request.param)
    train, valid, settings = WRITERS[request.param](folder)
    config = make_config(
        request.param,
        "rnn-bahdanau",
        str(folder / train),
        str(folder / valid),
        settings=[*SMALL, *settings],
    )
    printed: list[str] = []
    with eagerly():
        run_task(config, folder / "run", Budget(max_steps=2), printed.append)
    return request.param, folder / "run", "\n".join(printed)


@pytest.fixture(scope="module")
def model(line):
    """What the run learnt, loaded once: each kind of output is traced when first asked for."""
    return attention_zoo.load(line[1])


def test_training_tells_what_was_cut_and_what_is_simplest(line):
    name, run, printed = line
    keep = "start" if name == "summarization" else "end"
    assert f"sources cut to their {keep}" in printed
    assert "still rising, to its peak at step 500: train for longer" in printed
    assert printed.count("1 target longer than 8 tokens: left out") == (name == "dialogue")
    metrics = json.loads((run / "metrics.json").read_text())
    for baseline in metrics["baselines"]:
        assert f"baseline, {baseline}: " in printed
    assert set(task(name).metrics) <= set(metrics["valid"])
    metric = make_config(name, "rnn").metric
    values = [entry[metric] for entry in metrics["history"]]
    best = np.argmin(values) if name == "dialogue" else np.argmax(values)
    assert metrics["best_step"] == metrics["history"][best]["step"]


@pytest.mark.usefixtures("eager")
def test_evaluation_repeats_the_scores_of_the_training(line, capsys):
    name, run, _ = line
    assert run_command(app, ["evaluate", str(run), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    metrics = json.loads((run / "metrics.json").read_text())
    assert values["cut"] > 0 and ("unscored" in values) == (name == "dialogue")
    for metric, value in metrics["valid"].items():
        expected = value if value is None else pytest.approx(value, rel=1e-4)
        assert values[metric] == expected, metric
    assert values["baselines"] == metrics["baselines"]


@pytest.mark.usefixtures("eager")
def test_predict_and_explain_read_all_inputs(line, model, capsys):
    name, run, _ = line
    source = task(name).parse_source(LINES[name])
    assert run_command(app, ["predict", str(run), LINES[name], json.dumps(REQUESTS[name])]) == 0
    told = capsys.readouterr()
    kept = "start" if name == "summarization" else "end"
    assert re.search(rf"[12] sources? longer than \d+ tokens: the {kept} read\n", told.err)
    printed = told.out.splitlines()
    assert printed == [p.text for p in model.predict([source, REQUESTS[name]])]
    explanation = model.explain([source])[0]
    assert ("<sep>" in explanation.source_tokens) == (name != "summarization")
    assert run_command(app, ["explain", str(run), LINES[name]]) == 0
    told = capsys.readouterr()
    assert told.out.strip() and "1 source longer than" in told.err
    bad = json.dumps({"text": "a", "speaker": "b"})
    assert run_command(app, ["predict", str(run), bad]) == 2
    assert "speaker" in capsys.readouterr().err


# Exporting takes the longest: what has two inputs shows how, and `make test-slow` has all tasks.
served = pytest.mark.parametrize(
    "line",
    [
        name if name == "dialogue" else pytest.param(name, marks=pytest.mark.slow)
        for name in WRITERS
    ],
    indirect=True,
    scope="module",
)


@pytest.fixture(scope="module")
def models(line):
    """A folder with the exported model of a task, named `run`."""
    _, run, _ = line
    folder = run.parent / "models"
    assert run_command(app, ["export", str(run), str(folder)]) == 0
    return folder


@served
def test_the_export_takes_the_inputs_by_name(line, model, models):
    name, _, _ = line
    request = REQUESTS[name]
    columns = {key: np.array([value.encode()], object) for key, value in request.items()}
    with SavedModelSession(models / "run" / "1") as session:
        served = session.run("serving_default", columns)
        assert served["text"][0].decode() == model.predict([request])[0].text
        if name == "summarization":
            wish = {**columns, "length": np.array([3], np.int32)}
            served = session.run("with_length", wish)
            expected = model.predict([{**request, "length": 3}])[0]
            assert served["score"][0] == pytest.approx(expected.score, abs=1e-4)


@served
def test_the_server_is_asked_as_the_run_is(line, model, models):
    name, _, _ = line
    sources = [task(name).parse_source(LINES[name]), REQUESTS[name]]
    (right,) = model.predict(sources[1:])
    log_p, tokens = model.score(sources, ["yes", "no"])
    options = ServerOptions(rest_port=0, grpc_port=0)
    with ServerThread(configs=find_configs(models), options=options) as server:
        for url in (server.address.rest_url, server.address.grpc_url):
            with Client(url, model="run") as client:
                assert client.predict(sources)[1].text == right.text
                assert len(client.n_best(sources)[0]) == len(model.n_best(sources)[0])
                found, expected = client.explain(sources)[1], model.explain(sources)[1]
                assert (found.text, found.source_tokens) == (expected.text, expected.source_tokens)
                np.testing.assert_allclose(found.attention, expected.attention, atol=1e-4)
                scores = client.score(sources, ["yes", "no"])
                assert [s.score for s in scores] == pytest.approx(log_p.tolist(), abs=1e-3)
                assert [s.tokens for s in scores] == tokens.tolist()
                if name == "summarization":
                    wish = {"text": LINES[name], "length": 3}
                    (expected_wish,) = model.predict([wish])
                    found_wish, other = client.predict([wish, LINES[name]])
                    assert found_wish.score == pytest.approx(expected_wish.score, abs=1e-4)
                    assert other.text == client.predict([LINES[name]])[0].text


@pytest.mark.usefixtures("eager")
def test_options_of_one_task_alone(line, capsys, monkeypatch):
    name, run, _ = line
    status = run_command(app, ["predict", str(run), LINES[name], "--length", "3"])
    assert status == (0 if name == "summarization" else 2)
    capsys.readouterr()
    if name == "summarization":
        wish = json.dumps({**REQUESTS[name], "length": 3})
        assert run_command(app, ["explain", str(run), wish]) == 2
        assert "length can be asked for in `predict` alone" in capsys.readouterr().err
        assert run_command(app, ["predict", str(run), "a", "--length", "3", "--n-best", "2"]) == 2
        assert "leave out --n-best" in capsys.readouterr().err
    assert run_command(app, ["evaluate", str(run), "--tokenize", "13a"]) == 2
    assert f"--tokenize is of BLEU, which {name} has not" in capsys.readouterr().err
    chat = ["chat", str(run), "--seed", "1"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n\n/new\nno\nred dogs\n/quit\nno\n"))
    if name != "dialogue":
        assert run_command(app, chat) == 2
        assert "chat is for a run of dialogue" in capsys.readouterr().err
        return
    assert run_command(app, chat) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert run_command(app, ["predict", str(run), "no", "--sample", "--top-k", "1"]) == 0
    sampled = capsys.readouterr().out
    assert run_command(app, ["predict", str(run), "no", "--beam-size", "1"]) == 0
    assert capsys.readouterr().out == sampled  # of one token the choice is not by chance


def test_chat_reads_what_was_said_before(monkeypatch, capsys):
    asked = []

    class Model:
        source_format = task("dialogue").source_format.with_turns(2)

        def predict(self, sources):
            asked.extend(sources)
            return [Prediction(f"reply {len(asked)}", 0.0, truncated=sources[0]["text"] in "bd")]

        def too_long(self, sources):
            return [0] if sources[0]["history"] else []

    monkeypatch.setattr(sys, "stdin", io.StringIO("a\nb\n  \nc\n/new\nd"))
    talk(Model())
    assert [source["text"] for source in asked] == ["a", "b", "c", "d"]
    assert [source["history"] for source in asked] == [
        "",
        "a\nreply 1",
        "b\nreply 2",
        "",
    ]
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"reply {i}" for i in range(1, 5)]
    assert printed.err.splitlines() == ["(ended at the most tokens that the model writes)"]  # of d


def test_chat_refuses_what_is_not_utf8(monkeypatch):
    class Model:
        source_format = task("dialogue").source_format

        def predict(self, sources):
            return [Prediction("yes", 0.0)]

    for errors in ("strict", "surrogateescape"):
        lines = io.TextIOWrapper(io.BytesIO(b"a\n\xff\n"), "utf-8", errors)
        monkeypatch.setattr(sys, "stdin", lines)
        with pytest.raises(Refused, match="not UTF-8"):
            talk(Model())
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\0\n"))
    with pytest.raises(Refused, match="a null character"):
        talk(Model())


@pytest.mark.parametrize("name", WRITERS)
def test_the_embedded_default_and_its_settings(name):
    config = make_config(name, "rnn-bahdanau")
    assert config.metric in task(name).metrics
    train, valid = read_corpora(config)
    assert len(train) > 5000 and len(valid) > 500
    source_format(config).columns([*train.sources[:50], *valid.sources[:50]])
    seen = {json.dumps(pair) for pair in train}
    shared = sum(json.dumps(pair) in seen for pair in valid)
    assert shared <= 0.02 * len(valid)  # two people greet each other as others do


def test_summaries_are_learnt_with_and_without_a_wish_for_their_length():
    train, _ = read_corpora(make_config("summarization", "rnn-bahdanau"))
    prepared = task("summarization").prepare(train, 1)
    wished = [row for row in prepared if not isinstance(row[0], str)]
    assert 0.45 < len(wished) / len(train) < 0.55
    assert all(source["length"] == len(target.split()) for source, target in wished)
    assert task("summarization").prepare(train, 1).sources == prepared.sources


@pytest.mark.parametrize("name", TASKS)
def test_only_metrics_of_the_task_decide(name):
    for metric in ("bleu", "rougeL", "f1", "word_perplexity"):
        if metric in task(name).metrics:
            assert make_config(name, "rnn", settings=[f"metric={metric}"]).metric == metric
        else:
            with pytest.raises(ConfigError, match="metric"):
                make_config(name, "rnn", settings=[f"metric={metric}"])


def test_reverse_is_for_one_input():
    with pytest.raises(ConfigError, match="--reverse"):
        make_config("dialogue", "rnn", reverse=True)


def test_bad_files_are_one_line_and_leave_no_folder(tmp_path, capsys):
    (tmp_path / "q.tsv").write_text("c\tq\t\nc\tq\ta\n")
    (tmp_path / "d.jsonl").write_text('["alone"]\n')
    for name, file, words in (
        ("question-answering", "q.tsv", "answer is empty"),
        ("dialogue", "d.jsonl", "two turns at least"),
    ):
        path = str(tmp_path / file)
        command = ["train", name, "--train", path, "--valid", path, "--output", "run"]
        assert run_command(app, command) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
        assert not Run("run").folder.exists()
