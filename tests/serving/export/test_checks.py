"""Every check refuses the export that is wrong in its way, and only that one."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import tensorflow as tf
from broken_exports import doubled_weights, write_all

from attention_zoo.serving.export import checks
from attention_zoo.serving.export.clean_process import check_in_clean_process
from attention_zoo.serving.export.comparison import same_values
from attention_zoo.serving.export.warmup import WARMUP_SAMPLES
from attention_zoo.serving.runtime import operations
from attention_zoo.serving.runtime.protos import SavedModel

OLDER_PYTHON = os.environ.get("ATTENTION_ZOO_OLDER_PYTHON", "")


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The report on every broken export, all from one process."""
    paths = write_all(tmp_path_factory.mktemp("broken"))
    found = check_in_clean_process(list(paths.values()))
    return dict(zip(paths, found, strict=True))


def failed(report):
    return {result.name: result.found for result in report.results if not result.passed}


def test_a_sound_export_passes(reports):
    assert [result.name for result in reports["sound"].results] == [
        "warm-up",
        "session",
        "operations",
        "outputs",
        "batch",
    ]
    assert failed(reports["sound"]) == {}


@pytest.mark.parametrize(
    ("name", "check", "words"),
    [
        ("scalar", "outputs", "output 'score' of 'serving_default' is a scalar"),
        ("half", "outputs", "has type half"),
        ("ragged", "outputs", "is a ragged or sparse tensor"),
        ("flattened", "outputs", "has 16 rows for a request of 8"),
        ("infinite", "outputs", "has 1 values that are not finite"),
        ("frozen", "outputs", "input 'text' of 'serving_default' is fixed to 2 rows"),
        ("neighbours", "batch", "'score' of 'serving_default' depends on the other rows"),
        ("needs-two", "batch", "fails on row 0 alone"),
        ("python-call", "operations", "no operation EagerPyFunc"),
        ("compiled", "operations", "ask for XLA compilation"),
        ("compiled", "session", "XLA compilation disabled"),
        ("lost-variable", "session", "FAILED_PRECONDITION: Could not find variable"),
        ("truncated", "session", "cannot read saved_model.pb"),
        ("missing", "session", "cannot read saved_model.pb"),
        ("cold", "warm-up", "signature serving_default has no input words"),
    ],
)
def test_a_broken_export_is_refused_by_its_check(name, check, words, reports):
    found = failed(reports[name])
    assert words in found[check]
    assert "\n" not in found[check]


def test_no_other_check_refuses_it(reports):
    assert {name: set(failed(report)) for name, report in reports.items()} == {
        "sound": set(),
        "scalar": {"outputs"},
        "half": {"outputs"},
        "ragged": {"outputs", "session"},
        "flattened": {"outputs"},
        "infinite": {"outputs"},
        "frozen": {"outputs"},
        "neighbours": {"batch"},
        "needs-two": {"batch"},
        "python-call": {"operations", "session"},
        "compiled": {"operations", "session"},
        "lost-variable": {"session"},
        "truncated": {"session"},
        "missing": {"session"},
        "cold": {"warm-up"},
    }


def test_replies_and_requests_come_back_from_the_process(reports):
    requests = reports["sound"].requests["serving_default"]
    assert [text.decode() for text in requests["text"]] == list(WARMUP_SAMPLES)
    lengths = [len(text.encode()) for text in WARMUP_SAMPLES]
    assert reports["sound"].replies["serving_default"]["score"].tolist() == lengths


def test_weights_written_twice_are_refused(tmp_path):
    model = doubled_weights(tmp_path / "1")
    size = sum(4 * int(np.prod(weight.shape)) for weight in model.weights)
    result = checks.check_weights(tmp_path / "1", size, len(model.weights))
    assert not result.passed
    assert "written more than once" in result.found
    assert 1.9 < result.numbers["ratio"] < 2.3
    assert checks.check_weights(tmp_path / "1", 2 * size, 2 * len(model.weights)).passed


def test_results_that_differ_from_python_are_refused():
    replies = {"f": {"text": np.array([b"a", b"b"], object), "score": np.float32([1.0, -200.0])}}
    near = {"f": {"text": replies["f"]["text"], "score": np.float32([1.00009, -200.01])}}
    assert checks.check_same_results(replies, near).passed
    far = {"f": {"text": replies["f"]["text"], "score": np.float32([1.0002, -200.0])}}
    result = checks.check_same_results(replies, far)
    assert not result.passed
    assert "'score' of 'f'" in result.found
    other = {"f": {"text": np.array([b"a", b"c"], object), "score": replies["f"]["score"]}}
    assert "'text' of 'f' is ['a', 'b']" in checks.check_same_results(replies, other).found
    assert "'f' answers [] in the C++ session" in checks.check_same_results({}, near).found
    fewer = {"f": {"text": replies["f"]["text"]}}
    assert "and ['text'] in Python" in checks.check_same_results(replies, fewer).found


def test_padding_is_no_difference_and_anything_else_is():
    short = np.float32([[0.5, 0.5]])
    assert same_values(short, np.float32([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]), padded=True)[0]
    assert not same_values(short, np.float32([[0.5, 0.5, 0.1]]), padded=True)[0]
    assert not same_values(short, np.float32([[0.5, 0.5, 0.0]]))[0]
    texts = np.array([b"a", b""], object)
    assert same_values(texts, np.array([b"a"], object), padded=True)[0]
    assert not same_values(texts, np.array([b"a", b"b"], object), padded=True)[0]
    assert not same_values(np.int32([1]), np.float32([1]))[0]
    assert same_values(np.float32([-np.inf]), np.float32([-np.inf])) == (True, 0.0)
    assert not same_values(np.float32([np.nan]), np.float32([np.nan]))[0]


def test_an_operation_of_another_library_is_found():
    model = SavedModel()
    graph = model.meta_graphs.add().graph_def
    graph.node.add(name="a", op="Placeholder")
    graph.node.add(name="b", op="SentencepieceOp")
    function = graph.library.function.add()
    function.signature.name = "decode"
    function.node_def.add(name="c", op="Addons>GatherTree")
    graph.node.add(name="d", op="decode")
    known = frozenset({"Placeholder"})
    assert operations.unknown_operations(model, known) == {"Addons>GatherTree": "function decode"}
    assert operations.compiled_functions(model) == []
    function.attr["_XlaMustCompile"].b = True
    assert operations.compiled_functions(model) == ["function decode"]


def test_the_process_does_not_care_where_it_is_started(exported, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong module')")
    (tmp_path / "attention_zoo").mkdir()
    monkeypatch.chdir(tmp_path)
    (report,) = check_in_clean_process([os.path.relpath(exported)], ["the old dog", "a cat"])
    assert report.passed, report.results


@pytest.mark.slow
@pytest.mark.skipif(not OLDER_PYTHON, reason="needs ATTENTION_ZOO_OLDER_PYTHON")
def test_an_older_runtime_gives_the_same_results(exported, toy):
    """`make test-older`; or ATTENTION_ZOO_OLDER_PYTHON, a Python with an older TensorFlow."""
    (report,) = check_in_clean_process([exported], python=OLDER_PYTHON)
    assert report.passed, report.results
    for name, function in toy.signatures().items():
        outputs = function(**{a: tf.constant(v) for a, v in report.requests[name].items()})
        for alias, expected in outputs.items():
            assert same_values(report.replies[name][alias], expected.numpy())[0], (name, alias)


def test_a_process_that_dies_is_a_finding(tmp_path):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\necho going down >&2\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    (report,) = check_in_clean_process([tmp_path], python=str(crashing))
    assert failed(report) == {
        "session": "the process that loaded it ended with signal 11: going down"
    }


def test_the_command_says_what_it_found(exported, capsys, monkeypatch):
    monkeypatch.setattr(checks.c_api, "disable_xla", lambda: True)  # other tests may want XLA
    assert checks.main([str(exported)]) == 0
    printed = capsys.readouterr().out
    assert "ok   session: 5 signatures answer" in printed
    assert checks.main([str(exported.parent)]) == 1
    assert "FAIL session" in capsys.readouterr().out


def test_the_checks_need_no_python_tensorflow(exported):
    import subprocess

    code = (
        "import sys\n"
        "from attention_zoo.serving.export import checks\n"
        f"assert checks.main([{str(exported)!r}]) == 0\n"
        "print([name for name in sys.modules if name.split('.')[0] in "
        "('tensorflow', 'keras', 'tensorflow_text')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n[]\n")
    assert "ok   session: 5 signatures answer" in done.stdout
