"""Fonts for labels in any script: which installed families together have every character."""

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from matplotlib import font_manager

# Matplotlib brings it along: Latin, Greek, Cyrillic, Arabic, Hebrew and most symbols.
BASE_FAMILY = "DejaVu Sans"

# Sans-serif families with Chinese and Japanese as systems install them, the best first.
SYSTEM_FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Noto Sans CJK JP",
    "Droid Sans Fallback",
    "SimHei",
)
PACKAGED_FONT = ("noto_cjk_sans_otc", "NotoSansCJK-Regular.ttc")
PACKAGED_FAMILIES = ("Noto Sans CJK SC", "Noto Sans CJK JP")  # before 3.11 only the first face


def find_families(text: str) -> tuple[list[str], set[str]]:
    """Font families which together draw the text, for Matplotlib's fallback character by character.

    Families are added only while characters are missing: Matplotlib's own font, then a Chinese
    and Japanese font of the system, then the one installed as a dependency of this package, then
    any other installed font that has a missing character.

    Args:
        text: All the characters that will be drawn.

    Returns:
        The families in order of preference, and the characters that none of them has.

    Example:
        >>> find_families("Grüße")
        (['DejaVu Sans'], set())
    """
    families: list[str] = []
    missing = {character for character in text if not character.isspace()}
    for family in _candidates():
        covered = {character for character in missing if _has_glyph(family, character)}
        if covered or not families:
            families.append(family)
            missing -= covered
        if not missing:
            break
    return families, missing


def _candidates() -> Iterator[str]:
    """Families in order of preference; a generator, so that the rarer ones are seldom looked at."""
    yield BASE_FAMILY
    installed = {
        entry.name
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and entry.weight == 400
    }
    yield from (family for family in SYSTEM_FAMILIES if family in installed)
    packaged = _register_packaged_font()
    if packaged:
        yield packaged
    seen = {BASE_FAMILY, packaged, *SYSTEM_FAMILIES}
    # Last Resort claims every character and draws a box for it.
    yield from sorted(name for name in installed - seen if not name.startswith("Last Resort"))


@functools.cache
def _register_packaged_font() -> str | None:
    """The family of the font that is installed as a dependency, known to Matplotlib from now on.

    The registration adds entries to Matplotlib's list in memory; its cache file stays as it is.
    """
    module, filename = PACKAGED_FONT
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).with_name(filename)
    if not path.is_file():
        return None
    font_manager.fontManager.addfont(path)
    registered = {
        entry.name for entry in font_manager.fontManager.ttflist if entry.fname == str(path)
    }
    return next((family for family in PACKAGED_FAMILIES if family in registered), None)


def _has_glyph(family: str, character: str) -> bool:
    face = _regular_face(family)
    return face is not None and face.get_char_index(ord(character)) != 0


def _regular_face(family: str) -> "font_manager.FT2Font | None":
    """The face that Matplotlib would draw with, None where it cannot (a bitmap emoji font)."""
    properties = font_manager.FontProperties(family=[family])
    try:
        path = font_manager.findfont(properties, fallback_to_default=False)
        face = font_manager.get_font(path)
    except (ValueError, OSError, RuntimeError):
        return None
    return face if face.scalable else None
