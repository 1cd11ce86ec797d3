"""What all tests share. Nothing here loads TensorFlow: the tests of the layers run without it."""

import os

import pytest

# Before any test imports Keras or TensorFlow: neither chatter nor a search for a GPU's libraries.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")
# Processes of tests side by side: threads of one would only wait for those of the others.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder of its own, so that none writes into the checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def eager():
    """Within the test no graph is traced."""
    from eager import eagerly

    with eagerly():
        yield


# Playwright keeps an event loop running, which other modules could not start theirs beside.
@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    from browser import NO_BROWSER, find_browser

    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        path = find_browser(playwright)
        if path is None:
            pytest.skip(NO_BROWSER)
        running = playwright.chromium.launch(executable_path=path)
        yield running
        running.close()
