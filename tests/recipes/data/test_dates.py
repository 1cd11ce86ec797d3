"""The embedded corpus: right Chinese, nothing to guess, the same everywhere, splits apart."""

import datetime
import random
import re
import subprocess
import sys
import unicodedata

import pytest

from attention_zoo.recipes.data import dates
from attention_zoo.recipes.data.dates import MAX_SOURCE_LENGTH, date_pairs

WEEKDAYS = {
    "Monday": "星期一",
    "Tuesday": "星期二",
    "Wednesday": "星期三",
    "Thursday": "星期四",
    "Friday": "星期五",
    "Saturday": "星期六",
    "Sunday": "星期日",
}
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

# One point in time as the targets write it, and a target as a whole.
DAY = r"(\d{4}年)?\d{1,2}月\d{1,2}日(星期[一二三四五六日])?|星期[一二三四五六日]"
TIME = r"(凌晨|早上|上午|中午|下午|晚上|午夜)\d{1,2}:\d{2}"
MOMENT = rf"(({DAY})( {TIME})?|{TIME})"
TARGET = re.compile(rf"{MOMENT}(至{MOMENT}|(、{MOMENT})*和{MOMENT})?")


@pytest.fixture(scope="module")
def train():
    return date_pairs("train", size=3000, seed=1)


@pytest.fixture(scope="module")
def dev():
    return date_pairs("dev", size=300, seed=1)


# Known answers, checked by a reader of both languages


def moment(parts, time=None, day=datetime.date(2024, 3, 5)):
    return dates._Moment(day, time, frozenset(parts.split()))


@pytest.mark.parametrize(
    ("parts", "time", "expected"),
    [
        ("year date weekday", datetime.time(15, 7), "2024年3月5日星期二 下午3:07"),
        ("year date", None, "2024年3月5日"),
        ("date weekday", datetime.time(0, 30), "3月5日星期二 凌晨12:30"),
        ("date", datetime.time(12, 0), "3月5日 中午12:00"),
        ("weekday", datetime.time(7, 5), "星期二 早上7:05"),
        ("", datetime.time(20, 45), "晚上8:45"),
    ],
)
def test_chinese(parts, time, expected):
    assert dates._chinese(moment(parts, time)) == expected


def test_english_styles():
    said = moment("year date weekday")
    written = {dates._english_day(said.day, said.parts, style) for style in dates._DAY_STYLES}
    written |= {dates._english_day(said.day, said.parts, style) for style in dates._ISO_STYLES}
    assert written == {
        "Tuesday, March 5, 2024",
        "Tue, Mar 5, 2024",
        "Tuesday, March 5th, 2024",
        "Tuesday, 5 March 2024",
        "Tue 5 Mar 2024",
        "Tuesday, the 5th of March 2024",
        "5 March 2024 (Tuesday)",
        "March 5, 2024, a Tuesday",
        "Tuesday, 2024-03-05",
        "2024-03-05 (Tue)",
    }
    times = [dates._english_time(datetime.time(15, 7), style) for style in dates._TIME_STYLES]
    assert times == ["3:07 PM", "3:07 p.m.", "15:07", "3:07 in the afternoon"]


def test_ordinals():
    style = dates._DayStyle("", "d~")
    days = [datetime.date(2024, 1, number) for number in range(1, 32)]
    written = [dates._english_day(day, frozenset({"date"}), style) for day in days]
    assert written[:4] == ["1st", "2nd", "3rd", "4th"]
    assert written[10:13] == ["11th", "12th", "13th"]
    assert written[19:24] == ["20th", "21st", "22nd", "23rd", "24th"]
    assert written[29:] == ["30th", "31st"]


# Every target


def test_every_target_has_the_one_form(train, dev):
    wrong = [text for text in train.targets + dev.targets if not TARGET.fullmatch(text)]
    assert wrong == []


def test_every_weekday_of_a_source_is_in_the_target_in_order(train):
    """An independent reading: names of weekdays, by their first three letters, are in order."""
    by_letters = {english[:3]: chinese for english, chinese in WEEKDAYS.items()}
    for source, target in train:
        said = re.findall(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun)", source)
        assert re.findall("星期.", target) == [by_letters[letters] for letters in said], source


def test_every_number_of_a_target_stands_in_its_source(train):
    """Nothing has to be guessed or worked out: the year, month, day and minute are all said."""
    for source, target in train:
        for year in re.findall(r"(\d{4})年", target):
            assert year in source
        for month, day in re.findall(r"(\d{1,2})月(\d{1,2})日", target):
            name = MONTHS[int(month) - 1]
            assert name in source or re.search(rf"-{int(month):02}-{int(day):02}\b", source), source
            assert re.search(rf"(?<!\d)0?{day}(?!\d)", source), (source, target)
        for minute in re.findall(r":(\d{2})", target):
            assert f":{minute}" in source


def test_times_of_day_are_the_same_in_both_languages(train):
    """24 hours are read again from the source by other means, where it says nothing but a time."""
    checked = 0
    for source, target in train:
        clock = re.fullmatch(r"(\d{2}):(\d{2})", source)
        halves = re.fullmatch(r"(\d{1,2}):(\d{2}) ([APap])\.?[Mm]\.?", source)
        if clock:
            hour, minute = map(int, clock.groups())
        elif halves:
            hour = int(halves[1]) % 12 + 12 * (halves[3] in "Pp")
            minute = int(halves[2])
        else:
            continue
        period = next(
            name
            for start, name in (
                (19, "晚上"), (13, "下午"), (12, "中午"), (8, "上午"), (5, "早上"), (0, "凌晨"),
            )
            if hour >= start
        )  # fmt: skip
        if hour == minute == 0:
            period = "午夜"
        assert target == f"{period}{(hour - 1) % 12 + 1}:{minute:02}"
        checked += 1
    assert checked > 20


def test_a_source_has_one_meaning():
    """The targets are determined by their sources, also across splits and seeds."""
    meaning = {}
    rng = random.Random(3)
    for _ in range(4000):
        source, target = dates._pair(rng)
        assert meaning.setdefault(source, target) == target


# The corpus


def test_sizes_and_lengths(train, dev):
    assert len(train) == 3000 and len(dev) == 300
    lengths = sorted(map(len, train.sources))
    assert lengths[0] >= 4 and lengths[-1] <= MAX_SOURCE_LENGTH
    assert lengths[len(lengths) // 10] < 25 and lengths[-len(lengths) // 20] > 90


def test_word_order_differs(train):
    """In most pairs a part that comes later in English comes earlier in Chinese."""
    reordered = 0
    for source, target in train:
        years = re.findall(r"\d{4}(?=年)", target)
        # The year leads in Chinese; in English it leads only in the ISO styles.
        reordered += bool(years) and source.find(years[0]) > 0
    assert reordered > 0.35 * len(train)


def test_splits_share_neither_sources_nor_targets():
    train, dev = date_pairs("train", 2000, seed=5), date_pairs("dev", 400, seed=9)
    assert not set(train.sources) & set(dev.sources)
    assert not set(train.targets) & set(dev.targets)


def test_no_source_twice(train, dev):
    assert len(set(train.sources)) == len(train) and len(set(dev.sources)) == len(dev)


def test_texts_are_plain(train):
    """What CLDR sets in thin or unbreakable spaces is typed with a space bar."""
    for text in train.sources + train.targets:
        assert text == text.strip() == unicodedata.normalize("NFKC", text)
        assert "  " not in text
        assert not re.search(r"[^\S ]", text)


def test_seed_decides(train):
    assert date_pairs("train", size=50, seed=1).sources == train.sources[:50]
    assert date_pairs("train", size=50, seed=2).sources != train.sources[:50]


def test_same_pairs_in_another_process(train):
    code = (
        "from attention_zoo.recipes.data.dates import date_pairs\n"
        "print(*date_pairs('train', 300, seed=1).targets, sep='\\n')"
    )
    env = {"PYTHONHASHSEED": "4711", "PYTHONIOENCODING": "utf-8"}
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=env, check=True
    ).stdout
    assert printed.splitlines() == train.targets[:300]


@pytest.mark.parametrize("arguments", [{"split": "test"}, {"size": 0}])
def test_refusals(arguments):
    with pytest.raises(ValueError, match=f"Received: {next(iter(arguments))}="):
        date_pairs(**arguments)
