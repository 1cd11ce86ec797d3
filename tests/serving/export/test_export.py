"""Publishing: what is written, what is refused, and that nothing half-written is ever seen."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

import attention_zoo
from attention_zoo.serving.export import clean_process
from attention_zoo.serving.export.check_report import CheckReport, CheckResult
from attention_zoo.serving.export.export import ExportError, export
from attention_zoo.serving.export.warmup import WARMUP_FILE, WARMUP_SAMPLES
from attention_zoo.serving.runtime.session import SavedModelSession
from attention_zoo.serving.runtime.versions import remove_abandoned
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.files import claimed

export_module = sys.modules["attention_zoo.serving.export.export"]


class Lengths:
    """The smallest pipeline: the length of each text."""

    name = "lengths"

    class model:
        name = "model"
        weights = ()

    def trackables(self):
        return []

    def answer(self, text):
        return {"score": tf.cast(tf.strings.length(text), tf.float32)}

    def signatures(self):
        spec = tf.TensorSpec([None], tf.string, name="text")
        return {"serving_default": tf.function(self.answer, input_signature=[spec])}


class CountedLengths(Lengths):
    """Counts how often its signature is traced."""

    traces = 0

    def __init__(self):
        self.functions = super().signatures()

    def answer(self, text):
        self.traces += 1
        return super().answer(text)

    def signatures(self):
        return self.functions


class ScalarLengths(Lengths):
    def answer(self, text):
        return {"score": tf.reduce_mean(tf.cast(tf.strings.length(text), tf.float32))}


class FrozenLengths(Lengths):
    def signatures(self):
        return {"serving_default": tf.function(self.answer)}


@pytest.fixture
def no_checks(monkeypatch):
    """Skips the process of the checks; a function put into the list runs in its place."""
    instead = []

    def check(paths, samples, **how):
        for function in instead:
            function(paths[0])
        return [CheckReport([CheckResult("session", True, "not asked")], {}, {})]

    monkeypatch.setattr(export_module, "check_in_clean_process", check)
    return instead


def test_export_has_the_layout_of_a_server_and_all_signatures(exported):
    assert exported.name == "1"
    assert exported.parent.name == "toy"
    assert (exported / "saved_model.pb").is_file()
    assert (exported / WARMUP_FILE).is_file()
    assert "max_batch_size" in (exported / "batching_params.pbtxt").read_text()
    assert [path.name for path in exported.parent.iterdir()] == ["1"]
    with SavedModelSession(exported) as session:
        names = {name for name in session.signatures if not name.startswith("__")}
        assert names == {"serving_default", "document", "n_best", "explain", "score"}
        spec = session.signatures["score"]
        assert list(spec.inputs) == ["target", "text"]
        assert spec.outputs["tokens"].dtype.name == "int32"
        assert spec.outputs["score"].shape == (-1,)


def test_every_check_reports_on_a_sound_export(exported, check_results):
    assert [result.name for result in check_results] == [
        "warm-up",
        "session",
        "operations",
        "outputs",
        "batch",
        "same results",
        "weights",
    ]
    assert all(result.passed for result in check_results), check_results
    numbers = {result.name: result.numbers for result in check_results}
    assert numbers["session"]["answered"] == 5
    assert numbers["batch"]["rows"] == 5 * len(WARMUP_SAMPLES)
    assert 1.0 <= numbers["weights"]["ratio"] < 1.2
    assert numbers["same results"]["largest difference"] <= 1e-4


def test_next_version_is_one_above_the_highest(no_checks, tmp_path):
    assert export(Lengths(), tmp_path).name == "1"
    assert export(Lengths(), tmp_path, version=41).name == "41"
    (tmp_path / "lengths" / "42").write_text("a file in the way")
    assert export(Lengths(), tmp_path).name == "43"
    assert export(Lengths(), tmp_path, name="other") == tmp_path / "other" / "1"


def test_old_versions_are_removed_if_told(no_checks, tmp_path):
    for _ in range(4):
        export(Lengths(), tmp_path)
    export(Lengths(), tmp_path, keep=2)
    assert sorted(path.name for path in (tmp_path / "lengths").iterdir()) == ["4", "5"]
    assert export(Lengths(), tmp_path, version=1, keep=1).is_dir()
    assert sorted(path.name for path in (tmp_path / "lengths").iterdir()) == ["1", "5"]
    with pytest.raises(ExportError, match="Received: keep=0"):
        export(Lengths(), tmp_path, keep=0)


def test_the_card_says_what_the_model_takes_and_what_was_measured(exported):
    card = (exported / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith("# toy\n")
    assert "| `score` | `target` string (B)<br>`text` string (B) |" in card
    assert "`attention` float (B, ?, ?)" in card
    assert "| weights | " in card and "| batch | 40 rows" in card
    assert " ms on the machine that published it" in card
    assert f"| tensorflow | {tf.__version__} |\n" in card
    assert f"| attention-zoo | {attention_zoo.__version__} |\n" in card
    minor = ".".join(tf.__version__.split(".")[:2])
    assert f"TensorFlow promises that {minor} and later read it." in card


def test_the_card_has_the_notes_of_the_maker(no_checks, tmp_path):
    path = export(Lengths(), tmp_path, notes="## Scores\n\nBLEU 36.1")
    assert "\n## Scores\n\nBLEU 36.1\n" in (path / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_what_a_killed_export_left_is_removed_by_the_next(no_checks, tmp_path):
    """And what a living one is writing stays."""
    dead, alive = (tmp_path / "lengths" / f".unpublished-{name}" for name in ("dead", "alive"))
    (dead / "variables").mkdir(parents=True)
    with claimed(alive):
        (alive / "file").touch()
        export(Lengths(), tmp_path)
        names = {path.name for path in (tmp_path / "lengths").iterdir()}
    assert names == {alive.name, "1"}
    remove_abandoned(tmp_path / "lengths")  # as a server does
    assert [path.name for path in (tmp_path / "lengths").iterdir()] == ["1"]


def test_texts_of_the_checks_lie_in_no_file(toy, tmp_path, monkeypatch):
    """Whoever kills an export would leave them there."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "tmp").mkdir()
    seen = []
    real = subprocess.run

    def look(*arguments, **settings):
        done = real(*arguments, **settings)
        seen.extend(path.name for path in (tmp_path / "tmp").rglob("*.json"))
        return done

    monkeypatch.setattr(clean_process.subprocess, "run", look)
    export(toy, tmp_path / "models", samples=["a text that nobody else may read"])
    assert not seen and not list((tmp_path / "tmp").iterdir())


def test_a_pipeline_whose_tokenizer_tensorflow_has_dropped(monkeypatch, tmp_path):
    """Setting seeds drops the resources of tokenizers; a prediction makes new ones."""

    class Forgetful(Lengths):
        forgot = True

        def predict(self, texts):
            self.forgot = False

        def signatures(self):
            functions = super().signatures()
            if not self.forgot:
                return functions
            function = functions["serving_default"]

            def call(**inputs):
                raise tf.errors.NotFoundError(None, None, "Resource does not exist.")

            call.input_signature = function.input_signature
            call.get_concrete_function = function.get_concrete_function
            return {"serving_default": call}

    texts = np.array([b"a", b"bcd"], object)
    report = CheckReport(
        [],
        {"serving_default": {"text": texts}},
        {"serving_default": {"score": np.float32([1.0, 3.0])}},
    )
    results = []
    monkeypatch.setattr(export_module, "check_in_clean_process", lambda *_, **how: [report])
    writer = "attention_zoo.serving.export.saved_model.write_saved_model"
    monkeypatch.setattr(writer, lambda pipeline, path: pipeline.signatures())
    monkeypatch.setattr(export_module, "write_manifest", lambda folder: None)
    monkeypatch.setattr(export_module, "render_card", lambda *_: "")
    assert export(Forgetful(), tmp_path, report=results.append).name == "1"
    assert results[0].numbers["values"] == 2


def test_an_existing_version_is_never_touched(no_checks, tmp_path):
    (tmp_path / "lengths" / "007").mkdir(parents=True)
    (tmp_path / "lengths" / "007" / "saved_model.pb").write_text("in use")
    with pytest.raises(ExportError, match="already has version 7"):
        export(Lengths(), tmp_path, version=7)
    assert [path.name for path in (tmp_path / "lengths").iterdir()] == ["007"]


@pytest.mark.parametrize("version", [-1, 2**63, True, 1.5])
def test_impossible_versions_are_refused(version, tmp_path):
    with pytest.raises(ExportError, match=r"whole number.*Received: version="):
        export(Lengths(), tmp_path, version=version)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a:predict", "über", "../up", "2026"])
def test_names_that_no_address_can_hold_are_refused(name, tmp_path):
    pipeline = Lengths()
    pipeline.name = pipeline.model.name = name
    with pytest.raises(ExportError, match=r"part of its address .* Received: name="):
        export(pipeline, tmp_path / "exports")
    with pytest.raises(ConfigError, match=r"written to, not gs://bucket/models\. Mount"):
        export(Lengths(), "gs://bucket/models")
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(
        ExportError, match=r"'outputs'.*'score' of 'serving_default' is a scalar"
    ) as e:
        export(ScalarLengths(), tmp_path / "exports")
    assert "\n" not in str(e.value)
    assert {result.name for result in e.value.results if not result.passed} == {"outputs"}
    assert not (tmp_path / "exports").exists()


def test_a_signature_without_an_open_number_of_rows_is_refused(no_checks, tmp_path):
    with pytest.raises(ExportError, match="input_signature"):
        export(FrozenLengths(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_untracked_resources_are_one_clear_error(no_checks, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(toy, "trackables", list)
    with pytest.raises(ExportError, match="cannot write this pipeline") as error:
        export(toy, tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_clear_error(no_checks, tmp_path, monkeypatch):
    """TensorFlow writes the weights, and has errors of its own."""

    def save(module, path, **settings):
        raise tf.errors.ResourceExhaustedError(
            None, None, f"{{{{function_node x}}}} {path}/a; No space left on device [Op:SaveV2]"
        )

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(ExportError) as error:
        export(Lengths(), tmp_path)
    place = tmp_path / "lengths"
    assert str(error.value) == f"TensorFlow cannot write to {place}: No space left on device"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_interrupted_export_leaves_nothing(fault, no_checks, tmp_path):
    def interrupt(path):
        raise fault

    no_checks.append(interrupt)
    (tmp_path / "lengths" / "1").mkdir(parents=True)
    with pytest.raises(fault):
        export(Lengths(), tmp_path)
    assert [path.name for path in (tmp_path / "lengths").iterdir()] == ["1"]


def test_a_watching_server_never_sees_an_unchecked_version(no_checks, tmp_path):
    seen = []

    def look(path):
        assert (path / "saved_model.pb").is_file()
        seen.extend(entry.name for entry in path.parent.iterdir())

    no_checks.append(look)
    export(Lengths(), tmp_path)
    assert len(seen) == 1
    assert not seen[0].isdigit()
    assert [path.name for path in (tmp_path / "lengths").iterdir()] == ["1"]


def test_of_two_exports_at_once_both_are_published_or_one_is_told(no_checks, tmp_path):
    def other_export(path):
        (path.parent / "1").mkdir()
        (path.parent / "1" / "saved_model.pb").write_text("the other's")

    no_checks.append(other_export)
    with pytest.raises(ExportError, match="already has version 1"):
        export(Lengths(), tmp_path / "a", version=1)
    assert export(Lengths(), tmp_path / "b").name == "2"
    assert (tmp_path / "b" / "lengths" / "1" / "saved_model.pb").read_text() == "the other's"


def test_the_session_answers_as_the_pipeline_does(exported, toy):
    texts = [f"the {word} house {number}" for number, word in enumerate(["old", "little"] * 32)]
    with SavedModelSession(exported) as session:
        together = session.run("serving_default", {"text": np.array(texts)})
        alone = [session.run("serving_default", {"text": np.array([text])}) for text in texts]
    expected = toy.serving_default(tf.constant(texts))
    assert together["text"].tolist() == expected["text"].numpy().tolist()
    np.testing.assert_allclose(together["score"], expected["score"], atol=1e-4)
    assert together["text"].tolist() == [reply["text"][0] for reply in alone]
    np.testing.assert_allclose(together["score"], [r["score"][0] for r in alone], atol=1e-4)


def test_a_signature_is_traced_and_written_once(tmp_path):
    pipeline = CountedLengths()
    path = export(pipeline, tmp_path)
    assert pipeline.traces == 1
    saved = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    lengths = [f for f in functions if any(node.op == "StringLength" for node in f.node_def)]
    assert len(lengths) == 1
