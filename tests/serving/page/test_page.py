"""The demo page in a browser: headless Chromium on the local server, as a user has them."""

from __future__ import annotations

import functools
import http.server
import re
import threading

import page_models
import pytest
from page_visits import (
    MILLISECONDS,
    TEXT,
    WRITTEN,
    expect_shares,
    outputs_for,
    request,
    shown_shares,
    wait_until,
    word,
)

from attention_zoo.serving.server.page_files import write_page
from attention_zoo.serving.server.server import ServerThread
from attention_zoo.serving.server.server_options import ServerOptions

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=MILLISECONDS)

MARKUP = """<script>alert(1)</script> "x" & 'y' <img src=x onerror=alert(2)> </textarea> הבית"""


# Typing, and what comes back


def test_typing_is_enough(visit, page_server):
    page = visit()
    expect(page.locator("#status")).to_have_text("Type a text: the answer comes by itself.")
    expect(page.get_by_label("Signature")).to_have_value("explain")
    page.get_by_label("Text").press_sequentially(TEXT)
    expect(page.locator("#answer .result")).to_have_text(
        outputs_for(page_server, text=TEXT)["text"][0]
    )
    expect(page.locator("#status")).to_have_text(re.compile(r"^words answered in \d+ ms$"))
    expect(page.locator("#answer")).to_contain_text("score -0.25")
    expect(page).to_have_url(re.compile("in.text=the\\+little\\+house"))
    page.get_by_label("Text").fill("  ")
    expect(page.locator("#answer .result")).to_have_count(0)


def test_the_page_opens_with_an_example_and_its_attention(visit):
    rows = [{"text": "a house"}, {"text": TEXT}]

    def with_examples(route):
        listed = route.fetch().json()
        for model in listed["models"]:
            model["examples"] = rows
        route.fulfill(json=listed)

    page = visit(routes={"**/models.json": with_examples}, more=False)
    expect(page.get_by_label("Text")).to_have_value(TEXT)
    expect(page.locator("#answer .result")).to_have_text(WRITTEN)
    expect(page.locator("#map table")).to_be_visible()
    expect(page.locator("#signature")).not_to_be_visible()
    page.get_by_role("button", name="a house").click()
    expect(page.locator("#answer .result")).to_have_text("house a")
    page.locator("summary").first.click()
    expect(page.get_by_label("Signature")).to_have_value("explain")


def test_what_is_typed_meanwhile_is_asked_afterwards_and_never_twice_at_a_time(visit):
    page = visit()
    under_way, most, asked = [], [], []

    def slow(route):
        under_way.append(route)
        most.append(len(under_way))
        asked.append(route.request.post_data_json["inputs"]["text"][0])

    page.route("**:predict", slow)
    page.get_by_label("Text").fill("one")
    wait_until(page, lambda: under_way)
    for text in ("one t", "one tw", "one two"):
        page.get_by_label("Text").fill(text)
        page.wait_for_timeout(350)
    expect(page.locator("#status")).to_have_text("Asking …")
    assert asked == ["one"]
    under_way.pop().continue_()
    wait_until(page, lambda: under_way)
    expect(page.locator("#answer .result")).to_have_text("one")
    expect(page.locator("#answer")).to_have_class("old")  # "one two" is asked already
    under_way.pop().continue_()
    expect(page.locator("#answer .result")).to_have_text("two one")
    expect(page.locator("#answer")).not_to_have_class("old")
    assert (asked, max(most)) == (["one", "one two"], 1)


def test_a_text_of_several_lines_is_a_document_and_so_is_one_that_was_cut(visit):
    page = visit(**{"in.text": f"{TEXT}\nover there"})
    expect(page.locator("#answer .result")).to_have_text(f"{WRITTEN}\nthere over")
    expect(page.locator("#attention")).to_be_hidden()
    page.get_by_label("Text").fill(TEXT)
    expect(page.locator("#attention")).to_be_visible()
    page.get_by_label("Text").fill("house " * 100 + "last")
    expect(page.locator("#answer .result")).to_contain_text("last house")
    expect(page.locator("#attention")).to_be_hidden()
    expect(page.locator("#answer .cut")).to_have_count(0)
    # Whoever chooses a signature gets it.
    page.get_by_label("Signature").select_option("explain")
    expect(page.locator("#attention")).to_be_visible()


def test_a_text_that_was_cut_says_so(visit):
    page = visit(signature="serving_default", **{"in.text": TEXT})
    expect(page.locator("#answer .result")).to_have_text(WRITTEN)
    expect(page.locator("#answer .cut")).to_have_count(0)
    expect(page.locator("#answer .pair")).to_have_text(["score -0.25"])
    page.get_by_label("Text").fill("house " * 100)
    expect(page.locator("#answer .cut")).to_contain_text("A part of the text was not read")


def test_the_best_with_their_scores(visit):
    page = visit(signature="n_best", **{"in.text": TEXT})
    items = page.locator("#answer li")
    expect(items).to_have_text([f"{WRITTEN}score -0.25", "THE LITTLE HOUSEscore -1.5"])
    expect(page.locator("#attention")).to_be_hidden()


def test_the_fields_are_the_inputs_of_the_signature(visit):
    page = visit(**{"in.text": TEXT})
    expect(page.locator("#answer .result")).to_have_text(WRITTEN)
    page.get_by_label("Signature").select_option("answer")
    expect(page.locator("#fields label")).to_have_text(["Context", "Question"])
    page.get_by_label("Context").fill("Mary is here.")
    page.get_by_label("Question").fill("Where is Mary?")
    expect(page.locator("#answer .result")).to_have_text("Where is Mary? / Mary is here.")
    page.get_by_label("Signature").select_option("with_length")
    expect(page.get_by_label("Text")).to_have_value(TEXT)
    page.get_by_label("Length").fill("6")
    expect(page.locator("#answer .result")).to_have_text(TEXT[:6])


def test_versions_and_labels(visit, page_server):
    page = visit(**{"in.text": TEXT})
    options = page.get_by_label("Version").locator("option")
    expect(options).to_have_text(["newest", "stable (1)", "2", "1"])
    # Not just any request: that of the first state may still be on its way.
    with page.expect_request("**/v1/models/words/labels/stable:predict"):
        page.get_by_label("Version").select_option("stable (1)")
    expect(page.locator("#status")).to_have_text(re.compile("^words, stable, answered"))
    with page.expect_request("**/v1/models/words/versions/2:predict"):
        page.get_by_label("Version").select_option("2")
    expect(page).to_have_url(re.compile("version=2&"))


# Links


def test_a_link_shows_the_same_to_someone_else(visit):
    page = visit()
    page.get_by_label("Text").fill(TEXT)
    page.get_by_label("Version").select_option("1")
    word(page, "target", "little").click()
    page.get_by_label("Layer").select_option("1")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#copied")).to_have_text("Copied")
    link = page.evaluate("navigator.clipboard.readText()")
    fragment = link.partition("#")[2]
    other, pasted = visit(link), visit()
    pasted.evaluate("fragment => { location.hash = fragment; }", fragment)
    for shown in (other, pasted):
        expect(shown.locator("#answer .result")).to_have_text(WRITTEN)
        expect(shown.get_by_label("Version")).to_have_value("version:1")
        expect(shown.get_by_label("Layer")).to_have_value("1")
        assert shown_shares(shown, "source") == shown_shares(page, "source") != {}
        assert shown.locator("#said").text_content() == page.locator("#said").text_content()


def test_a_browser_that_takes_no_more_addresses_for_now(visit):
    page = visit()
    refuse = "() => { throw new DOMException('too many', 'SecurityError'); }"
    page.evaluate(f"() => {{ history.replaceState = {refuse}; }}")
    page.get_by_label("Text").fill(TEXT)
    expect(page.locator("#answer .result")).to_have_text(WRITTEN)
    page.evaluate("() => { delete history.replaceState; }")
    page.get_by_role("button", name="Copy link").click()
    expect(page).to_have_url(re.compile("in.text=the\\+little\\+house"))


# Errors, in the words of the server


def test_a_model_that_is_not_there(visit, page_server):
    page = visit(model="nobody", **{"in.text": TEXT})
    status, document = request(page_server, "/v1/models/nobody")
    expect(page.get_by_role("alert")).to_contain_text(f"The server says ({status}):")
    expect(page.get_by_role("alert").locator("p")).to_have_text(document["error"])
    expect(page.get_by_role("button", name="Ask")).to_be_disabled()
    page.get_by_label("Model").select_option("words")
    expect(page.locator("#answer .result")).to_have_text(WRITTEN)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_text_that_the_model_refuses(visit, page_server):
    page = visit(signature="serving_default")
    text = "x" * (page_models.LONGEST + 1)
    body = {"signature_name": "serving_default", "inputs": {"text": [text]}}
    status, document = request(page_server, "/v1/models/words:predict", body)
    page.get_by_label("Text").fill(text)
    expect(page.get_by_role("alert").locator("p")).to_have_text(document["error"])
    assert "too long" in document["error"] and status == 400
    page.get_by_label("Text").fill(TEXT)
    expect(page.locator("#answer .result")).to_have_text(WRITTEN)


def test_a_server_that_went_away(visit):
    page = visit()
    page.route("**:predict", lambda route: route.abort("connectionrefused"))
    page.get_by_label("Text").fill(TEXT)
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.get_by_role("alert")).to_contain_text("Is it still running?")


# Texts of every kind are shown as text


def test_markup_and_letters_from_right_to_left(visit):
    page = visit(**{"in.text": MARKUP})
    expect(page.locator("#answer .result")).to_have_text(" ".join(MARKUP.split()[::-1]))
    expect(page.get_by_label("Text")).to_have_value(MARKUP)
    words = page.locator("#source button").all_text_contents()
    assert "".join(words[:-1]) == MARKUP.replace(" ", "")
    page.locator("#target button").first.click()
    assert page.locator("main script, main img, #answer *:not(p):not(span)").count() == 0
    page = visit(**{"in.text": "הבית הקטן house"})
    source = page.locator("#source")
    first, last = (source.locator("button").nth(place).bounding_box() for place in (0, -1))
    assert first["x"] > last["x"]
    source.locator("button").first.focus()
    page.keyboard.press("ArrowLeft")
    expect(source.locator("button").nth(1)).to_be_focused()


@pytest.mark.parametrize("unit", ["a", "long words ", "字", "<b>", "של"])
def test_ten_thousand_characters(visit, unit):
    text = (unit * 10_000)[:10_000].strip()
    page = visit(signature="explain", viewport={"width": 375, "height": 700})
    page.get_by_label("Text").fill(text)
    expect(page.locator("#answer .result")).to_have_text(" ".join(text.split()[::-1]))
    read = "".join(page.locator("#source button").all_text_contents()).removesuffix("end")
    assert len(read) > 60
    assert text.replace(" ", "").startswith(read)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_chinese(visit):
    text = "今天我们在图书馆。"
    page = visit()
    box = page.get_by_label("Text")
    # As an input method does it: letters first, which are not asked, then the signs.
    asked = []
    page.on("request", lambda it: asked.append(it.post_data) if "predict" in it.url else None)
    box.focus()
    session = page.context.new_cdp_session(page)
    session.send("Input.imeSetComposition", {"text": "jin", "selectionStart": 3, "selectionEnd": 3})
    page.wait_for_timeout(500)
    assert asked == []
    session.send("Input.insertText", {"text": text})
    expect(page.locator("#answer .result")).to_have_text(text)
    expect(page.locator("#source button")).to_have_text([*text[:-2], text[-2:], "end"])
    word(page, "target", "图").hover()
    expect_shares(page, "source", {"图": 91})


# A stock TensorFlow Serving


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    """The address of the files of the page on some web server that knows nothing of models."""
    folder = tmp_path_factory.mktemp("static")
    write_page(folder)
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        thread = threading.Thread(target=files.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{files.server_address[1]}/"
        files.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_server_without_the_page(visit, static, page_folder):
    options = ServerOptions(rest_port=0, grpc_port=None, page=False, cors=True)
    with ServerThread(page_folder, options) as stock:
        url = stock.address.rest_url
        page = visit(f"{static}?server={url}", asks=url)
        expect(page.locator("#server")).to_have_text(url)
        expect(page.locator("#status")).to_have_text("Type the name of a model.")
        page.get_by_label("Model").fill("words")
        page.keyboard.press("Enter")
        page.get_by_label("Text").fill(TEXT)
        expect(page.locator("#answer .result")).to_have_text(WRITTEN)
        expect(page).to_have_url(re.compile(r"\?server=http.*#model=words&in.text"))


def test_a_server_elsewhere_that_does_not_allow_it(visit, static, page_server):
    url = page_server.address.rest_url
    page = visit(f"{static}?server={url}", asks=url, model="words")
    expect(page.get_by_role("alert")).to_contain_text(f"{url} does not answer")
    expect(page.get_by_role("alert")).to_contain_text("--rest_api_enable_cors_support")
    page = visit(f"{static}?server=ftp://x")
    expect(page.get_by_role("alert")).to_contain_text("Received: ftp://x")
