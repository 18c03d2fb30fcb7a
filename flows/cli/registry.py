"""Commands on registered models: `promote`, `rollback`, `history`, `show`, `diff`, `reproduce`, `gc`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import HERE, ConfOption, JsonOption, WhyOption, WorkspaceOption

VersionArgument = Annotated[str, typer.Argument(help="A registered version, for example v0.0.1.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (promote, rollback, history, show, diff, reproduce, gc):
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


def history(
    at: Annotated[str | None, typer.Option("--at", help="Who was champion then: ISO 8601, UTC where it names no zone.")] = None,
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who was champion, from when, and why."""
    from flows.cli.registry_results import print_champion_at
    from flows.cli.results import print_history
    from flows.session import open_session
    from pipelines.versioning.moments import champion_at_moment
    from pipelines.versioning.registry import history as read_history

    session = open_session(workspace, conf)
    if at is None:
        print_history(read_history(session.workspace.root, session.config.project), as_json=as_json)
    else:
        print_champion_at(champion_at_moment(session.workspace.root, session.config.project, at), as_json=as_json)


def show(model: VersionArgument, workspace: WorkspaceOption = HERE, conf: ConfOption = None, as_json: JsonOption = False) -> None:
    """The lineage of a registered version: data, code, configuration, weights, machine, metrics, decisions, run."""
    from flows.cli.registry_results import print_account
    from flows.session import open_session
    from pipelines.versioning.account import account_of

    session = open_session(workspace, conf)
    print_account(account_of(session.workspace.root, session.config.project, model), as_json=as_json)


def diff(
    first: VersionArgument,
    second: VersionArgument,
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Two registered versions side by side: data, configuration, backbone, metrics, decisions, libraries."""
    from flows.cli.registry_results import print_comparison
    from flows.session import open_session
    from flows.version_comparison import compare

    print_comparison(compare(open_session(workspace, conf), first, second), as_json=as_json)


def reproduce(
    model: VersionArgument,
    weights: Annotated[
        list[Path] | None, typer.Option("--weights", help="A .safetensors file or a folder to find the backbone's weights in. Repeatable.")
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", min=0.001, max=0.5, help="Of accuracy; used where equal bits are not to be expected.")
    ] = 0.02,
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Makes a registered version again in a temporary folder and compares; exit 0 where it is the same."""
    from flows.cli.console import shown_progress
    from flows.cli.registry_results import print_reproduction
    from flows.reproduction import reproduce as make_again
    from flows.session import open_session

    try:
        with shown_progress(quiet=as_json) as progress:
            found = make_again(open_session(workspace, conf), model, weights or (), margin, progress)
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None  # 1 would say that the model is another one
    print_reproduction(found, as_json=as_json)
    if not found.is_same:
        raise typer.Exit(1)


def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List only; what happens anyway where nobody can be asked.")] = False,
    keep_runs: Annotated[int, typer.Option("--keep-runs", min=0, help="Keep what the latest runs made.")] = 5,
    log_days: Annotated[float, typer.Option("--log-days", min=1, help="Keep logs that were written to since.")] = 30,
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lists what nothing needs any more (stage outputs, Bentos, cached bundles, old logs), asks, and removes it."""
    from flows.cli.console import shown_progress
    from flows.cli.registry_results import print_garbage, print_removed
    from flows.garbage import Retention, find_garbage, remove_garbage
    from flows.session import open_session

    session, retention = open_session(workspace, conf), Retention(n_runs=keep_runs, log_days=log_days)
    found = find_garbage(session, retention)
    may_ask = not as_json and sys.stdin.isatty() and sys.stdout.isatty()
    removes = bool(found) and yes and not dry_run
    if not removes or not as_json:
        print_garbage(found, as_json=as_json)
    if found and may_ask and not (yes or dry_run):
        removes = typer.confirm("Remove them?")
    if removes:
        with shown_progress(quiet=as_json) as progress:
            n_bytes = remove_garbage(session, found, retention, progress)
        print_removed(found, n_bytes, as_json=as_json)
