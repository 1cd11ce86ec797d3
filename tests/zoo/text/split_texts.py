"""Texts to split into sentences: each language a list of texts, each text one sentence a line."""

from pathlib import Path


def _read_texts() -> dict[str, list[str]]:
    """The texts of `split_texts.txt`, which have an empty line between them, by language."""
    texts: dict[str, list[str]] = {}
    for block in Path(__file__).with_suffix(".txt").read_text("utf-8").strip().split("\n\n"):
        if block.startswith("== "):
            found = texts.setdefault(block.removeprefix("== "), [])
        else:
            found.append(block)
    return texts


_TEXTS = _read_texts()
WITHOUT_SPACES = {language: _TEXTS.pop(language) for language in ("Chinese", "Japanese")}
WITH_SPACES = _TEXTS


def sentences_of(text: str) -> list[str]:
    """The sentences of a text: its lines."""
    return text.split("\n")
