"""The learning part of a retraining: from the dataset version to a judged candidate, each stage a task."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from flows.audit_report import audit_folder, keep_audit, warn_of_samples
from pipelines.core.bundle import read_manifest
from pipelines.data_stages import audit, near_duplicates, truncation
from pipelines.stages import Stages
from pipelines.store import StageOutput

R = TypeVar("R")
_LOGGER = logging.getLogger(__name__)


class RunStep(Protocol):
    """Runs a function as a named step: as a Prefect task, or just so."""

    def __call__(self, name: str, function: Callable[..., R], *args: object) -> R:
        """Returns what the function returns."""


@dataclass(frozen=True)
class Candidate:
    """A sealed bundle, with the outputs of the stages that made it.

    Attributes:
        bundle: Directory of the sealed bundle.
        bundle_id: Its id.
        outputs: By stage, in the order of running.
    """

    bundle: Path
    bundle_id: str
    outputs: dict[str, StageOutput]

    @property
    def seconds(self) -> dict[str, float]:
        """What each stage took in this run: 0 where its output was there."""
        return {name: 0.0 if output.cached else output.seconds for name, output in self.outputs.items()}

    @property
    def n_samples(self) -> int:
        """Usable rows of the dataset version."""
        return int(json.loads((self.bundle / "lineage.json").read_bytes())["n_samples"])

    @property
    def reports(self) -> dict[str, str]:
        """What a person can look at."""
        found = {
            "data_docs": self.outputs["validate"].path / "data_docs" / "index.html",
            "audit": audit_folder(self.outputs["audit"]) / "audit.html",
            "bundle_card": self.bundle / "card.md",
        }
        return {name: str(path) for name, path in found.items()}


def warn_of_weights(checked: StageOutput) -> None:
    """One line of the log for each thing about the backbone's weights that looks wrong, in every run until it is put right."""
    for finding in json.loads((checked.path / "sanity.json").read_bytes())["findings"]:
        _LOGGER.warning("The backbone's %s: %s Next: %s", finding["check"], finding["got"], finding["next_step"])


def warn_of_truncation(measured: StageOutput) -> None:
    """One line of the log where texts are longer than the backbone reads."""
    from pipelines.truncation import read_truncation

    found = read_truncation(measured.path)
    if found.all.n_truncated:
        _LOGGER.warning(
            "The data: %s Next: raise backbone.max_tokens where the backbone allows it, or cut the texts yourself.", found.in_words
        )


def make_candidate(stages: Stages, dataset: str, run_step: RunStep) -> Candidate:
    """Runs all stages up to the evaluated bundle.

    Args:
        stages: Of the workspace.
        dataset: Digest of the dataset version.
        run_step: How each stage is run.

    Raises:
        DataError: The data failed its validation; the Data Docs are written all the same.
        ConfigurationError: The team's behaviour tests, where a gate asks for them, cannot be read: found before hours of training.
    """
    from pipelines.behaviour_inputs import check_behaviour
    from pipelines.validate import raise_for_validation

    check_behaviour(stages.workspace.root, stages.config)
    outputs: dict[str, StageOutput] = {}
    outputs["manifest"] = run_step("manifest", stages.manifest, dataset)
    outputs["validate"] = run_step("validate", stages.validate, outputs["manifest"])
    raise_for_validation(outputs["validate"].path)
    outputs["split"] = run_step("split", stages.split, outputs["manifest"])
    outputs["select"] = run_step("select", stages.select, outputs["split"])
    if stages.config.task == "text":
        outputs["truncation"] = run_step("truncation", truncation, stages, outputs["split"], outputs["select"])
        warn_of_truncation(outputs["truncation"])
    outputs["near_duplicates"] = run_step("near_duplicates", near_duplicates, stages, outputs["split"])
    outputs["audit"] = run_step("audit", audit, stages, outputs["split"], outputs["select"], outputs["near_duplicates"])
    warn_of_samples(outputs["audit"], keep_audit(outputs["audit"]))
    checked = run_step("check_weights", stages.check_weights, outputs["split"], outputs["select"])
    if checked is not None:
        warn_of_weights(checked)
        outputs["check_weights"] = checked
    outputs["train"] = run_step("train", stages.train, outputs["split"], outputs["select"])
    outputs["calibrate"] = run_step("calibrate", stages.calibrate, outputs["train"])
    made_from = (outputs[name] for name in ("split", "select", "train", "calibrate"))
    outputs["package"] = run_step("package", stages.package, dataset, *made_from)
    bundle = outputs["package"].path / "bundle"
    outputs["evaluate"] = run_step("evaluate", stages.evaluate, bundle, outputs["split"])
    return Candidate(bundle, read_manifest(bundle)[1], outputs)
