"""One toy model, exported once, for all tests of serving."""

from __future__ import annotations

import pytest
from toy_pipelines import ToyTextToText

from attention_zoo.serving.export import export


@pytest.fixture(scope="session")
def toy():
    return ToyTextToText()


@pytest.fixture(scope="session")
def export_findings():
    """What the gates found on the exported toy; filled by `exported`."""
    return []


@pytest.fixture(scope="session")
def exported(toy, export_findings, tmp_path_factory):
    """Folder of version 1 of the toy model."""
    directory = tmp_path_factory.mktemp("exports")
    return export(toy, directory, report=export_findings.append)
