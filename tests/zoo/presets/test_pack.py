"""The format of packs: what comes back is what was written, and all else is refused."""

import hashlib
import json
import stat
import zipfile
from pathlib import Path

import pytest
from packs import MEMBERS, contents, rewrite, tiny_pack

from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.presets import pack as packs
from attention_zoo.zoo.presets.pack import MANIFEST, SHORTLIST, is_pack, read_manifest, read_pack


@pytest.fixture
def tiny():
    return tiny_pack(Path("tiny.zip"))


def refusal(path):
    """The one line with which a pack is refused; nothing is written beside it."""
    before = set(Path().rglob("*"))
    with pytest.raises(ConfigError) as found:
        read_pack(path)
    assert set(Path().rglob("*")) == before
    message = str(found.value)
    assert "\n" not in message and str(path) in message
    return message


def test_what_was_packed_comes_back(tiny):
    found = read_pack(tiny)
    assert found.members == MEMBERS
    assert found.manifest == read_manifest(tiny)
    assert (found.manifest["name"], found.manifest["format"]) == ("tiny-en", 1)
    listed = found.manifest["members"]
    assert listed["weights.safetensors"] == {
        "bytes": 5000,
        "sha256": hashlib.sha256(b"w" * 5000).hexdigest(),
    }
    assert found.json("config.json") == {}


def test_the_same_content_gives_the_same_file(tiny):
    assert tiny.read_bytes() == tiny_pack(Path("other.zip")).read_bytes()


def test_a_folder_of_the_members_is_a_pack(tiny):
    with zipfile.ZipFile(tiny) as archive:
        archive.extractall("folder")
    Path("folder/.gitattributes").write_text("what a repository has beside them is not read")
    assert is_pack(Path("folder")) and not is_pack(Path())
    assert read_pack(Path("folder")).members == MEMBERS
    Path("folder/weights.safetensors").write_bytes(b"other")
    assert "weights.safetensors has not the checksum" in refusal(Path("folder"))


def test_a_newer_format_is_told_before_all_that_is_new_in_it(tiny):
    rewrite(tiny, {"new.bin": b"x"}, format=2, members="elsewhere")
    assert "of format 2, of a newer attention-zoo than this one, which reads format 1" in refusal(
        tiny
    )


@pytest.mark.parametrize("number", [None, "1", 0, True])
def test_a_format_is_a_number(tiny, number):
    rewrite(tiny, format=number)
    assert "its manifest has no format" in refusal(tiny)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_file_that_was_cut(tiny, share):
    data = tiny.read_bytes()
    tiny.write_bytes(data[: int(share * len(data))])
    assert "is no pack of attention-zoo, or was cut or damaged" in refusal(tiny)


def test_every_changed_byte_of_a_member_is_found(tiny):
    whole = tiny.read_bytes()
    start = whole.index(b"weights.safetensors") + len(b"weights.safetensors")
    for position in range(start, start + 12):
        changed = bytearray(whole)
        changed[position] ^= 0x55
        tiny.write_bytes(changed)
        assert "damaged" in refusal(tiny)


def test_a_member_that_was_exchanged(tiny):
    rewrite(tiny, {"weights.safetensors": b"v" * 5000})
    assert "weights.safetensors has not the checksum of its manifest" in refusal(tiny)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../climbed", "leads out of the archive"),
        ("a/../../climbed", "leads out of the archive"),
        ("..\\climbed", "leads out of the archive"),
        ("/tmp/absolute", "leads out of the archive"),
        ("C:/windows", "leads out of the archive"),
        ("code.py", "has a member 'code.py'"),
        ("__init__.py", "has a member"),
        ("folder/config.json", "has a member"),
        ("model.pkl", "has a member"),
    ],
)
def test_a_member_that_a_pack_has_not(tiny, name, told):
    rewrite(tiny, {name: b"raise SystemExit"})
    assert told in refusal(tiny)
    # Also where the manifest knows it.
    listed = json.loads(contents(tiny)[MANIFEST])["members"]
    rewrite(tiny, members={**listed, name: listed["config.json"]})
    assert told in refusal(tiny)


def test_a_link(tiny):
    with zipfile.ZipFile(tiny, "a") as archive:
        info = zipfile.ZipInfo("source_tokenizer.model")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "'source_tokenizer.model' is a link" in refusal(tiny)


def test_two_members_of_one_name(tiny):
    with zipfile.ZipFile(tiny, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", "{}")
    assert "two members 'config.json'" in refusal(tiny)


def test_a_member_that_unfolds_to_a_thousand_times_its_size(tiny):
    rewrite(tiny, {"weights.safetensors": bytes(8 << 20)})
    assert "unfolds from" in refusal(tiny)


def test_a_table_of_zeros_is_packed_so_that_it_can_be_read():
    table = bytes(8 << 20)
    path = tiny_pack(Path("zeros.zip"), members={**MEMBERS, SHORTLIST: table})
    assert read_pack(path).members[SHORTLIST] == table


def test_a_pack_that_unfolds_to_too_much(tiny, monkeypatch):
    monkeypatch.setattr(packs, "MOST_BYTES", 4000)
    assert "more than 4,000" in refusal(tiny)


def test_another_compression(tiny):
    with zipfile.ZipFile("other.zip", "w", zipfile.ZIP_LZMA) as archive:
        for name, data in contents(tiny).items():
            archive.writestr(name, data)
    assert "compressed by another method" in refusal(Path("other.zip"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"manifest.json": b"[]"}, "it is no object"),
        ({"manifest.json": b"{"}, "manifest.json is not as expected"),
        ({"manifest.json": b"[" * 100_000}, "manifest.json is not as expected"),
        ({"manifest.json": b'{"format": 1, "members": {}}'}, "not those of its manifest"),
    ],
)
def test_a_manifest_that_is_none(tiny, changes, told):
    assert told in refusal(rewrite(tiny, changes))


@pytest.mark.parametrize("values", [{"name": "../x"}, {"name": 3}, {"version": "1"}])
def test_a_name_and_a_version(tiny, values):
    assert "has no name and version" in refusal(rewrite(tiny, **values))


def test_what_is_no_zip_file():
    Path("note.txt").write_text("hello")
    assert "is no pack of attention-zoo" in refusal(Path("note.txt"))
    with zipfile.ZipFile("other.zip", "w") as archive:
        archive.writestr("config.json", "{}")
    assert "it has no manifest.json" in refusal(Path("other.zip"))
