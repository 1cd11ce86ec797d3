"""The demo page as the server hands it out: its files, their headers, and the list of models."""

from __future__ import annotations

import http.client
import json
import re

import numpy as np
import pytest
import wire_models

from attention_zoo.serving.export.warmup import WARMUP_SAMPLES, write_warmup
from attention_zoo.serving.runtime.model_config import ModelConfig, VersionPolicy
from attention_zoo.serving.server import page_files as page_module
from attention_zoo.serving.server.page_files import FOLDER, VIEWER, page_files
from attention_zoo.serving.server.server import ServerThread
from attention_zoo.serving.server.server_options import ServerOptions

FILES = {path.name: path for path in [*FOLDER.iterdir(), *VIEWER]}
SCRIPTS = sorted(name for name in FILES if name.endswith(".js"))


@pytest.fixture(scope="module")
def calc(tmp_path_factory):
    """Folder of the model `calc` with version 7."""
    base = tmp_path_factory.mktemp("page") / "calc"
    wire_models.write(base / "7")
    return base


@pytest.fixture(scope="module")
def ask(calc):
    """Asks a server for an address of the page: status, headers, body."""
    configs = [ModelConfig("calc", calc, VersionPolicy(all=True), {"stable": 7})]
    with ServerThread(configs=configs, options=ServerOptions(rest_port=0, grpc_port=None)) as it:
        yield lambda *arguments: request(it, *arguments)


def request(server, path, method="GET"):
    connection = http.client.HTTPConnection(server.address.host, server.address.rest_port, 30)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "file", "content_type"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/?server=x#y", "index.html", "text/html; charset=utf-8"),
        ("/page.css", "page.css", "text/css; charset=utf-8"),
        ("/viewer.css", "viewer.css", "text/css; charset=utf-8"),
        ("/icon.svg", "icon.svg", "image/svg+xml"),
        *((f"/{name}", name, "text/javascript; charset=utf-8") for name in SCRIPTS),
    ],
)
def test_each_file_has_an_address(ask, path, file, content_type):
    status, headers, body = ask(path)
    assert (status, headers["Content-Type"]) == (200, content_type)
    assert body == FILES[file].read_bytes()
    assert ask(path, "HEAD")[::2] == (200, b"")


def test_the_browser_is_told_to_ask_nobody_else(ask):
    policy = dict(part.split(" ", 1) for part in ask("/")[1]["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == policy["script-src"] == policy["style-src"] == "'self'"
    for path in ("/", "/page.js", "/models.json"):
        assert ask(path)[1]["X-Content-Type-Options"] == "nosniff"
        assert ask(path)[1]["Content-Security-Policy"] == ask("/")[1]["Content-Security-Policy"]


def test_the_models_are_listed_with_their_versions_and_labels(ask):
    status, headers, body = ask("/models.json")
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    calc = {"name": "calc", "versions": [7], "labels": {"stable": 7}, "examples": []}
    assert json.loads(body) == {"models": [calc]}


def test_examples_are_the_own_texts_of_the_warm_up_requests(tmp_path):
    texts = {"text": np.dtype(object)}
    samples = ["a long house", "a house", {"text": "two"}, *WARMUP_SAMPLES]
    types = {"explain": texts, "score": {**texts, "target": np.dtype(object)}}
    write_warmup(tmp_path, "words", types, samples)
    found = page_module._examples_in(tmp_path)
    assert [row["text"] for row in found] == ["two", "a house", "a long house"]
    assert page_module._examples_in(tmp_path / "nothing") == ()


@pytest.mark.parametrize("path", ["/index.html", "/page", "/../page.js", "/page_files.py", "/%2e"])
def test_nothing_else_is_there(ask, path):
    assert ask(path)[0] == 404
    assert ask("/", "POST")[0] == 404


def test_a_server_can_do_without(calc):
    options = ServerOptions(rest_port=0, grpc_port=None, page=False)
    with ServerThread(calc, options) as server:
        assert [request(server, path)[0] for path in ("/", "/page.js", "/models.json")] == [404] * 3
        assert request(server, "/v1/models/calc")[0] == 200


def test_every_script_is_asked_for_at_once():
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert sorted(re.findall(r'(?:src|href)="(\w+\.js)"', page)) == SCRIPTS
    assert {f"/{name}" for name in FILES} - set(page_files()) == {"/index.html"}


def test_no_file_names_an_address_elsewhere():
    for path in FILES.values():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text), path.name
        assert "innerHTML" not in text
