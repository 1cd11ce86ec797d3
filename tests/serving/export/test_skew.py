"""The check of an export on another runtime: what it compares, and what it says."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from attention_zoo.serving.export import skew
from attention_zoo.serving.export.findings import Report
from attention_zoo.serving.export.samples import SAMPLES


def report(**outputs):
    return Report([], {}, {"f": {name: np.array(values) for name, values in outputs.items()}})


TEXT = np.array([b"ein Haus"], object)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (report(text=TEXT, score=np.float32([-0.30005])), None),
        (report(text=TEXT, score=np.float32([-0.302])), "'score' of 'f' is"),
        (report(text=np.array([b"ein haus"], object), score=np.float32([-0.3])), "'text' of 'f'"),
        (report(text=TEXT), "'f' answers ['score', 'text'] here and ['text'] there"),
        (Report([], {}, {}), "'f' answers ['score', 'text'] here and [] there"),
    ],
)
def test_strings_must_be_equal_and_numbers_nearly(there, words):
    found = skew.compare(report(text=TEXT, score=np.float32([-0.3])), there)
    assert found.passed == (words is None)
    assert (words or "2 values of 1 signatures: strings equal, numbers to 5e-05") in found.found


def test_no_answer_is_no_agreement():
    assert not skew.compare(Report([], {}, {}), Report([], {}, {})).passed


def test_what_is_sent_has_the_texts_of_the_warm_up(exported, wire_folder):
    texts = skew.sample_texts(exported)
    assert set(SAMPLES) <= set(texts) and len(texts) == len(set(texts))
    assert skew.sample_texts(wire_folder / "1") == list(SAMPLES)


def test_an_interpreter_without_tensorflow_is_one_line(tmp_path, capsys):
    (tmp_path / "saved_model.pb").touch()
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\n")
    bare.chmod(0o755)
    for arguments, words in (
        ([str(tmp_path), "--python", str(bare)], "has no TensorFlow; install the packages of"),
        ([str(tmp_path), "--python", str(tmp_path / "none")], "Cannot run "),
        ([str(tmp_path / "none"), "--python", sys.executable], "is no version of a model"),
    ):
        with pytest.raises(SystemExit) as left:
            skew.main(arguments)
        assert left.value.code == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_the_same_runtime_agrees_with_itself(exported, capsys):
    assert skew.main([str(exported), "--python", sys.executable]) == 0
    printed = capsys.readouterr().out
    assert "here: tensorflow " in printed and "ok   skew: " in printed
