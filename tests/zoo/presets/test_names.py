"""Names of models: what wins, what is close, and packs from a server and from the Hub's cache."""

import hashlib
import http.server
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from packs import tiny_pack

from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.presets import names, remote
from attention_zoo.zoo.presets.names import locate, presets
from attention_zoo.zoo.presets.pack import read_pack


@pytest.fixture
def shelf(monkeypatch):
    """A folder of presets in place of the package's own."""
    folder = Path("shelf").resolve()
    folder.mkdir()
    for name, version in (("tiny-en", 3), ("tiny-de", 1)):
        tiny_pack(folder / f"{name}.zip", {"name": name, "version": version})
    monkeypatch.setattr(names, "FOLDER", folder)
    return folder


@pytest.fixture(autouse=True)
def cache(monkeypatch):
    """The cache, which is empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").resolve()))
    return Path("cache/attention-zoo/packs")


def refusal(name):
    with pytest.raises(ConfigError) as found:
        locate(name)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_presets_by_name_and_version(shelf):
    assert list(presets()) == ["tiny-de", "tiny-en"]
    assert presets()["tiny-en"]["file"] == shelf / "tiny-en.zip"
    for name in ("tiny-en", "tiny-en@3"):
        assert locate(name) == shelf / "tiny-en.zip"
    told = refusal("tiny-en@2")
    assert "has version 3 of tiny-en" in told and "tiny-en@3" in told


def test_what_is_on_disk_wins(shelf):
    Path("tiny-en").mkdir()
    assert locate("tiny-en") == Path("tiny-en")
    assert locate("tiny-de") == shelf / "tiny-de.zip"


def test_a_name_that_is_close(shelf):
    assert "Close to it: tiny-en" in refusal("tiny-em")
    told = refusal("something/else")
    assert "is no run folder, no pack and no preset. `attention-zoo list`" in told


def test_a_corpus_is_no_model(shelf):
    assert "hf:wmt14:de-en names texts" in refusal("hf:wmt14:de-en")
    assert "hf://owner/name" in refusal("tfds:x")


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one file, in ranges too; `server.cut` bytes of the first answer at most."""

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if self.path != "/pack.zip":
            target = {
                "/moved.zip": "/pack.zip",
                "/out.zip": "ftp://host/x",
                "/plain.zip": "http://example.org/x",
            }
            self.send_response(302 if self.path in target else 404)
            self.send_header("Location", target.get(self.path, ""))
            self.end_headers()
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start and start >= len(server.data):
            self.send_error(416)
            return
        rest = server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.cut])
        server.cut = None

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.data = tiny_pack(Path("served.zip")).read_bytes()
    running.cut, running.asked = None, []
    running.sha256 = hashlib.sha256(running.data).hexdigest()
    running.url = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_pack_is_fetched_once(server, cache):
    address = f"{server.url}/pack.zip#sha256={server.sha256}"
    path = locate(address)
    assert path.parent == cache.resolve() and path.read_bytes() == server.data
    assert read_pack(path).manifest["name"] == "tiny-en"
    url, _, sha256 = address.rpartition("=")
    assert locate(f"{url}={sha256.upper()}") == path
    assert len(server.asked) == 1
    assert [file.name for file in cache.iterdir()] == [f"{server.sha256}.zip"]


def test_what_was_damaged_in_the_cache_is_fetched_again(server):
    address = f"{server.url}/moved.zip#sha256={server.sha256}"
    locate(address).write_bytes(b"damaged")
    assert locate(address).read_bytes() == server.data


def test_a_wrong_checksum_leaves_nothing(server, cache):
    told = refusal(f"{server.url}/pack.zip#sha256={'0' * 64}")
    assert server.sha256 in told and "0" * 64 in told
    assert not list(cache.iterdir())


def test_a_download_is_gone_on_with(server, cache):
    address = f"{server.url}/pack.zip#sha256={server.sha256}"
    server.cut = 1000
    assert f"it ended after 1,000 of {len(server.data):,} bytes" in refusal(address)
    assert locate(address).read_bytes() == server.data
    assert server.asked == [None, "bytes=1000-"]


@pytest.mark.parametrize("length", [10, 100_000])
def test_the_beginning_of_another_file_is_thrown_away(server, cache, length):
    cache.mkdir(parents=True)
    (cache / f"{server.sha256}.part").write_bytes(b"x" * length)
    assert locate(f"{server.url}/pack.zip#sha256={server.sha256}").read_bytes() == server.data


def test_without_a_network(server, cache):
    server.shutdown()
    server.server_close()
    told = refusal(f"{server.url}/pack.zip#sha256={server.sha256}")
    assert "cannot be fetched" in told and "give its path" in told
    assert "refused" in told


def test_addresses_that_lead_elsewhere(server):
    end = f"#sha256={server.sha256}"
    assert "Not Found" in refusal(f"{server.url}/none.zip{end}")
    for address in (f"{server.url}/plain.zip{end}", f"http://example.org/pack.zip{end}"):
        assert "by https, from this machine also by http: http://example.org" in refusal(address)
    assert refusal(f"{server.url}/out.zip{end}")
    for fragment in ("", "#sha256=abc", f"#md5={server.sha256}"):
        assert "sha256= and 64 hexadecimal digits" in refusal(f"{server.url}/pack.zip{fragment}")


def test_too_large_a_file(server, cache, monkeypatch):
    monkeypatch.setattr(remote, "MOST_BYTES", 100)
    assert "at most 100 bytes" in refusal(f"{server.url}/pack.zip#sha256={server.sha256}")


def test_the_cache_is_where_xdg_says(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert str(remote.cache_folder("packs")) == "/home/somebody/.cache/attention-zoo/packs"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert str(remote.cache_folder()) == "/elsewhere/attention-zoo"


def test_a_pack_in_the_cache_of_the_hub(monkeypatch):
    """The layout in which huggingface_hub keeps a repository, read without a network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(Path("hub").resolve()))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository, commit = Path("hub/models--owner--tiny"), "a" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    with zipfile.ZipFile(tiny_pack(Path("tiny.zip"))) as archive:
        archive.extractall(repository / "snapshots" / commit)
    for address in ("hf://owner/tiny", f"hf://owner/tiny@{commit}"):
        assert read_pack(locate(address)).manifest["name"] == "tiny-en"
    assert "hf://owner/other cannot be fetched" in refusal("hf://owner/other")


def test_the_hub_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'attention-zoo[hub]'" in refusal("hf://owner/name")
    assert "hf:NAME, without slashes, is a dataset" in refusal("hf://name")
