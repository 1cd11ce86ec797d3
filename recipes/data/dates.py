"""The embedded corpus of the translation recipe: English dates and times into Chinese.

    Tuesday, March 5, 2024 at 3:07 PM        →  2024年3月5日星期二 下午3:07
    from 9:00 a.m. to 12:30 p.m. on 5 May    →  5月5日 上午9:00至中午12:30
    March 5 – 8, 2024                        →  2024年3月5日至2024年3月8日

It is made, not downloaded, from the names and patterns of the Unicode CLDR that Babel carries.
English has many ways to write a date and Chinese here has one, always from the largest unit to the
smallest, so a model has to read the parts in an order different from the one in which they stand; a
range or a list in which a part is written once and meant twice makes it look there twice. The texts
range from 5 characters to 150, where one fixed vector for the whole source no longer suffices.

Everything the target says stands in the source: no weekday has to be worked out from a date.
"""

from __future__ import annotations

import datetime
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from babel.core import Locale
from babel.dates import format_date, format_interval, format_time
from babel.lists import format_list

from .corpus import PairCorpus, in_split

MAX_SOURCE_LENGTH = 150  # characters
FIRST_DAY = datetime.date(1950, 1, 1)
NUM_DAYS = (datetime.date(2050, 1, 1) - FIRST_DAY).days
DEV_SHARE = 8  # one target in so many belongs to dev
ENGLISH, BRITISH, CANADIAN, CHINESE = map(Locale.parse, ("en", "en_GB", "en_CA", "zh"))


def date_pairs(split: str = "train", size: int = 40_000, seed: int = 0) -> PairCorpus:
    """English dates, times and weekdays, ranges and lists of them, with their Chinese.

    The same arguments give the same pairs on every machine. A target belongs to one split by its
    own text, so `train` and `dev` share no target, and hence no source, whatever their seeds.

    Args:
        split: "train" or "dev".
        size: The number of pairs; no two have the same source.
        seed: Another seed gives other pairs of the same split.

    Returns:
        A `PairCorpus`.

    Example:
        >>> corpus = date_pairs("dev", size=1000)
        >>> corpus.sources[0], corpus.targets[0]
    """
    if size < 1:
        raise ValueError(f"size must be at least 1. Received: size={size}")
    rng = random.Random(f"dates {seed} {split}")
    pairs: dict[str, str] = {}
    while len(pairs) < size:
        source, target = _pair(rng)
        if in_split(target, split, DEV_SHARE) and len(source) <= MAX_SOURCE_LENGTH:
            pairs[source] = target
    return PairCorpus(list(pairs), list(pairs.values()), f"dates ({split})")


# Contents: a point in time, of which some parts are written and others are not


@dataclass(frozen=True)
class _Moment:
    """A day, a time of day, or both. `parts` names the written parts of the day."""

    day: datetime.date
    time: datetime.time | None
    parts: frozenset[str]  # of "year", "date" (month and day), "weekday"

    def only(self, *, time: bool) -> _Moment:
        """The time of day alone, or the day alone."""
        return replace(self, parts=frozenset()) if time else replace(self, time=None)


_DAY_PARTS = tuple(
    frozenset(parts.split())
    for parts in ("year date weekday", "year date weekday", "year date", "date weekday", "date")
)


def _draw_day(rng: random.Random) -> datetime.date:
    return FIRST_DAY + datetime.timedelta(days=rng.randrange(NUM_DAYS))


def _draw_time(rng: random.Random) -> datetime.time:
    minute = 15 * rng.randrange(4) if rng.random() < 0.5 else rng.randrange(60)
    return datetime.time(rng.randrange(24), minute)


def _draw_times(rng: random.Random, count: int) -> list[datetime.time]:
    times: set[datetime.time] = set()
    while len(times) < count:
        times.add(_draw_time(rng))
    return sorted(times)


def _draw_moments(rng: random.Random, count: int) -> list[_Moment]:
    """Moments of which the same parts are written, in the order of time."""
    shape = rng.random()
    if shape < 0.1:
        parts, timed = frozenset[str](), True
    elif shape < 0.2:
        parts, timed = frozenset({"weekday"}), True
    else:
        parts, timed = rng.choice(_DAY_PARTS), rng.random() < 0.4
    first = _draw_day(rng)
    days = [first]
    while len(days) < count:
        # Half of the later days are near the first, as they are in a timetable; the rest anywhere.
        near = first + datetime.timedelta(days=rng.randrange(1, 60))
        day = near if rng.random() < 0.5 else _draw_day(rng)
        if day not in days:
            days.append(day)
    if not parts:  # times of one and the same unnamed day
        return [_Moment(first, time, parts) for time in _draw_times(rng, count)]
    times = [_draw_time(rng) if timed else None for _ in days]
    return [_Moment(day, time, parts) for day, time in zip(sorted(days), times, strict=True)]


# English: many ways


@dataclass(frozen=True)
class _DayStyle:
    """One way to write a day, in the parts of a CLDR pattern; `~` stands for st, nd, rd or th."""

    before: str  # the weekday in front, or
    date: str
    year: str = ""
    after: str = ""  # the weekday behind


_DAY_STYLES = (
    _DayStyle("EEEE, ", "MMMM d", ", y"),  # Tuesday, March 5, 2024
    _DayStyle("EEE, ", "MMM d", ", y"),  # Tue, Mar 5, 2024
    _DayStyle("EEEE, ", "MMMM d~", ", y"),  # Tuesday, March 5th, 2024
    _DayStyle("EEEE, ", "d MMMM", " y"),  # Tuesday, 5 March 2024
    _DayStyle("EEE ", "d MMM", " y"),  # Tue 5 Mar 2024
    _DayStyle("EEEE, ", "'the' d~ 'of' MMMM", " y"),  # Tuesday, the 5th of March 2024
    _DayStyle("", "d MMMM", " y", " (EEEE)"),  # 5 March 2024 (Tuesday)
    _DayStyle("", "MMMM d", ", y", ", 'a' EEEE"),  # March 5, 2024, a Tuesday
)
_ISO_STYLES = (_DayStyle("EEEE, ", "y-MM-dd"), _DayStyle("", "y-MM-dd", after=" (EEE)"))
_TIME_STYLES = (  # a CLDR pattern and the locale whose words it takes
    ("h:mm a", ENGLISH),  # 3:07 PM
    ("h:mm a", CANADIAN),  # 3:07 p.m.
    ("HH:mm", ENGLISH),  # 15:07
    ("h:mm B", ENGLISH),  # 3:07 in the afternoon
)
_DAY_AND_TIME = ("{day} at {time}", "{day}, {time}", "{time} on {day}", "{time}, {day}")
_RANGES = ("from {0} to {1}", "{0} to {1}", "from {0} until {1}", "{0} – {1}")


@functools.lru_cache(maxsize=1 << 16)
def _english_day(day: datetime.date, parts: frozenset[str], style: _DayStyle) -> str:
    if parts == {"weekday"}:
        return format_date(day, "EEEE", locale=ENGLISH)
    pattern = style.date + (style.year if "year" in parts else "")
    if "weekday" in parts:
        pattern = style.before + pattern + style.after
    ending = {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10 if day.day not in (11, 12, 13) else 0)
    return format_date(day, pattern.replace("~", f"'{ending or 'th'}'"), locale=ENGLISH)


@functools.lru_cache(maxsize=1 << 14)
def _english_time(time: datetime.time, style: tuple[str, Locale]) -> str:
    pattern, locale = style
    return _plain_spaces(format_time(time, pattern, locale=locale))


def _plain_spaces(text: str) -> str:
    """CLDR sets thin and unbreakable spaces, which nobody types."""
    return text.replace("\u2009", " ").replace("\u202f", " ")


def _draw_english(rng: random.Random, parts: frozenset[str]) -> Callable[[_Moment], str]:
    """Choose one way of writing; a text keeps to it from end to end."""
    iso = "year" in parts and rng.random() < 0.12
    day_style = rng.choice(_ISO_STYLES if iso else _DAY_STYLES)
    time_style = rng.choice(_TIME_STYLES)
    order = rng.choice(_DAY_AND_TIME)

    def english(moment: _Moment) -> str:
        day = _english_day(moment.day, moment.parts, day_style) if moment.parts else ""
        time = _english_time(moment.time, time_style) if moment.time else ""
        return order.format(day=day, time=time) if day and time else day or time

    return english


# Chinese: one way


@functools.lru_cache(maxsize=1 << 16)
def _chinese_day(day: datetime.date, parts: frozenset[str]) -> str:
    pattern = "".join(
        piece
        for part, piece in (("year", "y年"), ("date", "M月d日"), ("weekday", "EEEE"))
        if part in parts
    )
    return format_date(day, pattern, locale=CHINESE)


@functools.lru_cache(maxsize=1 << 11)
def _chinese_time(time: datetime.time) -> str:
    return format_time(time, "Bh:mm", locale=CHINESE)


def _chinese(moment: _Moment) -> str:
    day = _chinese_day(moment.day, moment.parts) if moment.parts else ""
    time = _chinese_time(moment.time) if moment.time else ""
    return f"{day} {time}".strip()


# Texts


def _pair(rng: random.Random) -> tuple[str, str]:
    make = rng.choice((_single, _single, _range, _range, _hours, _interval, _list, _list))
    return make(rng)


def _single(rng: random.Random) -> tuple[str, str]:
    (moment,) = _draw_moments(rng, 1)
    return _draw_english(rng, moment.parts)(moment), _chinese(moment)


def _range(rng: random.Random) -> tuple[str, str]:
    first, last = _draw_moments(rng, 2)
    english = _draw_english(rng, first.parts)
    source = rng.choice(_RANGES).format(english(first), english(last))
    return source, f"{_chinese(first)}至{_chinese(last)}"


def _hours(rng: random.Random) -> tuple[str, str]:
    """Two times on one day; in English the day may stand behind them."""
    parts = rng.choice((*_DAY_PARTS, frozenset({"weekday"})))
    day = _draw_day(rng)
    first, last = (_Moment(day, time, parts) for time in sorted((_draw_time(rng), _draw_time(rng))))
    english = _draw_english(rng, parts)
    times = rng.choice(_RANGES).format(*(english(m.only(time=True)) for m in (first, last)))
    day_text = english(first.only(time=False))
    source = rng.choice(("{1}, {0}", "{0} on {1}", "{0}, {1}")).format(times, day_text)
    return source, f"{_chinese(first)}至{_chinese(last.only(time=True))}"


def _interval(rng: random.Random) -> tuple[str, str]:
    """Two days of one year as CLDR joins them: common parts are written once."""
    with_year = rng.random() < 0.7
    parts = frozenset({"year", "date"} if with_year else {"date"})
    first = _draw_day(rng)
    last = first + datetime.timedelta(days=rng.randrange(1, 28 if rng.random() < 0.6 else 90))
    if last.year != first.year:
        return _interval(rng)
    fields = ("y" if with_year else "") + rng.choice(("MMMM", "MMM")) + "d"
    source = format_interval(first, last, fields, locale=rng.choice((ENGLISH, BRITISH)))
    return _plain_spaces(source), f"{_chinese_day(first, parts)}至{_chinese_day(last, parts)}"


def _list(rng: random.Random) -> tuple[str, str]:
    moments = _draw_moments(rng, rng.choice((2, 3, 3, 4)))
    english = _draw_english(rng, moments[0].parts)
    source = format_list([english(m) for m in moments], locale=rng.choice((ENGLISH, BRITISH)))
    return source, format_list([_chinese(m) for m in moments], locale=CHINESE)
