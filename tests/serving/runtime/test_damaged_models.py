"""Models that were cut off, changed or never checked: said, and survived."""

from __future__ import annotations

import functools
import json
import shutil
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from attention_zoo.serving.export import clean_process, isolated_load
from attention_zoo.serving.export.isolated_load import load_isolated
from attention_zoo.serving.export.manifest import MANIFEST_FILE, check_manifest
from attention_zoo.serving.export.warmup import write_warmup
from attention_zoo.serving.runtime.errors import Code, ServingError
from attention_zoo.serving.runtime.operations import read_saved_model
from attention_zoo.serving.runtime.session import SavedModelSession
from attention_zoo.serving.server.loading import Loader
from attention_zoo.serving.server.server import ServerOptions, ServerThread


@pytest.fixture
def copy(exported, tmp_path):
    """A copy of an export."""
    return shutil.copytree(exported, tmp_path / "toy" / "1")


@pytest.fixture
def unknown_operation(wire_folder, tmp_path):
    """A version whose graph has an operation that nobody knows."""
    path = shutil.copytree(wire_folder / "1", tmp_path / "unknown" / "1")
    saved_model = read_saved_model(path)
    saved_model.meta_graphs[0].graph_def.node[0].op = "Addons>GatherTree"
    (path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    return path


def test_an_export_has_a_manifest_and_its_extras_may_change(copy, wire_folder):
    assert check_manifest(copy)
    (copy / "MODEL_CARD.md").write_text("mine")
    (copy / "batching_params.pbtxt").write_text("")
    assert check_manifest(copy)
    assert not check_manifest(wire_folder / "1")


def test_the_manifest_of_an_earlier_export_counts(copy):
    earlier = copy / "assets.extra" / "attention_zoo_seal.json"
    (copy / MANIFEST_FILE).rename(earlier)
    assert check_manifest(copy)
    earlier.write_text(earlier.read_text().replace("0", "1"))
    with pytest.raises(ServingError, match="not the file that was published"):
        check_manifest(copy)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda path: (path / "saved_model.pb").write_bytes(b""),
            "not the file that was published",
        ),
        (lambda path: truncate(next((path / "variables").glob("*.data-*"))), "checksum differs"),
        (lambda path: (path / "variables" / "variables.index").unlink(), "index is not .* missing"),
        (lambda path: (path / "assets" / "more").write_text("x"), "more is not .* was added"),
        (lambda path: (path / MANIFEST_FILE).write_text("{}"), "manifest.json cannot be read"),
        (lambda path: (path / MANIFEST_FILE).write_text('{"sha256": {}}'), "pb is not the file"),
        (
            lambda path: (path / MANIFEST_FILE).write_text('{"sha256": {"/dev/zero": ""}}'),
            "zero is",
        ),
        (lambda path: (path / MANIFEST_FILE).write_text('{"sha256": {"../x": ""}}'), "differs"),
        (lambda path: (path / MANIFEST_FILE).write_text('{"sha256": [1]}'), "json cannot be read"),
    ],
)
def test_what_is_not_as_it_was_published_is_refused_before_it_is_loaded(damage, words, copy):
    damage(copy)
    with pytest.raises(ServingError, match=words) as error:
        Loader()(copy)
    assert error.value.code == Code.DATA_LOSS


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1])


def test_a_graph_with_an_unknown_operation_is_never_loaded(unknown_operation):
    words = r"Op type not registered 'Addons>GatherTree' in this server; .* in the main graph"
    with pytest.raises(ServingError, match=words) as error:
        Loader()(unknown_operation)
    assert error.value.code == Code.NOT_FOUND


def test_a_file_that_is_no_model_is_data_loss(unknown_operation):
    truncate(unknown_operation / "saved_model.pb")
    with pytest.raises(ServingError, match=r"saved_model\.pb is damaged"):
        Loader()(unknown_operation)


def test_what_has_no_manifest_is_tried_in_a_process_of_its_own(wire_folder, tmp_path):
    path = shutil.copytree(wire_folder / "1", tmp_path / "1")
    load_isolated(path)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no records")
    with pytest.raises(ServingError, match=r"Cannot read warm-up requests: .* is damaged") as error:
        Loader(ServerOptions(try_first=True))(path)
    assert error.value.code == Code.DATA_LOSS


def test_a_trial_that_kills_its_process_is_an_error(monkeypatch, wire_folder, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'F0000 check failed' >&2\nkill -ABRT $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(
        isolated_load, "run_module", functools.partial(clean_process.run_module, python=str(python))
    )
    with pytest.raises(ServingError, match=r"ended with SIGABRT: .*check failed") as error:
        Loader(ServerOptions(try_first=True))(wire_folder / "1")
    assert error.value.code == Code.DATA_LOSS


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        return json.load(error)


def test_a_server_says_what_is_wrong_and_serves_the_rest(
    wire_folder, unknown_operation, tmp_path, caplog
):
    models = tmp_path / "models"
    shutil.copytree(wire_folder / "1", models / "calc" / "1")
    shutil.copytree(unknown_operation, models / "calc" / "2")
    shutil.copytree(unknown_operation, models / "broken" / "1")
    (models / "empty" / "not-a-version").mkdir(parents=True)
    options = ServerOptions(rest_port=0, grpc_port=None, poll_seconds=0.05)
    with ServerThread(models, options) as running:
        url = f"{running.address.rest_url}/v1/models"
        states = {
            status["version"]: (status["state"], status["status"]["error_code"])
            for status in get(f"{url}/calc")["model_version_status"]
        }
        assert states == {"2": ("END", "NOT_FOUND"), "1": ("AVAILABLE", "OK")}
        (broken,) = get(f"{url}/broken")["model_version_status"]
        assert "Addons>GatherTree" in broken["status"]["error_message"]
        assert "Could not find any versions" in get(f"{url}/empty")["error"]
        for words in (
            "No version of model broken can be served: version 1",
            "No versions of model empty found under base path",
            "Model calc falls back to version 1",
        ):
            assert words in caplog.text
        shutil.copytree(wire_folder / "3", models / "empty" / ".new")
        (models / "empty" / ".new").rename(models / "empty" / "7")
        end = time.monotonic() + 60
        while running.server.manager.models().get("empty") != [7] and time.monotonic() < end:
            time.sleep(0.02)
        assert running.server.manager.models()["empty"] == [7]


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def spoil_warmup(path):
    write_warmup(path, "toy", {"serving_default": {"no_such_input": np.dtype(object)}}, ["a"])


@pytest.fixture
def running_toy(exported, tmp_path):
    """A server on a copy of the exported toy, which looks for new versions all the time."""
    base = tmp_path / "served" / "toy"
    shutil.copytree(exported, base / "1")
    options = ServerOptions(rest_port=0, grpc_port=None, poll_seconds=0.05)
    with ServerThread(base, options) as running:
        yield base, f"{running.address.rest_url}/v1/models/toy"


DAMAGE = [
    (lambda path: truncate(next((path / "variables").glob("*.data-*"))), "DATA_LOSS", "checksum"),
    (lambda path: flip(path / "saved_model.pb"), "DATA_LOSS", "not the file that was published"),
    (lambda path: shutil.rmtree(path / "variables"), "DATA_LOSS", "it is missing"),
    (lambda path: (path / "saved_model.pb").unlink(), "DATA_LOSS", "it is missing"),
    (spoil_warmup, "INVALID_ARGUMENT", "Warm-up request 0 of"),
]


def test_of_versions_that_are_wrong_the_server_says_so_and_serves_the_one_it_has(
    running_toy, exported
):
    base, url = running_toy
    question = json.dumps({"instances": ["the little dog"]}).encode()
    good = get(urllib.request.Request(f"{url}:predict", question))
    assert good["predictions"]
    for number, (damage, code, words) in enumerate(DAMAGE, start=2):
        shutil.copytree(exported, base / "new")
        damage(base / "new")
        (base / "new").rename(base / str(number))
        end = time.monotonic() + 60
        while True:
            status = get(f"{url}/versions/{number}").get("model_version_status", [{}])[0]
            if status.get("state") == "END":
                break
            assert time.monotonic() < end, status
            time.sleep(0.02)
        assert status["status"]["error_code"] == code
        assert words in status["status"]["error_message"]
        assert get(urllib.request.Request(f"{url}:predict", question)) == good
    (available,) = [s for s in get(url)["model_version_status"] if s["state"] == "AVAILABLE"]
    assert available["version"] == "1"


def test_a_server_that_must_have_all_models_says_which_it_has_not(wire_folder, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(wire_folder / "1", models / "calc" / "1")
    (models / "empty").mkdir()
    options = ServerOptions(rest_port=0, grpc_port=None, require_all=True)
    words = "No versions of model empty found"
    with pytest.raises(ServingError, match=words), ServerThread(models, options):
        pass


def test_a_call_that_comes_after_its_model_was_freed_is_refused(wire_folder):
    """Such as one that waited for a thread when its client gave up, and the model was let go."""
    session = SavedModelSession(wire_folder / "1")
    session.close()
    with pytest.raises(ServingError, match="is closed") as error:
        session.run("serving_default", {"x": np.float32([1.0])})
    assert error.value.code == Code.UNAVAILABLE
