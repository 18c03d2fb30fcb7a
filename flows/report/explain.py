"""The stages that only the report needs: after the decision, and never in its way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flows.learning import Candidate, RunStep
from pipelines.core.errors import RegraftError
from pipelines.report_stages import wants_zero_shot, zero_shot
from pipelines.stages import Stages
from pipelines.store import StageOutput

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Explained:
    """What was made for the report.

    Attributes:
        outputs: By stage.
        missing: By stage, why it could not be made.
    """

    outputs: Mapping[str, StageOutput] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> dict[str, float]:
        """What each stage took in this run: 0 where its output was there."""
        return {name: 0.0 if output.cached else output.seconds for name, output in self.outputs.items()}

    def path(self, stage: str) -> Path | None:
        """Output folder of a stage; None where there is none."""
        return self.outputs[stage].path if stage in self.outputs else None


def explain(stages: Stages, candidate: Candidate, run_step: RunStep) -> Explained:
    """Runs what the report shows besides. A stage that fails is a sentence in the report: the decision has been made without it."""
    outputs, missing = {}, {}
    made = candidate.outputs
    steps: dict[str, tuple[Callable[..., StageOutput], tuple[object, ...]]] = {
        "learning_curve": (stages.learning_curve, (made["split"], made["select"])),
        "mistakes": (stages.mistakes, (candidate.bundle, made["split"], made["evaluate"])),
    }
    if wants_zero_shot(stages.config):
        steps["zero_shot"] = (zero_shot, (stages, made["split"], made["select"]))
    for name, (stage, arguments) in steps.items():
        try:
            outputs[name] = run_step(name.replace("_", " "), stage, *arguments)
        # Whatever it is that a stage or a library of it raises: the model was judged, and may be in production already.
        except Exception as error:  # noqa: BLE001
            _LOGGER.warning("The report lacks its %s: %s", name.replace("_", " "), _in_the_log(error))
            missing[name] = _in_the_report(error)
    return Explained(outputs, missing)


def _in_the_log(error: Exception) -> str:
    # A library's own words may quote what it was given.
    return str(error) if isinstance(error, RegraftError) else f"a {type(error).__name__}; the report has its words."


def _in_the_report(error: Exception) -> str:
    return error.got if isinstance(error, RegraftError) else f"{type(error).__name__}: {error}"
