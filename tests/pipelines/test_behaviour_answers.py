"""Real bundles answer the team's tests: an untrained network, so that what it says is known beforehand from its own `Predictor`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from pipelines.behaviour import BehaviourTests
from pipelines.behaviour_alterations import Alteration, altered
from pipelines.behaviour_answers import TestResult, ask_behaviour, read_behaviour_results
from pipelines.behaviour_inputs import input_digests
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import IntegrityError
from pipelines.core.predict import Predictor
from tests.pipelines.gates.conftest import build_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("behaviour") / "bundle"
    build_bundle(folder)
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for row in range(5):
        noise = np.random.default_rng(row).integers(0, 256, (32, 32), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "pictures" / f"{row}.png")
    half = np.zeros((32, 32), dtype=np.uint8)
    half[:, 16:] = np.arange(256, dtype=np.uint8).reshape(32, -1)[:, :1]
    Image.fromarray(np.concatenate([half[:, 16:], half[:, 16:][:, ::-1]], axis=1)).save(tmp_path / "pictures" / "symmetric.png")
    (tmp_path / "out").mkdir()
    return tmp_path


def ask(bundle: Path, root: Path, **content: object) -> TestResult:
    tests = BehaviourTests.model_validate(content)
    ask_behaviour(bundle, root, tests, input_digests(root, tests), root / "out")
    (result,) = read_behaviour_results(root / "out")
    return result


def answer(bundle: Path, root: Path, name: str) -> str:
    return Predictor.load(bundle).predict([(root / "pictures" / name).read_bytes()]).labels[0]


def other(label: str) -> str:
    return "dog" if label == "cat" else "cat"


def test_a_mirrored_symmetric_picture_is_the_same_and_a_noisy_one_is_not(bundle: Path, workspace: Path) -> None:
    test = {"name": "mirrored", "alter": {"flip": "horizontal"}, "max_change": 1e-6}
    good = ask(bundle, workspace, invariance=[test | {"files": "pictures/symmetric.png"}])
    assert (good.n_passed, good.n_needed) == (1, 1)
    assert good.inputs[0].sha256 == file_sha256(workspace / "pictures" / "symmetric.png")
    bad = ask(bundle, workspace, invariance=[test | {"files": "pictures/0.png"}])
    assert bad.n_passed == 0
    assert "a probability changed by" in bad.inputs[0].said


def test_an_answer_that_changes_fails_without_any_limit(bundle: Path, workspace: Path) -> None:
    """All kinds of changes: each passes exactly where the bundle's own answers agree."""
    predictor = Predictor.load(bundle)
    contents = [(workspace / "pictures" / f"{row}.png").read_bytes() for row in range(5)]
    seen = set()
    for content in (
        {"flip": "vertical"},
        {"rotate_degrees": 30},
        {"crop_frac": 0.5},
        {"blur_px": 2},
        {"brightness": 0.6},
        {"brightness": -0.6},
        {"jpeg": 5},
    ):
        result = ask(bundle, workspace, invariance=[{"name": "same", "files": "pictures/[0-4].png", "alter": content}])
        alteration = Alteration.model_validate(content)
        after = predictor.predict([altered(one, alteration, predictor.manifest.preprocess) for one in contents])
        expected = [one == two for one, two in zip(predictor.predict(contents).labels, after.labels, strict=True)]
        assert [found.passed for found in result.inputs] == expected
        seen |= set(expected)
    assert True in seen


@pytest.mark.parametrize("kind", ["label", "not_label"])
def test_an_expected_label(bundle: Path, workspace: Path, kind: str) -> None:
    given = answer(bundle, workspace, "0.png")
    wanted, unwanted = (given, other(given)) if kind == "label" else (other(given), given)
    assert ask(bundle, workspace, direction=[{"name": "a", "files": "pictures/0.png", kind: wanted}]).n_passed == 1
    failed = ask(bundle, workspace, direction=[{"name": "a", "files": "pictures/0.png", kind: unwanted}])
    assert failed.n_passed == 0
    assert failed.inputs[0].said == given


def test_an_alteration_moves_a_probability_one_way(bundle: Path, workspace: Path) -> None:
    predictor = Predictor.load(bundle)
    content = (workspace / "pictures" / "0.png").read_bytes()
    alteration = Alteration(blur_px=3)
    after = altered(content, alteration, predictor.manifest.preprocess)
    first, then = predictor.predict([content, after]).probabilities[:, 0]
    up, down = ("raises", "lowers") if then > first else ("lowers", "raises")
    test = {"name": "a", "files": "pictures/0.png", "alter": {"blur_px": 3}}
    assert ask(bundle, workspace, direction=[test | {up: "cat"}]).n_passed == 1
    assert ask(bundle, workspace, direction=[test | {up: "cat", "by": abs(then - first) * 0.99}]).n_passed == 1
    assert ask(bundle, workspace, direction=[test | {up: "cat", "by": min(1, abs(then - first) * 1.01)}]).n_passed == 0
    assert ask(bundle, workspace, direction=[test | {down: "cat"}]).n_passed == 0
    assert ask(bundle, workspace, direction=[test | {down: "dog"}]).n_passed == 1


@pytest.mark.parametrize(("share", "needed"), [(1.0, 5), (0.8, 4), (0.81, 5), (0.01, 1)])
def test_the_share_of_files_that_must_pass(bundle: Path, workspace: Path, share: float, needed: int) -> None:
    test = {"name": "a", "files": "pictures/[0-4].png", "label": "cat", "min_share": share}
    assert ask(bundle, workspace, direction=[test]).n_needed == needed


def test_an_input_that_changes_meanwhile_is_refused(bundle: Path, workspace: Path) -> None:
    tests = BehaviourTests.model_validate({"direction": [{"name": "a", "files": "pictures/0.png", "label": "cat"}]})
    inputs = input_digests(workspace, tests)
    (workspace / "pictures" / "0.png").write_bytes((workspace / "pictures" / "1.png").read_bytes())
    with pytest.raises(IntegrityError, match=r"pictures/0\.png of a behaviour test, which changed"):
        ask_behaviour(bundle, workspace, tests, inputs, workspace / "out")
    assert not list((workspace / "out").iterdir())


@pytest.mark.parametrize("name", ["rotate_degrees", "brightness", "gain_db"])
def test_an_alteration_by_nothing_is_refused_where_it_is_read(name: str) -> None:
    with pytest.raises(ValidationError, match=rf"{name}: 0 changes nothing"):
        Alteration.model_validate({name: 0})
