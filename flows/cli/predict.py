"""`regraft predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import HERE, ConfOption, JsonOption, WorkspaceOption


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(predict)


def predict(
    inputs: Annotated[
        Path, typer.Argument(help="A folder of images, sounds or .txt files, or a table with the column path (of texts: text).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .csv or .parquet file of predictions; replaced in one step.")],
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predicts every input of a folder or table with the champion; one that cannot be read has a row that says why."""
    from flows.batch_prediction import predict_batch
    from flows.cli.console import print_json, shown_progress
    from flows.session import open_session

    session = open_session(workspace, conf)
    with shown_progress(quiet=as_json) as progress:
        summary = predict_batch(session, inputs, out, progress)
    if as_json:
        print_json(summary.as_json())
        return
    typer.echo(f"{summary.out}: {summary.in_words}", err=True)
