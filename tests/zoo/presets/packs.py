"""Packs of no model: what the format itself takes and refuses."""

from __future__ import annotations

import json
import zipfile

from attention_zoo.zoo.presets.pack import CARD, CONFIG, METRICS, TOKENIZER, WEIGHTS, write_pack

MANIFEST = {"name": "tiny-en", "version": 1}
MEMBERS = {CARD: b"# tiny", CONFIG: b"{}", METRICS: b"{}", TOKENIZER: b"t", WEIGHTS: b"w" * 5000}


def tiny_pack(path, manifest=MANIFEST, members=MEMBERS):
    """The path of a new pack."""
    write_pack(path, manifest, members)
    return path


def contents(path):
    """The members of a zip file by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, changes=(), **manifest):
    """Writes a pack anew with other members, and other values in its manifest."""
    members = contents(path)
    members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | manifest).encode()
    members |= dict(changes)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path
