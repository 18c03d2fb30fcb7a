"""The stages in the order of the loop, each through the store: what a flow wraps in tasks and a script may call directly."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipelines.config import LEARNING_SECTIONS, MACHINE_PATHS, BestOfBackbones, ProjectConfig
from pipelines.core.bundle import file_sha256, read_manifest
from pipelines.dataset import read_samples
from pipelines.progress import Progress, silent
from pipelines.store import StageOutput, StageStore, stage_fingerprint
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class Stages:
    """The stages of one workspace under one configuration.

    Every method returns at once where the store has the output. Heavy imports happen only in stages that really run.
    """

    workspace: Workspace
    config: ProjectConfig
    progress: Progress = silent

    @property
    def _store(self) -> StageStore:
        return StageStore(self.workspace.store)

    def _section(self, *names: str) -> dict[str, Any]:
        # Where weights lie on this machine is no part of what they are: their sha256 and description are in the key of `select`.
        return self.config.model_dump(mode="json", include=set(names), exclude=MACHINE_PATHS)

    def manifest(self, dataset: str) -> StageOutput:
        """Reads the labels table and every file of the dataset version `dataset`, once."""

        def make(out: Path) -> None:
            from pipelines.manifest import build_manifest

            build_manifest(self.workspace.data, self.config, out)

        return self._store.run("manifest", {"dataset": dataset, **self._section("labels", "data")}, "pipelines.manifest", make)

    def validate(self, manifest: StageOutput) -> StageOutput:
        """Checks the manifest; its output exists for bad data too, so that the Data Docs can be read."""

        def make(out: Path) -> None:
            from pipelines.validate import validate

            validate(manifest.path, self.config, out)

        key = {"manifest": manifest.fingerprint, **self._section("project", "labels", "data", "split")}
        return self._store.run("validate", key, "pipelines.validate", make)

    def split(self, manifest: StageOutput) -> StageOutput:
        """Assigns every sample to its split."""

        def make(out: Path) -> None:
            from pipelines.split import assign_splits

            assign_splits(manifest.path, self.config, out)

        return self._store.run("split", {"manifest": manifest.fingerprint, **self._section("labels", "split")}, "pipelines.split", make)

    def select(self) -> StageOutput:
        """Resolves the backbone."""
        from pipelines.backbones import source_description

        def make(out: Path) -> None:
            from pipelines.backbones import select_backbone, write_selected

            if isinstance(backbone, BestOfBackbones):
                raise NotImplementedError
            write_selected(select_backbone(backbone), out / "backbone.json")

        backbone = self.config.backbone
        if isinstance(backbone, BestOfBackbones):
            raise NotImplementedError
        key = {"source": source_description(backbone), **self._section("backbone")}
        return self._store.run("select", key, "pipelines.backbones", make)

    def train(self, split: StageOutput, selected: StageOutput) -> StageOutput:
        """Trains by the configured method."""

        def make(out: Path) -> None:
            from pipelines.training.train import KeptFolders, train

            kept = KeptFolders(self.workspace.features, checkpoints)
            train(split.path / "samples.csv", self.workspace.data, selected.path / "backbone.json", self.config, kept, out, self.progress)

        sections = self._section("labels", "labels_per_sample", "method", "device", "compute", "seed")
        key = {"split": split.fingerprint, "select": selected.fingerprint, **sections}
        # Under the training's own name: what another training left is never gone on with.
        checkpoints = self.workspace.checkpoints / stage_fingerprint("train", key, "pipelines.training.train")
        trained = self._store.run("train", key, "pipelines.training.train", make)
        shutil.rmtree(checkpoints, ignore_errors=True)
        return trained

    def calibrate(self, trained: StageOutput) -> StageOutput:
        """Fits the temperature."""

        def make(out: Path) -> None:
            from pipelines.calibrate import calibrate

            calibrate(trained.path, out)

        return self._store.run("calibrate", {"train": trained.fingerprint}, "pipelines.calibrate", make)

    def package(
        self, dataset: str, split: StageOutput, selected: StageOutput, trained: StageOutput, calibrated: StageOutput
    ) -> StageOutput:
        """Seals the bundle at `path / "bundle"`."""

        def make(out: Path) -> None:
            from pipelines.package import PackageInputs, package
            from pipelines.split import n_copies

            # Contents, not fingerprints: these depend on the code, and a changed comment must not give another bundle.
            lineage: dict[str, JsonValue] = {"dataset": dataset, "split": file_sha256(split.path / "samples.csv")}
            samples = read_samples(split.path / "samples.csv")
            lineage["n_samples"] = len(samples) + n_copies(split.path)  # rows of the labels table, copies included
            lineage["train_domains"] = dict(sorted(Counter(sample.domain for sample in samples if sample.split == "train").items()))
            inputs = PackageInputs(
                trained=trained.path,
                calibrated=calibrated.path,
                selected=selected.path / "backbone.json",
                samples=split.path / "samples.csv",
                data=self.workspace.data,
                lineage=lineage,
            )
            package(inputs, self.config, out)

        key = {"dataset": dataset, "split": split.fingerprint, "train": trained.fingerprint, "calibrate": calibrated.fingerprint}
        return self._store.run("package", {**key, **self._section(*LEARNING_SECTIONS)}, "pipelines.package", make)

    def evaluate(self, bundle: Path, split: StageOutput) -> StageOutput:
        """Takes a sealed bundle's answers for the test split."""

        def make(out: Path) -> None:
            from pipelines.evaluate import evaluate

            evaluate(bundle, split.path / "samples.csv", self.workspace.data, out, self.progress)

        key: dict[str, JsonValue] = {"bundle": read_manifest(bundle)[1], "split": split.fingerprint}
        return self._store.run("evaluate", key, "pipelines.evaluate", make)
