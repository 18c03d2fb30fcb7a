"""Commands that train and judge: `validate`, `retrain`, `evaluate`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flows.cli.options import HERE, ConfOption, JsonOption, SetOption, WorkspaceOption


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (validate, retrain, evaluate):
        app.command()(command)


def validate(workspace: WorkspaceOption = HERE, conf: ConfOption = None, as_json: JsonOption = False) -> None:
    """Checks the data (Great Expectations) and writes the Data Docs."""
    from flows.cli.console import print_json, shown_progress
    from flows.session import open_session
    from pipelines.stages import Stages
    from pipelines.validate import raise_for_validation
    from pipelines.versioning.dataset import dataset_version

    session = open_session(workspace, conf)
    with shown_progress(quiet=as_json) as progress:
        stages = Stages(session.workspace, session.config, progress)
        output = stages.validate(stages.manifest(dataset_version(session.workspace.root).digest))
    docs = output.path / "data_docs" / "index.html"
    if not as_json:
        typer.echo(f"Data Docs: {docs}", err=True)
    raise_for_validation(output.path)
    if as_json:
        print_json({"valid": True, "reports": {"data_docs": str(docs)}})


def retrain(
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    overrides: SetOption = None,
    trigger: Annotated[Literal["person", "schedule"], typer.Option("--trigger", help="What starts it; kept in the registry.")] = "person",
    force: Annotated[
        str | None,
        typer.Option("--force", help="A reason; promotes although gates refuse. Kept in the registry. Errors cannot be forced."),
    ] = None,
    adapt: Annotated[
        bool,
        typer.Option("--adapt", help="Adapts to inputs that the endpoint has kept and nobody has labelled (conf: `adaptation`)."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Runs the flow: validate, train, judge, package, serve once, promote. Exit code 1: a gate refused."""
    from flows.cli.console import shown_progress, stderr_console
    from flows.cli.results import print_run
    from flows.session import open_session

    if adapt and trigger == "schedule":
        raise _two_starts()
    session = open_session(workspace, conf, overrides or ())
    if adapt:
        from flows.adapting import require_adaptable

        require_adaptable(session.config)
    with shown_progress(quiet=as_json) as progress:
        if not as_json:
            stderr_console().print("starting Prefect (a temporary server takes 10 to 20 s; `regraft deploy` keeps one)", style="dim")
        from flows.retrain import run_retrain

        record = run_retrain(session.workspace.root, conf, overrides or (), "adapt" if adapt else trigger, progress, force)
    print_run(record, as_json=as_json)
    if record.outcome == "refused":
        raise typer.Exit(1)


def _two_starts() -> Exception:
    from pipelines.core.errors import ConfigurationError

    return ConfigurationError(
        got="--trigger schedule and --adapt.",
        allowed="one of them: the registry keeps one thing that started a run, and with --adapt it is that.",
        next_step="leave one of them out.",
    )


def evaluate(
    model: Annotated[str, typer.Argument(help="A registered version, for example v0.0.1; nothing: the champion.")] = "",
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judges a registered model again, on the test split of the dataset version in use."""
    from flows.cli.console import shown_progress
    from flows.cli.results import print_evaluation
    from flows.evaluation import evaluate_version
    from flows.session import open_session

    session = open_session(workspace, conf)
    with shown_progress(quiet=as_json) as progress:
        result = evaluate_version(session, model or None, progress)
    print_evaluation(result, as_json=as_json)
