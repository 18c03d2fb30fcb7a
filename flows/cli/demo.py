"""`regraft demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where the demo's own workspace is made.")] = Path(".regraft/demo"),
    keep_serving: Annotated[bool, typer.Option("--keep-serving", help="Leave the endpoint and the Prefect UI up at the end.")] = False,
) -> None:
    """Runs the whole loop on real handwritten digits: train, judge, serve, drift, retrain, swap. About 5 minutes on 2 cores."""
    from flows.demo.run import run_demo

    run_demo(folder, keep_serving=keep_serving)
