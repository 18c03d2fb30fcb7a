from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.core.backbones import BackboneSpec
from pipelines.core.bundle import BundleManifest, canonical_json, read_manifest, seal
from pipelines.core.preprocess import ImagePreprocess


def manifest(**changes: Any) -> BundleManifest:
    content: dict[str, Any] = {
        "project": "demo",
        "task": "image",
        "labels": ("cat", "dog"),
        "backbone": BackboneSpec(name="resnet10t", in_channels=1, origin="test", weights_sha256=None),
        "preprocess": ImagePreprocess(color="L", height_px=28, width_px=28, mean=(0.5,), std=(0.5,)),
        "temperature": 1.0,
        "files": {},
    }
    return BundleManifest(**(content | changes))


def test_one_label_a_sample_adds_nothing_to_the_manifest(tmp_path: Path) -> None:
    """A project with one label a sample keeps its bundle ids: the file has no key that it did not have before there were sets."""
    identity = seal(tmp_path, manifest())
    content = json.loads((tmp_path / "bundle.json").read_bytes())
    known = {"format_version", "project", "task", "labels", "backbone", "preprocess", "temperature", "golden_tolerance", "files"}
    assert content.keys() == known
    assert identity == hashlib.sha256(canonical_json(content)).hexdigest()[:16]
    found, same = read_manifest(tmp_path)
    assert (found.labels_per_sample, found.thresholds, same) == ("one", None, identity)


def test_sets_of_labels_survive_sealing(tmp_path: Path) -> None:
    seal(tmp_path, manifest(labels_per_sample="many", thresholds=(0.1, 0.7)))
    found, _ = read_manifest(tmp_path)
    assert (found.labels_per_sample, found.thresholds) == ("many", (0.1, 0.7))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels_per_sample": "many"}, "thresholds: None for 2 labels, many per sample"),
        ({"labels_per_sample": "many", "thresholds": (0.5,)}, "thresholds: 1 for 2 labels, many per sample"),
        ({"thresholds": (0.5, 0.5)}, "thresholds: 2 for 2 labels, one per sample"),
        ({"labels_per_sample": "many", "thresholds": (0.5, 1.0)}, "less than 1"),
        ({"labels_per_sample": "many", "thresholds": (0.0, 0.5)}, "greater than 0"),
        ({"labels_per_sample": "some"}, "'one' or 'many'"),
    ],
)
def test_thresholds_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        manifest(**changes)
