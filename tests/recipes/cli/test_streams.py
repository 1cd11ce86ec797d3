"""The command line where its streams, its memory or its terminal give way."""

import io
import os
import subprocess
import sys

import pytest
import typer

from attention_zoo.recipes.cli.main import app, main, run_command


def test_a_reader_of_the_output_may_go_away(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

        def fileno(self):
            return open_file.fileno()

    with open("sink", "w") as open_file:
        monkeypatch.setattr(sys, "stdout", Gone())
        assert run_command(app, ["settings"]) == 0


@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_a_pipe_without_a_reader_ends_in_order(unbuffered):
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-m", "attention_zoo", "settings"],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=write,
        stderr=subprocess.PIPE,
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_closed_streams_are_empty_ones(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    for command, status in ((["settings"], 0), (["predict", "no-run"], 2), (["chat", "a"], 2)):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == status
    for name in ("stdin", "stdout", "stderr"):
        getattr(sys, name).close()


def raises(error):
    """An application of one command, which fails."""
    application = typer.Typer()

    @application.command()
    def fail() -> None:
        raise error

    return application


def test_what_is_too_large_or_cannot_be_written_is_one_line(capsys):
    exhausted = type("ResourceExhaustedError", (Exception,), {})
    for error, expected in (
        (MemoryError("Unable to allocate 14 TiB"), "not enough memory for this; take a smaller"),
        (exhausted("OOM when allocating tensor"), "OOM when allocating tensor"),
        (UnicodeEncodeError("ascii", "ß", 0, 1, "no"), "characters that ascii cannot write"),
    ):
        assert run_command(raises(error), []) == 2
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.count("\n") == 1 and expected in line
    with pytest.raises(ZeroDivisionError):
        run_command(raises(ZeroDivisionError()), [])
