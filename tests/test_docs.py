"""What the guides say: links lead somewhere, commands have these options, and code runs."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from attention_zoo.recipes.cli.main import app

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
NOTEBOOKS = sorted(REPOSITORY.glob("docs/notebooks/*.ipynb"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
SITE = REPOSITORY / "mkdocs.yml"
# Of code that needs more than the package: what it calls, and what it would need.
NEEDS = {
    "attention_zoo.train(": "a corpus",
    "run_task(": "a corpus",
    "Client(": "a server",
    "ctranslate2.Translator(": "an export",
}


def names(paths):
    return [str(path.relative_to(REPOSITORY)) for path in paths]


def anchors(text):
    """Where links into a page lead: its headings, in the form that the site gives them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def commands(text):
    """Lines that call the command, in fenced blocks."""
    for language, block in FENCE.findall(text):
        if language in ("", "sh", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("attention-zoo "):
                    yield line.split("  # ")[0]


def check(line):
    """Raises an error of usage if the command does not take what stands in the line."""
    name, *arguments = shlex.split(line)[1:]
    group = typer.main.get_command(app)
    command = group.commands.get(name)
    assert command is not None, f"there is no command {name}"
    command.make_parser(command.context_class(command)).parse_args(arguments)


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_a_page(page):
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        if not target.startswith(("http://", "https://")):
            name, _, anchor = target.partition("#")
            linked = page.parent / name if name else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked.read_text(encoding="utf-8")), target
    for line in commands(text):
        check(line)
    for language, block in FENCE.findall(text):
        if language == "python":
            compile(block, page.name, "exec")


def code_that_runs(page):
    """The code of a page as one program, in its order."""
    blocks = FENCE.findall(page.read_text(encoding="utf-8"))
    codes = [block for language, block in blocks if language == "python"]
    return "\n".join(code for code in codes if not any(call in code for call in NEEDS))


def pages_with_code():
    # Whole models take their time, most of it for their graphs.
    slow = re.compile(r"attention_zoo\.load\(|vocab_size=8000\)$", re.MULTILINE)
    for page in PAGES:
        if code := code_that_runs(page):
            marks = [pytest.mark.slow] if slow.search(code) else []
            yield pytest.param(page, id=page.name, marks=marks)


@pytest.mark.parametrize("page", [*pages_with_code()])
def test_the_code_of_a_page_runs_in_a_fresh_process(page):
    command = [sys.executable, "-c", code_that_runs(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_wrong_option_is_found():
    with pytest.raises(Exception, match="No such option: --modle"):
        check("attention-zoo train translation --modle rnn")


def test_anchors_are_those_of_the_headings():
    text = "# Measured: bAbI\n```\n# no heading\n```\n## `--seed`, twice\n"
    assert anchors(text) == {"measured-babi", "--seed-twice"}


def test_every_page_is_on_the_site():
    site = SITE.read_text(encoding="utf-8")
    shown = set(re.findall(r": (\S+\.(?:md|ipynb))$", site, re.MULTILINE))
    docs = REPOSITORY / "docs"
    assert shown == {str(path.relative_to(docs)) for path in [*docs.glob("**/*.md"), *NOTEBOOKS]}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_a_notebook_is_kept_with_results_and_nothing_of_a_machine(notebook):
    text = notebook.read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs and all(output["output_type"] != "error" for output in outputs)
    assert "%pip install" in "".join(cells[0]["source"])
    assert not re.search(r"/(home|tmp|root|work)/", text)


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_what_the_code_of_a_page_imports_is_there(page):
    imported = re.findall(
        r"^from (attention_zoo[\w.]*) import ([\w, ]+)", page.read_text(encoding="utf-8"), re.M
    )
    for module, things in imported:
        for name in things.split(","):
            assert hasattr(importlib.import_module(module), name.strip()), f"{module}: {name}"
