"""A workspace with a registered model that was really trained, made without Prefect's server; a second or two after the imports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flows.learning import Candidate, make_candidate
from flows.new_workspace import init_workspace
from flows.provenance import provenance_record
from flows.session import Session
from pipelines.config import load_config
from pipelines.stages import Stages
from pipelines.versioning.dataset import dataset_version
from pipelines.versioning.registry import register
from pipelines.workspace import Workspace

PROBE = "method={kind: probe, strengths: [1.0]}"


def make_workspace_of_digits(root: Path) -> Workspace:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index in np.flatnonzero(digits.target < 3)[:360]:
        folder = root / "source" / f"digit {digits.target[index]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[index] * 255 // 16).astype(np.uint8)).save(folder / f"{index}.png")
    init_workspace(root / "digits3", root / "source", "image")
    return Workspace.at(root / "digits3")


def session_of(workspace: Workspace, *overrides: str) -> Session:
    return Session(workspace, load_config(workspace.root / "conf" / "digits3.yaml", overrides or (PROBE,)))


def plainly(name: str, function: Callable[..., Any], *arguments: object) -> Any:
    return function(*arguments)


def candidate_of(session: Session) -> Candidate:
    dataset = dataset_version(session.workspace.root).digest
    return make_candidate(Stages(session.workspace, session.config), dataset, plainly)


def register_candidate(session: Session, candidate: Candidate, change: Callable[[dict[str, Any]], None] = lambda record: None) -> str:
    """Registers as the flow does; `change` plants a fault in the record."""
    provenance = json.loads(provenance_record(session, candidate))
    change(provenance)
    records = {
        "decision.json": b'{"decisions": []}',
        "provenance.json": json.dumps(provenance).encode(),
        "evaluation.json": (candidate.outputs["evaluate"].path / "evaluation.json").read_bytes(),
        "training.json": (candidate.outputs["train"].path / "training.json").read_bytes(),
    }
    return register(session.workspace.root, candidate.bundle, records, "Register").name
