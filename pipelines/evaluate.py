"""Stage `evaluate`: what a sealed bundle answers for the raw bytes of the test samples.

Candidate and champion pass through this one function, on the same samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.answers import PREDICTIONS, TestAnswers, write_answers
from pipelines.core.bundle import BundleManifest, canonical_json
from pipelines.core.label_sets import LabelsPerSample, members_of
from pipelines.core.predict import Predictions, Predictor
from pipelines.dataset import Sample, read_sample, read_samples
from pipelines.intervals import clopper_pearson
from pipelines.label_measures import measure_labels
from pipelines.progress import Progress, silent

# What is done to a sample's file before the bundle gets it.
Alter = Callable[[Sample, bytes], bytes]

_CHUNK = 256
_N_CALIBRATION_BINS = 10


def evaluate(
    bundle: Path,
    samples: Path,
    data: Path,
    out: Path,
    progress: Progress = silent,
    labels_per_sample: LabelsPerSample = "one",
    alter: Alter | None = None,
) -> None:
    """Predicts the test split and writes `predictions.csv`, `probabilities.safetensors` and `evaluation.json`.

    Args:
        bundle: A sealed bundle; its hashes and goldens are checked first.
        samples: `samples.csv` with splits.
        data: The folder that sample paths are relative to.
        out: Empty directory.
        progress: Told after every chunk.
        labels_per_sample: Of the samples. The bundle may be of another time, when the project still had one label a sample.
        alter: Makes another file of each sample's; None leaves them as they are.

    Raises:
        IntegrityError: A sample's file changed since it was listed, or the bundle is not what its manifest says.
    """
    predictor = Predictor.load(bundle)
    test = read_samples(samples, "test")
    parts = _predict(predictor, test, lambda sample: _file_of(data, sample, alter), progress)
    probabilities = np.concatenate([part.probabilities for part in parts])
    answers = _as_answers(test, parts, predictor.manifest, labels_per_sample)
    write_answers(answers, out / PREDICTIONS)
    summary: dict[str, JsonValue] = {"bundle": predictor.bundle, "labels": list(predictor.manifest.labels)}
    summary |= _shared_measures(answers)
    summary |= _measures(predictor.manifest, answers, probabilities)
    (out / "evaluation.json").write_bytes(canonical_json(summary))


def _file_of(data: Path, sample: Sample, alter: Alter | None) -> bytes:
    content = read_sample(data, sample)
    return content if alter is None else alter(sample, content)


def _predict(predictor: Predictor, test: Sequence[Sample], read: Callable[[Sample], bytes], progress: Progress) -> list[Predictions]:
    answers = []
    for start in range(0, len(test), _CHUNK):
        chunk = test[start : start + _CHUNK]
        answers.append(predictor.predict([read(sample) for sample in chunk]))
        progress("evaluation", min(start + _CHUNK, len(test)), len(test))
    return answers


def _as_answers(
    test: Sequence[Sample], parts: Sequence[Predictions], manifest: BundleManifest, labels_per_sample: LabelsPerSample
) -> TestAnswers:
    predicted = [label for part in parts for label in part.labels]
    if parts[0].thresholds is not None:
        predicted = [_as_the_sample_writes_it(answer, sample.label) for answer, sample in zip(predicted, test, strict=True)]
    return TestAnswers(
        ids=np.array([sample.id for sample in test]),
        domains=np.array([sample.domain for sample in test]),
        labels=np.array([sample.label for sample in test]),
        predicted=np.array(predicted),
        confidences=np.concatenate([part.confidences for part in parts]),
        labels_per_sample=labels_per_sample,
        slices={name: np.array([dict(sample.slices)[name] for sample in test]) for name, _ in test[0].slices},
        probabilities=np.concatenate([part.probabilities for part in parts]),
        label_names=manifest.labels,
        exclusive=manifest.thresholds is None,
    )


def _as_the_sample_writes_it(answer: str, true: str) -> str:
    # A champion's labels may stand in another order than today's: the same set must be the same text.
    return true if set(members_of(answer)) == set(members_of(true)) else answer


def _shared_measures(answers: TestAnswers) -> dict[str, JsonValue]:
    return {
        "accuracy": _accuracy(answers.correct),
        "accuracy_by_domain": _accuracy_by(answers.domains, answers.correct),
        "accuracy_by_slice": {name: _accuracy_by(values, answers.correct) for name, values in answers.slices.items()},
        "expected_calibration_error": expected_calibration_error(answers.confidences, answers.correct),
    }


def _measures(manifest: BundleManifest, answers: TestAnswers, probabilities: NDArray[np.float64]) -> dict[str, JsonValue]:
    labels = manifest.labels
    if manifest.thresholds is not None:
        true_sets = [set(members_of(text)) for text in answers.labels.tolist()]
        targets = np.array([[label in members for label in labels] for members in true_sets])
        return measure_labels(labels, targets, probabilities, manifest.thresholds)
    true = np.array([labels.index(label) if label in labels else -1 for label in answers.labels.tolist()])
    correct = answers.correct
    return {
        "accuracy_by_label": {label: _accuracy(correct[true == index]) for index, label in enumerate(labels) if (true == index).any()},
        "log_loss": float(-np.log(np.maximum(np.where(true >= 0, probabilities[np.arange(len(true)), true], 1e-12), 1e-12)).mean()),
        "confusion": _confusion(true, probabilities.argmax(axis=1), len(labels)),
    }


def _accuracy_by(groups: NDArray[np.str_], correct: NDArray[np.bool_]) -> dict[str, JsonValue]:
    return {str(name): _accuracy(correct[groups == name]) for name in sorted(set(groups.tolist()))}


def _accuracy(correct: NDArray[np.bool_]) -> dict[str, JsonValue]:
    interval = clopper_pearson(int(correct.sum()), len(correct))
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}


def _confusion(true: NDArray[np.int64], predicted: NDArray[np.int64], n_labels: int) -> list[JsonValue]:
    counts = np.zeros((n_labels, n_labels), dtype=int)
    known = true >= 0
    np.add.at(counts, (true[known], predicted[known]), 1)
    return [list(row) for row in counts.tolist()]


def expected_calibration_error(confidences: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Mean distance of confidence and accuracy over ten bins of equal width (Guo et al. 2017), weighted by their counts.

    Biased upwards with few samples.

    Args:
        confidences: [n], in [0, 1].
        correct: [n].
    """
    bins = np.minimum((confidences * _N_CALIBRATION_BINS).astype(int), _N_CALIBRATION_BINS - 1)
    distances = [abs(confidences[bins == b].sum() - correct[bins == b].sum()) for b in range(_N_CALIBRATION_BINS)]
    return float(sum(distances) / len(confidences))
