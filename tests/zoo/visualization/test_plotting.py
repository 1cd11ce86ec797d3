import io
import warnings
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from fontTools.ttLib import TTCollection, TTFont
from matplotlib import font_manager
from PIL import Image

from attention_zoo.zoo.visualization import fonts
from attention_zoo.zoo.visualization.explanation import Explanation
from attention_zoo.zoo.visualization.plotting import heat_map, heat_map_bytes

SCRIPTS = {
    "simplified Chinese": "我们昨天在北京买了一本关于神经网络的书。，",
    "traditional Chinese": "讀書識字學習體驗「」",
    "Japanese": "日本語のテキストーをかく",
    "Korean": "안녕하세요",
    "German": "Größe Übermut Straße äöü",
    "Cyrillic": "Привет, щёлочь",
    "Greek": "Καλημέρα",
    "Hebrew": "שלום",
    "Arabic": "مرحبا",
    "marks": "·…␣�",
}


def explain(source, target, attention=None, text="source", output="target"):
    if attention is None:
        attention = np.random.default_rng(0).dirichlet(np.ones(len(source)), size=len(target))
    return Explanation(text, output, source, target, attention, -0.25)


def pixels(explanation):
    picture = Image.open(io.BytesIO(heat_map_bytes(explanation)))
    assert picture.format == "PNG"
    return np.asarray(picture.convert("RGB"))


def character_map(family):
    """What the family's font file says it has, read by another library than the one that draws."""
    found = font_manager.findfont(font_manager.FontProperties(family=[family]))
    path, index = getattr(found, "path", found), getattr(found, "face_index", 0)
    if path.endswith((".ttc", ".otc")):
        with TTCollection(path, lazy=True) as collection:
            return collection.fonts[index].getBestCmap()
    with TTFont(path, lazy=True) as font:
        return font.getBestCmap()


@pytest.mark.parametrize("script", SCRIPTS)
def test_fonts_are_found_for_every_character(script):
    families, missing = fonts.find_families(SCRIPTS[script])
    assert missing == set()
    covered = set().union(*map(character_map, families))
    assert {ord(character) for character in SCRIPTS[script] if character != " "} <= covered


def test_the_packaged_font_serves_a_machine_without_one(monkeypatch):
    monkeypatch.setattr(fonts, "SYSTEM_FAMILIES", ())
    families, missing = fonts.find_families("星期一")
    assert families[0] == "DejaVu Sans" and missing == set()
    found = font_manager.findfont(font_manager.FontProperties(family=[families[1]]))
    assert "noto_cjk_sans_otc" in str(getattr(found, "path", found))


def test_an_installed_font_is_preferred_and_latin_needs_none(monkeypatch):
    assert fonts.find_families("Monday, größer") == (["DejaVu Sans"], set())
    monkeypatch.setattr(fonts, "SYSTEM_FAMILIES", ("Not Installed", "DejaVu Serif"))
    monkeypatch.setattr(fonts, "BASE_FAMILY", "cmmi10")  # has no Cyrillic
    assert fonts.find_families("Ж") == (["cmmi10", "DejaVu Serif"], set())


def test_chinese_labels_are_drawn_each_as_itself():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib warns of a glyph that it does not have
        pictures = [pixels(explain([character], ["x"], [[1.0]])) for character in "我们买了书"]
    assert len({picture.shape for picture in pictures}) == 1
    # The box which stands for a missing glyph would be the same in all of them.
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_a_character_without_a_font_is_replaced_and_reported(monkeypatch):
    monkeypatch.setattr(fonts, "_candidates", lambda: iter(["DejaVu Sans"]))
    with pytest.warns(UserWarning, match="No installed font has the characters '一星期'"):
        figure = heat_map(explain(["▁星期一", "▁ok"], ["▁Monday"]))
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["\ufffd\ufffd\ufffd", "ok"]


def test_each_weight_is_in_its_place_in_its_color():
    attention = np.array([[0.0, 0.25, 0.75, 0.0], [0.8, 0.0, 0.0, 0.0], [0.01, 0.04, 0.0, 0.6]])
    figure = heat_map(explain(list("abcd"), list("efg"), attention))
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())
    colors = matplotlib.colormaps["Blues"](np.sqrt(attention), bytes=True)  # [T, S, 4]
    height, width = picture.shape[:2]
    for t, s in np.ndindex(attention.shape):
        shown = picture[int((t + 0.5) / 3 * height), int((s + 0.5) / 4 * width)]
        np.testing.assert_allclose(shown, colors[t, s], atol=3)


def test_the_picture_of_a_model_that_copies_has_shares_and_the_coverage():
    weights = np.array([[0.9, 0.1, 0.0], [0.75, 0.0, 0.25]])
    explanation = Explanation("a b c", "d e", list("abc"), list("de"), weights, -0.25, [0.07, 1.0])
    figure = heat_map(explanation)
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["d 7%", "e 100%", "", "coverage"]
    shown = axes.collections[0].get_array().reshape(4, 3)
    np.testing.assert_allclose(shown[[0, 1, 3]], [*weights, weights.sum(0)], atol=1e-6)
    assert shown.mask[2].all()
    assert any("p_gen" in text.get_text() for text in axes.texts)


def test_labels_stand_beside_their_rows_and_above_their_columns():
    figure = heat_map(explain(["▁in", "▁北京", "▁gut", "。"], ["▁in", "▁Beijing", "."]))
    figure.canvas.draw()
    axes = figure.axes[0]
    columns, rows = axes.get_xticklabels(), axes.get_yticklabels()
    assert [label.get_text() for label in columns] == ["in", "北\n京", "gut", "。"]
    assert [label.get_rotation() for label in columns] == [0, 0, 90, 0]
    assert [label.get_text() for label in rows] == ["in", "Beijing", "."]
    box = axes.get_window_extent()
    for index, label in enumerate(columns):
        extent = label.get_window_extent()
        center = (extent.x0 + extent.x1) / 2
        assert abs(center - (box.x0 + box.width * (index + 0.5) / 4)) < box.width / 16
        assert extent.y0 > box.y1
    tops = [label.get_window_extent().y0 for label in rows]
    assert tops == sorted(tops, reverse=True)  # the first token at the top
    assert all(label.get_window_extent().x1 < box.x0 for label in rows)


@pytest.mark.parametrize("tokens", [1, 400])
def test_size_is_bounded_and_labels_never_touch(tokens):
    words = [f"▁{'Donaudampfschifffahrtsgesellschaft' * 3}{i}" for i in range(tokens)]
    explanation = explain(words, words)
    height, width, _ = pixels(explanation).shape
    assert 150 < height < 2300 and 150 < width < 2300
    figure = heat_map(explanation)
    figure.canvas.draw()
    for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
        assert len(labels) == min(tokens, 80)
        assert all(label.get_text() == "Donaudampfschifff…" for label in labels)
        assert labels[0].get_fontsize() >= 6
        boxes = [label.get_window_extent() for label in labels]
        assert not any(one.overlaps(other) for one, other in pairwise(boxes))
    (caption,) = (text.get_text() for text in figure.axes[0].texts)
    assert ("the first 80 of 400 source tokens" in caption) == (tokens == 400)


def test_formulas_and_markup_are_letters():
    tokens = ["▁$x^2$", r"▁$\frac{$", "▁<b>", "▁&", "▁-->", "▁a_b%", "▁]]>"]
    explanation = explain(tokens, tokens, text="<script>x</script>\x00--> & ]]>", output='"')
    with matplotlib.rc_context({"text.usetex": True}):  # as a user's own settings may have it
        root = ElementTree.fromstring(heat_map_bytes(explanation, "svg"))
        assert pixels(explanation).shape[2] == 3
    elements = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert "script" not in elements and "path" in elements
    (title,) = (element for element in root if element.tag.endswith("}title"))
    assert title.text == '<script>x</script>\\x00--> & ]]> → "'
    links = [
        value
        for element in root.iter()
        for name, value in element.attrib.items()
        if name.endswith("href")
    ]
    assert links and all(link.startswith(("#", "data:image/png;")) for link in links)


def test_drawing_leaves_no_global_state():
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    explain(["▁今天"], ["▁today"])._repr_png_()
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_nothing_to_draw_and_wrong_limits():
    empty = Explanation("", "", [], [], np.zeros((0, 0)), 0.0)
    figure = heat_map(empty)
    assert "no tokens to draw" in figure.axes[0].texts[0].get_text()
    assert pixels(empty).size
    with pytest.raises(ValueError, match="Received: max_tokens=0"):
        heat_map(empty, max_tokens=0)


def test_more_dots_make_a_larger_picture():
    explanation = explain(["▁a"], ["▁b"])
    small, large = (
        Image.open(io.BytesIO(heat_map_bytes(explanation, dots_per_inch=dots))).width
        for dots in (50, 100)
    )
    assert abs(large - 2 * small) <= 2
