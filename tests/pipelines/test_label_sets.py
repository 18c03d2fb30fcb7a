"""A project whose samples have any number of labels, through every stage and the endpoint: real digits, up to two in one image."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from monitoring.alarm_budget import Allowance
from monitoring.decision import judge_window
from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.answers import read_answers
from pipelines.config import MonitorSection, ProjectConfig
from pipelines.core.bundle import read_manifest
from pipelines.core.label_sets import members_of, set_text
from pipelines.core.predict import Predictor, read_goldens
from pipelines.core.request_log import read_feedback, read_requests
from pipelines.dataset import read_samples
from pipelines.feedback import labelled_samples
from pipelines.gates.beats_champion import Champion, beats_champion
from pipelines.ingest import add_samples
from pipelines.manifest import build_manifest, read_problems
from pipelines.stages import Stages
from pipelines.store import StageOutput
from pipelines.validate import raise_for_validation
from pipelines.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:module 'sre_(constants|parse)' is deprecated:DeprecationWarning")]

LABELS = ("0", "1", "7")
N_SAMPLES = 320
N_REQUESTS = 300  # as many as a window needs at the level of the test
# In four quadrants, so that the place says nothing of the label.
_SIDE_PX = 8


def write_pairs(data: Path, n_samples: int = N_SAMPLES, seed: int = 0) -> None:
    """Images of 16 x 16 px with none, one or two real digits, and labels.csv with cells such as `7|0`."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    digits = load_digits()
    data.mkdir(parents=True)
    lines = ["path,label"]
    for number in range(n_samples):
        canvas = np.zeros((2, 2, _SIDE_PX, _SIDE_PX))
        members = rng.permutation(LABELS)[: rng.choice(3, p=[0.1, 0.45, 0.45])].tolist()
        places = rng.permutation(4)
        for place, member in zip(places, members, strict=False):
            canvas[divmod(place, 2)] = digits.images[rng.choice(np.flatnonzero(digits.target == int(member)))]
        pixels = canvas.transpose(0, 2, 1, 3).reshape(2 * _SIDE_PX, 2 * _SIDE_PX)
        Image.fromarray(np.round(pixels * 255 / 16).astype(np.uint8)).save(data / f"{number:04d}.png")
        lines.append(f"{number:04d}.png,{'|'.join(members)}")
    (data / "labels.csv").write_text("\n".join(lines) + "\n")


def config_of(labels: tuple[str, ...] = LABELS) -> ProjectConfig:
    return ProjectConfig.model_validate(
        {
            "project": "digit-pairs",
            "task": "image",
            "labels": labels,
            "labels_per_sample": "many",
            "backbone": {"kind": "shipped"},
            "method": {"kind": "probe"},
            "bundle": {"n_goldens": 12},
            "gates": [{"kind": "beats_champion", "margin": 0.1, "min_n": 20, "without_champion": "pass"}],
        }
    )


@dataclass(frozen=True)
class Made:
    workspace: Workspace
    config: ProjectConfig
    split: StageOutput
    calibrated: StageOutput
    package: StageOutput
    evaluated: StageOutput

    @property
    def bundle(self) -> Path:
        return self.package.path / "bundle"

    @property
    def evaluation(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.evaluated.path / "evaluation.json").read_bytes())
        return content


def make(workspace: Workspace, config: ProjectConfig) -> Made:
    stages = Stages(workspace, config)
    manifest = stages.manifest("d" * 32)
    raise_for_validation(stages.validate(manifest).path)
    split, selected = stages.split(manifest), stages.select()
    trained = stages.train(split, selected)
    calibrated = stages.calibrate(trained)
    package = stages.package("d" * 32, split, selected, trained, calibrated)
    evaluated = stages.evaluate(package.path / "bundle", split)
    return Made(workspace, config, split, calibrated, package, evaluated)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("pairs")
    write_pairs(root / "data")
    return make(Workspace(root), config_of())


@pytest.fixture
def raw(made: Made) -> list[bytes]:
    return [(made.workspace.data / sample.path).read_bytes() for sample in read_samples(made.split.path / "samples.csv", "test")]


def truth(made: Made) -> np.ndarray:
    samples = read_samples(made.split.path / "samples.csv", "test")
    return np.array([[label in members_of(sample.label) for label in LABELS] for sample in samples])


def test_the_bundle_answers_sets_from_raw_bytes(made: Made, raw: list[bytes]) -> None:
    manifest, _ = read_manifest(made.bundle)
    calibration = json.loads((made.calibrated.path / "calibration.json").read_bytes())
    assert manifest.labels_per_sample == "many"
    assert manifest.thresholds == tuple(calibration["thresholds"])
    answers = Predictor.load(made.bundle).predict(raw)
    decided = answers.probabilities >= np.array(manifest.thresholds)
    assert answers.labels == tuple(set_text({label for label, has in zip(LABELS, row, strict=True) if has}, LABELS) for row in decided)
    assert not np.allclose(answers.probabilities.sum(axis=1), 1)
    scores = [metrics.roc_auc_score(truth(made)[:, k], answers.probabilities[:, k]) for k in range(3)]
    assert min(scores) > 0.8  # chance is 0.5


def test_the_evaluation_equals_scikit_learn(made: Made, raw: list[bytes]) -> None:
    predictor = Predictor.load(made.bundle)
    answers, true, found = predictor.predict(raw), truth(made), made.evaluation
    decided = answers.probabilities >= np.array(predictor.manifest.thresholds)
    assert found["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(true, decided))  # of whole sets
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(true, decided, average="macro"))
    assert found["mean_average_precision"] == pytest.approx(metrics.average_precision_score(true, answers.probabilities))
    assert found["by_label"]["7"]["n"] == true[:, 2].sum()
    assert 0 <= found["expected_calibration_error"] < 0.3
    assert "confusion" not in found
    stored = read_answers(made.evaluated.path / "predictions.csv", "many")
    assert stored.correct.mean() == found["accuracy"]["value"]
    np.testing.assert_allclose(stored.confidences, answers.confidences)


def test_goldens_hold_different_sets(made: Made) -> None:
    goldens = read_goldens(made.bundle)
    assert len({golden.label for golden, _ in goldens}) >= 4
    manifest, _ = read_manifest(made.bundle)
    margins = [min(abs(p - t) for p, t in zip(g.probabilities, manifest.thresholds or (), strict=True)) for g, _ in goldens]
    assert min(margins) > 10 * manifest.golden_tolerance


def test_the_reference_is_what_the_monitor_reads(made: Made, raw: list[bytes]) -> None:
    reference = Reference.load(made.bundle)
    order = np.argsort([sample.id for sample in read_samples(made.split.path / "samples.csv", "test")])
    np.testing.assert_array_equal(reference.true_indices, truth(made)[order])
    right = [
        answer == set_text({n for n, h in zip(LABELS, row, strict=True) if h}, LABELS)
        for answer, row in zip(reference.answers, truth(made)[order], strict=True)
    ]
    np.testing.assert_array_equal(reference.correct, right)


def test_the_same_inputs_give_the_same_bundle(made: Made, tmp_path: Path) -> None:
    write_pairs(tmp_path / "data")
    again = make(Workspace(tmp_path), made.config)
    assert read_manifest(again.bundle)[1] == read_manifest(made.bundle)[1]


def test_a_champion_whose_labels_stand_in_another_order_is_compared_set_by_set(made: Made, tmp_path: Path) -> None:
    write_pairs(tmp_path / "data")
    candidate = make(Workspace(tmp_path), config_of(("7", "0", "1")))
    champion = Stages(candidate.workspace, candidate.config).evaluate(made.bundle, candidate.split)
    ours, theirs = (read_answers(output.path / "predictions.csv", "many") for output in (candidate.evaluated, champion))
    assert "7|0" in ours.labels
    assert set(ours.labels) == set(theirs.labels)
    assert theirs.correct.mean() == made.evaluation["accuracy"]["value"]
    manifest, _ = read_manifest(made.bundle)
    rule = candidate.config.gates[0]
    decisions = beats_champion(rule, ours, Champion(theirs, manifest.labels, manifest.labels_per_sample))
    assert {decision.n for decision in decisions} == {ours.n}  # none of the sets counts as unknown to the champion


def test_from_a_request_over_feedback_to_a_new_sample(made: Made, tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    from serving.app import build_app
    from serving.endpoint import Endpoint
    from serving.settings import EndpointSettings

    write_pairs(tmp_path / "new", n_samples=N_REQUESTS, seed=9)
    write_pairs(tmp_path / "data", n_samples=40)
    images = [(tmp_path / "new" / f"{number:04d}.png").read_bytes() for number in range(N_REQUESTS)]
    cells = [line.split(",")[1] for line in (tmp_path / "new" / "labels.csv").read_text().splitlines()[1:]]
    folders = {"log_dir": tmp_path / "log", "raw_dir": tmp_path / "raw", "sample_raw_frac": 1.0}
    endpoint = Endpoint(EndpointSettings(**folders), made.bundle)
    endpoint.start()
    while endpoint.slot.current is None:
        time.sleep(0.01)
    with TestClient(build_app(lambda: endpoint)) as client:
        predictions = [
            prediction
            for start in range(0, N_REQUESTS, 50)
            for prediction in client.post("/predict", files=[("images", ("x.png", image)) for image in images[start : start + 50]]).json()[
                "predictions"
            ]
        ]
        pairs = zip(predictions, cells, strict=True)
        fed_back = [{"id": prediction["id"], "label": members_of(cell)} for prediction, cell in pairs]
        assert client.post("/feedback", json={"feedback": fed_back}).json()["n_accepted"] == N_REQUESTS
        assert client.post("/feedback", json={"id": uuid.uuid4().hex, "label": ["8"]}).status_code == 422
    endpoint.stop()
    log = tmp_path / "log"
    samples, findings = labelled_samples(read_requests(log), read_feedback(log), LABELS, "many")
    assert findings == []
    assert {sample.label for sample in samples} > {"", "0|1"}
    assert len(samples) == len(set(images))  # a blank image has the bytes of another
    summary = add_samples(tmp_path / "data", samples, tmp_path / "raw", made.config)
    assert summary.findings == ()
    (tmp_path / "m").mkdir()
    build_manifest(tmp_path / "data", made.config, tmp_path / "m")
    assert read_problems(tmp_path / "m") == []
    reference = Reference.load(made.bundle)
    window = Window.from_lines(read_requests(log), read_feedback(log), reference.bundle, LABELS, 1_000, reference.thresholds)
    assert (window.n_requests, window.n_malformed) == (N_REQUESTS, 0)
    verdict = judge_window(window, reference, MonitorSection(min_window=30), Allowance(0.05, 0.0))
    assert verdict.verdict == "ok"
    assert verdict.quality is not None
    assert verdict.quality.n_labelled == N_REQUESTS
