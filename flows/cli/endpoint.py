"""`regraft serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import HERE, ConfOption, WorkspaceOption


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(serve)


def serve(
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Instead of serving.port in the conf file.")] = None,
) -> None:
    """Serves the champion's Bento on this machine until interrupted; later promotions are swapped in without a lost request."""
    from flows.endpoint import serving
    from flows.session import open_session

    with serving(open_session(workspace, conf), port) as endpoint:
        typer.echo(f"{endpoint.url} (bundle {endpoint.bundle}); POST /predict, POST /feedback, GET /model. Ctrl-C stops it.", err=True)
        endpoint.wait()
