"""Makes workspaces: from a team's own data, and from the sample dataset."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.conf_template import FIRST_BACKBONES, ConfDefaults, render_conf
from pipelines.config import TimmSource
from pipelines.config.tasks import BACKBONES, backbone_problem
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError
from pipelines.core.label_sets import LabelsPerSample
from pipelines.import_data import ImportSummary, import_samples
from pipelines.weights_source import WeightsDescription, located_weights, verified_sha256

# By task, of the first backbone on two cores.
EXPECTATIONS = {
    "image": "A minute per thousand small images on two cores, at most 10 of them training; the report says which accuracy.",
    "text": "Two minutes per thousand texts of a hundred words on two cores, and at most 10 of training; the report says which accuracy.",
    "audio": "A minute per thousand sounds of some seconds on two cores, and at most 10 of training; the report says which accuracy.",
}


@dataclass(frozen=True)
class NewWorkspace:
    """A workspace that was just made.

    Attributes:
        root: Its folder.
        project: Its name.
        samples: What was imported.
        dataset: Digest of the first dataset version.
    """

    root: Path
    project: str
    samples: ImportSummary
    dataset: str

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        counts = dict(self.samples.n_samples)
        left_out = {"ignored": list(self.samples.ignored), "notes": list(self.samples.notes)}
        return {"workspace": str(self.root), "project": self.project, "labels": counts, "grouped": self.samples.n_grouped, **left_out}

    def as_text(self) -> str:
        """For people."""
        counts = "\n".join(f"  {label}: {count}" for label, count in self.samples.n_samples.items())
        ignored = f"\nleft out, no samples: {', '.join(self.samples.ignored)}" if self.samples.ignored else ""
        notes = "".join(f"\n{note}" for note in self.samples.notes)
        return (
            f"{self.root}: dataset {self.dataset}\n{counts}{ignored}{notes}\n"
            f"Next: look at conf/{self.project}.yaml (the backbone above all), then `regraft retrain --workspace {self.root}`"
        )


def init_workspace(
    folder: Path,
    source: Path,
    task: str,
    remote: Path | None = None,
    labels_per_sample: LabelsPerSample = "one",
    backbone: Mapping[str, Any] | None = None,
) -> NewWorkspace:
    """Makes a workspace in `folder` with the samples of `source`.

    Args:
        folder: Must not exist, or be empty; its name becomes the project's.
        source: A folder of class folders, or a table.
        task: Of the project.
        remote: DVC remote; beside the workspace where None.
        labels_per_sample: `many`: the source's labels are sets, names with | between them.
        backbone: Section of the conf file; what the task begins with where nothing is said.

    Raises:
        ConfigurationError: The folder is taken, its name is no project name, the source is missing, or git has no identity.
        DataError: The source's samples cannot be used; all are listed.
    """
    from pipelines.versioning.git import identity

    root = folder.expanduser().absolute()
    project = project_name(root.name)
    _refuse_taken(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    identity(root.parent)  # says early that git has none
    staging = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        samples = import_samples(source.expanduser(), staging / "data", labels_per_sample, task)
        defaults = ConfDefaults(EXPECTATIONS[task], labels_per_sample=labels_per_sample, backbone=backbone)
        conf = render_conf(project, task, list(samples.n_samples), samples.n_all, defaults)
        dataset = start_history(staging, project, conf, remote or root.parent / f"{root.name}-dvc-remote")
        staging.rename(root)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return NewWorkspace(root, project, samples, dataset)


def first_backbone(task: str, text: str | None) -> dict[str, Any] | None:
    """The conf file's section for a backbone of the command line; nothing where the task has one to begin with.

    Args:
        task: Of the project.
        text: As `parse_candidate` takes it.

    Raises:
        ConfigurationError: It is none, its weights are not there, it does not read inputs of this task, or the task needs one.
    """
    from flows.backbone_ranking import parse_candidate

    if text is None and task not in FIRST_BACKBONES:
        raise _no_backbone(task, "no backbone")
    if text is None:
        return None
    entry = parse_candidate(text, Path.cwd())
    if problem := backbone_problem(task, entry):
        raise _no_backbone(task, f"--backbone {text}: {problem}")
    section = entry.model_dump(mode="json", exclude_unset=True)
    if isinstance(entry, TimmSource) and entry.sha256 is None and entry.weights is not None:
        # Who names a file here means this very one; later another one in its place is refused.
        section["sha256"] = verified_sha256(*_with_own_sha256(entry))
    return section


def _with_own_sha256(entry: TimmSource) -> tuple[Path, WeightsDescription]:
    weights, description = located_weights(entry)
    return weights, description if description.sha256 else description.model_copy(update={"sha256": file_sha256(weights)})


def _no_backbone(task: str, got: str) -> ConfigurationError:
    return ConfigurationError(
        got=f"{got} for a project of task {task}.",
        allowed=f"a backbone of kind {', '.join(BACKBONES[task])}.",
        next_step="give one, for example --backbone '{kind: spectrogram, name: mobilenetv1_100, weights: FILE.safetensors}'."
        if task == "audio"
        else "correct it, or leave it out.",
    )


def start_history(root: Path, project: str, conf: str, remote: Path, identity: tuple[str, str] | None = None) -> str:
    """Writes the conf file, makes the git and DVC repository and commits the first dataset version.

    Returns:
        The dataset's digest.
    """
    from pipelines.versioning.dataset import commit_dataset
    from pipelines.versioning.git import commit_paths
    from pipelines.versioning.workspace_repo import init_repository

    (root / "conf").mkdir(exist_ok=True)
    (root / "conf" / f"{project}.yaml").write_text(conf, encoding="utf-8")
    init_repository(root, remote, identity)
    commit_paths(root, f"Configure {project}", [f"conf/{project}.yaml"])
    return commit_dataset(root, "First dataset version").digest


def project_name(text: str) -> str:
    """A project's name made from a folder's: lower case, digits and dashes.

    Raises:
        ConfigurationError: Nothing usable is left of it.
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not re.fullmatch(r"[a-z][a-z0-9-]{1,40}[a-z0-9]", name):
        raise ConfigurationError(
            got=f"the folder name {text!r}, which would make the project name {name!r}.",
            allowed="3 to 42 letters a to z, digits and dashes, a letter first.",
            next_step="give the workspace another folder name.",
        )
    return name


def _refuse_taken(root: Path) -> None:
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConfigurationError(
            got=f"the folder {root}, which is there and not empty.",
            allowed="a folder that does not exist yet, or an empty one.",
            next_step="name another folder, or use `regraft ingest` to add samples to a workspace.",
        )


def confirm_sample(name: str, folder: Path) -> str:
    """Writes a sample dataset to `data/` and compares it with the `data.dvc` beside it.

    Returns:
        One sentence for a person.

    Raises:
        ConfigurationError: DVC finds other content than data.dvc names; the files that differ are listed.
    """
    from pipelines.sample_data import materialise_digits
    from pipelines.versioning.dataset import dataset_version

    root = folder.expanduser().resolve()
    materialise_digits(root / "data")
    if not (root / "data.dvc").is_file():
        return f"{root / 'data'}: the sample {name}; there is no data.dvc to confirm it with"
    version = dataset_version(root)
    return (
        f"{root / 'data'}: the sample {name}, {version.n_files} files, digest {version.digest}: DVC confirms that it is what data.dvc names"
    )
