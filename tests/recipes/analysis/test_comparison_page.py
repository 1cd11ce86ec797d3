"""The page of a comparison in a browser: for anyone, on a phone, in the dark."""

import pytest
from test_comparison import HOSTILE, make_comparison

from attention_zoo.recipes.analysis.comparison_report import to_html


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page(scheme, browser, tmp_path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    path = tmp_path / "page.html"
    path.write_text(to_html(make_comparison()), encoding="utf-8")
    viewport = {"width": 375, "height": 700}
    context = browser.new_context(color_scheme=scheme, viewport=viewport, bypass_csp=True)
    page, faults = context.new_page(), []
    page.on("console", lambda message: faults.append(message.text))
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert page.locator("th").filter(has_text="<script>").count() == 5
    assert HOSTILE.split("\u202e")[0] in page.locator("tbody th").all_inner_texts()[1]
    sizes = page.locator("img").evaluate_all("all => all.map(one => [one.naturalWidth, one.width])")
    assert all(0 < shown <= own for own, shown in sizes)
    shown = page.locator("img").evaluate_all("all => all.map(one => one.currentSrc)")
    light = page.locator("img").evaluate_all("all => all.map(one => one.src)")
    assert (shown == light) == (scheme == "light")
    results = axe.run(page)
    assert results.violations_count == 0, results.generate_report()
    assert len(results.response["passes"]) > 10
    assert faults == []
    context.close()
