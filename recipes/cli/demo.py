"""`attention-zoo demo`: the whole line in minutes, on the embedded dates."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...serving.client.client import Client
from ...serving.export.export import export
from ...zoo.pipeline.text_to_text import TextToText
from ...zoo.presets.names import presets
from ..core.config import Budget
from ..core.corpora import read_validation
from ..core.make_config import make_config
from ..core.packed_run import open_run
from ..data.corpus import PairCorpus
from ..training.evaluation import scores_by_length
from ..training.launch import run_task
from .sources import sources_of

# Those of the package are asked, in this order.
PRESETS = (
    "dates-en-zh",
    "everyday-zh-en",
    "pronounce-en",
    "docstrings-en",
    "stories-en",
    "chat-en",
)
MODELS = {"rnn": "one fixed context", "rnn-bahdanau": "attention"}
STEPS = 1500
QUESTION = "from Tuesday, March 5, 2024 to the 9th of May 2024"
SERVER_SECONDS = 90.0


def run_demo(output: Path, steps: int = STEPS) -> None:
    """Shows what presets answer; trains two models, compares, looks, exports, serves and asks.

    Args:
        output: folder for the runs, the picture and the exported model.
        steps: training steps of each model.
    """
    _show_presets()
    models = {name: _train(name, output / name, steps) for name in MODELS}
    dev = read_validation(make_config("translation", "rnn-bahdanau"))
    _headline("The same data, the same number of steps: exact matches on dev, in percent")
    _compare(models, dev)
    _headline("Where rnn-bahdanau looked while it wrote")
    picture = output / "alignment.png"
    explanation = models["rnn-bahdanau"].explain([QUESTION])[0]
    explanation.save(picture)
    print(explanation.to_terminal(color=sys.stdout.isatty()))
    print(f"as a picture: {picture}")
    _headline("Export, with its checks")
    path = export(models["rnn-bahdanau"], output / "models", report=print)
    print(f"published {path}")
    _headline("Serve, and ask")
    with running_server(output / "models") as addresses:
        for url in addresses:
            with Client(url, model="rnn-bahdanau") as client:
                answer = client.predict([QUESTION])[0]
            print(f"{url}\n  {QUESTION}\n  {answer.text}   (score {answer.score:.3f})")
    print("The server is stopped again. To go on:")
    print(f"  attention-zoo serve {output / 'models'}")
    print(f"  tensorboard --logdir {output}")
    print("  attention-zoo train translation --train your.tsv --valid yours.tsv --output runs/mine")


def _show_presets() -> None:
    """Answers of the presets that there are, one of each kind."""
    found = presets()
    for name in [name for name in PRESETS if name in found]:
        _headline(f"{name}: {found[name]['description']}")
        run, texts = open_run(name), found[name]["examples"][:2]
        answers = run.load(truncate=True).predict(sources_of(run.read_config(), texts))
        for text, answer in zip(texts, answers, strict=True):
            print(f"{text}\n  {answer.text}")


def _train(name: str, folder: Path, steps: int) -> TextToText:
    _headline(f"Train {name}: {MODELS[name]}, {steps} steps")
    return run_task(make_config("translation", name), folder, Budget(max_steps=steps))


def _compare(models: dict[str, TextToText], dev: PairCorpus) -> None:
    print(f"{'model':<14}{'all':>8}{'shorter half':>15}{'longer half':>14}")
    for name, model in models.items():
        overall, shorter, longer = scores_by_length(model, dev)
        print(f"{name:<14}{overall:>8.1f}{shorter:>15.1f}{longer:>14.1f}")


def _headline(text: str) -> None:
    print(f"\n== {text}", flush=True)


@contextmanager
def running_server(directory: Path) -> Iterator[list[str]]:
    """The addresses of a server in a process of its own, REST first; stopped at the end."""
    command = [sys.executable, "-m", "attention_zoo", "serve", str(directory)]
    log = directory.parent / "server.log"
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*command, "--rest-port", "0", "--grpc-port", "0"], stdout=file, stderr=file
        )
    try:
        yield _addresses(process, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


def _addresses(process: subprocess.Popen, log: Path) -> list[str]:
    deadline = time.monotonic() + SERVER_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = re.findall(r"(?:http|grpc)://\S+", log.read_text(encoding="utf-8"))
        if len(found) >= 2:
            return found[:2]
        time.sleep(0.2)
    raise RuntimeError(f"The server did not start: {log.read_text(encoding='utf-8')[-500:]}")
