"""One tiny run, trained once, for all tests that need one; and how a command is refused."""

import contextlib
import io

import pytest
from reverse_task import train, write_pairs


@pytest.fixture(scope="session")
def reverse_files(tmp_path_factory):
    """A folder with `train.tsv` and `valid.tsv`."""
    folder = tmp_path_factory.mktemp("reverse")
    write_pairs(folder / "train.tsv", 40, seed=0)
    write_pairs(folder / "valid.tsv", 8, seed=1)
    return folder


@pytest.fixture(scope="session")
def trained(reverse_files, tmp_path_factory):
    """The folder of a run of 20 steps that was never stopped, and what it printed."""
    output = tmp_path_factory.mktemp("runs") / "trained"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert train(reverse_files, output) == 0
    return output, printed.getvalue()


@pytest.fixture
def fake_evaluator(monkeypatch):
    """Trainings evaluate with `FakeEvaluator`, whose values a test may set."""
    from fake_evaluator import FakeEvaluator

    from attention_zoo.recipes.training import training

    monkeypatch.setattr(training, "Evaluator", FakeEvaluator)
    usual = {"calls": 0, "values": (50.0,), "killed_at": None, "in_full": None}
    for name, value in usual.items():
        monkeypatch.setattr(FakeEvaluator, name, value)
    return FakeEvaluator


@pytest.fixture
def refused(capsys):
    """The one line with which a command is refused."""

    def check(status):
        assert status == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        return error

    return check
