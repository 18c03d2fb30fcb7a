"""`regraft approve`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import HERE, ConfOption, JsonOption, WorkspaceOption


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(approve)


def approve(
    by: Annotated[str, typer.Option("--by", help="Your name; it is kept with the decision.")],
    why: Annotated[str, typer.Option("--why", help="Your comment; it is kept with the decision.")],
    run: Annotated[str, typer.Argument(help="Id of the run, or its beginning; nothing: the only one that waits.")] = "",
    refuse: Annotated[bool, typer.Option("--refuse", help="The candidate does not ship.")] = False,
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answers a run that waits for the gate human_approval; it goes on at once, as after the form on Prefect's page."""
    from flows.answering import answer_run
    from flows.cli.console import print_json
    from flows.session import open_session

    answered = answer_run(open_session(workspace, conf), run, approve=not refuse, name=by, comment=why)
    if as_json:
        print_json({"run": answered, "approve": not refuse})
    else:
        typer.echo(f"{'refused' if refuse else 'approved'} run {answered}; `regraft status` shows what becomes of it.", err=True)
