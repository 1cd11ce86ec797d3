"""The page with all layers and heads in a browser: what it shows for each choice, and to whom."""

import numpy as np
import pytest
from test_layered_explanation import HOSTILE, SOURCE, TARGET, random_maps

from attention_zoo.zoo.visualization.explanation import Explanation
from attention_zoo.zoo.visualization.layered_explanation import LayeredExplanation

SHAPE = (2, 3)  # layers and heads
WRITTEN = ["'", "</td>", "今天", "</s>"]  # the labels of TARGET


@pytest.fixture(scope="module")
def layered():
    t, s = len(TARGET), len(SOURCE)
    cross = random_maps(*SHAPE, t, s, seed=0)
    own = Explanation(HOSTILE, "target", SOURCE, TARGET, cross[-1].mean(0), -0.5)
    decoder = np.tril(random_maps(*SHAPE, t, t, seed=2))
    return LayeredExplanation(own, cross, random_maps(*SHAPE, s, s, seed=1), decoder)


@pytest.fixture(scope="module")
def address(layered, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    layered.save(path)
    return path.as_uri()


@pytest.fixture
def visit(browser, address):
    """Opens the page; afterwards it has said nothing to the console and asked for nothing."""
    contexts, faults = [], []

    def open_page(address=address, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.on("request", lambda request: faults.append(request.url))
        page.goto(address)
        faults.remove(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def cells(page):
    """The weights that shade the cells of the table."""
    return np.array(
        page.eval_on_selector_all(
            "#map tbody tr",
            "rows => rows.map(row => [...row.cells].slice(1)"
            ".map(cell => Number(cell.style.getPropertyValue('--weight'))))",
        )
    )


def test_each_choice_shows_its_map(visit, layered):
    page = visit()
    np.testing.assert_allclose(cells(page), layered.view().attention, atol=0.003)
    for kind in layered.kinds:
        page.locator("#kind").select_option(kind)
        for layer in (None, 1, 2):
            page.locator("#layer").select_option("all" if layer is None else str(layer))
            for head in ("mean", 3, "rollout"):
                page.locator("#head").select_option(str(head))
                expected = layered.view(kind, layer, head).attention
                np.testing.assert_allclose(cells(page), expected, atol=0.003)
    assert page.locator("#source button").all_inner_texts() == ["<s>", *WRITTEN[:-1]]
    assert page.locator("#target button").all_inner_texts() == WRITTEN


def test_pointing_says_the_strongest_and_keys_move(visit, layered):
    page = visit()
    page.locator("#layer").select_option("2")
    page.locator("#head").select_option("1")
    row = layered.cross[1, 0, 2]
    page.locator("#target button").nth(2).hover()
    said = page.locator("#said")
    best = [f"{round(100 * share)}%" for share in sorted(row, reverse=True)[:3] if share >= 0.05]
    assert [word for word in said.inner_text().split() if "%" in word] == best
    shades = page.locator("#source button").evaluate_all(
        "all => all.map(one => Number(one.style.getPropertyValue('--weight')))"
    )
    np.testing.assert_allclose(shades, row, atol=0.003)
    page.locator("#head").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    focused = page.evaluate("document.activeElement.textContent")
    assert focused == "</s>"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == WRITTEN[1]
    assert said.inner_text().startswith("\u2068</td>\u2069 ←")
    page.keyboard.press("Escape")
    assert said.inner_text().startswith("Point at a word")


def test_texts_are_shown_as_they_are_also_on_a_phone(visit):
    page = visit(viewport={"width": 375, "height": 700})
    shown = page.locator("#source button").all_inner_texts()
    assert shown[:3] == ["</script>", "<script>alert(1)</script>", '"onclick="x']
    assert HOSTILE.replace("\u202e", "") in page.locator("main p").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert page.locator("script").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anyone(visit, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(color_scheme=scheme, bypass_csp=True)
    page.locator("#target button").first.focus()
    results = axe.run(page)
    assert results.violations_count == 0, results.generate_report()
    assert len(results.response["passes"]) > 10


def test_one_map_needs_no_choices_and_shows_what_was_copied(visit, tmp_path):
    weights = [[0.9, 0.1, 0.0], [0.75, 0.0, 0.25]]
    tokens = ["▁un", "seen", "▁word"], ["▁word", "</s>"]
    own = Explanation("unseen word", "word", *tokens, weights, -0.25, p_gen=[0.07, 1.0])
    own.save(tmp_path / "one.html")
    page = visit((tmp_path / "one.html").as_uri())
    assert not page.locator("#choices").is_visible()
    np.testing.assert_allclose(cells(page), weights, atol=0.003)
    assert page.locator("#map small").all_inner_texts() == [" copied 93%", " copied 0%"]
    assert page.locator("tfoot td").all_inner_texts() == ["165", "10", "25"]
    page.locator("#target button").first.hover()
    assert page.locator("#said").inner_text().endswith("90% · \u2068·seen\u2069 10%, copied 93%")


def test_an_explanation_without_tokens_has_a_page(visit, tmp_path):
    Explanation("", "", [], [], np.zeros((0, 0)), 0.0).save(tmp_path / "empty.html")
    page = visit((tmp_path / "empty.html").as_uri())
    assert page.locator("#source button").count() == 0
