"""Pages opened in a browser for tests of the demo page, and what is asked without a browser."""

from __future__ import annotations

import http.client
import json
import re
from urllib.parse import urlencode

TEXT = "the little house"
WRITTEN = "house little the"  # what the model of `page_models` makes of it
MILLISECONDS = 20_000  # to wait at most; a machine may have other things to do
# What a browser itself writes to the console about a request that is refused.
REFUSED = ("Failed to load resource", "has been blocked by CORS policy")


class Visits:
    """Opens the page, and notes what goes wrong without anyone seeing it.

    That is a request to anyone but the address of the page and the server that it asks, a dialog,
    and an error in the console; what a browser writes of refused requests is no fault of the page.

    Args:
        browser: of Playwright.
        home: the address of the page.
    """

    def __init__(self, browser, home):
        self.faults = []
        self._browser = browser
        self._home = home
        self._contexts = []

    def open(self, address=None, asks=None, bypass_csp=False, routes=None, more=True, **state):
        """A page with a state, of `home` or another address, in a profile of its own.

        Model, version and signature are shown, unless not `more`. `routes` answer for the server.
        """
        options = {name: state.pop(name) for name in ("viewport", "color_scheme") if name in state}
        address = address or self._home
        address += f"#{urlencode(state)}" if state else ""
        context = self._browser.new_context(bypass_csp=bypass_csp, **options)
        self._contexts.append(context)
        context.set_default_timeout(MILLISECONDS)
        page = context.new_page()
        self._poller(page, (re.split("[?#]", address)[0], asks or address))
        for pattern, answer in (routes or {}).items():
            page.route(pattern, answer)
        page.goto(address)
        if more:
            page.evaluate("document.getElementById('more').open = true")
        return page

    def _poller(self, page, allowed):
        def asked(request):
            if not request.url.startswith(allowed):
                self.faults.append(request.url)

        def said(message):
            own = not any(words in message.text for words in REFUSED)
            if message.type in ("error", "warning") and own:
                self.faults.append(message.text)

        def interrupted(dialog):
            self.faults.append(dialog.message)
            dialog.dismiss()

        page.on("request", asked)
        page.on("console", said)
        page.on("dialog", interrupted)
        page.on("pageerror", lambda error: self.faults.append(str(error)))

    def close(self):
        """Closes all pages."""
        for context in self._contexts:
            context.close()


def request(server, path, body=None):
    """Status and document of a reply over REST, asked without the page."""
    address = server.address
    connection = http.client.HTTPConnection(address.host, address.rest_port, timeout=30)
    try:
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def outputs_for(server, signature="explain", **inputs):
    body = {"signature_name": signature, "inputs": {name: [it] for name, it in inputs.items()}}
    status, document = request(server, "/v1/models/words:predict", body)
    assert status == 200, document
    return document["outputs"]


def shown_shares(page, side):
    """The percents under the words of a side; words without one are left out."""
    words = page.locator(f"#{side} button[data-percent]")
    pairs = words.evaluate_all("all => all.map(it => [it.textContent, it.dataset.percent])")
    return {text: int(percent.rstrip("%")) for text, percent in pairs}


def expect_shares(page, side, expected):
    """The percents under the words of a side become these."""
    wait_until(page, lambda: shown_shares(page, side) == expected)


def word(page, side, text):
    return page.locator(f"#{side} button", has_text=re.compile(f"^{re.escape(text)}$"))


def wait_until(page, happened):
    """Lets the browser go on until something has happened here."""
    for _ in range(2000):
        if happened():
            return
        page.wait_for_timeout(10)
    raise AssertionError("it did not happen within twenty seconds")
