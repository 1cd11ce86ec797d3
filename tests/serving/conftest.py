"""Models written once for all tests of serving; what imports TensorFlow is imported in fixtures."""

from __future__ import annotations

import shutil

import pytest

from attention_zoo.serving.runtime.model_config import ModelConfig, VersionPolicy


@pytest.fixture
def toy():
    """Made anew: TensorFlow drops the tokenizer of an older one when a test sets seeds."""
    from toy_pipelines import ToyTextToText

    return ToyTextToText()


@pytest.fixture(scope="session")
def check_results():
    """What the checks found on the exported toy; filled by `exported`."""
    return []


@pytest.fixture(scope="session")
def exported(check_results, tmp_path_factory):
    """Folder of version 1 of the toy model."""
    from toy_pipelines import ToyTextToText

    from attention_zoo.serving.export.export import export

    directory = tmp_path_factory.mktemp("exports")
    return export(ToyTextToText(), directory, report=check_results.append)


@pytest.fixture(scope="session")
def wire_folder(tmp_path_factory):
    """Folder of the model `calc` with versions 1 and 3."""
    import wire_models

    base = tmp_path_factory.mktemp("wire") / "calc"
    wire_models.write(base / "1", offset=2.0)
    wire_models.write(base / "3", offset=3.0)
    return base


@pytest.fixture(scope="session")
def server(wire_folder, exported):
    """A running server with the toy model and both versions of `calc`, 1 labelled stable."""
    from attention_zoo.serving.server.server import ServerThread

    configs = [
        ModelConfig("toy", exported.parent),
        ModelConfig("calc", wire_folder, VersionPolicy(all=True), {"stable": 1}),
    ]
    with ServerThread(configs=configs) as running:
        yield running


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory):
    """Folder of the model `words` with versions 1 and 2, for the demo page."""
    import page_models

    base = tmp_path_factory.mktemp("page") / "words"
    page_models.write(base / "1")
    shutil.copytree(base / "1", base / "2")
    return base


@pytest.fixture(scope="session")
def page_server(page_folder):
    """A running server with both versions of `words`, 1 labelled stable."""
    from attention_zoo.serving.server.server import ServerOptions, ServerThread

    options = ServerOptions(rest_port=0, grpc_port=None)
    configs = [ModelConfig("words", page_folder, VersionPolicy(all=True), {"stable": 1})]
    with ServerThread(configs=configs, options=options) as running:
        yield running


@pytest.fixture
def visit(browser, page_server):
    """Opens the demo page with a state; afterwards nothing may have gone wrong unnoticed."""
    from page_visits import Visits

    visits = Visits(browser, f"{page_server.address.rest_url}/")
    yield visits.open
    visits.close()
    assert not visits.faults


@pytest.fixture
def base(tmp_path):
    """Folder of the model `m` with version 1."""
    from fake_versions import publish

    publish(tmp_path / "m", 1)
    return tmp_path / "m"


@pytest.fixture
def start():
    """Starts managers that look at the disk when told, and stops them in the end."""
    from fake_versions import FakeSession

    from attention_zoo.serving.server.models import ModelManager

    started = []

    def make(*configs):
        manager = ModelManager(configs, load=FakeSession, poll_seconds=0)
        started.append(manager)
        manager.start()
        return manager

    yield make
    for manager in started:
        manager.stop(grace=1.0)
