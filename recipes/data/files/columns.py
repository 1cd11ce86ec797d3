"""Choosing the columns of a table that hold the texts: by name, or by what is in them.

Rows are lists of cells or mappings; a column is a number from 0 or a key. What cannot be told is
refused with the words that tell it: `FILE#COLUMN,COLUMN`.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....zoo.errors import DataError

Key = int | str
Row = Any  # a list of cells, or a mapping


def words_of(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


# Names of a source and its target, as files have them; the first pair that is there is meant.
PAIRS: tuple[tuple[frozenset[str], frozenset[str]], ...] = tuple(
    (words_of(source), words_of(target))
    for source, target in (
        ("source src", "target tgt trg"),
        ("original", "translation translated"),
        ("input inputs prompt instruction", "output outputs response completion"),
        (
            "document article text dialogue body content description",
            "summary summaries highlights headline abstract title synopsis",
        ),
        ("question query message utterance text", "answer reply response"),
        ("text sentence", "translation target label labels category"),
    )
)
# Words that stand beside those names, as in `source_text` and `en_sentence`.
_BESIDE = words_of("text sentence sentences string segment column original translated")
# Names of columns that are never texts to learn.
_ABOUT = words_of("id ids index idx url lang language license score no date user")

# Codes of three letters, and names of languages in themselves; all others are those of CLDR.
_CODES = {
    "eng": "en", "deu": "de", "ger": "de", "fra": "fr", "fre": "fr", "spa": "es", "ita": "it",
    "por": "pt", "rus": "ru", "cmn": "zh", "zho": "zh", "chi": "zh", "jpn": "ja", "kor": "ko",
    "ara": "ar", "nld": "nl", "dut": "nl", "pol": "pl", "tur": "tr", "ces": "cs", "cze": "cs",
    "swe": "sv", "dan": "da", "fin": "fi", "nob": "no", "nor": "no", "ell": "el", "gre": "el",
    "heb": "he", "hin": "hi", "ukr": "uk", "hun": "hu", "ron": "ro", "rum": "ro", "bul": "bg",
    "fas": "fa", "per": "fa", "vie": "vi", "tha": "th", "ind": "id", "cat": "ca",
}  # fmt: skip
_NATIVE = {
    "deutsch": "de", "français": "fr", "español": "es", "italiano": "it", "português": "pt",
    "русский": "ru", "中文": "zh", "汉语": "zh", "日本語": "ja", "한국어": "ko", "العربية": "ar",
    "nederlands": "nl", "polski": "pl", "svenska": "sv", "mandarin": "zh", "farsi": "fa",
}  # fmt: skip
# Codes that are words of English too: two of these in a first line may as well be a pair of texts.
_WORDS = words_of("am an as be he hi id is it me my no oh or so to us")
_CODE = re.compile(r"([a-z]{2,3})(?:[-_][a-z]{2,4}){0,2}")
_INTEGER, _NUMBER = re.compile(r"\d{1,18}"), re.compile(r"[-+]?\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Columns:
    """The columns that were chosen.

    Attributes:
        keys: Number or name of each.
        header: True where the first row holds the names.
        required: Number of them that each row has, if the others may be missing.
    """

    keys: tuple[Key, ...]
    header: bool = False
    required: int | None = None

    def said(self, width: int, form: str) -> str:
        """The columns in words.

        Args:
            width: Number of columns there are.
            form: Name of the form of the table, such as `tab-separated`.
        """
        names = [str(key + 1) if isinstance(key, int) else key for key in self.keys]
        listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        if not all(isinstance(key, int) for key in self.keys):
            return f"{listed}, {form}"
        columns = "column" if len(names) == 1 else "columns"
        header = "names in the first line" if self.header else "no header"
        return f"{columns} {listed} of {width}, {form}, {header}"


def pair_columns(name: str, rows: Sequence[Row], wanted: Sequence[str] = ()) -> Columns:
    """The columns of a source and its target.

    Args:
        name: Name of the file in messages.
        rows: The first rows.
        wanted: Names or numbers from 1 that the user gives; none to look for them.

    Raises:
        DataError: The columns are not there, or cannot be told.
    """
    rows = alike(rows)
    if wanted:
        return wanted_columns(name, rows, wanted, (2,))
    if not rows or isinstance(rows[0], Mapping):
        return Columns(_pair_of_records(name, rows))
    names = [cell.strip() for cell in rows[0]]
    if set(names) == {"source", "target"} and names.count("source") == 1:
        targets = [i for i, name in enumerate(names) if name == "target"]
        return Columns((names.index("source"), *targets), True, required=2)
    keys = named_pair(rows[0])
    # Where the next row could be one of names too, both are texts.
    if keys is not None and len(rows) > 1 and not named_pair(rows[1]):
        return Columns(keys, True)
    return _pair_by_content(name, rows)


def alike(rows: Sequence[Row]) -> list[Row]:
    """The rows that are of the kind of the first: mappings, or lists of texts."""
    kinds = [Mapping if isinstance(row, Mapping) else list for row in rows]
    return [
        row
        for row, kind in zip(rows, kinds, strict=True)
        if kind is kinds[0] and (kind is Mapping or _are_texts(row))
    ]


def _are_texts(row: Row) -> bool:
    return isinstance(row, list) and all(isinstance(cell, str) for cell in row)


def named_columns(
    name: str,
    rows: Sequence[Row],
    roles: Mapping[str, frozenset[str]],
    wanted: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> tuple[Columns, tuple[str, ...]] | None:
    """Columns by the names of their roles, and the roles that were found.

    Args:
        name: Name of the file in messages.
        rows: The first rows.
        roles: Names of a column of each role.
        wanted: Names or numbers that the user gives, for the last of the roles.
        optional: The roles that need not be there; the first ones.

    Returns:
        The columns and their roles, or `None` if none of the roles has a column.

    Raises:
        DataError: Some are there, and one that must be is not.
    """
    found = tuple(roles)
    if wanted:
        counts = tuple(range(len(found) - len(optional), len(found) + 1))
        return wanted_columns(name, rows, wanted, counts), found[-len(wanted) :]
    is_mapping = isinstance(rows[0], Mapping)
    names = list(dict.fromkeys(key for row in rows for key in row)) if is_mapping else rows[0]
    keys = {
        role: next((name for name in names if name.strip().casefold() in words), None)
        for role, words in roles.items()
    }
    found = tuple(role for role, key in keys.items() if key is not None)
    if not set(roles) - set(optional) <= set(found):
        return None
    chosen = tuple(key if is_mapping else names.index(key) for role, key in keys.items() if key)
    return Columns(chosen, not is_mapping), found


def wanted_columns(
    name: str, rows: Sequence[Row], wanted: Sequence[str], counts: tuple[int, ...]
) -> Columns:
    """The columns that the user names.

    Raises:
        DataError: They are not there, or not as many as are needed.
    """
    if len(wanted) not in counts or len(set(wanted)) < len(wanted):
        expected = " or ".join(map(str, counts))
        raise DataError(
            f"{name}#{','.join(wanted)}: expected {expected} different columns, by name or number, "
            "such as #2,4."
        )
    if isinstance(rows[0], Mapping):
        names = list(dict.fromkeys(key for row in rows for key in row))
        if missing := [key for key in wanted if key not in names]:
            raise DataError(f"{name} has no {' and '.join(missing)}. It has: {', '.join(names)}.")
        return Columns(tuple(wanted))
    first = [str(cell).strip() for cell in rows[0]]
    if all(key in first for key in wanted):
        return Columns(tuple(first.index(key) for key in wanted), True)
    width = max(map(len, rows))
    if all(key.isdecimal() and 1 <= int(key) <= width for key in wanted):
        numbers = tuple(int(key) - 1 for key in wanted)
        named = [all(_is_name(row[i]) for i in numbers if i < len(row)) for row in rows[:2]]
        return Columns(numbers, named == [True, False] or _looks_named(rows))
    raise DataError(
        f"{name} has no columns {' and '.join(wanted)}. Its first line has: {', '.join(first)}; or "
        f"give numbers from 1 to {width}."
    )


def _pair_of_records(name: str, rows: Sequence[Mapping[str, Any]]) -> tuple[Key, ...]:
    texts = [
        key
        for key in dict.fromkeys(key for row in rows for key in row)
        if 2 * sum(_is_text(row.get(key)) for row in rows) > len(rows)
    ]
    if found := named_pair(texts):
        return tuple(texts[int(key)] for key in found)
    if len(texts) == 2:
        return tuple(texts)
    if len(texts) < 2:
        return "source", "target"  # each row says what it lacks
    raise DataError(
        f"{name} has texts under {', '.join(texts)}: say which are source and target, as in "
        f"{name}#{texts[0]},{texts[1]}"
    )


def _is_text(value: Any) -> bool:
    """True for a text, and for several that are all right."""
    return isinstance(value, str) or (bool(value) and _are_texts(value))


def named_pair(cells: Sequence[str]) -> tuple[int, int] | None:
    """Numbers of the two cells that are names of a source and a target, or of two languages."""
    words = [_words(cell) for cell in cells]
    exact = [{cell.strip().casefold()} for cell in cells]
    for names in (exact, words):
        for sources, targets in PAIRS:
            of_source = [i for i, found in enumerate(names) if found & sources]
            of_target = [i for i, found in enumerate(names) if found & targets]
            if len(of_source) == 1 and len(of_target) == 1 and of_source != of_target:
                return of_source[0], of_target[0]
    languages = {i: code for i, cell in enumerate(cells) if (code := _language(cell))}
    are_words = {cell.strip().casefold() for cell in cells} <= _WORDS
    if len(languages) == len(set(languages.values())) == 2 and not are_words:
        first, second = languages
        return first, second
    return None


def _words(cell: str) -> set[str]:
    """The words of a cell that is a name of a column, and of none that is a text."""
    if len(cell) > 40 or re.search(r"[.?!。？！…<]", cell):  # a text may begin with its tag, <2de>
        return set()
    words = set(re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", cell).casefold()))
    known = words & (_ROLES | _BESIDE)
    rest = words - known
    if words & _ABOUT or len(words) > 3 or (rest and not all(_language(word) for word in rest)):
        return set()
    return words


_ROLES = words_of("context story passage paragraph answers").union(*itertools.chain(*PAIRS))


def _is_name(cell: str) -> bool:
    """True for what is the name of a column of texts."""
    return bool(_words(cell)) or _language(cell) is not None


def _language(cell: str) -> str | None:
    """The code of a language of which a cell is the name or the code."""
    text = cell.strip().casefold()
    if len(text) > 40 or not text or "<" in text:
        return None
    parts = [part for part in re.findall(r"[^\W\d_]+", text) if part not in _BESIDE]
    rest = " ".join(parts)
    if code := _NATIVE.get(rest) or _languages().get(rest):
        return code
    if match := _CODE.fullmatch("-".join(parts)):
        code = _CODES.get(match[1], match[1])
        return code if code in _languages().values() else None
    return None


@functools.cache
def _languages() -> dict[str, str]:
    """English names of languages, and their codes."""
    from babel import Locale

    return {
        name.casefold(): code.partition("_")[0] for code, name in Locale("en").languages.items()
    }


def _looks_named(rows: Sequence[Sequence[str]]) -> bool:
    """True where the first row has words above a column of numbers."""
    if len(rows) < 3:
        return False
    for i, cell in enumerate(rows[0]):
        below = [row[i] for row in rows[1:] if i < len(row)]
        if not _NUMBER.fullmatch(cell.strip()) and all(_NUMBER.fullmatch(b.strip()) for b in below):
            # A first cell without a name is that of the numbers which pandas writes before rows.
            return bool(cell.strip()) or (i == 0 and all(c.strip() for c in rows[0][1:]))
    return False


def _pair_by_content(name: str, rows: Sequence[Sequence[str]]) -> Columns:
    width = usual_width(rows)
    if width <= 2:
        return Columns((0, 1))
    header = _looks_named(rows)
    body = [row for row in rows[header:] if len(row) >= width] or list(rows)
    columns = [[row[i].strip() for row in body] for i in range(width)]
    texts = [i for i, column in enumerate(columns) if not _is_number(column) and _varies(column)]
    if texts[:2] == [0, 1]:
        return Columns((0, 1), header)
    others = [i for i in range(width) if i not in texts]
    if len(texts) == 2 and (len(others) > 1 or not _may_be_text(columns[others[0]])):
        return Columns((texts[0], texts[1]), header)
    numbers = ", ".join(str(number + 1) for number in others)
    raise DataError(
        f"{name} has {width} columns, of which {numbers} may be texts to learn or to leave out: "
        f"say which two are source and target, as in {name}#1,2"
    )


def usual_width(rows: Iterable[Any]) -> int:
    """The number of cells that most rows have; 0 without rows."""
    return next((width for width, _ in Counter(map(len, rows)).most_common(1)), 0)


def _is_number(column: Sequence[str]) -> bool:
    return all(_NUMBER.fullmatch(cell) for cell in column)


def _varies(column: Sequence[str]) -> bool:
    """False for one value in all rows, and for codes of languages."""
    values = set(column)
    if len(values) == 1 and len(column) >= 3:
        return False
    return len(values) > max(1, len(column) // 10) or not all(map(_language, values))


def _may_be_text(column: Sequence[str]) -> bool:
    """True for numbers that are neither scores nor numbers of the rows."""
    numbers = [int(cell) for cell in column if _INTEGER.fullmatch(cell)]
    are_counted = numbers == sorted(numbers) and len(set(numbers)) >= len(numbers) // 2
    return len(numbers) == len(column) and not are_counted
