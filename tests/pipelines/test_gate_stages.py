"""The stages that gates rest on, with real networks on real digits, each with a planted fault that the gate must see."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipelines.answers import TestAnswers, read_answers
from pipelines.baselines import Baselines, read_baselines
from pipelines.config import BehaviourGate, NegativeTransferGate, ProjectConfig, RobustnessGate
from pipelines.core.bundle import file_sha256
from pipelines.dataset import Sample, Split, read_samples, write_samples
from pipelines.gate_stages import baselines, behaviour, corrupted
from pipelines.gates.decision import Decision
from pipelines.gates.judge import judge
from pipelines.gates.negative_transfer import negative_transfer
from pipelines.gates.robustness import robustness
from pipelines.stages import Stages
from pipelines.store import StageOutput
from pipelines.workspace import Workspace
from tests.pipelines.conftest import tiny_config

DATASET = "0" * 32
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Made:
    """A candidate with the stages that made it."""

    stages: Stages
    split: StageOutput
    selected: StageOutput
    trained: StageOutput
    bundle: Path
    evaluated: StageOutput

    @property
    def answers(self) -> TestAnswers:
        return read_answers(self.evaluated.path / "predictions.csv")

    def baselines(self, scratch_epochs: int = 1) -> StageOutput:
        return baselines(self.stages, rule(scratch_epochs=scratch_epochs), DATASET, self.split, self.selected, self.trained)

    def read_baselines(self, scratch_epochs: int = 1) -> Baselines:
        return read_baselines(self.baselines(scratch_epochs).path, "one")


def make(root: Path, folder: Path, weights: Path, **changes: object) -> Made:
    if not (root / "data").exists():
        shutil.copytree(folder / "data", root / "data")
        shutil.copytree(folder, root / "split", ignore=shutil.ignore_patterns("data"))
        (root / "split" / "copies.csv").write_text("path,copy_of\n")
    stages = Stages(Workspace(root), tiny_config(weights, **changes))
    split = StageOutput("split", file_sha256(root / "split" / "samples.csv"), root / "split", cached=True, seconds=0)
    selected = stages.select()
    trained = stages.train(split, selected)
    bundle = stages.package(DATASET, split, selected, trained, stages.calibrate(trained)).path / "bundle"
    return Made(stages, split, selected, trained, bundle, stages.evaluate(bundle, split))


PROBE = {"kind": "probe", "strengths": [1.0]}


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path, tiny_weights: Path) -> Made:
    return make(tmp_path_factory.mktemp("probe"), digits_folder, tiny_weights, method=PROBE)


@pytest.fixture(scope="module")
def blind_weights(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Path:
    """A backbone whose transfer hurts: its filters were lost, so every picture has the same features."""
    import safetensors.torch

    path = tmp_path_factory.mktemp("blind") / "test_resnet.safetensors"
    state = safetensors.torch.load_file(tiny_weights)
    safetensors.torch.save_file({name: value * 0 if value.dim() == 4 else value for name, value in state.items()}, path)
    return path


@pytest.fixture(scope="module")
def faint_digits(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path) -> Path:
    """The same digits in strokes of 20 of 255: what is learnt from them drowns in noise."""
    root = tmp_path_factory.mktemp("faint")
    (root / "data").mkdir()
    samples = []
    for sample in read_samples(digits_folder / "samples.csv"):
        with Image.open(digits_folder / "data" / sample.path) as image:
            image.point(lambda value: value * 20 // 255).save(root / "data" / sample.path)
        samples.append(replace(sample, id=file_sha256(root / "data" / sample.path)))
    write_samples(samples, root / "samples.csv")
    return root


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some five training samples of each of ten digits, and 200 test samples."""
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("few")
    (root / "data").mkdir()
    digits, samples = load_digits(), []
    for index in range(300):
        path = f"{index:04d}.png"
        Image.fromarray((digits.images[index] * 255 // 16).astype(np.uint8)).save(root / "data" / path)
        split: Split = "train" if index < 50 else "validation" if index < 100 else "test"
        samples.append(Sample(file_sha256(root / "data" / path), path, str(digits.target[index]), path, "default", "", split))
    write_samples(samples, root / "samples.csv")
    return root


def outcomes(decisions: tuple[Decision, ...]) -> list[str]:
    return [decision.outcome for decision in decisions]


def rule(**changes: object) -> NegativeTransferGate:
    return NegativeTransferGate.model_validate({"kind": "negative_transfer", **changes})


@pytest.mark.slow
def test_a_backbone_that_hurts_is_refused(tmp_path: Path, digits_folder: Path, blind_weights: Path) -> None:
    made = make(tmp_path, digits_folder, blind_weights, method=PROBE)
    found = made.read_baselines(scratch_epochs=25)
    assert found.scratch.answers is not None
    assert found.scratch.answers.correct.mean() > made.answers.correct.mean() + 0.2
    decisions = negative_transfer(rule(), made.answers, found)
    assert outcomes(decisions) == ["refuse", "refuse", "pass"]
    assert "no gain" in decisions[0].reason


@pytest.mark.slow
def test_a_backbone_that_helps_passes(tmp_path: Path, few_digits: Path, tiny_weights: Path) -> None:
    made = make(tmp_path, few_digits, tiny_weights, labels=DIGITS, backbone={"kind": "shipped"}, method=PROBE)
    decisions = negative_transfer(rule(), made.answers, made.read_baselines(scratch_epochs=30))
    assert outcomes(decisions) == ["pass", "pass", "pass"]


def test_a_probe_is_compared_with_scratch_alone_and_nothing_is_trained_twice(probe: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    first = probe.baselines()
    found = probe.read_baselines()
    assert (found.scratch.state, found.probe.state) == ("trained", "same")
    monkeypatch.setattr("pipelines.training.train.train", None)  # whoever trained now would fail
    again = probe.baselines()
    assert again.cached
    assert again.fingerprint == first.fingerprint
    with pytest.raises(TypeError):
        probe.baselines(scratch_epochs=2)


def test_the_baselines_answer_the_same_samples(probe: Made) -> None:
    scratch = probe.read_baselines().scratch.answers
    assert scratch is not None
    assert sorted(scratch.ids) == sorted(probe.answers.ids)
    samples = read_samples(probe.split.path / "samples.csv")
    train = [sample.label for sample in samples if sample.split == "train"]
    assert probe.read_baselines().majority == max(sorted(set(train)), key=train.count)


@pytest.mark.slow
def test_a_fine_tuning_is_compared_with_its_probe(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> None:
    made = make(tmp_path, digits_folder, tiny_weights, method={"kind": "lp_ft", "n_upper_blocks": 1, "epochs": 1, "probe": PROBE})
    found = made.read_baselines()
    assert found.probe.state in ("trained", "same")
    probed = make(tmp_path, digits_folder, tiny_weights, method=PROBE)
    if found.probe.answers is not None:
        assert np.array_equal(found.probe.answers.predicted, probed.answers.predicted)


def test_a_fine_tuning_that_leaves_the_probe_is_that_probe(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> None:
    made = make(tmp_path, digits_folder, tiny_weights, method={"kind": "lp_ft", "n_upper_blocks": 0, "probe": PROBE})
    assert made.read_baselines().probe.state == "same"


def test_a_candidate_from_scratch_trains_no_second_scratch(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> None:
    made = make(tmp_path, digits_folder, tiny_weights, method={"kind": "scratch", "epochs": 1})
    found = made.read_baselines()
    assert (found.scratch.state, found.probe.state) == ("same", "trained")
    assert negative_transfer(rule(), made.answers, found)[0].outcome == "refuse"


@pytest.mark.slow
def test_a_baseline_that_cannot_be_trained_says_why(tmp_path: Path, digits_folder: Path, tiny_weights: Path) -> None:
    """One training sample of a class: prototypes are made of it, and no cross-validated probe is."""
    for place in ("data", "samples.csv"):
        source = digits_folder / place
        shutil.copytree(source, tmp_path / "few" / place) if source.is_dir() else shutil.copy(source, tmp_path / "few" / place)
    samples = read_samples(digits_folder / "samples.csv")
    ones = [sample for sample in samples if sample.split == "train" and sample.label == "1"][1:]
    write_samples([sample for sample in samples if sample not in ones], tmp_path / "few" / "samples.csv")
    made = make(tmp_path / "workspace", tmp_path / "few", tiny_weights, method={"kind": "prototype"})
    found = made.read_baselines()
    assert (found.scratch.state, found.probe.state) == ("trained", "failed")
    decision = negative_transfer(rule(), made.answers, found)[2]
    assert decision.outcome == "insufficient_data"
    assert "could not be trained" in decision.reason
    assert str(tmp_path) not in decision.reason


def test_corrupted_samples_are_answered_once(probe: Made) -> None:
    gate = RobustnessGate(kind="robustness", corruptions=("jpeg",), severity=1, max_loss=0.2)
    first = corrupted(probe.stages, gate, probe.bundle, probe.split)
    assert corrupted(probe.stages, gate, probe.bundle, probe.split).cached
    assert not corrupted(probe.stages, gate.model_copy(update={"severity": 2}), probe.bundle, probe.split).cached
    assert not corrupted(probe.stages, gate.model_copy(update={"corruptions": ("blur",)}), probe.bundle, probe.split).cached
    assert outcomes(robustness(gate, probe.answers, first.path)) == ["pass"]


def test_a_network_that_falls_apart_under_noise_is_refused(tmp_path: Path, faint_digits: Path, tiny_weights: Path) -> None:
    made = make(tmp_path, faint_digits, tiny_weights, method=PROBE)
    gate = RobustnessGate(kind="robustness", corruptions=("noise",), severity=3, max_loss=0.2)
    (decision,) = robustness(gate, made.answers, corrupted(made.stages, gate, made.bundle, made.split).path)
    assert made.answers.correct.mean() > 0.7
    assert decision.outcome == "refuse"
    assert "more than that was lost" in decision.reason


def test_behaviour_is_asked_again_where_a_file_or_the_tests_change(probe: Made) -> None:
    root = probe.stages.workspace.root
    (root / "pictures").mkdir()
    gate = BehaviourGate(kind="behaviour")
    sample = next(sample for sample in read_samples(probe.split.path / "samples.csv") if sample.split == "test")
    shutil.copy(root / "data" / sample.path, root / "pictures" / "one.png")
    said = dict(zip(probe.answers.ids.tolist(), probe.answers.predicted.tolist(), strict=True))[sample.id]

    def ask(**content: object) -> StageOutput:
        test = {"name": "one", "files": "pictures/*.png", **content}
        (root / "behaviour.yaml").write_text(yaml.safe_dump({"direction": [test]}))
        return behaviour(probe.stages, gate, probe.bundle)

    def outcome(output: StageOutput) -> str:
        judgement = judge([gate], candidate=probe.answers, bundle=probe.bundle, champion=None, measured={"behaviour": output.path})
        return judgement.decisions[0].outcome

    assert outcome(ask(label=said)) == "pass"
    assert ask(label=said).cached
    assert outcome(ask(not_label=said)) == "refuse"
    shutil.copy(root / "pictures" / "one.png", root / "pictures" / "two.png")
    assert not ask(label=said).cached


def test_judge_asks_the_gates_of_this_page(probe: Made) -> None:
    content = probe.stages.config.model_dump() | {
        "gates": [
            rule(),
            {"kind": "robustness", "corruptions": ["jpeg"], "severity": 1},
            {"kind": "licence", "weights": ["MIT"], "data": ["MIT"]},
        ]
    }
    gates = ProjectConfig.model_validate(content).gates
    robust = next(gate for gate in gates if isinstance(gate, RobustnessGate))
    measured = {
        "negative_transfer": probe.baselines().path,
        "robustness": corrupted(probe.stages, robust, probe.bundle, probe.split).path,
    }
    judgement = judge(gates, candidate=probe.answers, bundle=probe.bundle, champion=None, measured=measured)
    assert [decision.gate for decision in judgement.decisions] == ["negative_transfer"] * 3 + ["robustness"] + ["licence"] * 2
    assert [decision.outcome for decision in judgement.decisions[-2:]] == ["refuse", "refuse"]
    assert not judgement.promote
