"""The command that talks: `attention-zoo chat`."""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.tensorflow_setup import load_tensorflow
from ..data.corpus import NOT_UTF8, flaw
from . import options as shared
from .app import Refused, app, refuse_draws, sampling
from .sources import open_run

if TYPE_CHECKING:
    from ...zoo.pipeline.text_to_text import TextToText

FORGET, QUIT, HELP = "/new", "/quit", "/help"
COMMANDS = f"{FORGET} begins another conversation, {QUIT} stops."


@app.command(rich_help_panel="Use")
def chat(
    context: typer.Context,
    run: shared.RunName,
    temperature: shared.Temperature = 0.8,
    top_k: shared.TopK = 40,
    top_p: shared.TopP = 0.95,
    seed: shared.Seed = None,
    best: Annotated[
        bool, typer.Option("--best", help="Always the most probable reply, found by search.")
    ] = False,
    model: shared.ModelFile = None,
) -> None:
    """Talk to a run of dialogue; it reads what was said before.

    Example: `attention-zoo chat runs/chitchat --temperature 0.7`

    `/new` begins another conversation, `/quit` or the end of the input stops, `/help` says so.
    """
    if best:
        refuse_draws(context, "of which there are none with --best; leave it out, or these.")
    load_tensorflow()
    from ..core.task import source_format

    opened = open_run(run, model=model)
    config = opened.read_config()
    if [item.kind for item in source_format(config).inputs] != ["turns", "text"]:
        raise Refused(f"chat is for a run of dialogue; {run} is of {config.task}.")
    options = {} if best else {"beam_size": 1, **sampling(temperature, top_k, top_p, seed)}
    loaded = opened.load(**options)
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            importlib.import_module("readline")  # then arrow keys edit the line
        print(f"{config.model}; reads the last {config.history_turns} turns.\n{COMMANDS}")
    talk(loaded)


def talk(model: TextToText) -> None:
    """Answers each line of stdin until there are no more."""
    history, said = (item.name for item in model.source_format.inputs)
    turns: list[str] = []
    while True:
        try:
            text = " ".join(input("> " if sys.stdin.isatty() else "").split())
            reason = flaw(text)
        except EOFError:
            if sys.stdin.isatty():
                print()  # what the shell says next begins a line
            return
        except UnicodeError:
            reason = NOT_UTF8
        if reason is not None:
            raise Refused(f"What was said cannot be read: {reason}; set the terminal to UTF-8.")
        if text == QUIT:
            return
        if text == HELP:
            print(COMMANDS)
        elif text == FORGET:
            turns.clear()
        elif text:
            source = {history: "\n".join(turns), said: text}
            reply = model.predict([source])[0]
            print(reply.text, flush=True)
            # What is too old of the conversation is left out every time, and no news.
            if reply.truncated and not model.too_long([source]):
                print("(ended at the most tokens that the model writes)", file=sys.stderr)
            turns += [text, reply.text]
            # The model leaves out what is too old; here it only must not grow without end.
            del turns[: -max(1, model.source_format.max_turns)]
