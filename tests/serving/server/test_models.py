"""Versions on disk and in memory, with sessions that load at once or fail when told to."""

from __future__ import annotations

import shutil
import threading

import pytest
from fake_versions import FakeSession, publish, states, wait_for

from attention_zoo.serving.runtime import versions
from attention_zoo.serving.runtime.errors import Code, ServingError
from attention_zoo.serving.runtime.model_config import ModelConfig, VersionPolicy
from attention_zoo.serving.runtime.versions import find_models, find_versions
from attention_zoo.serving.server import model_state, models
from attention_zoo.serving.server.model_state import State
from attention_zoo.serving.server.models import ModelManager


def test_versions_are_numbered_folders(tmp_path):
    for name in ("1", "00000123", "20", "tmp-4", "5a", "-6", ".7", "99999999999999999999", "٣"):
        (tmp_path / name).mkdir()
    (tmp_path / "8").write_text("a file")
    assert list(find_versions(tmp_path)) == [1, 20, 123]
    assert find_versions(tmp_path)[123] == tmp_path / "00000123"
    assert find_versions(tmp_path / "missing") == {}
    assert find_versions(tmp_path / "8") == {}


def test_a_folder_that_may_not_be_read_is_no_model(tmp_path, monkeypatch):
    def find(base_path):
        if base_path.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(base_path))
        return {}

    (tmp_path / "lost+found").mkdir()
    monkeypatch.setattr(versions, "find_versions", find)
    assert find_models(tmp_path) == {}


def test_models_are_found_by_their_versions(tmp_path):
    (tmp_path / "a" / "1").mkdir(parents=True)
    (tmp_path / "b" / "2").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    assert find_models(tmp_path) == {"a": tmp_path / "a", "b": tmp_path / "b"}
    assert find_models(tmp_path / "a") == {"a": tmp_path / "a"}
    assert find_models(tmp_path / "empty") == {}
    assert find_models(tmp_path / "missing") == {}


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        (VersionPolicy(), {7}),
        (VersionPolicy(latest=2), {5, 7}),
        (VersionPolicy(specific=(1, 5, 99)), {1, 5}),
        (VersionPolicy(all=True), {1, 5, 7}),
    ],
)
def test_policies(policy, wanted):
    assert policy.wanted([5, 7, 1]) == wanted


def test_the_highest_version_replaces_the_one_before(base, start):
    manager = start(ModelConfig("m", base))
    with manager.use("m") as handle:
        assert handle.version == 1
        first = handle.session
    publish(base, 3)
    manager.sync()
    with manager.use("m") as handle:
        assert handle.version == 3
    wait_for(lambda: states(manager) == {3: State.AVAILABLE, 1: State.END})
    assert first.closed.is_set()
    with pytest.raises(ServingError, match=r"Servable not found for request: Specific\(m, 1\)"):
        manager.use("m", 1)


def test_a_version_in_use_is_freed_after_its_last_request(base, start):
    manager = start(ModelConfig("m", base))
    handle = manager.use("m")
    publish(base, 2)
    manager.sync()
    assert states(manager)[1] == State.UNLOADING
    assert not handle.session.closed.is_set()
    assert manager.use("m").version == 2
    publish(base, 3)
    manager.sync()  # the wait for the first version must not keep the third from being loaded
    assert states(manager)[3] == State.AVAILABLE
    handle.release()
    wait_for(handle.session.closed.is_set)


def test_a_version_that_cannot_be_loaded_leaves_the_one_before(base, start, monkeypatch):
    manager = start(ModelConfig("m", base))
    publish(base, 2, broken=True)
    manager.sync()
    assert manager.use("m").version == 1
    (status,) = manager.status("m", 2)
    assert status.state == State.END
    assert status.error is not None and status.error.message == "2 is damaged"
    (base / "2" / "broken").unlink()
    manager.sync()  # not again at once
    assert states(manager)[2] == State.END
    monkeypatch.setattr(model_state, "RETRY_SECONDS", 0.0)
    manager.sync()
    assert manager.use("m").version == 2


def test_a_broken_version_is_not_tried_for_ever(base, start, monkeypatch):
    monkeypatch.setattr(model_state, "RETRY_SECONDS", 0.0)
    tried = []

    def load(path):
        tried.append(path)
        raise OSError("disk")

    manager = ModelManager([ModelConfig("m", base)], load=load, poll_seconds=0)
    with pytest.raises(ServingError, match="No version of model m can be served: version 1: OSE"):
        manager.start()
    manager._stopped.clear()
    for _ in range(20):
        manager.sync()
    assert len(tried) == 1 + model_state.MAX_LOAD_RETRIES


def test_an_emptied_folder_keeps_what_is_served(base, start):
    manager = start(ModelConfig("m", base))
    shutil.rmtree(base / "1")
    manager.sync()
    assert manager.use("m").version == 1
    publish(base, 2)
    manager.sync()
    assert manager.use("m").version == 2


def test_going_back_to_an_older_version(base, start):
    publish(base, 2)
    manager = start(ModelConfig("m", base))
    assert manager.use("m").version == 2
    shutil.rmtree(base / "2")
    manager.sync()
    assert manager.use("m").version == 1


def test_labels_and_policies(base, start):
    for number in (2, 3):
        publish(base, number)
    config = ModelConfig("m", base, VersionPolicy(specific=(1, 3)), {"stable": 1})
    manager = start(config)
    assert manager.models() == {"m": [1, 3]}
    assert manager.use("m", label="stable").version == 1
    with pytest.raises(ServingError, match="Unrecognized servable version label: canary"):
        manager.use("m", label="canary")


def test_a_label_for_a_version_that_is_not_served_is_an_error_at_the_start(base, start):
    words = "Request to assign label to version 2 of model m, which is not currently available"
    with pytest.raises(ServingError, match=words) as error:
        start(ModelConfig("m", base, labels={"stable": 2}))
    assert error.value.code == Code.FAILED_PRECONDITION


def test_a_version_may_fail_in_any_way(base):
    def load(path):
        if path.name == "2":
            raise KeyError("gone")
        return FakeSession(path)

    manager = ModelManager([ModelConfig("m", base)], load, poll_seconds=0.02)
    manager.start()
    try:
        publish(base, 2)
        wait_for(lambda: states(manager).get(2) == State.END)
        assert manager.status("m", 2)[0].error.message == "KeyError: 'gone'"
        publish(base, 3)
        wait_for(lambda: manager.models() == {"m": [3]})
    finally:
        manager.stop(grace=0.1)


def test_a_version_that_is_being_loaded_at_the_end_is_freed_by_itself(base):
    loading, go_on = threading.Event(), threading.Event()
    sessions = []

    def load(path):
        if path.name == "2":
            loading.set()
            go_on.wait(5)
        sessions.append(FakeSession(path))
        return sessions[-1]

    manager = ModelManager([ModelConfig("m", base)], load, poll_seconds=0.02)
    manager.start()
    publish(base, 2)
    assert loading.wait(5)
    assert manager.stop(grace=0.05) is False
    go_on.set()
    wait_for(lambda: len(sessions) == 2 and sessions[1].closed.is_set())


def test_a_model_without_versions_is_an_error_at_the_start(tmp_path, base, start):
    with pytest.raises(ServingError, match="No versions of model x found under base path") as error:
        start(ModelConfig("m", base), ModelConfig("x", tmp_path / "x"))
    assert error.value.code == Code.UNAVAILABLE
    publish(tmp_path / "y", 1, broken=True)
    with pytest.raises(ServingError, match="model y can be served: version 1: 1 is damaged"):
        start(ModelConfig("y", tmp_path / "y"))


def test_versions_are_picked_up_by_themselves(base):
    manager = ModelManager([ModelConfig("m", base)], load=FakeSession, poll_seconds=0.02)
    manager.start()
    try:
        publish(base, 2)
        wait_for(lambda: manager.use("m").version == 2)
    finally:
        manager.stop(grace=0.1)


def test_no_request_is_lost_while_versions_change(base, start):
    manager = start(ModelConfig("m", base))
    stop = threading.Event()
    faults = []

    def ask():
        while not stop.is_set():
            try:
                with manager.use("m") as handle:
                    assert not handle.session.closed.is_set()
            except Exception as error:
                faults.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2, 40):
        publish(base, number)
        manager.sync()
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults
    wait_for(lambda: manager.models() == {"m": [39]})


def test_status_forgets_versions_of_long_ago(base, start, monkeypatch):
    monkeypatch.setattr(models, "_ENDED_VERSIONS_KEPT", 2)
    manager = start(ModelConfig("m", base))
    for number in range(2, 8):
        publish(base, number)
        manager.sync()
        wait_for(lambda: State.UNLOADING not in states(manager).values())
    manager.sync()
    assert list(states(manager)) == [7, 6, 5]
