"""The attention on the demo page, in a browser; and scripts of the page, called one by one."""

from __future__ import annotations

import re

import numpy as np
import pytest
from page_visits import MILLISECONDS, TEXT, expect_shares, outputs_for, shown_shares, word

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=MILLISECONDS)

# Which tokens the words have that are read and written.
TARGET_WORDS = {"house": [0, 1], "little": [2, 3], "the": [4], "end": [5]}
SOURCE_WORDS = {"the": [0], "little": [1, 2], "house": [3, 4], "end": [5]}


@pytest.fixture(scope="module")
def modules(browser, page_server):
    """A page whose scripts can be called one by one."""
    page = browser.new_page()
    page.goto(f"{page_server.address.rest_url}/")
    yield page
    page.close()


def shares(weights, target, source):
    """Percents that the source words get of a target word, as the page names them."""
    sums = {
        word: np.asarray(weights)[np.ix_(TARGET_WORDS[target], tokens)].sum(1).mean()
        for word, tokens in source.items()
    }
    return {word: round(100 * share) for word, share in sums.items()}


def large(percents):
    return {name: percent for name, percent in percents.items() if percent >= 5}


def test_pointing_at_a_word_shows_what_it_looked_at_and_who_looked_at_it(visit, page_server):
    page = visit(**{"in.text": TEXT})
    weights = outputs_for(page_server, text=TEXT)["attention"][0]
    expect(page.locator("#target button")).to_have_text(list(TARGET_WORDS))
    expect(page.locator("#source button")).to_have_text(list(SOURCE_WORDS))
    for name in ("house", "little"):
        expected = shares(weights, name, SOURCE_WORDS)
        word(page, "target", name).hover()
        expect_shares(page, "source", large(expected))
        assert expected[name] > 90
        expect(page.locator("#said")).to_contain_text(f"{expected[name]}%")
        shade = word(page, "source", name).evaluate("it => it.style.getPropertyValue('--weight')")
        assert round(100 * float(shade)) == expected[name]
    word(page, "source", "the").hover()
    payers = {name: shares(weights, name, SOURCE_WORDS)["the"] for name in TARGET_WORDS}
    expect_shares(page, "target", large(payers))
    page.get_by_role("heading", level=1).hover()
    for side in ("target", "source"):
        expect_shares(page, side, {})
    expect(page.locator("#said")).to_contain_text("Point at a word")


def test_a_word_that_was_copied_says_so(visit, page_server):
    page = visit(**{"in.text": TEXT, "signature": "copying"})
    written = 1 / np.arange(1, 7)
    for name, tokens in TARGET_WORDS.items():
        word(page, "target", name).hover()
        copied = round(100 * (1 - written[tokens].mean()))
        expect(page.locator("#said")).to_have_text(re.compile(rf"%, copied {copied}%$"))
    word(page, "source", "the").hover()
    expect(page.locator("#said")).not_to_contain_text("copied")
    expect(page.locator("#answer")).not_to_contain_text("p_gen")


def test_layers_and_heads(visit, page_server):
    page = visit(**{"in.text": TEXT})
    outputs = outputs_for(page_server, text=TEXT)
    heads = np.asarray(outputs["attention_heads"][0])
    word(page, "target", "the").click()
    expect(page.get_by_label("Head")).to_be_disabled()
    own = large(shares(outputs["attention"][0], "the", SOURCE_WORDS))
    expect_shares(page, "source", own)
    expect(page.get_by_label("Layer").locator("option")).to_have_text(["alignment", "1", "2"])
    page.get_by_label("Layer").select_option("2")
    expect_shares(page, "source", large(shares(heads[1].mean(0), "the", SOURCE_WORDS)))
    for head in "123":
        page.get_by_label("Head").select_option(head)
        expected = shares(heads[1, int(head) - 1], "the", SOURCE_WORDS)
        expect_shares(page, "source", large(expected))
    assert shown_shares(page, "source") != own
    expect(page).to_have_url(re.compile("layer=2&head=3&word=t2"))
    page.get_by_label("Layer").select_option("alignment")
    expect_shares(page, "source", own)


def test_subwords_as_they_are_and_all_weights(visit, page_server):
    page = visit(**{"in.text": TEXT})
    page.get_by_label("Tokens").check()
    pieces = ["the", "litt", "·le", "hous", "·e", "end"]
    expect(page.locator("#source button")).to_have_text(pieces)
    cells = page.locator("#map tbody tr").first.locator("td").all_text_contents()
    weights = outputs_for(page_server, text=TEXT)["attention"][0][0]
    assert [int(cell) for cell in cells] == [round(100 * weight) for weight in weights]
    page.get_by_label("Tokens").uncheck()
    expect(page.locator("#map tbody th")).to_have_text(list(TARGET_WORDS))


@pytest.mark.parametrize(
    ("tokens", "whole", "pieces"),
    [
        ("▁un break able ▁words . </s>", "unbreakable words . end", "un ·break ·able words . end"),
        ("▁don ' t ▁( stop ) !", "don't ( stop ) !", "don ·' ·t ( stop ) !"),
        ("▁ 今天 我们 ▁ABC 馆 3 月", "今天 我们 ABC 馆 3 月", "␣ 今天 我们 ABC 馆 3 月"),
        ("▁ <unk> tt <unk> 3", "�tt�3", "␣ <unk> tt <unk> 3"),
        ("▁ l o w </s>", "low end", "␣ l o w end"),
        ("▁집 에서 ▁שלו ם", "집에서 שלום", "집 ·에서 שלו ·ם"),
        ("no marks here </s>", "no marks here end", "no marks here end"),
        ("▁who <sep> ▁me <length=6>", "who ¶ me length_6", "who ¶ me length_6"),
        ("▁", "␣", "␣"),
    ],
)
def test_words_of_subwords(modules, tokens, whole, pieces):
    tokens = tokens.split()
    for expected, joins in ((whole, True), (pieces, False)):
        words = modules.evaluate(
            "async ([tokens, joins]) => (await import('/words.js')).joinTokens(tokens, joins)",
            [tokens, joins],
        )
        assert [word["text"].replace(" ", "_") for word in words] == expected.split()
        assert [place for word in words for place in word["tokens"]] == list(range(len(tokens)))


def test_a_word_pays_as_much_as_its_tokens(modules):
    weights = np.random.default_rng(0).dirichlet(np.ones(5), size=4)
    groups = [[0, 1], [2], [3]], [[0], [1, 2, 3], [4]]
    joined = modules.evaluate(
        "async ([weights, t, s]) => (await import('/words.js')).joinWeights(weights,"
        "t.map(tokens => ({tokens})), s.map(tokens => ({tokens})))",
        [weights.tolist(), *groups],
    )
    expected = [[weights[np.ix_(t, s)].sum(1).mean() for s in groups[1]] for t in groups[0]]
    np.testing.assert_allclose(joined, expected)
    np.testing.assert_allclose(np.sum(joined, 1), 1.0)


def test_numbers_that_are_none_do_not_spoil_a_reply(modules):
    read = "async text => (await import('/server.js')).parseReply(text)"
    reply = r'{"outputs": {"text": ["NaN \" Infinity"], "score": [NaN, -Infinity, 1.5]}}'
    assert modules.evaluate(read, reply) == {
        "outputs": {"text": ['NaN " Infinity'], "score": [None, None, 1.5]}
    }


@pytest.mark.parametrize(
    ("page", "base"),
    [
        ("http://h:1/#model=x", "http://h:1/"),
        ("https://h/demo/?x=1#", "https://h/demo/"),
        ("https://h/demo/index.html", "https://h/demo/"),
        ("https://h/?server=http://[::1]:8501", "http://[::1]:8501/"),
        ("https://h/page/?server=https://other/tf/serving", "https://other/tf/serving/"),
        ("https://h/?server=https://other/?token=1%23x", "https://other/"),
        ("https://h/?server=javascript:alert(1)", None),
        ("https://h/?server=//other", None),
        ("https://h/?server=", None),
    ],
)
def test_which_server_a_page_asks(modules, page, base):
    ask = "async page => { const { Server } = await import('/server.js');"
    ask += (
        " try { return Server.ofPage(page).base.href; } catch (error) { return error.message; } }"
    )
    found = modules.evaluate(ask, page)
    assert found == base or (base is None and found.startswith("?server= is http://host:port or"))
