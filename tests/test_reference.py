"""The reference: all that the pages of docs/api show says what it takes, returns and raises."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SECTION = re.compile(r"^([A-Z][a-z]+(?: arguments)?):$", re.MULTILINE)
# Under a heading: names, perhaps several and with a star, and what is said of them.
ENTRY = re.compile(r"^    ([*\w, ]+?):(?: |\n)(.*(?:\n {5,}.*)*)", re.MULTILINE)
PROPERTIES = {"property", "cached_property", "functools.cached_property"}


@functools.cache
def parse(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def find(module, name):
    """The definition of a name, in the module or where that has it from."""
    path = CHECKOUT.joinpath(*module)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in parse(file).body:
        if getattr(node, "name", None) == name:
            return node
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            package = module if path.is_dir() else module[:-1]
            base = package[: len(package) - node.level + 1]
            return find([*base, *(node.module or "").split(".")], name)
    raise LookupError(f"there is no {name} in {file}")


def shown():
    """What the pages show: what they name and, of classes, the public methods with a docstring."""
    for page in sorted((CHECKOUT / "docs" / "api").glob("*.md")):
        for path in re.findall(r"^::: attention_zoo\.(\S+)", page.read_text("utf-8"), re.MULTILINE):
            *module, name = path.split(".")
            node = find(module, name)
            yield pytest.param(node, id=name)
            for own in node.body if isinstance(node, ast.ClassDef) else ():
                public = isinstance(own, FUNCTIONS) and not own.name.startswith("_")
                if public and ast.get_docstring(own):
                    yield pytest.param(own, id=f"{name}.{own.name}")


def sections(docstring):
    """The text under each heading of a docstring."""
    _, *parts = SECTION.split(docstring)
    return {name: text.strip("\n") for name, text in zip(parts[::2], parts[1::2], strict=True)}


def parameters(node):
    """The names that a function or a class takes; the fields of one that has no `__init__`."""
    if isinstance(node, ast.ClassDef):
        made = [own for own in node.body if getattr(own, "name", "") == "__init__"]
        if not made:
            fields = [own.target.id for own in node.body if isinstance(own, ast.AnnAssign)]
            return [name for name in fields if not name.startswith("_")]
        (node,) = made
    spec = node.args
    names = [own.arg for own in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    if spec.kwarg:  # what is handed on by position has its names among those
        names.append(spec.kwarg.arg)
    return [name for name in names if name not in ("self", "cls")]


def gives_a_value(node):
    if isinstance(node, ast.ClassDef) or PROPERTIES & {*map(ast.unparse, node.decorator_list)}:
        return False  # what a property is stands in its first line
    if node.returns is not None:
        return ast.unparse(node.returns) != "None"
    return any(isinstance(own, ast.Return) and own.value for own in ast.walk(node))


def raised(node):
    """The exceptions that are raised there and then; that of a method to be written is none."""
    if isinstance(node, ast.ClassDef):
        node = next((own for own in node.body if getattr(own, "name", "") == "__init__"), None)
    for own in ast.walk(node) if node else ():
        if isinstance(own, ast.Raise) and own.exc is not None:
            name = ast.unparse(getattr(own.exc, "func", own.exc))
            if name != "NotImplementedError":
                yield name


def gaps(node):
    """What a docstring leaves out."""
    found = sections(ast.get_docstring(node) or "")
    told = {}
    for title in ("Args", "Attributes", "Call arguments"):
        for names, text in ENTRY.findall(found.get(title, "")):
            told |= {name.strip(" *"): text for name in names.split(",")}
    for name in parameters(node):
        words = {*re.findall(r"\w+", told.get(name, "").lower())}
        if not words - {*name.split("_"), name, "a", "the", "of"}:
            yield f"Args: {name}"
    if gives_a_value(node) and not (found.get("Returns") or found.get("Yields")):
        yield "Returns:"
    told_errors = {names for names, _ in ENTRY.findall(found.get("Raises", ""))}
    yield from (f"Raises: {name}" for name in {*raised(node)} - told_errors)


@pytest.mark.parametrize("node", [*shown()])
def test_the_docstring_has_the_sections_that_apply(node):
    assert not [*gaps(node)]


WRITTEN = '''
def scale(text, factor, **more):
    """Scales.

    Args:
        {text}
        factor: Positive.
        **more: Taken
            as well.

    {rest}
    """
    if factor < 0:
        raise ValueError("negative")
    return factor
'''


@pytest.mark.parametrize(
    ("text", "rest", "expected"),
    [
        ("text: A line.", "Returns:\n        A.\n\n    Raises:\n        ValueError: B.", []),
        ("text: The text.", "Raises:\n        ValueError: B.", ["Args: text", "Returns:"]),
        ("texts: A line.", "Returns:\n        A.", ["Args: text", "Raises: ValueError"]),
    ],
)
def test_a_gap_is_found(text, rest, expected):
    (node,) = ast.parse(WRITTEN.format(text=text, rest=rest)).body
    assert [*gaps(node)] == expected
