"""`regraft trigger`: a person's word to the automation that starts retrainings."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import HERE, ConfOption, JsonOption, WorkspaceOption

WhyOption = Annotated[str, typer.Option("--why", help="The reason; `regraft status` shows it.")]
ByOption = Annotated[str, typer.Option("--by", help="Who says so; by default git's identity.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Stops, snoozes or resumes what starts retrainings by itself.", no_args_is_help=True)
    for command in (snooze, stop, resume):
        group.command()(command)
    app.add_typer(group, name="trigger")


def snooze(
    duration: Annotated[str, typer.Argument(help="For example 30m, 12h, 3d or 1w; at most 90 days.")],
    why: WhyOption,
    by: ByOption = "",
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drift and new labels start nothing for a while; it ends by itself, and schedules go on."""
    from flows import trigger_orders
    from flows.cli.results import print_orders
    from flows.session import open_session

    print_orders(trigger_orders.snooze(open_session(workspace, conf), duration, why, by), as_json=as_json)


def stop(
    why: WhyOption, by: ByOption = "", workspace: WorkspaceOption = HERE, conf: ConfOption = None, as_json: JsonOption = False
) -> None:
    """Nothing starts by itself any more, schedules included; `regraft retrain` still does."""
    from flows import trigger_orders
    from flows.cli.results import print_orders
    from flows.session import open_session

    print_orders(trigger_orders.stop(open_session(workspace, conf), why, by), as_json=as_json)


def resume(
    why: WhyOption = "", by: ByOption = "", workspace: WorkspaceOption = HERE, conf: ConfOption = None, as_json: JsonOption = False
) -> None:
    """Ends a stop and a snooze."""
    from flows import trigger_orders
    from flows.cli.results import print_orders
    from flows.session import open_session

    print_orders(trigger_orders.resume(open_session(workspace, conf), why, by), as_json=as_json)
