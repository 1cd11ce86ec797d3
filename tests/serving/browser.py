"""Which browser the tests of the page use. As a program it prints its path, or fails."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_BROWSER = (
    "There is no Chromium. Install one with `make browser`, or name one: CHROMIUM=/path/to/chromium"
)


def find_browser(playwright: Any) -> str | None:
    """Path of a Chromium: the one that `CHROMIUM` names, Playwright's own, or the system's."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    own = playwright.chromium.executable_path
    if Path(own).is_file():
        return own
    return next(filter(None, map(shutil.which, SYSTEM_BROWSERS)), None)


if __name__ == "__main__":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = find_browser(driver)
    if found is None:
        sys.exit(NO_BROWSER)
    print(found)
