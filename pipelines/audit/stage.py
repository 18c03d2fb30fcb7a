"""Stage `audit`: which samples a person should look at. It warns and changes nothing.

audit.csv    one row for each finding (`pipelines.audit.findings`), to be filled in and given to `regraft data relabel`
audit.html   the findings with their pictures, in one file
audit.json   counts, and what was not looked at and why
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.audit.findings import KINDS, TABLE, AuditFinding, write_findings
from pipelines.audit.label_errors import likely_label_errors
from pipelines.audit.out_of_sample import out_of_sample_probabilities
from pipelines.audit.outliers import outliers
from pipelines.audit.page import write_page
from pipelines.config import ProjectConfig
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import DataError
from pipelines.dataset import Sample, read_samples
from pipelines.near_duplicates import PAIRS, NearDuplicates, read_pairs
from pipelines.progress import Progress
from pipelines.selected_backbone import SelectedBackbone
from pipelines.training.gathering import material_for
from pipelines.training.inputs import SampleInputs

SUMMARY, PAGE = "audit.json", "audit.html"
# Bounds the time, and not by a clock: the same data give the same findings on every machine. Chosen by id, so the same samples each time.
MAX_EXAMINED = 20_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Examined:
    """What features say of samples; `skipped` is why labels or outliers were not looked for, empty where they were."""

    n: int
    findings: list[AuditFinding]
    skipped: str = ""


def audit(
    samples: Path,
    near_duplicates: Path,
    choice: SelectedBackbone,
    data: Path,
    config: ProjectConfig,
    features: Path,
    out: Path,
    progress: Progress,
) -> None:
    """Writes audit.csv, audit.html and audit.json.

    Args:
        samples: `samples.csv` with splits.
        near_duplicates: Output of the stage of that name.
        choice: The backbone whose features are looked at.
        data: The folder that sample paths are relative to.
        config: The project's.
        features: Where features of all runs are kept; training finds them there.
        out: Empty directory.
        progress: Told of features that are computed.

    Raises:
        IntegrityError: A file changed since it was listed.
    """
    used = sorted(read_samples(samples, "train", "validation", "test"), key=lambda sample: sample.id)
    material = material_for(choice, samples, data, config, features, out, progress)
    inputs = SampleInputs(used[:MAX_EXAMINED], data, choice.preprocess, config.labels, config.labels_per_sample, choice.folder)
    pairs = read_pairs(near_duplicates / PAIRS)
    try:
        examined = _examined(inputs, material.features(inputs), config)
    except DataError as error:
        _log.warning("the audit looked for near-duplicates only: %s", error.got)
        examined = _Examined(0, [], error.got)
    findings = sorted([*examined.findings, *_as_findings(pairs)], key=lambda finding: KINDS.index(finding.kind))
    summary: dict[str, JsonValue] = {f"n_{kind}": sum(finding.kind == kind for finding in findings) for kind in KINDS}
    summary |= {"n_samples": len(used), "n_examined": examined.n, "skipped": examined.skipped}
    summary["n_leaking"] = len({pair.path for pair in pairs if pair.leaks})
    write_findings(findings, out / TABLE)
    write_page(findings, {sample.path: sample for sample in used}, data, config.project, summary, out / PAGE, config.task)
    (out / SUMMARY).write_bytes(canonical_json(summary))


def _examined(inputs: SampleInputs, features: NDArray[np.float32], config: ProjectConfig) -> _Examined:
    samples = inputs.samples
    found = [AuditFinding("outlier", *_given(samples[place]), "", round(score, 2)) for place, score in outliers(features)]
    if config.labels_per_sample == "many":
        return _Examined(len(samples), found, "labels are not checked where a sample has any number of them.")
    try:
        probabilities = out_of_sample_probabilities(features, inputs.targets, config.labels, config.seed)
    except DataError as error:
        return _Examined(len(samples), found, f"labels are not checked: {error.got}")
    doubts = likely_label_errors(inputs.targets, probabilities)
    found += [
        AuditFinding("label", *_given(samples[doubt.place]), config.labels[doubt.suggested], round(doubt.confidence, 4)) for doubt in doubts
    ]
    return _Examined(len(samples), found)


def _given(sample: Sample) -> tuple[str, str, str]:
    return sample.path, sample.split, sample.label


def _as_findings(pairs: Sequence[NearDuplicates]) -> list[AuditFinding]:
    # Those that make the test result wrong first, then those of which one label must be wrong.
    ordered = sorted(pairs, key=lambda pair: (not pair.leaks, pair.label == pair.other_label))
    return [
        AuditFinding(
            "near_duplicate",
            pair.path,
            pair.split,
            pair.label,
            "",
            round(1 - pair.difference, 4),
            pair.other_path,
            pair.other_split,
            pair.other_label,
        )
        for pair in ordered
    ]
