"""Commands that make a workspace and look after its data: `init`, `data`, `ingest`, `doctor`, `backbones`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.options import HERE, ConfOption, JsonOption, SetOption, WorkspaceOption

data_app = typer.Typer(help="Sample data and dataset versions.", no_args_is_help=True)
backbones_app = typer.Typer(help="Pretrained backbones.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(init)
    app.command()(ingest)
    app.command()(doctor)
    data_app.command("sample")(data_sample)
    data_app.command("commit")(data_commit)
    data_app.command("relabel")(data_relabel)
    data_app.command("unlabelled")(data_unlabelled)
    app.add_typer(data_app, name="data")
    backbones_app.command("list")(backbones_list)
    backbones_app.command("rank")(backbones_rank)
    backbones_app.command("pretrain")(backbones_pretrain)
    backbones_app.command("continue-pretraining")(backbones_continue_pretraining)
    app.add_typer(backbones_app, name="backbones")


def init(
    folder: Annotated[Path, typer.Argument(help="The new workspace; its name becomes the project's.")],
    source: Annotated[Path, typer.Option("--from", help="A folder of class folders, or a table: path and label; text and label.")],
    task: Annotated[Literal["image", "text", "audio"], typer.Option("--task", help="What a sample is.")] = "image",
    labels_per_sample: Annotated[
        Literal["one", "many"], typer.Option("--labels-per-sample", help="many: a table's cell names any number of labels, cat|dog.")
    ] = "one",
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="A YAML mapping as in the conf file, or a shipped name; sounds need one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Makes a workspace (git + DVC) with your data and a commented conf file."""
    from flows.cli.console import print_json, stderr_console
    from flows.new_workspace import first_backbone, init_workspace

    section = first_backbone(task, backbone)
    made = init_workspace(folder, source, task, labels_per_sample=labels_per_sample, backbone=section)
    if as_json:
        print_json(made.as_json())
        return
    stderr_console().print(made.as_text(), markup=False, highlight=False, soft_wrap=True)


def data_sample(
    name: Annotated[Literal["digits"], typer.Argument(help="Which sample dataset.")],
    workspace: WorkspaceOption = HERE,
) -> None:
    """Writes a sample dataset to data/ and confirms it with DVC where data.dvc names it."""
    from flows.cli.console import stderr_console
    from flows.new_workspace import confirm_sample

    stderr_console().print(confirm_sample(name, workspace), markup=False, highlight=False, soft_wrap=True)


def data_commit(
    message: Annotated[str, typer.Option("--message", "-m", help="Why the data changed.")],
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
) -> None:
    """Makes a new dataset version of what is in data/ now: DVC add, push, git commit."""
    from flows.cli.console import stderr_console
    from flows.exclusive import only_writer
    from flows.session import open_session
    from pipelines.versioning.dataset import commit_dataset

    session = open_session(workspace, conf)
    with only_writer(session.workspace):
        version = commit_dataset(session.workspace.root, message)
    stderr_console().print(f"dataset {version.digest}: {version.n_files} files, commit {version.git_commit[:8]}")


def data_relabel(
    file: Annotated[Path, typer.Argument(help="A run's audit.csv with the column new_label filled in, or drop in the column action.")],
    is_trial: Annotated[bool, typer.Option("--dry-run", help="Checks the file and shows what would change.")] = False,
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Corrects labels as an edited audit table says, as a new dataset version."""
    from flows.cli.console import print_json, stderr_console
    from flows.exclusive import only_writer
    from flows.relabelling import relabel
    from flows.session import open_session

    session = open_session(workspace, conf)
    with only_writer(session.workspace):
        relabelled = relabel(session, file, is_trial=is_trial)
    if as_json:
        print_json(relabelled.as_json())
    else:
        stderr_console().print(relabelled.as_text(), markup=False, highlight=False, soft_wrap=True)


def data_unlabelled(
    source: Annotated[Path, typer.Argument(help="A folder of images or sounds, or a table; of texts a table with text, or .txt files.")],
    domain: Annotated[str, typer.Option("--domain", help="Where they come from: its labelled test samples judge the adaptation.")],
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Adds inputs without labels to data/ as a new dataset version, and says how a model is adapted to them."""
    from flows.cli.console import print_json, shown_progress, stderr_console
    from flows.exclusive import only_writer
    from flows.session import open_session
    from flows.snapshots import as_json as snapshot_as_json
    from flows.snapshots import as_text, count_judging_samples, snapshot_source

    session = open_session(workspace, conf)
    with only_writer(session.workspace), shown_progress(quiet=as_json) as progress:
        snapshot = snapshot_source(session, source.expanduser(), domain, progress)
        n_judging = count_judging_samples(session, snapshot, progress)
    if as_json:
        print_json(snapshot_as_json(snapshot, n_judging))
    else:
        stderr_console().print(as_text(snapshot, n_judging), markup=False, highlight=False, soft_wrap=True)


def ingest(
    source: Annotated[Path | None, typer.Argument(help="A folder of class folders or a table; nothing: the endpoint's feedback.")] = None,
    domain: Annotated[str, typer.Option("--domain", help="Where the samples of the folder come from.")] = "default",
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Adds labelled samples, or the endpoint's labelled traffic, as a new dataset version."""
    from flows.cli.console import print_json, stderr_console
    from flows.exclusive import only_writer
    from flows.ingestion import ingest_feedback, ingest_source
    from flows.session import open_session

    session = open_session(workspace, conf)
    with only_writer(session.workspace):
        summary = ingest_source(session, source, domain) if source else ingest_feedback(session)
    if as_json:
        print_json(summary.as_json())
    else:
        stderr_console().print(summary.as_text(), markup=False, highlight=False, soft_wrap=True)


def doctor(workspace: WorkspaceOption = HERE, conf: ConfOption = None, as_json: JsonOption = False) -> None:
    """Checks what Regraft needs: packages, git identity, DVC remote, port, disk space."""
    from flows.cli.console import print_json
    from flows.doctor import examine, print_findings

    findings = examine(workspace, conf)
    if as_json:
        print_json([finding.as_json() for finding in findings])
    else:
        print_findings(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(2)


def backbones_list(
    pattern: Annotated[str, typer.Argument(help="Part of a name; * is any text.")] = "*", as_json: JsonOption = False
) -> None:
    """Lists the shipped backbones and timm's architectures."""
    from flows.cli.console import print_json
    from pipelines.backbones import list_backbones

    found = list_backbones(pattern)
    if as_json:
        print_json(found)
        return
    for kind, names in found.items():
        typer.echo(f"{kind}: {len(names)}\n  " + "\n  ".join(names))


def backbones_rank(
    candidate: Annotated[
        list[str] | None,
        typer.Option("--candidate", help="A shipped name, a .safetensors file, or {kind: timm, name: …, weights: …}. Repeatable."),
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="A folder of .safetensors files with their JSON files.")] = None,
    n_probed: Annotated[
        int | None, typer.Option("--probe", min=1, help="How many of the best are probed; else as the conf file says.")
    ] = None,
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ranks backbones on your data by LogME and H-score and probes the best; none is trained.

    Without options those of the conf file; a single one is compared with the shipped ones.
    """
    from flows.backbone_ranking import rank_backbones
    from flows.cli.console import shown_progress
    from flows.cli.results import print_ranking
    from flows.session import open_session

    session = open_session(workspace, conf, overrides or ())
    with shown_progress(quiet=as_json) as progress:
        ranking = rank_backbones(session, candidate or (), weights, n_probed, progress)
    print_ranking(ranking, as_json=as_json)


def backbones_pretrain(
    data: Annotated[Path, typer.Option("--data", help="Folder with omniglot_small1.zip and omniglot_small2.zip.")],
    out: Annotated[Path, typer.Option("--out", help="Where the weights and the card are written.")],
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Pretrains the shipped backbone again, from the data that its card names."""
    from pipelines.pretrain import pretrain_shipped_backbone

    zips = [data / "omniglot_small1.zip", data / "omniglot_small2.zip"]
    pretrain_shipped_backbone(zips, out, seed, progress=typer.echo)


def backbones_continue_pretraining(
    out: Annotated[Path, typer.Option("--out", help="The new folder, which the conf file will name.")],
    texts: Annotated[
        Path | None, typer.Option("--texts", help="Unlabelled texts: a table with the column text, or a .txt file of lines.")
    ] = None,
    images: Annotated[Path | None, typer.Option("--images", help="A folder with unlabelled images, in folders below it too.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over all: 3 of texts, 20 of images.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.01, help="Stop after as long and keep what there is.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=2, help="For one step: 16 pieces of text, 64 images.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", min=1e-9, help="Peak, of all layers: 5e-5 for texts, 1e-4 for images.")
    ] = None,
    least_area: Annotated[
        float | None, typer.Option("--least-area", min=0.01, max=1, help="Of images: the smallest crop's share of them, 0.2.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Else that of the conf file.")] = None,
    workspace: WorkspaceOption = HERE,
    conf: ConfOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lets the backbone learn from unlabelled texts or images of your domain before it is fine-tuned; prints the conf lines for the result.

    Texts guess hidden tokens, images are told from two views of them (SimSiam). What is in the test split is left out. Killed and called
    again it goes on. Nothing is written unless the loss of held-out ones falls.
    """
    from flows.cli.console import print_json, shown_progress, stderr_console
    from flows.continued_pretraining import continue_workspace_backbone, pretraining_settings
    from flows.session import open_session

    def tell(line: str) -> None:
        stderr_console().print(line, markup=False, highlight=False, soft_wrap=True)

    session = open_session(workspace, conf, overrides or ())
    given = {"epochs": epochs, "minutes": minutes, "batch_size": batch_size, "learning_rate": learning_rate, "least_area": least_area}
    source, settings = pretraining_settings(session.config, texts, images, given | {"seed": seed}, tell)
    with shown_progress(quiet=as_json) as progress:
        done = continue_workspace_backbone(session, source, out, settings, progress, tell)
    if as_json:
        print_json(done.as_json())
        return
    tell(done.as_text())
    typer.echo(done.conf_lines, nl=False)
