"""The stages in the order of the loop, each through the store: what a flow wraps in tasks and a script may call directly."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipelines.config import (
    LEARNING_SECTIONS,
    MACHINE_PATHS,
    BestOfBackbones,
    ProjectConfig,
    SingleBackbone,
    TimmBackbone,
)
from pipelines.core.bundle import canonical_json, file_sha256, read_manifest
from pipelines.core.errors import ConfigurationError
from pipelines.dataset import read_samples
from pipelines.exclusive import if_free
from pipelines.progress import Progress, silent
from pipelines.store import StageOutput, StageStore, stage_fingerprint
from pipelines.workspace import Workspace

# A training that was killed and is wanted is started again within days; it goes on from its checkpoints.
_ABANDONED_TRAINING_SECONDS = 14 * 86_400


@dataclass(frozen=True)
class Stages:
    """The stages of one workspace under one configuration.

    Every method returns at once where the store has the output. Heavy imports happen only in stages that really run.

    Attributes:
        while_training: What is held only while the device trains, for example a lock on it.
    """

    workspace: Workspace
    config: ProjectConfig
    progress: Progress = silent
    while_training: Callable[[], AbstractContextManager[None]] = nullcontext

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

        # A licence is said of the data and stands in none of these.
        data = self.config.data.model_dump(mode="json", exclude={"licence"})
        key = {"dataset": dataset, "data": data, **self._section("task", "labels", "labels_per_sample")}
        return self._store.run("manifest", key, "pipelines.manifest", make)

    def validate(self, manifest: StageOutput) -> StageOutput:
        """Checks the manifest; its output exists for bad data too, so that the Data Docs can be read."""

        def make(out: Path) -> None:
            from pipelines.validate import validate

            validate(manifest.path, self.config, out)

        data = self.config.data.model_dump(mode="json", exclude={"licence"})
        key = {"manifest": manifest.fingerprint, "data": data, **self._section("project", "task", "labels", "labels_per_sample", "split")}
        return self._store.run("validate", key, "pipelines.validate", make)

    def split(self, manifest: StageOutput) -> StageOutput:
        """Assigns every sample to its split."""

        def make(out: Path) -> None:
            from pipelines.split import assign_splits

            assign_splits(manifest.path, self.config, out)

        key = {"manifest": manifest.fingerprint, **self._section("labels", "labels_per_sample", "split")}
        return self._store.run("split", key, "pipelines.split", make)

    def select(self, split: StageOutput | None = None) -> StageOutput:
        """Resolves the backbone; of several, ranks them on the split's samples and chooses one. A single one needs no split."""
        backbone = self.config.backbone
        return self._select_best(backbone, split) if isinstance(backbone, BestOfBackbones) else self._select_single(backbone)

    def _select_single(self, backbone: SingleBackbone) -> StageOutput:
        from pipelines.backbones import source_description

        def make(out: Path) -> None:
            from pipelines.backbones import select_backbone
            from pipelines.selected_backbone import write_selected

            write_selected(select_backbone(backbone), out / "backbone.json")

        # Without the split: the same backbone for whatever data.
        key = {"source": source_description(backbone), **self._section("backbone")}
        return self._store.run("select", key, "pipelines.backbones", make)

    def _select_best(self, backbone: BestOfBackbones, split: StageOutput | None) -> StageOutput:
        from pipelines.backbones import source_description
        from pipelines.selection import probe_section, select_best

        if split is None:
            raise ConfigurationError(
                got="backbone: best_of, to be resolved without samples.",
                allowed="the output of stage `split`: the best backbone is the one for this very data.",
                next_step="run stage `split` first and give its output, or name a single backbone.",
            )

        def make(out: Path) -> None:
            features = self.workspace.features
            select_best(backbone, split.path / "samples.csv", self.workspace.data, self.config, features, out, self.progress)

        probe = probe_section(self.config).model_dump(mode="json")
        sections = self._section("backbone", "labels", "labels_per_sample", "device", "compute", "seed")
        sources: list[JsonValue] = [source_description(candidate) for candidate in backbone.candidates]
        key = {"sources": sources, "split": split.fingerprint, "probe": probe, **sections}
        return self._store.run("select", key, "pipelines.selection", make)

    def check_weights(self, split: StageOutput, selected: StageOutput) -> StageOutput | None:
        """Looks whether third-party weights are used as they were trained: padding, mean and std, channel order, damaged layers.

        Done once for a backbone: which of the project's images it is asked with does not matter, so the split is no part of the
        key, but for whether it has enough of them: too few are not asked, and that must not stand once there are more.

        Returns:
            `sanity.json`; nothing for a shipped backbone, whose card says what was measured of it, and for one of texts or sounds.
        """
        from pipelines.backbones import entry_of
        from pipelines.selected_backbone import read_selected

        choice = read_selected(selected.path / "backbone.json")
        entry = entry_of(self.config.backbone, choice)
        # What is checked is how images are normalised and padded, by changing them.
        if not isinstance(entry, TimmBackbone):
            return None

        def make(out: Path) -> None:
            from pipelines.training.gathering import material_for
            from pipelines.weights_sanity import check_weights

            samples = split.path / "samples.csv"
            material = material_for(choice, samples, self.workspace.data, self.config, self.workspace.features, out, self.progress)
            (out / "sanity.json").write_bytes(canonical_json(check_weights(entry, choice, material.train, self.config.device).record()))

        from pipelines.weights_sanity import MIN_IMAGES

        is_enough = len(read_samples(split.path / "samples.csv", "train")) >= MIN_IMAGES
        sections = self._section("labels", "labels_per_sample", "device")
        key = {"select": selected.fingerprint, "enough_images": is_enough, **sections}
        return self._store.run("check_weights", key, "pipelines.weights_sanity", make)

    def train(self, split: StageOutput, selected: StageOutput) -> StageOutput:
        """Trains by the configured method."""

        def make(out: Path) -> None:
            from pipelines.hardware import HARDWARE_FILE, describe_hardware
            from pipelines.training.launch import train_in_processes
            from pipelines.training.train import KeptFolders, train

            run = train if self.config.compute.processes == 1 else train_in_processes
            kept = KeptFolders(self.workspace.features, checkpoints)
            with self.while_training():
                run(split.path / "samples.csv", self.workspace.data, selected.path / "backbone.json", self.config, kept, out, self.progress)
            (out / HARDWARE_FILE).write_bytes(canonical_json(describe_hardware(self.config.device)))

        sections = self._section("labels", "labels_per_sample", "method", "device", "compute", "seed")
        key = {"split": split.fingerprint, "select": selected.fingerprint, **sections}
        # Under the training's own name: what another training left is never gone on with.
        checkpoints = self.workspace.checkpoints / stage_fingerprint("train", key, "pipelines.training.train")
        trained = self._store.run("train", key, "pipelines.training.train", make)
        shutil.rmtree(checkpoints, ignore_errors=True)
        if not trained.cached:
            self._remove_abandoned_checkpoints()
        return trained

    def _remove_abandoned_checkpoints(self) -> None:
        """Removes what trainings left that nobody went on with, where no process is at it."""
        for folder in self.workspace.checkpoints.glob("*"):
            if re.fullmatch(r"[0-9a-f]{64}", folder.name) is None:
                continue
            with if_free(self._store.lock("train", folder.name)) as free:
                if free and time.time() - _last_change(folder) > _ABANDONED_TRAINING_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)

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

            evaluate(bundle, split.path / "samples.csv", self.workspace.data, out, self.progress, self.config.labels_per_sample)

        key = {"bundle": read_manifest(bundle)[1], "split": split.fingerprint, **self._section("labels_per_sample")}
        return self._store.run("evaluate", key, "pipelines.evaluate", make)

    def learning_curve(self, split: StageOutput, selected: StageOutput) -> StageOutput:
        """Measures how a probe gains with the number of training samples; on features that training has kept."""
        from pipelines.selection import probe_section

        def make(out: Path) -> None:
            from pipelines.learning_curve import learning_curve
            from pipelines.selected_backbone import read_selected
            from pipelines.training.gathering import material_for

            choice, samples = read_selected(selected.path / "backbone.json"), split.path / "samples.csv"
            material = material_for(choice, samples, self.workspace.data, self.config, self.workspace.features, out, self.progress)
            learning_curve(material, probe_section(self.config), out)

        probe = probe_section(self.config).model_dump(mode="json")
        sections = self._section("labels", "labels_per_sample", "device", "seed")
        key: dict[str, JsonValue] = {"split": split.fingerprint, "select": selected.fingerprint, "probe": probe, **sections}
        return self._store.run("learning_curve", key, "pipelines.learning_curve", make)

    def mistakes(self, bundle: Path, split: StageOutput, evaluated: StageOutput) -> StageOutput:
        """Pictures of the test samples that a sealed bundle got wrong with the most confidence."""

        def make(out: Path) -> None:
            from pipelines.mistakes import find_mistakes

            kind = self.config.labels_per_sample
            find_mistakes(bundle, evaluated.path, split.path / "samples.csv", self.workspace.data, out, kind)

        key = {"evaluate": evaluated.fingerprint, "split": split.fingerprint, **self._section("labels_per_sample")}
        return self._store.run("mistakes", key, "pipelines.mistakes", make)


def _last_change(folder: Path) -> float:
    """Seconds since 1970; now where something of it vanishes meanwhile."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return time.time()
