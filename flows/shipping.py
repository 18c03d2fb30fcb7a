"""From a candidate that passed its gates to a registered version whose Bento was served once and answered as the bundle does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from flows.endpoint import LOOPBACK, endpoint_settings, free_port
from flows.learning import Candidate, RunStep
from flows.session import Session
from pipelines.store import StageOutput, StageStore

if TYPE_CHECKING:
    from pipelines.gates.decision import Judgement
    from serving.build import BentoBuild


@dataclass(frozen=True)
class Shipped:
    """A registered version with a Bento that was tried.

    Attributes:
        version: Of the registry.
        bento: Tag of the Bento.
        check: Output of the trial.
        card: Text of the model card.
    """

    version: str
    bento: str
    check: StageOutput
    card: str

    @property
    def seconds(self) -> dict[str, float]:
        """What the trial took in this run."""
        return {"serve_once": 0.0 if self.check.cached else self.check.seconds}


def ship(session: Session, candidate: Candidate, judgement: Judgement, evidence: Mapping[str, JsonValue], run_step: RunStep) -> Shipped:
    """Builds the candidate's Bento, serves it once, compares its answers with the goldens, and registers what passed.

    Raises:
        RefusedError: The served Bento answers differently from the bundle.
    """
    from flows.model_card import model_card

    evaluation = (candidate.outputs["evaluate"].path / "evaluation.json").read_bytes()
    card = model_card(session.config, candidate, judgement)
    records = {
        "decision.json": judgement.model_dump_json(indent=2).encode(),
        "evaluation.json": evaluation,
        "card.md": card.encode(),
        "training.json": (candidate.outputs["train"].path / "training.json").read_bytes(),
        "calibration.json": (candidate.outputs["calibrate"].path / "calibration.json").read_bytes(),
        "validation.json": (candidate.outputs["validate"].path / "validation.json").read_bytes(),
    }
    message = f"{session.config.project}: bundle {candidate.bundle_id} ({evidence['trigger']})"
    build = run_step("build Bento", _build, session, candidate)
    check = run_step("serve once", _serve_once, session, candidate, build)
    # Last: every registered version can be promoted by hand, so none is registered that was not served.
    version = run_step("register", _register, session, candidate, records, message, str(evidence["dataset"]))
    return Shipped(version, build.tag, check, card)


def _register(session: Session, candidate: Candidate, records: Mapping[str, bytes], message: str, dataset: str) -> str:
    from pipelines.versioning.registry import register

    return register(session.workspace.root, candidate.bundle, records, message, dataset=dataset).name


def _build(session: Session, candidate: Candidate) -> BentoBuild:
    from serving.build import build_bento

    return build_bento(candidate.bundle, session.config.project, session.workspace.bentoml_home)


def _serve_once(session: Session, candidate: Candidate, build: BentoBuild) -> StageOutput:
    """Real HTTP requests with the goldens' raw bytes; not repeated for a Bento that has passed."""

    def make(out: Path) -> None:
        from serving.process import serve_bento
        from serving.verify import verify_endpoint

        log = session.workspace.logs / "serve-once.log"
        # The limits of production; without a pointer it serves the bundle inside the Bento.
        limits = endpoint_settings(session).model_copy(update={"pointer": None, "log_dir": None, "raw_dir": None, "sample_raw_frac": 0.0})
        with serve_bento(build.path, LOOPBACK, free_port(), limits, log) as endpoint:
            check = verify_endpoint(endpoint.url, candidate.bundle)
        (out / "check.json").write_text(
            json.dumps({"n": check.n, "worst_difference": check.worst_difference, "code": build.code_digest}), encoding="utf-8"
        )

    key: dict[str, JsonValue] = {"bundle": candidate.bundle_id, "bento": build.tag}
    return StageStore(session.workspace.store).run("serve_once", key, "serving.verify", make)
