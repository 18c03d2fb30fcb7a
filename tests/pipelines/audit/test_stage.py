"""The audit of a small project: what it writes, and that it never refuses."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.audit import stage
from pipelines.audit.findings import AuditFinding, read_findings
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import IntegrityError
from pipelines.data_stages import audit, near_duplicates
from pipelines.dataset import Sample, read_samples, write_samples
from pipelines.stages import Stages
from pipelines.store import StageOutput
from pipelines.workspace import Workspace
from tests.pipelines.conftest import tiny_config

HOSTILE = "<script src=x>.png"


class Project:
    """Real digits in a workspace, to plant faults in."""

    def __init__(self, root: Path, digits_folder: Path, weights: Path, **changes: object) -> None:
        shutil.copytree(digits_folder / "data", root / "data")
        (root / "split").mkdir()
        self.stages = Stages(Workspace(root), tiny_config(weights, backbone={"kind": "shipped"}, **changes))
        self.samples = read_samples(digits_folder / "samples.csv")

    def add(self, name: str, image: Image.Image, like: Sample, **changes: str) -> None:
        path = self.stages.workspace.data / name
        image.save(path)
        self.samples.append(replace(like, id=file_sha256(path), path=name, **changes))  # type: ignore[arg-type]

    def audited(self, fingerprint: str = "a") -> StageOutput:
        folder = self.stages.workspace.root / "split"
        write_samples(self.samples, folder / "samples.csv")
        split = StageOutput("split", fingerprint * 64, folder, cached=True, seconds=0)
        return audit(self.stages, split, self.stages.select(), near_duplicates(self.stages, split))

    def picture(self, sample: Sample) -> Image.Image:
        return Image.open(self.stages.workspace.data / sample.path)


@pytest.fixture
def project(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> Project:
    return Project(tmp_path, digits_folder, tiny_weights)


def summary(output: StageOutput) -> dict[str, object]:
    content: dict[str, object] = json.loads((output.path / "audit.json").read_bytes())
    return content


def test_planted_faults_are_found_and_shown(project: Project) -> None:
    wrong = project.samples[5]
    other = next(sample for sample in project.samples if sample.label != wrong.label)
    project.samples[5] = replace(wrong, label=other.label)
    copied = next(sample for sample in project.samples if sample.split == "train")
    pixels = np.asarray(project.picture(copied)).copy()
    pixels[0, 0] += 3
    project.add(HOSTILE, Image.fromarray(pixels), copied, split="test")
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    project.add("noise.png", Image.fromarray(255 - noise // 4), copied)
    output = project.audited()
    found = read_findings(output.path / "audit.csv")
    assert ("label", wrong.path, other.label, wrong.label) in {(row.kind, row.path, row.given_label, row.suggested_label) for row in found}
    assert ("near_duplicate", HOSTILE, copied.path) in {(row.kind, row.path, row.other_path) for row in found}
    assert ("outlier", "noise.png") in {(row.kind, row.path) for row in found}
    assert all(row.new_label == row.action == "" for row in found)
    assert summary(output)["n_leaking"] == 1
    page = (output.path / "audit.html").read_text()
    assert "<script" not in page
    assert "&lt;script src=x&gt;.png" in page
    links = re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    assert links
    assert all(link.startswith("data:image/") for link in links)
    assert not re.search(r"url\(|https?://", page)


def test_clean_digits_have_next_to_no_finding(project: Project) -> None:
    output = project.audited()
    assert [row for row in read_findings(output.path / "audit.csv") if row.kind != "label"] == []
    assert summary(output)["n_label"] <= 1  # type: ignore[operator]
    assert summary(output)["n_examined"] == summary(output)["n_samples"] == 240


def test_it_is_made_once_for_each_split(project: Project) -> None:
    assert not project.audited().cached
    again = project.audited()
    assert again.cached
    assert not project.audited("b").cached


def test_more_samples_than_are_examined(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "MAX_EXAMINED", 100)
    output = project.audited()
    assert (summary(output)["n_examined"], summary(output)["n_samples"]) == (100, 240)
    assert "100 samples were examined, chosen by a hash of their content" in (output.path / "audit.html").read_text()


def test_a_label_that_is_too_rare_leaves_the_other_findings(project: Project) -> None:
    project.samples = [sample for sample in project.samples if sample.label != "3"]
    output = project.audited()
    assert summary(output)["skipped"] == "labels are not checked: training samples: 0 of '3'."
    assert summary(output)["n_examined"] == len(project.samples)


def test_features_that_are_not_finite_leave_the_near_duplicates(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.samples.append(replace(project.samples[0], path="same.png", split="test"))
    shutil.copyfile(tmp_path / "data" / project.samples[0].path, tmp_path / "data" / "same.png")
    monkeypatch.setattr(stage, "material_for", lambda *_: _Overflowing())
    output = project.audited()
    assert summary(output)["n_near_duplicate"] == 1
    assert "features that are not finite" in str(summary(output)["skipped"])


class _Overflowing:
    def features(self, inputs: object) -> np.ndarray:
        return np.full((len(inputs), 8), np.inf, dtype=np.float32)  # type: ignore[arg-type]


def test_with_many_labels_a_sample_labels_are_not_checked(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> None:
    project = Project(tmp_path, digits_folder, tiny_weights, labels_per_sample="many", method={"kind": "probe"})
    project.samples[0] = replace(project.samples[0], label="0|1")
    project.samples[4] = replace(project.samples[4], label="")
    output = project.audited()
    assert summary(output)["skipped"] == "labels are not checked where a sample has any number of them."
    assert summary(output)["n_label"] == 0


def test_a_file_that_changed_is_an_error_and_leaves_nothing(project: Project, tmp_path: Path) -> None:
    Image.new("L", (8, 8), 9).save(tmp_path / "data" / project.samples[0].path)
    with pytest.raises(IntegrityError, match="changed since it was listed"):
        project.audited()
    assert not list((tmp_path / ".regraft" / "store").glob("audit/*"))


def test_the_table_survives_a_round_trip(tmp_path: Path) -> None:
    from pipelines.audit.findings import write_findings

    rows = [AuditFinding("label", 'a "b", ü.png', "train", "007", "NA", 0.9312), AuditFinding("outlier", "c.png", "test", "", "", 5.5)]
    write_findings(rows, tmp_path / "audit.csv")
    assert read_findings(tmp_path / "audit.csv") == rows
