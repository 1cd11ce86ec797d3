"""Commands that bring a run to its users: export, serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_app import RunFolder, app
from .runtime import load_tensorflow


@app.command(rich_help_panel="Serve")
def export(
    run: RunFolder,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where models are served from.")],
    version: Annotated[
        int | None, typer.Option(min=1, help="One more than the newest if left out.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="That of the run's folder if left out.")] = None,
) -> None:
    """Publish a run as a SavedModel for TensorFlow Serving, if it passes every check.

    Example: `attention-zoo export runs/en-de models` writes models/en-de/1
    """
    load_tensorflow()
    from ..serving.export import export as publish
    from .run import load

    path = publish(load(run), directory, version, name=name, report=lambda found: print(found))
    print(f"published {path}")


@app.command(rich_help_panel="Serve")
def serve(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of models.")],
    rest_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8501,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8500,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve exported models over REST and gRPC, as TensorFlow Serving does.

    Example: `attention-zoo serve models`, then `curl -d '{"instances": ["a house"]}'
    http://127.0.0.1:8501/v1/models/en-de:predict`
    """
    load_tensorflow()
    from ..serving.server import Address
    from ..serving.server import serve as run_server

    def ready(address: Address) -> None:
        print(f"REST {address.rest_url}\ngRPC {address.grpc_url}\nCtrl-C stops it.", flush=True)

    run_server(directory, rest_port, grpc_port, host, ready)
