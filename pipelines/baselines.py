"""What a transfer must be worth more than: the same architecture untrained at the start, a probe on the same backbone, the commonest label.

Stage `baselines` writes `baselines.json`: what became of the first two (`trained`, `same` where the candidate is that model, `failed`) and
the commonest label; and `scratch/predictions.csv`, `probe/predictions.csv`: answers of their own sealed bundles for the test samples.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from pipelines.answers import TestAnswers, read_answers
from pipelines.config import AutoMethod, Method, NegativeTransferGate, ProbeMethod, Recipe, ScratchMethod
from pipelines.config.tasks import with_task_recipe
from pipelines.core.bundle import canonical_json, file_sha256
from pipelines.core.label_sets import LabelsPerSample
from pipelines.dataset import Sample

State = Literal["trained", "same", "failed"]
# Validation losses of an untrained network jump about at first: fewer epochs of patience would cut it short and make a weak baseline.
_LEAST_PATIENCE_EPOCHS = 5


@dataclass(frozen=True)
class Outcome:
    """What became of one baseline.

    Attributes:
        state: `same` where the candidate is that very model, so that nothing was trained or compared.
        why: Of `failed`: what training it ended with.
        evaluation: Output of stage `evaluate` where it was trained.
        evaluated: That output's fingerprint.
    """

    state: State
    why: str = ""
    evaluation: Path | None = None
    evaluated: str = ""


@dataclass(frozen=True)
class Baseline:
    """One baseline as the gate reads it; `answers` only where it was trained."""

    state: State
    why: str
    answers: TestAnswers | None


@dataclass(frozen=True)
class Baselines:
    """What `baselines.json` and the answers beside it say.

    Attributes:
        majority: The commonest label of the training split, or set of labels.
        majority_frac: Its share there.
    """

    scratch: Baseline
    probe: Baseline
    majority: str
    majority_frac: float


def scratch_method(gate: NegativeTransferGate, method: Method, task: str) -> ScratchMethod:
    """How the untrained architecture is trained: with the candidate's augmentation and class weights, so that the start is the difference.

    Flips that a probe would have to find out are left out: an untrained network has none. For texts the recipe's rates are those of a
    project that trains from scratch itself: at those of convolutions a transformer learns nothing, and anything is worth more.
    """
    recipe = method.fine_tune if isinstance(method, AutoMethod) else method
    patience = max(_LEAST_PATIENCE_EPOCHS, gate.scratch_epochs // 3)
    content = {"kind": "scratch", "epochs": gate.scratch_epochs, "early_stopping_epochs": patience}
    section = ScratchMethod.model_validate(with_task_recipe(content, task))
    if not isinstance(recipe, Recipe):
        return section
    augment = recipe.augment if recipe.augment.flips != "auto" else recipe.augment.model_copy(update={"flips": "none"})
    return section.model_copy(update={"augment": augment, "class_weights": recipe.class_weights})


def is_from_scratch(method: Method) -> bool:
    """Whether the candidate itself knows nothing of the backbone."""
    return isinstance(method, ScratchMethod)


def is_a_probe(method: Method, trained: Path) -> bool:
    """Whether the candidate is the probe that it would be compared with.

    Args:
        method: The candidate's.
        trained: Output of its stage `train`.
    """
    if isinstance(method, AutoMethod):
        return bool(json.loads((trained / "training.json").read_bytes()).get("kept") == "probe")
    return isinstance(method, ProbeMethod)


def have_same_weights(one: Path, other: Path) -> bool:
    """Whether two trainings gave the same network: a fine-tuning that was never better than its start leaves the probe."""
    name = "weights.safetensors"
    return file_sha256(one / name) == file_sha256(other / name)


def majority_label(samples: Sequence[Sample]) -> tuple[str, float]:
    """The commonest label of the training samples and its share; of several, the first in the alphabet.

    Args:
        samples: Of all splits, at least one to train on.
    """
    counts = Counter(sample.label for sample in samples if sample.split == "train")
    label, n = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return label, n / counts.total()


def write_baselines(outcomes: Mapping[str, Outcome], samples: Sequence[Sample], out: Path) -> None:
    """Writes what became of the baselines `scratch` and `probe`.

    Args:
        outcomes: Of both, by name.
        samples: Of all splits.
        out: Empty directory.
    """
    label, share = majority_label(samples)
    for name, outcome in outcomes.items():
        if outcome.evaluation is not None:
            (out / name).mkdir()
            shutil.copyfile(outcome.evaluation / "predictions.csv", out / name / "predictions.csv")
    content: dict[str, JsonValue] = {name: {"state": outcome.state, "why": outcome.why} for name, outcome in outcomes.items()}
    (out / "baselines.json").write_bytes(canonical_json(content | {"majority": {"label": label, "frac": share}}))


def read_baselines(folder: Path, labels_per_sample: LabelsPerSample) -> Baselines:
    """Reads what `write_baselines` wrote.

    Raises:
        DataError: The answers of a baseline cannot be read.
    """
    content = json.loads((folder / "baselines.json").read_bytes())

    def baseline(name: str) -> Baseline:
        state = content[name]["state"]
        answers = read_answers(folder / name / "predictions.csv", labels_per_sample) if state == "trained" else None
        return Baseline(state, content[name]["why"], answers)

    return Baselines(baseline("scratch"), baseline("probe"), content["majority"]["label"], content["majority"]["frac"])
