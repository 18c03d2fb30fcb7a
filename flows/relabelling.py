"""Corrected labels become a new dataset version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.ingestion import finish_interrupted_ingestion, finished_later
from flows.session import Session
from pipelines.relabel import Corrections, apply_corrections, read_corrections


@dataclass(frozen=True)
class Relabelled:
    """What a file of corrections did, or would do.

    Attributes:
        corrections: That it asks for.
        dataset: Digest of the dataset version now in use.
        is_trial: Whether nothing was written.
    """

    corrections: Corrections
    dataset: str
    is_trial: bool

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        changes = [
            {"path": change.path, "given_label": change.given_label, "new_label": change.new_label} for change in self.corrections.changes
        ]
        counts = {"relabelled": self.corrections.n_relabelled, "dropped": self.corrections.n_dropped, "already": self.corrections.n_already}
        return {**counts, "changes": changes, "dataset": self.dataset, "dry_run": self.is_trial}

    def as_text(self) -> str:
        """For people."""
        changes = self.corrections.changes
        rows = [f"  {change.path}: {change.given_label} -> {change.new_label or 'dropped'}" for change in changes]
        already = f"{self.corrections.n_already} rows ask for what is so already"
        head = [self.corrections.summary if changes else "No row asks for a change: the data are as they were"]
        head += [already] if self.corrections.n_already else []
        tail = f"dataset {self.dataset}" + (", as before: this was a dry run" if self.is_trial else "")
        return "\n".join([*head, *rows, tail])


def relabel(session: Session, file: Path, *, is_trial: bool) -> Relabelled:
    """Carries out the corrections of an edited audit table: all of them, or, where one cannot be, none.

    A process that is killed between writing the labels table and committing it leaves its mark; the next relabelling or ingestion commits.

    Args:
        session: Of the workspace, whose lock is held.
        file: The table.
        is_trial: Checks and shows, and writes nothing.

    Raises:
        DataError: See `read_corrections`.
        ConfigurationError: `data/` differs from the committed version: a correction must not carry other changes with it.
    """
    from pipelines.versioning.dataset import commit_dataset, dataset_version

    workspace, config = session.workspace, session.config
    if not is_trial:
        finish_interrupted_ingestion(session)
    before = dataset_version(workspace.root)
    corrections = read_corrections(file, workspace.data, config)
    if is_trial or not corrections.changes:
        return Relabelled(corrections, before.digest, is_trial)
    with finished_later(session):
        name = config.data.labels_table
        apply_corrections(corrections, workspace.data / name, workspace.state / "tmp" / "relabel", name)
        version = commit_dataset(workspace.root, corrections.summary)
    return Relabelled(corrections, version.digest, is_trial)
