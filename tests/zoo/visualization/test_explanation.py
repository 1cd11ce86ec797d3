import base64
import dataclasses
import hashlib
import json
import re
import unicodedata
from html.parser import HTMLParser

import numpy as np
import pytest

from attention_zoo.zoo.visualization.explanation import Explanation
from attention_zoo.zoo.visualization.labels import clean_text, shorten, token_labels
from attention_zoo.zoo.visualization.plotting import heat_map

HOSTILE = "</title><script>alert('\"1\"')</script> & <img src=x onerror=alert(2)> שלום مرحبا"


def explain(source, target, attention=None, text="source text", output="target text"):
    if attention is None:
        attention = np.random.default_rng(0).dirichlet(np.ones(len(source)), size=len(target))
    return Explanation(text, output, source, target, attention, -0.25)


def test_keeps_its_own_read_only_weights():
    weights = np.array([[0.25, 0.75]])
    explanation = explain(["▁a", "▁b"], ["▁c"], weights)
    weights[0, 0] = 9
    assert explanation.attention.dtype == np.float32
    np.testing.assert_array_equal(explanation.attention, [[0.25, 0.75]])
    with pytest.raises(ValueError, match="read-only"):
        explanation.attention[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        explanation.text = "other"


def test_refuses_weights_that_do_not_fit_the_tokens():
    with pytest.raises(ValueError, match=r"\(1, 2\)\. Received: attention\.shape=\(2, 1\)"):
        explain(["▁a", "▁b"], ["▁c"], [[0.5], [0.5]])


@pytest.mark.parametrize("weight", [-0.5, 1.5, float("nan")])
def test_refuses_what_are_not_weights(weight):
    with pytest.raises(ValueError, match="between 0 and 1"):
        explain(["▁a"], ["▁b"], [[weight]])


def test_saves_what_the_suffix_says(tmp_path):
    explanation = explain(["▁猫"], ["▁cat"])
    beginnings = {"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!DOCTYPE html>", "txt": b"    "}
    for suffix, beginning in beginnings.items():
        path = tmp_path / f"alignment.{suffix.upper()}"
        explanation.save(path)
        assert path.read_bytes().startswith(beginning)


def test_refuses_an_unknown_suffix_before_writing(tmp_path):
    path = tmp_path / "alignment.gif"
    with pytest.raises(ValueError, match=r"\.png, \.svg, \.html, \.txt.*Received: path=.*\.gif"):
        explain(["▁a"], ["▁b"]).save(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("tokens", "labels"),
    [
        (["▁un", "break", "able", "▁things", "."], ["un", "·break", "·able", "things", "."]),
        (["▁", "今天", "是", "Monday", "▁", "。"], ["␣", "今天", "是", "Monday", "␣", "。"]),
        (["▁Grö", "ß", "e"], ["Grö", "·ß", "·e"]),
        (["▁", "l", "o", "w", "</s>"], ["␣", "l", "o", "w", "</s>"]),
        (["words", "without", "marks", "</s>"], ["words", "without", "marks", "</s>"]),
        (
            ["▁a▁b", "▁\n", "▁\x1b[2J", "▁\u202eevil", "\ud800"],
            ["a b", r"\n", r"\x1b[2J", "evil", "�"],
        ),
        (["▁می\u200cخواهم"], ["می\u200cخواهم"]),
        ([], []),
    ],
)
def test_labels_of_tokens(tokens, labels):
    assert token_labels(tokens) == labels


def test_clean_text_can_be_encoded_and_is_one_line():
    everything = "".join(map(chr, [*range(0x300), 0x2028, 0x202E, 0xD800, 0xFFFE, 0x1FFFF]))
    cleaned = clean_text(everything)
    assert len(cleaned.splitlines()) == 1
    assert cleaned.encode("utf-8").decode("utf-8") == cleaned
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in cleaned)


def test_shorten_counts_columns():
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde…"
    assert shorten("今天星期一", 6) == "今天…"  # the third character would need two columns
    assert shorten("abcdefg", 6, "...") == "abc..."


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text in those of interest."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append([tag, ""])
            self.texts.append(self.open[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1][1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def texts_of(self, tag):
        return [text for name, text in self.texts if name == tag]


def page_of(explanation):
    """The page that is shown in the frame of a notebook."""
    (frame,) = Page(explanation._repr_html_()).all("iframe")
    return frame["srcdoc"]


def data_of(page):
    """What the script of a page draws from."""
    return json.loads(Page(page).texts_of("script")[0])


@pytest.fixture(scope="module")
def hostile():
    tokens = ["▁<script>alert(1)</script>", '▁"onclick="x', "▁שלום", "▁'", "▁&amp;", "▁</td>"]
    return explain(tokens, [*tokens[::-1], "</s>"], text=HOSTILE, output=HOSTILE[::-1])


@pytest.fixture(scope="module")
def page(hostile, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    hostile.to_html(path)
    return path.read_text(encoding="utf-8")


def test_page_shows_markup_as_text(page, hostile):
    parsed = Page(page)
    known = "html head meta title style body main h1 h2 p div label select details summary noscript"
    assert {tag for tag, _ in parsed.elements} == {*known.split(), "script"}
    assert HOSTILE in parsed.texts_of("p") and HOSTILE[::-1] in parsed.texts_of("p")
    assert not [name for _, found in parsed.elements for name in found if name.startswith("on")]
    cross = data_of(page)["kinds"]["cross"]
    assert cross["columns"] == token_labels(hostile.source_tokens)
    assert cross["rows"] == token_labels(hostile.target_tokens)


def test_page_loads_nothing_and_runs_only_its_own_script(page):
    parsed = Page(page)
    attributes = {name for _, found in parsed.elements for name in found}
    assert not attributes & {"src", "href", "action", "srcset", "background"}
    assert "url(" not in page and "@import" not in page and "://" not in page
    _, script = parsed.texts_of("script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [meta["content"] for meta in parsed.all("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}';" in policy


def test_page_has_every_weight_in_its_place(page, hostile):
    cross = data_of(page)["kinds"]["cross"]
    assert (cross["layers"], cross["heads"]) == (1, 1)
    for name in ("weights", "rollouts"):  # of one layer they are the same
        stored = np.frombuffer(base64.b64decode(cross[name]), np.uint8) / 255
        np.testing.assert_allclose(stored, hostile.attention.ravel(), atol=0.51 / 255)


def test_page_follows_the_writing_direction():
    arabic = explain(["▁مرحبا"], ["▁hello"], text="مرحبا", output="hello")
    assert data_of(page_of(arabic))["kinds"]["cross"]["rightToLeft"] == [True, False]


def test_notebook_frame_holds_the_page_apart(hostile, page):
    (frame,) = Page(hostile._repr_html_()).all("iframe")
    assert frame["srcdoc"] == page
    assert frame["sandbox"] == "allow-scripts"


def columns(line):
    """The characters of a line by terminal column: a wide one is followed by an empty string."""
    places = []
    for character in line:
        wide = unicodedata.east_asian_width(character) in "WF"
        places += [character, ""] if wide else [character]
    return places


WIDE = ["▁今天", "是", "▁Monday", "ー", "，", "ｱ", "▁a", "星期一"]
LONG = [f"▁{word}" for word in ("the", "quick", "brown", "fox", "jumps", "over", "it")] * 9


@pytest.mark.parametrize(("tokens", "width"), [(WIDE, 80), (WIDE, 40), (LONG, 80), (LONG, 16)])
def test_cells_are_under_their_labels(tokens, width):
    explanation = explain(tokens, tokens, np.eye(len(tokens)))
    *blocks, legend = explanation.to_terminal(width, color=False).split("\n\n")
    assert legend == "0%  .:-= 25% +*#%@ 100%"
    found = {}
    for block in blocks:
        lines = [columns(line) for line in block.split("\n")]
        assert max(map(len, lines)) <= width
        header, rows = lines[: -len(tokens)], lines[-len(tokens) :]
        for index, row in enumerate(rows):
            if "@" in row:
                cell = slice(row.index("@"), len(row))
                found[index] = "".join("".join(line[cell]).strip() for line in header)
    assert found == dict(enumerate(token_labels(tokens)))


def test_a_long_label_takes_a_bounded_part_of_the_terminal():
    words = ["▁Donaudampfschifffahrtsgesellschaft"] * 19
    lines = explain(words, words).to_terminal(60).split("\n")
    assert len(lines) == 12 + 19 + 2
    assert [line.split() for line in lines[:12]] == [[letter] * 19 for letter in "Donaudampfs…"]
    assert re.match(r"Donaudampfschifffah… \x1b", lines[12])


def test_colored_rows_are_equally_wide_and_say_the_weights():
    weights = np.array([[0.004, 0.1, 0.896], [0.25, 0.25, 0.5], [0, 0, 1]])
    text = explain(["▁今天", "是", "▁x"], ["▁a", "▁星期", "▁c"], weights).to_terminal(80)
    header, *rows = text.split("\n")[:4]
    plain = [re.sub(r"\x1b\[[\d;]*m", "", row) for row in rows]
    assert {len(columns(row)) for row in plain} == {4 + 1 + 4 + 1 + 3 + 1 + 3}
    assert [row.split()[1:] for row in plain] == [["10", "90"], ["25", "25", "50"], ["100"]]
    assert all(row.endswith("\x1b[0m") for row in rows)
    assert columns(header)[5] == "今"


def test_shades_grow_with_the_weight():
    text = explain([f"▁{i}" for i in range(9)], ["▁x"], [(np.arange(9) / 8) ** 2]).to_terminal(80)
    backgrounds = [int(code) for code in re.findall(r"48;5;(\d+)m", text.split("\n")[1])]
    cube = [np.array([c // 36, c // 6 % 6, c % 6]) for c in np.array(backgrounds) - 16]
    lightness = [float(color @ [0.21, 0.72, 0.07]) for color in cube]
    assert lightness == sorted(lightness, reverse=True)
    assert len(set(lightness)) == 8


def test_a_tenth_is_seen_beside_nothing():
    explanation = explain(["▁a", "▁b"], ["▁x"], [[0.0, 0.1]])
    assert explanation.to_terminal(60, color=False).split("\n")[1] == "x     ---"


def test_terminal_gets_no_control_of_the_tokens():
    explanation = explain(["▁\x1b[2J", "▁a\nb"], ["▁\x07", "able"])
    text = explanation.to_terminal(60, color=False)
    assert "\x1b" not in text and "\x07" not in text
    assert text.isascii()
    assert len(text.split("\n")) == 1 + 2 + 2


def test_terminal_width_is_checked_and_defaults_to_the_terminal(monkeypatch):
    explanation = explain(LONG, ["▁x"], np.ones((1, len(LONG))))
    with pytest.raises(ValueError, match="Received: width=10"):
        explanation.to_terminal(10)
    monkeypatch.setenv("COLUMNS", "30")
    lines = explanation.to_terminal(color=False).split("\n")
    assert max(map(len, lines)) == 30


def test_nothing_to_show():
    explanation = Explanation("", "", [], [], np.zeros((0, 0)), 0.0)
    assert explanation.to_terminal(80) == "(no tokens to draw)"
    assert data_of(page_of(explanation))["kinds"]["cross"]["rows"] == []


# Models that copy


@pytest.fixture
def copied():
    weights = [[0.9, 0.1, 0.0], [0.75, 0.0, 0.25]]
    tokens = ["▁un", "seen", "▁word"], ["▁word", "</s>"]
    return Explanation("unseen word", "word", *tokens, weights, -0.25, p_gen=[0.07, 1.0])


def test_coverage_is_all_attention_that_a_source_token_got(copied):
    np.testing.assert_allclose(copied.coverage, [1.65, 0.1, 0.25], atol=1e-6)
    assert not copied.p_gen.flags.writeable


def test_lines_show_what_was_written_and_what_is_covered(copied):
    lines = copied.to_terminal(60).split("\n")
    assert lines[1].split("\x1b")[0].split() == ["word", "7%"]
    assert lines[2].split("\x1b")[0].split() == ["</s>", "100%"]
    covered = re.findall(r"m([^\x1b]*)\x1b\[0m", lines[3])
    assert [text.strip() for text in covered] == ["165", "10", "25"]
    assert len({line.index("\x1b") for line in lines[1:4]}) == 1
    assert copied.to_terminal(60, color=False).isascii()


def test_coverage_of_four_digits_stays_in_its_column():
    weights = [[1.0, 0.0]] * 12 + [[0.5, 0.5]]
    found = Explanation(
        "a b", "x", ["▁a", "▁b"], ["▁x"] * 13, weights, -1.0, p_gen=np.full(13, 0.5)
    )
    rows = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in found.to_terminal(60).split("\n")[1:14]]
    assert rows[-1].split() == ["x", "50%", "50", "50"]
    covered = re.sub(r"\x1b\[[\d;]*m", "", found.to_terminal(60).split("\n")[14])
    assert covered.split() == ["coverage", "1250", "50"]
    assert {len(row) for row in [*rows, covered]} == {len(covered)}


def test_pages_show_what_was_written_and_what_is_covered(copied):
    page = page_of(copied)
    assert data_of(page)["copied"] == [0.93, 0.0]
    for writing in (page, copied.to_terminal(60)):
        assert "p_gen" in writing
    without = dataclasses.replace(copied, p_gen=None)
    assert data_of(page_of(without))["copied"] is None
    for writing in (page_of(without), without.to_terminal(60)):
        assert "p_gen" not in writing
    assert "coverage" not in without.to_terminal(60).lower()


@pytest.mark.parametrize(
    ("p_gen", "received"), [([0.5], r"p_gen\.shape=\(1,\)"), ([0.5, 1.5], r"p_gen=\[0\.5 1\.5\]")]
)
def test_refuses_shares_that_are_none(copied, p_gen, received):
    with pytest.raises(ValueError, match=f"Received: {received}"):
        dataclasses.replace(copied, p_gen=p_gen)


def test_a_map_without_weights_says_why():
    words = "this model has no attention"
    shown = {}
    for sharpness in (0.0, 0.5):
        found = Explanation("a", "b", ["a"], ["b"], [[sharpness]], 0.0)
        caption = heat_map(found).axes[0].texts[0].get_text()
        shown[sharpness] = [found.to_terminal(60), caption, page_of(found)]
    assert all(words in text for text in shown[0.0])
    assert not any(words in text for text in shown[0.5])
    empty = Explanation("a", "", ["a"], [], np.zeros((0, 1)), 0.0)
    assert empty.notes == []
