"""The models of a server replaced by others, in one call or by a file that changes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fake_versions import FakeSession, publish, states, wait_for

from attention_zoo.serving.runtime.errors import Code, ServingError
from attention_zoo.serving.runtime.model_config import (
    ModelConfig,
    VersionPolicy,
    check_inside,
    folders_of,
)
from attention_zoo.serving.server.model_state import State
from attention_zoo.serving.server.models import ModelManager


def test_reload_replaces_the_models(tmp_path, base, start):
    publish(tmp_path / "other", 5)
    manager = start(ModelConfig("m", base))
    held = manager.use("m")
    policy = VersionPolicy(all=True)
    manager.reload([ModelConfig("o", tmp_path / "other", policy, {"canary": 5})])
    assert manager.use("o", label="canary").version == 5
    with pytest.raises(ServingError, match=r"Latest\(m\)"):
        manager.use("m")
    assert not held.session.closed.is_set()
    held.release()
    wait_for(held.session.closed.is_set)
    assert manager.models() == {"o": [5]}  # nobody is offered what is not to be served any more
    manager.reload([])
    with pytest.raises(ServingError, match=r"Latest\(o\)"):
        manager.use("o")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("models/m", True),
        ("models/deep/m", True),
        ("more/m", True),
        ("models-2/m", False),
        ("models/../secret", False),
        ("models/link", False),
    ],
)
def test_models_outside_of_their_folders_are_refused(path, allowed, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "link").symlink_to(tmp_path / "secret")
    config = ModelConfig("m", tmp_path / path)
    folders = [tmp_path / "models", tmp_path / "more"]
    if allowed:
        check_inside([config], folders)
    else:
        with pytest.raises(ServingError, match="of model m is not in a folder") as error:
            check_inside([config], folders)
        assert error.value.code == Code.PERMISSION_DENIED
    with pytest.raises(ServingError, match="no folder"):
        check_inside([config], [])


def test_a_model_at_the_root_of_the_disk_does_not_open_all_of_it(tmp_path):
    configs = [ModelConfig("m", Path("/model")), ModelConfig("n", tmp_path / "models" / "n")]
    folders = folders_of(configs)
    check_inside([*configs, ModelConfig("o", tmp_path / "models" / "o")], folders)
    with pytest.raises(ServingError, match=r"not in a folder .* \(/model, .*models\)"):
        check_inside([ModelConfig("x", Path("/etc"))], folders)


@pytest.mark.parametrize("labels", [{}, {"stable": 9}])
def test_a_reload_that_fails_changes_nothing(labels, tmp_path, base, start):
    publish(tmp_path / "other", 1, broken=not labels)
    manager = start(ModelConfig("m", base, labels={"stable": 1}))
    with pytest.raises(ServingError):
        manager.reload([ModelConfig("o", tmp_path / "other", labels=labels)])
    assert manager.use("m", label="stable").version == 1
    wait_for(lambda: not manager.models().get("o"))


def test_a_model_with_another_base_path_is_another_model(tmp_path, base, start):
    """Its versions may have the numbers of those before."""
    publish(tmp_path / "other", 1)
    manager = start(ModelConfig("m", base))
    held = manager.use("m")
    manager.reload([ModelConfig("m", tmp_path / "other")])
    with manager.use("m") as handle:
        assert handle.session.path == tmp_path / "other" / "1"
    assert states(manager) == {1: State.AVAILABLE}
    assert not held.session.closed.is_set()
    held.release()
    wait_for(held.session.closed.is_set)
    publish(tmp_path / "bad", 1, broken=True)
    publish(tmp_path / "bad", 0)
    with pytest.raises(ServingError, match="1 is damaged"):
        manager.reload([ModelConfig("m", tmp_path / "bad", VersionPolicy(all=True))])
    with manager.use("m") as handle:  # never without it
        assert handle.session.path == tmp_path / "other" / "1"
    wait_for(lambda: manager.models() == {"m": [1]})


@pytest.mark.parametrize("numbers", [[], [2]])
def test_a_model_is_not_moved_to_where_nothing_can_be_served(numbers, tmp_path, base, start):
    manager = start(ModelConfig("m", base))
    for number in numbers:
        publish(tmp_path / "other", number, broken=True)
    with pytest.raises(ServingError, match=r"version.* of model m"):
        manager.reload([ModelConfig("m", tmp_path / "other")])
    with manager.use("m") as handle:
        assert handle.session.path == base / "1"


@pytest.mark.parametrize("require_all", [False, True])
def test_a_model_that_waits_for_its_first_version_keeps_no_other_waiting(
    require_all, tmp_path, base
):
    publish(tmp_path / "other", 1)
    waiting = ModelConfig("later", tmp_path / "later")
    configs = [ModelConfig("m", base), ModelConfig("o", tmp_path / "other")]
    served = [configs[0], *([] if require_all else [waiting])]
    manager = ModelManager(served, FakeSession, poll_seconds=0, require_all=require_all)
    manager.start()
    try:
        if require_all:
            with pytest.raises(ServingError, match="No versions of model later found"):
                manager.reload([*configs, waiting])
            assert manager.models().get("m") == [1]
        else:
            manager.reload([*configs, waiting])
            assert manager.models() == {"m": [1], "o": [1]}
            with pytest.raises(ServingError, match="No versions of model new found"):
                manager.reload([*configs, waiting, ModelConfig("new", tmp_path / "new")])
    finally:
        manager.stop(grace=0.1)


def test_a_folder_that_cannot_be_looked_into_keeps_nobody_from_the_others(tmp_path, base, start):
    publish(tmp_path / "other", 1)
    manager = start(ModelConfig("m", base))
    with pytest.raises(ServingError, match="No versions of model x found"):
        manager.reload([ModelConfig("x", tmp_path / ("x" * 300))])
    assert manager.models() == {"m": [1]}
    manager.reload([ModelConfig("o", tmp_path / "other")])
    wait_for(lambda: manager.models() == {"o": [1]})


def test_what_cannot_be_served_yet_is_tried_again(tmp_path, base):
    publish(tmp_path / "good", 1)
    names = {"m": base, "good": tmp_path / "good", "o": tmp_path / "other"}
    told = [[ModelConfig(name, path) for name, path in names.items()]]
    opened = []
    manager = ModelManager(
        [ModelConfig("m", base)],
        lambda path: opened.append(path.parent.name) or FakeSession(path),
        poll_seconds=0,
        reread=lambda: told.pop() if told else None,
        reread_seconds=0.02,
    )
    manager.start()
    try:
        wait_for(lambda: "good" in opened)
        time.sleep(0.2)  # ten looks, at none of which there is anything new
        publish(tmp_path / "other", 1)
        wait_for(lambda: manager.models() == {"m": [1], "good": [1], "o": [1]})
        assert opened.count("good") == 2
    finally:
        manager.stop(grace=0.1)


def test_a_changed_configuration_is_read_again(tmp_path, base):
    publish(tmp_path / "other", 1)
    pending = [[ModelConfig("o", tmp_path / "other")], ServingError(Code.NOT_FOUND, "bad file")]

    def reread():
        if not pending:
            return None
        found = pending.pop()
        if isinstance(found, ServingError):
            raise found
        return found

    manager = ModelManager([ModelConfig("m", base)], FakeSession, 0.02, reread, 0.02)
    manager.start()
    try:
        wait_for(lambda: manager.models().get("o") == [1])
        wait_for(lambda: not manager.models().get("m"))
    finally:
        manager.stop(grace=0.1)
