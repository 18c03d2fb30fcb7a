"""`regraft reproduce`: makes a registered version again from its commit, data and configuration, and compares.

Everything happens in a temporary folder with an empty store; the workspace is only read.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from flows.learning import Candidate, make_candidate
from flows.provenance import code_digests
from flows.recorded_config import recorded_config
from flows.session import Session
from pipelines.config import ProjectConfig
from pipelines.core.bundle import read_manifest
from pipelines.equivalence import Equivalence, equivalence_of
from pipelines.hardware import HARDWARE_FILE
from pipelines.progress import Progress, silent
from pipelines.stages import Stages
from pipelines.versioning.account import WEIGHTS, account
from pipelines.versioning.comparison import differences
from pipelines.versioning.lineage import Lineage
from pipelines.workspace import Workspace

R = TypeVar("R")
Outcome = Literal["same", "equivalent", "different", "insufficient_data"]
DEFAULT_MARGIN = 0.02
# They hold versions of libraries and digests, not what the model answers.
_DOCUMENTS = frozenset({"lineage.json", "card.md"})
_NO_PART_OF_RESULTS = frozenset({"memory_gib", "n_cores"})


@dataclass(frozen=True)
class Reproduction:
    """What came of making a version again.

    Attributes:
        version: That was made again.
        outcome: `same`: bit for bit. `equivalent`: other bits for a stated reason, and the accuracies are shown to differ by less than
            the margin. `insufficient_data`: too few test samples to show that.
        reason: A sentence.
        expected, got: Bundle id and sha256 of the weights: of the version, and of what was made now.
        circumstances: What is not as it was, and may explain other bits: time budget, hardware, libraries, code.
        files: Of the bundle, those that differ.
        metrics: Numbers of the evaluation that differ, by dotted path.
        equivalence: The comparison of the answers, where bits differ.
    """

    version: str
    outcome: Outcome
    reason: str
    expected: dict[str, str | None]
    got: dict[str, str | None]
    circumstances: tuple[str, ...]
    files: tuple[str, ...]
    metrics: dict[str, dict[str, Any]]
    equivalence: Equivalence | None

    @property
    def is_same(self) -> bool:
        """Whether the version was reproduced, bit for bit or in what it answers."""
        return self.outcome in ("same", "equivalent")


def reproduce(
    session: Session, version: str, weights: Sequence[Path] = (), margin: float = DEFAULT_MARGIN, progress: Progress = silent
) -> Reproduction:
    """Makes a version again and compares it with what was registered.

    Args:
        session: Of the workspace.
        version: For example `v0.0.2`.
        weights: Files, or folders of files, to look for the backbone's weights in.
        margin: Of accuracy; what `equivalent` means where equal bits are not to be expected.
        progress: Told of the stages and of what they do.

    Raises:
        ConfigurationError: There is no such version, or its weights are not found here.
        IntegrityError: Its data are neither in the cache nor in the remote.
    """
    from pipelines.versioning.registry import show
    from pipelines.versioning.snapshot import export_commit, export_data

    root = session.workspace.root
    lineage = show(root, session.config.project, version)
    with tempfile.TemporaryDirectory(prefix="regraft-reproduce-") as folder:
        scratch, copy = Path(folder) / "cache", Workspace(Path(folder) / "workspace")
        export_commit(root, lineage.model.commit, copy.root)
        dataset = export_data(root, lineage.model.commit, copy.data, scratch, progress)
        config = recorded_config(session, lineage, copy.root, weights)
        stages = Stages(copy, config, progress)
        made = make_candidate(stages, dataset, _plainly(progress))
        return _Comparison(root, lineage, config, stages, made, scratch).result(margin)


def _plainly(progress: Progress) -> Any:
    def run_step(name: str, function: Callable[..., R], *arguments: object) -> R:
        progress(name, 0, 1)
        result = function(*arguments)
        progress(name, 1, 1)
        return result

    return run_step


@dataclass(frozen=True)
class _Comparison:
    root: Path
    lineage: Lineage
    config: ProjectConfig
    stages: Stages
    made: Candidate
    scratch: Path

    def result(self, margin: float) -> Reproduction:
        old, new = self.lineage.manifest, read_manifest(self.made.bundle)[0]
        paths = old.files.keys() | new.files.keys()
        files = tuple(sorted(path for path in paths if old.files.get(path) != new.files.get(path)))
        metrics, circumstances = self._metrics(), self._circumstances()
        # The manifest's own fields (labels, preprocessing, temperature) make another id, too, without any file that differs.
        same_answers = set(files) <= _DOCUMENTS and old.model_copy(update={"files": {}}) == new.model_copy(update={"files": {}})
        equivalence = self._equivalence(margin) if circumstances and not (same_answers and not metrics) else None
        outcome, reason = _judge(same_answers and not metrics, files, metrics, equivalence)
        return Reproduction(
            version=self.lineage.model.name,
            outcome=outcome,
            reason=reason,
            expected={"bundle": self.lineage.model.bundle_id, "weights_sha256": old.files.get(WEIGHTS)},
            got={"bundle": self.made.bundle_id, "weights_sha256": new.files.get(WEIGHTS)},
            circumstances=circumstances,
            files=files,
            metrics=metrics,
            equivalence=equivalence,
        )

    def _metrics(self) -> dict[str, dict[str, Any]]:
        """What was recorded and is not so now; numbers that only this version of the code takes do not count."""
        recorded = self.lineage.records.get("evaluation.json")
        old = {name: value for name, value in recorded.items() if name != "bundle"} if isinstance(recorded, dict) else {}
        new = self._read("evaluate", "evaluation.json")
        return differences(old, {name: value for name, value in new.items() if name in old})

    def _circumstances(self) -> tuple[str, ...]:
        then = account(self.lineage)
        found = []
        if then["cut_by_budget"] or self._read("train", "training.json").get("cut_by_budget"):
            found.append("the time budget cut the training: how far it got depends on the machine's speed")
        hardware = self._read("train", HARDWARE_FILE)
        if then["hardware"] is None:
            found.append("the hardware of the training was not recorded")
        else:
            keys = hardware.keys() - _NO_PART_OF_RESULTS
            found += _changed("hardware", {key: then["hardware"].get(key) for key in keys}, {key: hardware[key] for key in keys})
        if hardware["device"] == "cuda":
            found.append("it was trained on a GPU, whose kernels need not give the same bits twice")
        libraries = json.loads((self.made.bundle / "lineage.json").read_bytes())["versions"]
        found += _changed("library", {name: then["libraries"].get(name) for name in libraries}, libraries)
        found += self._changed_code(then["code"])
        return tuple(found)

    def _changed_code(self, then: dict[str, Any] | None) -> list[str]:
        if then is None:
            return ["the code that made it was not recorded"]
        now = code_digests(self.config)
        stages = [stage for stage in now if then["stages"].get(stage) != now[stage]]
        return [f"the code differs from that of Regraft {then['version']} in: {', '.join(stages)}"] if stages else []

    def _equivalence(self, margin: float) -> Equivalence:
        from pipelines.answers import read_answers
        from pipelines.gates.pairing import pair
        from pipelines.versioning.snapshot import export_bundle

        original = self.scratch.parent / "original"
        export_bundle(self.root, self.lineage.model.commit, original, self.scratch)
        theirs = self.stages.evaluate(original, self.made.outputs["split"])
        kind = self.config.labels_per_sample
        answers = [read_answers(output.path / "predictions.csv", kind) for output in (self.made.outputs["evaluate"], theirs)]
        manifest = self.lineage.manifest
        pairs = pair(answers[0], answers[1], manifest.labels, manifest.labels_per_sample)
        return equivalence_of(pairs.n_wins, pairs.n_losses, pairs.n, margin)

    def _read(self, stage: str, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.made.outputs[stage].path / name).read_bytes())
        return content


def _judge(is_same: bool, files: Sequence[str], metrics: dict[str, dict[str, Any]], equivalence: Equivalence | None) -> tuple[Outcome, str]:
    if is_same:
        documents = f"; only {' and '.join(files)} differ, which say what it was made with" if files else ""
        return "same", f"The weights and every file that decides an answer are the same, bit for bit{documents}."
    if equivalence is None:
        return "different", (
            f"{len(files)} files of the bundle and {len(metrics)} numbers of its evaluation differ, though code, libraries, hardware and "
            "time budget are as they were."
        )
    verdict: Outcome = equivalence.verdict
    return verdict, f"Not the same bits, for the reasons given. Made now (first) against registered (second): {equivalence.reason}"


def _changed(what: str, then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [f"{what} {name}: {old['a']} then, {old['b']} now" for name, old in differences(then, now).items()]
