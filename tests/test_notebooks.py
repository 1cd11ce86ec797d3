"""The notebooks of the guides, run from the first cell to the last."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture
def run(tmp_path):
    """Executes a notebook in an empty folder; what it gives are its cells with their outputs."""

    def execute(name):
        path = next(path for path in NOTEBOOKS if path.stem == name)
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(
            notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}
        )
        client.execute()
        return notebook.cells

    return execute


def kinds(cell):
    """The kinds of data that a cell shows."""
    return {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}


def printed(cells):
    return "".join(o.get("text", "") for cell in cells for o in cell.get("outputs", []))


def test_all_notebooks_are_run_here():
    names = ["fit_your_own", "layers_in_your_own_model", "train_look_export"]
    assert [p.stem for p in NOTEBOOKS] == names


def test_layers_in_a_model_of_ones_own(run):
    cells = run("layers_in_your_own_model")
    assert "[0 1 2 4 4 7 8 9]" in printed(cells)  # the example, sorted
    assert any("image/png" in kinds(cell) for cell in cells)


def test_train_look_export(run):
    cells = run("train_look_export")
    shown = [kinds(cell) for cell in cells]
    assert any("text/html" in kind for kind in shown)  # the explanation draws itself
    assert "Prediction(text=" in printed(cells)


def test_fit_of_ones_own(run):
    cells = run("fit_your_own")
    assert "Anna Berg\n" in printed(cells[-1:])  # by the model that another process has loaded
