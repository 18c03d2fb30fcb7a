"""Commands on labels for production traffic: `labels next`, `labels take`, `labels config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.options import HERE, ConfOption, JsonOption, WorkspaceOption

labels_app = typer.Typer(help="What to label next, and labels that come back.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    labels_app.command("next")(labels_next)
    labels_app.command("take")(labels_take)
    labels_app.command("config")(labels_config)
    app.add_typer(labels_app, name="labels")


def labels_next(
    budget: Annotated[int, typer.Option("--budget", min=1, max=100_000, help="How many inputs people will label.")] = 100,
    random_frac: Annotated[float, typer.Option("--random-frac", min=0, max=1, help="Share of the budget drawn at random.")] = 0.2,
    links: Annotated[
        Literal["local-files", "base64"],
        typer.Option(
            "--links", "--images", help="In Label Studio's tasks: links to local files, or the images or sounds. Texts are in them."
        ),
    ] = "local-files",
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same log and seed give the same inputs.")] = 0,
    again: Annotated[bool, typer.Option("--again", help="Also what was handed out before and has no label yet.")] = False,
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hands out inputs of the endpoint that are worth a label: a CSV file and Label Studio tasks."""
    from flows.cli.console import print_json, stderr_console
    from flows.labelling import next_labels
    from flows.session import open_session

    found = next_labels(open_session(workspace, conf), budget, random_frac, seed, links, again=again)
    if as_json:
        print_json(found.as_json())
    else:
        stderr_console().print(found.as_text(), markup=False, highlight=False, soft_wrap=True)


def labels_take(
    file: Annotated[Path, typer.Argument(help="Label Studio's export (JSON or JSON-MIN), the CSV file, or a quarantine file.")],
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Takes labels back; what cannot be used goes to a quarantine file with reasons."""
    from flows.cli.console import print_json, stderr_console
    from flows.label_taking import take_labels
    from flows.session import open_session

    taken = take_labels(open_session(workspace, conf), file)
    if as_json:
        print_json(taken.as_json())
    else:
        stderr_console().print(taken.as_text(), markup=False, highlight=False, soft_wrap=True)


def labels_config(workspace: WorkspaceOption = HERE, conf: ConfOption = None) -> None:
    """Prints Label Studio's labelling interface (XML) for the project's labels."""
    from flows.labelling import labels_config
    from flows.session import open_session

    typer.echo(labels_config(open_session(workspace, conf)), nl=False)
