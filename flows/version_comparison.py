"""`regraft diff`: two versions side by side; paired where this workspace holds answers of both for the same test samples."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.session import Session
from pipelines.store import RECORD, is_complete

if TYPE_CHECKING:
    from pipelines.versioning.lineage import Lineage

_LEVEL = 0.95


def compare(session: Session, first: str, second: str) -> dict[str, Any]:
    """All that differs; see `pipelines.versioning.comparison`, and `paired`: the accuracies on the same samples.

    Raises:
        ConfigurationError: There is no such version.
    """
    from pipelines.versioning.comparison import compare_versions
    from pipelines.versioning.registry import show

    root, project = session.workspace.root, session.config.project
    content = compare_versions(root, project, first, second)
    return {**content, "paired": _paired(session.workspace.store, show(root, project, first), show(root, project, second))}


def _paired(store: Path, first: Lineage, second: Lineage) -> dict[str, Any]:
    places = _shared_evaluation(store, first.model.bundle_id, second.model.bundle_id)
    if places is None:
        names = first.model.name, second.model.name
        return {
            "unknown": f"no answers of both for the same samples are kept here; `regraft evaluate {names[0]}` and `… {names[1]}` make them"
        }
    from pipelines.answers import read_answers
    from pipelines.gates.pairing import pair
    from pipelines.intervals import tango_interval

    kind = second.manifest.labels_per_sample
    answers = [read_answers(place / "predictions.csv", kind) for place in places]
    pairs = pair(answers[1], answers[0], first.manifest.labels, first.manifest.labels_per_sample)
    interval = tango_interval(pairs.n_wins, pairs.n_losses, pairs.n, _LEVEL)
    return {
        "n_b_alone_right": pairs.n_wins,
        "n_a_alone_right": pairs.n_losses,
        "accuracy_b_minus_a": asdict(interval),
        "interval": f"Tango's score interval, {100 * _LEVEL:g} %",
    }


def _shared_evaluation(store: Path, first: str, second: str) -> tuple[Path, Path] | None:
    """The latest pair of outputs of stage `evaluate` of two bundles on one split."""
    found: dict[str, dict[str, Path]] = {first: {}, second: {}}
    for record in sorted((store / "evaluate").glob(f"*/{RECORD}"), key=lambda path: path.stat().st_mtime):
        key = json.loads(record.read_bytes())["key"]
        if key.get("bundle") in found and is_complete(record.parent):
            found[key["bundle"]][key["split"]] = record.parent
    shared = [split for split in found[second] if split in found[first]]
    return (found[first][shared[-1]], found[second][shared[-1]]) if shared else None
