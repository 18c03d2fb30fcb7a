from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from flows.audit_report import audit_folder, keep_audit, warn_of_samples
from pipelines.store import StageOutput


@pytest.fixture
def audited(tmp_path: Path) -> StageOutput:
    path = tmp_path / ".regraft" / "store" / "audit" / ("a" * 64)
    path.mkdir(parents=True)
    (path / "audit.csv").write_text("path,new_label\n")
    (path / "audit.html").write_text("<p>page</p>")
    return StageOutput("audit", "a" * 64, path, cached=False, seconds=1.0)


def with_counts(audited: StageOutput, **changes: int) -> StageOutput:
    counts = {"n_label": 0, "n_near_duplicate": 0, "n_leaking": 0, "n_outlier": 0} | changes
    (audited.path / "audit.json").write_text(json.dumps(counts))
    return audited


def test_a_table_that_somebody_has_filled_in_stays(audited: StageOutput, tmp_path: Path) -> None:
    folder = keep_audit(audited)
    assert folder == audit_folder(audited) == tmp_path / ".regraft" / "reports" / "audit" / ("a" * 12)
    assert (folder / "audit.html").read_text() == "<p>page</p>"
    (folder / "audit.csv").write_text("path,new_label\na.png,b\n")
    assert keep_audit(audited) == folder
    assert (folder / "audit.csv").read_text() == "path,new_label\na.png,b\n"


def test_findings_are_one_line_of_the_log(audited: StageOutput, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_samples(with_counts(audited, n_label=3, n_near_duplicate=2, n_leaking=1), Path("folder"))
    (record,) = caplog.records
    assert record.getMessage() == (
        "The data: 3 likely wrong labels, 2 near-duplicate pairs, 1 test samples with a near-duplicate that is learnt from. "
        "Next: look at folder/audit.html, fill in audit.csv beside it, and run `regraft data relabel`."
    )


def test_without_findings_nothing_is_said(audited: StageOutput, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        warn_of_samples(with_counts(audited), Path("folder"))
    assert not caplog.records
