"""The demo page without a mouse, on a phone, in the dark, for everyone."""

from __future__ import annotations

import re

import pytest
from page_visits import (
    MILLISECONDS,
    TEXT,
    WRITTEN,
    shown_shares,
    word,
)

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=MILLISECONDS)


def test_the_keyboard_alone(visit):
    page = visit()
    expect(page.get_by_label("Text")).to_be_visible()
    reached = []

    def tab(times=1):
        for _ in range(times):
            page.keyboard.press("Tab")
            focused = page.locator(":focus")
            reached.append(focused.get_attribute("id") or focused.text_content())
            style = "it => getComputedStyle(it).outlineStyle"
            assert focused.evaluate(style) == "solid", reached

    tab(4)
    page.keyboard.type(TEXT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#answer .result")).to_have_text(WRITTEN)
    tab(3)
    page.keyboard.press("2")  # the layer
    tab(2)
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    expect(page.get_by_label("Tokens")).not_to_be_checked()
    tab()
    expect(page.locator("#said")).to_contain_text("house")
    for key, name in (
        ("ArrowRight", "little"),
        ("End", "end"),
        ("ArrowRight", "end"),
        ("ArrowUp", "the"),
        ("Home", "house"),
    ):
        page.keyboard.press(key)
        expect(word(page, "target", name)).to_be_focused()
        expect(word(page, "target", name)).to_have_attribute("aria-pressed", "true")
        assert shown_shares(page, "source") != {}
    page.keyboard.press("Escape")
    expect(page.locator("#said")).to_contain_text("Point at a word")
    tab(2)
    expect(page.locator("#map table")).to_be_visible()
    tab()
    more = "More: model, version, signature"
    controls = [more, "version", "signature", "field-0", "ask", "copy", "layer", "head", "pieces"]
    assert reached[:11] == [*controls, "house", "the"]  # one stop for all words of a side
    expect(page.locator("#map .map")).to_be_focused()


def test_a_phone(visit):
    page = visit(viewport={"width": 375, "height": 812}, **{"in.text": f"{TEXT} " * 10})
    expect(page.locator("#attention")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    controls = page.locator("select, textarea, .actions button, .words button")
    boxes = controls.evaluate_all("all => all.map(it => it.getBoundingClientRect().toJSON())")
    assert len(boxes) > 60
    for box in boxes:
        assert box["left"] >= 0 and box["right"] <= 375
        assert box["height"] >= 24  # what a finger hits


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anyone(visit, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def check(page):
        results = axe.run(page)
        assert results.violations_count == 0, results.generate_report()
        assert len(results.response["passes"]) > 15

    look = {"color_scheme": scheme, "bypass_csp": True}
    page = visit(**look, **{"in.text": TEXT, "word": "t0"})
    expect(page.locator("#attention")).to_be_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 100) == (scheme == "dark")
    check(page)
    page.get_by_label("Signature").select_option("n_best")
    expect(page.locator("#answer li")).to_have_count(2)
    check(page)
    page.evaluate("location.hash = 'model=nobody'")
    expect(page.get_by_role("alert")).to_be_visible()
    check(page)
