"""The table of an audit: one row for each finding, with two empty columns for the person who looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

FindingKind = Literal["label", "near_duplicate", "outlier"]
KINDS: tuple[FindingKind, ...] = ("label", "near_duplicate", "outlier")
TABLE = "audit.csv"


@dataclass(frozen=True)
class AuditFinding:
    """A sample that a person should look at.

    Attributes:
        kind: `label`: likely a wrong one. `near_duplicate`: it looks like another sample. `outlier`: it looks like no other.
        path: Relative to `data/`.
        split: Of the sample.
        given_label: As the labels table gives it, in the form that `pipelines.label_rows.read_label` makes of it.
        suggested_label: Of a `label`.
        score: Of a `label` the suggestion's probability; of a `near_duplicate` the correlation of the two pictures; of an `outlier` the
            standard deviations above the usual distance. More is surer.
        other_path, other_split, other_label: Of a `near_duplicate`.
        new_label, action: Empty: for the person. `regraft data relabel` reads them.
    """

    kind: FindingKind
    path: str
    split: str
    given_label: str
    suggested_label: str
    score: float
    other_path: str = ""
    other_split: str = ""
    other_label: str = ""
    new_label: str = ""
    action: str = ""


def write_findings(findings: Sequence[AuditFinding], path: Path) -> None:
    """Writes findings as CSV, in the given order."""
    import pandas as pd

    columns = [field.name for field in fields(AuditFinding)]
    pd.DataFrame([asdict(finding) for finding in findings], columns=columns).to_csv(path, index=False, lineterminator="\n")


def read_findings(path: Path) -> list[AuditFinding]:
    """Reads findings that `write_findings` wrote."""
    import pandas as pd

    rows: list[dict[Any, Any]] = pd.read_csv(path, dtype=str, keep_default_na=False).to_dict(orient="records")
    return [AuditFinding(**{**row, "score": float(row["score"])}) for row in rows]
