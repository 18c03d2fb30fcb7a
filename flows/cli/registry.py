"""Commands on registered models: `promote`, `rollback`, `history`, `show`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import HERE, ConfOption, JsonOption, WhyOption, WorkspaceOption


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (promote, rollback, history, show):
        app.command()(command)


def promote(version: str, why: WhyOption, workspace: WorkspaceOption = HERE, conf: ConfOption = None, as_json: JsonOption = False) -> None:
    """Makes a registered version the champion; a running endpoint swaps to it."""
    from flows.cli.results import print_champion
    from flows.promotion import promote_version
    from flows.session import open_session

    print_champion(promote_version(open_session(workspace, conf), version, why), as_json=as_json)


def rollback(
    why: WhyOption,
    to: Annotated[str | None, typer.Option("--to", help="A version; nothing: the champion before this one.")] = None,
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Makes an earlier version the champion again; a running endpoint swaps to it."""
    from flows.cli.results import print_champion
    from flows.promotion import roll_back
    from flows.session import open_session

    print_champion(roll_back(open_session(workspace, conf), to, why), as_json=as_json)


def history(workspace: WorkspaceOption = HERE, conf: ConfOption = None, as_json: JsonOption = False) -> None:
    """Who was champion, from when, and why."""
    from flows.cli.results import print_history
    from flows.session import open_session
    from pipelines.versioning.registry import history as read_history

    session = open_session(workspace, conf)
    print_history(read_history(session.workspace.root, session.config.project), as_json=as_json)


def show(
    model: Annotated[str, typer.Argument(help="A registered version, for example v0.0.1.")],
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """The lineage of a registered version: data, commit, configuration, weights, decision."""
    from flows.cli.results import print_model
    from flows.session import open_session
    from pipelines.versioning.registry import show as read_model

    session = open_session(workspace, conf)
    print_model(read_model(session.workspace.root, session.config.project, model), as_json=as_json)
