"""`regraft demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)


def demo(
    task: Annotated[Literal["image", "text"], typer.Option("--task", help="What a sample is.")] = "image",
    reviews: Annotated[
        Path | None, typer.Option("--reviews", help="A .csv.gz with domain, label and text, for --task text; with books and kitchen.")
    ] = None,
    folder: Annotated[Path, typer.Option("--folder", help="Where the demo's own workspace is made.")] = Path(".regraft/demo"),
    keep_serving: Annotated[bool, typer.Option("--keep-serving", help="Leave the endpoint and the Prefect UI up at the end.")] = False,
) -> None:
    """Runs the whole loop on real data: train, judge, serve, drift, retrain, swap. About 5 minutes on 2 cores.

    Images are handwritten digits. Texts are product reviews where their table is at hand, else sentences of documentation.
    """
    from flows.demo.run import run_demo
    from flows.demo.scenario import scenario_of
    from pipelines.core.errors import ConfigurationError

    if reviews is not None and task != "text":
        raise ConfigurationError(
            got=f"--reviews with --task {task}.",
            allowed="a table of reviews for the demo of texts.",
            next_step="write --task text, or leave --reviews out.",
        )
    run_demo(folder, scenario_of(task, reviews), keep_serving=keep_serving)
