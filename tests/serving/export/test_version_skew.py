"""The check of an export on another runtime: what it compares, and what it says."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from attention_zoo.serving.export import version_skew
from attention_zoo.serving.export.check_report import CheckReport
from attention_zoo.serving.export.comparison import compare_replies
from attention_zoo.serving.export.warmup import WARMUP_SAMPLES


def report(**outputs):
    return CheckReport([], {}, {"f": {name: np.array(values) for name, values in outputs.items()}})


TEXT = np.array([b"ein Haus"], object)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (report(text=TEXT, score=np.float32([-0.30005])), None),
        (report(text=TEXT, score=np.float32([-0.302])), "'score' of 'f' is"),
        (report(text=np.array([b"ein haus"], object), score=np.float32([-0.3])), "'text' of 'f'"),
        (report(text=TEXT), "'f' answers ['text'] there and ['score', 'text'] here"),
        (CheckReport([]), "'f' answers [] there and ['score', 'text'] here"),
    ],
)
def test_strings_must_be_equal_and_numbers_nearly(there, words):
    here = report(text=TEXT, score=np.float32([-0.3]))
    found = compare_replies("skew", there.replies, here.replies, "there", "here")
    assert found.passed == (words is None)
    assert (
        words or "2 values of 1 signatures equal there and here, numbers to 5e-05"
    ) in found.found


def test_no_answer_is_no_agreement():
    assert not compare_replies("skew", {}, {}, "there", "here").passed


def test_what_is_sent_has_the_texts_of_the_warm_up(exported, wire_folder):
    texts = version_skew.sample_texts(exported)
    assert set(WARMUP_SAMPLES) <= set(texts) and len(texts) == len(set(texts))
    assert version_skew.sample_texts(wire_folder / "1") == list(WARMUP_SAMPLES)


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
            version_skew.main(arguments)
        assert left.value.code == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_the_same_runtime_agrees_with_itself(exported, capsys):
    assert version_skew.main([str(exported), "--python", sys.executable]) == 0
    printed = capsys.readouterr().out
    assert "here: tensorflow " in printed and "ok   skew: " in printed
