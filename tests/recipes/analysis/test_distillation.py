"""Distillation: the targets are the teacher's, also after a kill, and the student learns them."""

import json
import os
import signal
from pathlib import Path

import pytest
from reverse_task import SETTINGS

from attention_zoo.recipes.analysis import distillation
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.interruption import Interrupted
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.data.pair_files import read_pairs
from attention_zoo.zoo.pipeline.text_to_text import Prediction, TextToText


def command(teacher, data, output, *more):
    settings = [setting for setting in SETTINGS if "attention" not in setting]
    options = [part for setting in settings for part in ("--set", setting)]
    return [
        "distill", str(teacher), "--train", str(data / "train.tsv"), "--valid",
        str(data / "valid.tsv"), "--model", "rnn", "--output", str(output),
        "--max-steps", "1", *options, *more,
    ]  # fmt: skip


def pairs(path):
    return list(read_pairs(str(path)))


class Stopped(BaseException):
    """A kill, that nothing handles."""


class Teacher:
    """Writes words backwards, and is stopped after some calls."""

    def __init__(self, calls=100, stop=None):
        self.calls, self.stop, self.asked = calls, stop, []

    def predict(self, texts):
        if len(self.asked) == self.calls:
            self.stop()
        self.asked.append(list(texts))
        return [Prediction(text[::-1], 0.0, text == "long") for text in texts]


def stop():
    raise Stopped


def test_further_sources_have_no_targets_beside_them(trained, reverse_files, refused):
    Path("more.txt").write_text("ab\tba\n")
    arguments = command(trained[0], reverse_files, "student", "--sources", "more.txt")
    assert "A tab parts a source from its target" in refused(run_command(app, arguments))
    assert not Path("student").exists()


def test_a_student_learns_what_its_teacher_writes(trained, reverse_files, capsys, monkeypatch):
    monkeypatch.setattr(distillation, "CHUNK", 16)
    Path("more.txt").write_text("abab\n\ndcba\nabab\n")
    arguments = command(trained[0], reverse_files, "student", "--sources", "more.txt")
    calls, predict = [], TextToText.predict

    def killed(model, texts, *options):
        calls.append(texts)
        return stop() if len(calls) == 3 else predict(model, texts, *options)

    with monkeypatch.context() as patch:
        patch.setattr(TextToText, "predict", killed)
        with pytest.raises(Stopped):
            run_command(app, arguments)
    assert run_command(app, arguments) == 0
    originals = pairs(reverse_files / "train.tsv")
    sources = list(dict.fromkeys([*(source for source, _ in originals), "abab", "dcba"]))
    written = Run(trained[0]).load(truncate=True).predict(sources)
    expected = [
        (source, one.text)
        for source, one in zip(sources, written, strict=True)
        if one.text and not one.truncated
    ]
    assert len(expected) > 10
    assert pairs("student/distilled/train.jsonl") == expected + originals
    assert pairs("student/distilled/valid.jsonl") == pairs(reverse_files / "valid.tsv")
    assert Run("student").read_metrics()["steps"] == 1
    lines = capsys.readouterr().out.splitlines()
    (head,) = (
        number for number, line in enumerate(lines) if "latency ms" in line[:300] and "|" in line
    )
    names, _, *rows = (
        [c.strip() for c in line.split("|")[1:-1]] for line in lines[head : head + 4]
    )
    for name, row in zip(("trained", "student"), rows, strict=True):
        cells = dict(zip(names, row, strict=True))
        assert cells["run"] == name
        assert all(cells[key] not in ("", "–") for key in ("chrf", "95% interval", "MB"))
        assert float(cells["latency ms"]) > 0 < float(cells["sentences/s"].replace(",", ""))
        parameters = Run("student" if name == "student" else trained[0]).read_metrics()[
            "parameters"
        ]
        assert cells["parameters"] == f"{parameters:,}"


@pytest.mark.parametrize("torn", [0, 1, 25])
def test_what_was_killed_resumes_to_the_same_targets(torn, tmp_path, monkeypatch):
    monkeypatch.setattr(distillation, "CHUNK", 7)
    path, sources = tmp_path / "targets", [f"a{i}" for i in range(40)]
    with pytest.raises(Stopped):
        distillation.write_targets(Teacher(3, stop), sources, path, print)
    if torn:  # in the middle of a line
        path.write_bytes(path.read_bytes()[:-torn])
    teacher = Teacher()
    found = distillation.write_targets(teacher, sources, path, print)
    assert found == [source[::-1] for source in sources]
    assert teacher.asked[0] == sources[7 * (2 if torn else 3) :][:7]
    distillation.write_targets(Teacher(), sources, tmp_path / "whole", print)
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_once_and_keeps_what_is_written(number, tmp_path, monkeypatch):
    monkeypatch.setattr(distillation, "CHUNK", 7)
    path, sources = tmp_path / "targets", [f"a{i}" for i in range(40)]
    teacher = Teacher(2, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted, match="stopped after 14 targets; give the same") as told:
        distillation.write_targets(teacher, sources, path, print)
    assert told.value.exit_status == (130 if number == signal.SIGINT else 75)
    assert path.read_bytes().count(b"\n") == 2


def test_a_damaged_chunk_and_all_after_it_are_written_again(tmp_path):
    path, sources = tmp_path / "targets", [f"a{i}" for i in range(3000)] + ["long"]
    expected = distillation.write_targets(Teacher(), sources, path, print)
    assert expected == [source[::-1] for source in sources[:-1]] + [None]
    content = path.read_bytes()
    for damaged in (content.replace(b"5501a", b"5511a"), content[:40] + content, b"\xff\n"):
        assert damaged != content
        path.write_bytes(damaged)
        assert distillation.write_targets(Teacher(), sources, path, print) == expected
        assert path.read_bytes() == content


def test_what_a_teacher_is_not_for(trained, reverse_files, refused):
    teacher = trained[0]
    tokenize = json.loads((teacher / "config.json").read_text())["bleu_tokenize"]
    for more, expected in (
        (["--mix", "half"], "--mix takes originals or none. Received: half"),
        (["--train", "none.tsv"], "none.tsv does not exist"),
        (["--set", "bleu_tokenize=zh"], f"Give --set bleu_tokenize={tokenize}."),
        (["--set", "model.encoder_units=0"], "encoder_units=0"),
    ):
        assert expected in refused(run_command(app, command(teacher, reverse_files, "new", *more)))
        assert not Path("new").exists()
    assert "is no run" in refused(run_command(app, command("none", reverse_files, "new")))


def test_targets_of_another_distillation_are_refused(trained, reverse_files, refused, monkeypatch):
    monkeypatch.setattr(
        distillation, "write_targets", lambda teacher, sources, *_: [None] * len(sources)
    )
    told = refused(run_command(app, command(trained[0], reverse_files, "run")))
    assert "wrote no target" in told
    for more, name in (("--mix", "none"), "mix"), (("--beam-size", "1"), "generation"):
        told = refused(run_command(app, command(trained[0], reverse_files, "run", *more)))
        assert f"was written with another {name}." in told
