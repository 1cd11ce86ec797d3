"""Each recipe on its embedded default, by the commands of the guides: train to ask."""

import json

import pytest

import attention_zoo
from attention_zoo.recipes.cli.demo import running_server
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.task import TASKS
from attention_zoo.serving.client.client import Client

SMALL = [
    *(f"model.{name}=16" for name in ("embedding_dim", "encoder_units", "decoder_units")),
    "model.attention_units=16",
    "vocab_size=300",
    "max_target_length=24",
    "evaluate_every=3",
    "evaluate_rows=20",
    "beam_size=1",
]
MODELS = {"summarization": "pointer-generator", "question-answering": "memory-network"}
QUESTIONS = {
    "translation": "March 5, 2024",
    "summarization": "Elements of the input that are not finite are left as they are.",
    "question-answering": {
        "context": "Anna walks to the garden. Tom goes to the attic.",
        "question": "Where is Tom?",
    },
    "dialogue": {"history": "Hello\nHi, how are you?", "text": "Fine, and you?"},
}


def succeed(capsys, *command):
    """What a command printed that must succeed."""
    assert run_command(app, list(command)) == 0
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_a_recipe_on_its_default(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = MODELS.get(name, "rnn-bahdanau")
    settings = [part for setting in SMALL for part in ("--set", setting)]
    printed = succeed(capsys, "train", name, "--model", model, "--max-steps", "3", *settings)
    run = f"runs/{name}-{model}"
    assert "best at step 3 of 3" in printed
    values = json.loads(succeed(capsys, "evaluate", run, "--json"))
    metrics = json.loads((tmp_path / run / "metrics.json").read_text())
    assert values["rows"] > 500
    assert values["perplexity"] == pytest.approx(metrics["valid"]["perplexity"], rel=1e-4)
    assert values.get("baselines") == metrics.get("baselines")
    question = QUESTIONS[name]
    text = question if isinstance(question, str) else json.dumps(question)
    printed = succeed(capsys, "explain", run, text, "--output", "where.png")
    assert "written to where.png" in printed
    assert (tmp_path / "where.png").read_bytes().startswith(b"\x89PNG")
    assert ("p_gen" in succeed(capsys, "explain", run, text)) == (model == "pointer-generator")
    succeed(capsys, "export", run, "models")
    (expected,) = attention_zoo.load(run).predict([question])
    with running_server(tmp_path / "models") as addresses:
        for url in addresses:
            with Client(url, model=f"{name}-{model}") as client:
                (answer,) = client.predict([question])
            assert answer.text == expected.text
            assert answer.score == pytest.approx(expected.score, abs=1e-4)
