"""The audit of the data as a person works with it: a copy outside of the stage store, which would make an edited table anew."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from pipelines.staging import staged_folder
from pipelines.store import StageOutput
from pipelines.workspace import Workspace

_LOGGER = logging.getLogger(__name__)


def audit_folder(audited: StageOutput) -> Path:
    """Where a person finds the page and the table: `reports/audit/` of the workspace whose store holds the output."""
    store = audited.path.parents[1]
    return Workspace(store.parents[1]).reports / "audit" / audited.fingerprint[:12]


def keep_audit(audited: StageOutput) -> Path:
    """Copies the page and the table there, once: a table that somebody has begun to fill in stays."""
    target = audit_folder(audited)
    if not target.exists():
        with staged_folder(target) as staging:
            for name in ("audit.csv", "audit.html"):
                shutil.copyfile(audited.path / name, staging / name)
    return target


def warn_of_samples(audited: StageOutput, folder: Path) -> None:
    """One line of the log where the audit found something that a person should look at."""
    found = json.loads((audited.path / "audit.json").read_bytes())
    counts = {
        "likely wrong labels": found["n_label"],
        "near-duplicate pairs": found["n_near_duplicate"],
        "test samples with a near-duplicate that is learnt from": found["n_leaking"],
        "outliers": found["n_outlier"],
    }
    if any(counts.values()):
        listed = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        _LOGGER.warning(
            "The data: %s. Next: look at %s, fill in audit.csv beside it, and run `regraft data relabel`.", listed, folder / "audit.html"
        )
