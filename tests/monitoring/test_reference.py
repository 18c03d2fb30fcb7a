from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from monitoring.reference import Reference
from pipelines.core.backbones import BackboneSpec
from pipelines.core.bundle import BundleManifest, seal
from pipelines.core.errors import IntegrityError
from pipelines.core.modalities.text import TEXT_STATISTICS, TextPreprocess
from pipelines.core.preprocess import ImagePreprocess
from pipelines.core.signals import IMAGE_STATISTICS
from pipelines.core.text_backbone import TransformersSpec

LABELS = ("cat", "dog", "fox")


def arrays(n_samples: int = 12) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return {
        "embeddings": rng.normal(size=(n_samples, 4)).astype(np.float32),
        "probabilities": rng.dirichlet(np.ones(3), n_samples).astype(np.float32),
        "statistics": rng.normal(size=(n_samples, 6)).astype(np.float32),
        "correct": (rng.random(n_samples) < 0.8).astype(np.uint8),
        "labels": rng.integers(0, 3, n_samples),
    }


def sealed(folder: Path, tensors: dict[str, np.ndarray[Any, Any]], lineage: dict[str, Any] | None = None, **changes: Any) -> str:
    folder.mkdir()
    save_file(tensors, folder / "reference.safetensors")
    if lineage is not None:
        (folder / "lineage.json").write_text(json.dumps(lineage))
    preprocess = ImagePreprocess(color="L", height_px=28, width_px=28, mean=(0.5,), std=(0.5,))
    spec = BackboneSpec(name="resnet10t", in_channels=1, origin="test", weights_sha256=None)
    manifest = BundleManifest(project="demo", task="image", labels=LABELS, backbone=spec, preprocess=preprocess, temperature=1.0, files={})
    return seal(folder, manifest.model_copy(update=changes))


def test_what_was_sealed_is_loaded(tmp_path: Path) -> None:
    written = arrays()
    identity = sealed(tmp_path / "bundle", written, {"train_domains": {"a": 3, "b": 4}})
    reference = Reference.load(tmp_path / "bundle")
    assert (reference.bundle, reference.labels, reference.n_samples) == (identity, LABELS, 12)
    np.testing.assert_array_equal(reference.embeddings, written["embeddings"])
    np.testing.assert_array_equal(reference.confidences, written["probabilities"].max(axis=1))
    np.testing.assert_array_equal(reference.predicted_indices, written["probabilities"].argmax(axis=1))
    np.testing.assert_array_equal(reference.correct, written["correct"] == 1)
    assert reference.embeddings.dtype == np.float64
    assert reference.domains == {"a", "b"}


def test_the_statistics_have_the_names_of_the_modality(tmp_path: Path) -> None:
    sealed(tmp_path / "images", arrays())
    assert Reference.load(tmp_path / "images").statistic_names == IMAGE_STATISTICS
    text: dict[str, Any] = {
        "task": "text",
        "backbone": TransformersSpec(name="bert", config={"model_type": "bert"}, pooling="mean", origin="test", weights_sha256=None),
        "preprocess": TextPreprocess(tokenizer_sha256="0" * 64, max_tokens=16),
    }
    columns = np.zeros((12, len(TEXT_STATISTICS)), np.float32)
    sealed(tmp_path / "texts", arrays() | {"statistics": columns}, **text)
    assert Reference.load(tmp_path / "texts").statistic_names == TEXT_STATISTICS


def test_columns_beyond_the_named_statistics_have_names(tmp_path: Path) -> None:
    sealed(tmp_path / "bundle", arrays() | {"statistics": np.zeros((12, 8), np.float32)})
    assert Reference.load(tmp_path / "bundle").statistic_names[5:] == ("log2_aspect", "statistic_6", "statistic_7")


@pytest.mark.parametrize("lineage", [None, {}, {"train_domains": {}}, {"train_domains": None}])
def test_a_bundle_that_names_no_domains(tmp_path: Path, lineage: dict[str, Any] | None) -> None:
    sealed(tmp_path / "bundle", arrays(), lineage)
    assert Reference.load(tmp_path / "bundle").domains is None


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    sealed(tmp_path / "bundle", arrays())
    path = tmp_path / "bundle" / "reference.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=r"has other bytes than the manifest records.*dvc checkout"):
        Reference.load(tmp_path / "bundle")


def test_a_missing_reference_is_refused(tmp_path: Path) -> None:
    sealed(tmp_path / "bundle", arrays())
    (tmp_path / "bundle" / "reference.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"reference.safetensors is missing"):
        Reference.load(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"embeddings": None}, "has no embeddings"),
        ({"correct": np.zeros(5, np.uint8)}, "arrays that do not belong together"),
        ({"labels": np.zeros((12, 1), np.int64)}, "arrays that do not belong together"),
        ({"probabilities": np.full((12, 2), 0.5, np.float32)}, "2 probabilities a sample for 3 labels"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    tensors = {name: value for name, value in {**arrays(), **change}.items() if value is not None}
    sealed(tmp_path / "bundle", tensors)
    with pytest.raises(IntegrityError, match=problem):
        Reference.load(tmp_path / "bundle")


def test_an_empty_reference_is_refused(tmp_path: Path) -> None:
    sealed(tmp_path / "bundle", arrays(0))
    with pytest.raises(IntegrityError, match="arrays that do not belong together"):
        Reference.load(tmp_path / "bundle")


def arrays_of_sets() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    return arrays() | {"probabilities": rng.random((12, 3)).astype(np.float32), "labels": rng.integers(0, 2, (12, 3)).astype(np.uint8)}


def test_the_reference_of_a_bundle_with_sets_of_labels(tmp_path: Path) -> None:
    written = arrays_of_sets()
    sealed(tmp_path / "bundle", written, labels_per_sample="many", thresholds=(0.2, 0.5, 0.9))
    reference = Reference.load(tmp_path / "bundle")
    assert reference.thresholds == (0.2, 0.5, 0.9)
    np.testing.assert_array_equal(reference.predicted, written["probabilities"].astype(np.float64) >= np.array(reference.thresholds))
    np.testing.assert_array_equal(reference.true_indices, written["labels"])
    assert reference.answers[0] == "|".join(label for label, has in zip(LABELS, reference.predicted[0], strict=True) if has)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"labels": np.zeros(12, dtype=np.int64)}, "do not belong together"),
        ({"labels": np.zeros((12, 2), dtype=np.uint8)}, "has 2 true labels a sample for 3 labels"),
        ({"labels": np.zeros((11, 3), dtype=np.uint8)}, "do not belong together"),
    ],
)
def test_true_sets_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    sealed(tmp_path / "bundle", arrays_of_sets() | change, labels_per_sample="many", thresholds=(0.5,) * 3)
    with pytest.raises(IntegrityError, match=problem):
        Reference.load(tmp_path / "bundle")
