"""`regraft init --task text` and `regraft retrain` as a user runs them, on real film reviews and real weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.records import read_records
from pipelines.workspace import Workspace
from tests.end_to_end.test_retrain import regraft
from tests.pipelines.tiny_texts import write_table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_800),
    pytest.mark.shared("that film reviews become a promoted model with the packaged backbone"),
]
_N_TEXTS = 2_000


def test_a_table_of_reviews_becomes_a_promoted_bundle(tmp_path: Path, shared_dir: Path) -> None:
    lines = (shared_dir / "data" / "sst2_train.tsv").read_text(encoding="utf-8").splitlines()[:_N_TEXTS]
    names = {"0": "negative", "1": "positive"}
    source = write_table(tmp_path / "reviews.csv", [(text, names[label]) for text, label in (line.rsplit("\t", 1) for line in lines)])
    workspace = tmp_path / "films"
    regraft("init", str(workspace), "--task", "text", "--from", str(source))
    result = regraft("retrain", "--workspace", str(workspace), "--set", "method={kind: probe}")
    assert result["decision"]["outcome"] == "promoted"
    # Majority class: 0.52.
    assert result["accuracy"]["low"] > 0.6
    baselines = read_records(Workspace(workspace))[-1].baselines
    assert baselines["majority"].high < baselines["zero_shot"].low < baselines["zero_shot"].high < result["accuracy"]["high"]
    assert [path.name for path in (workspace / "data").iterdir()] == ["labels.csv"]
