"""The sealed bundle in a fresh process: it passes as it is, and every fault planted in it is refused."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.config import GoldensGate
from pipelines.core.backbones import BackboneSpec
from pipelines.core.bundle import BundleManifest, read_manifest, seal
from pipelines.core.preprocess import ImagePreprocess
from pipelines.gates import goldens as goldens_module
from pipelines.gates.goldens import goldens

RULE = GoldensGate(kind="goldens")


@pytest.fixture
def bundle(sealed_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed_bundle, tmp_path / "bundle"))


@pytest.fixture
def manifest_only(tmp_path: Path) -> Path:
    """What the gate reads itself: a manifest that names four stored inputs."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    manifest = BundleManifest(
        project="gate-test",
        task="image",
        labels=("cat", "dog"),
        backbone=BackboneSpec(name="test_resnet", in_channels=1, origin="untrained", weights_sha256=None),
        preprocess=ImagePreprocess(color="L", height_px=32, width_px=32, mean=(0.5,), std=(0.5,)),
        temperature=1.0,
        files={f"goldens/{number:016}.bin": "0" * 64 for number in range(4)},
    )
    (folder / "bundle.json").write_text(manifest.model_dump_json())
    return folder


def edit_goldens(bundle: Path, change: Callable[[list[dict]], list[dict]], *, reseal: bool) -> None:
    path = bundle / "goldens.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    if reseal:
        seal(bundle, read_manifest(bundle)[0])


def other_probabilities(rows: list[dict]) -> list[dict]:
    first = rows[0]["probabilities"]
    return [rows[0] | {"probabilities": [first[0] + 0.01, first[1] - 0.01]}, *rows[1:]]


@pytest.mark.slow
def test_an_untouched_bundle_passes(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A workspace with a folder of our package's name must not be imported instead.
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    monkeypatch.chdir(tmp_path)
    decision = goldens(RULE, Path("bundle"))
    assert decision.outcome == "pass"
    assert (decision.n, decision.threshold) == (4, 1e-4)
    assert 0 <= decision.statistic < 1e-5
    assert decision.detail["bundle"] == read_manifest(bundle)[1]
    assert decision.reason.startswith("4 goldens were replayed from the sealed bundle")


def flip_a_byte_of_the_weights(bundle: Path) -> None:
    data = bytearray((bundle / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (bundle / "weights.safetensors").write_bytes(data)


def a_golden_input_is_missing(bundle: Path) -> None:
    next((bundle / "goldens").iterdir()).unlink()


def an_unexpected_file(bundle: Path) -> None:
    (bundle / "evil.py").write_text("x")


def sealed_with_other_answers(bundle: Path) -> None:
    edit_goldens(bundle, other_probabilities, reseal=True)


def sealed_with_another_label(bundle: Path) -> None:
    edit_goldens(bundle, lambda rows: [rows[0] | {"label": "dog" if rows[0]["label"] == "cat" else "cat"}, *rows[1:]], reseal=True)


def sealed_with_an_answer_left_out(bundle: Path) -> None:
    edit_goldens(bundle, lambda rows: rows[1:], reseal=True)


def sealed_without_goldens(bundle: Path) -> None:
    shutil.rmtree(bundle / "goldens")
    edit_goldens(bundle, lambda rows: [], reseal=True)


def sealed_with_broken_answers(bundle: Path) -> None:
    (bundle / "goldens.json").write_text("{")
    seal(bundle, read_manifest(bundle)[0])


def sealed_with_weights_of_another_network(bundle: Path) -> None:
    manifest, _ = read_manifest(bundle)
    other = manifest.backbone.model_copy(update={"name": "test_vit"})
    seal(bundle, BundleManifest.model_validate(manifest.model_copy(update={"backbone": other}).model_dump()))


FAULTS = [
    (flip_a_byte_of_the_weights, "weights.safetensors changed"),
    (a_golden_input_is_missing, r"goldens/[0-9a-f]+\.bin is missing"),
    (an_unexpected_file, "evil.py is not in the manifest"),
    (sealed_with_other_answers, "answers its golden .* differently by 0.01"),
    (sealed_with_another_label, "1 of 4 labels differ"),
    (sealed_with_an_answer_left_out, "3 goldens have stored answers, and the bundle holds 4 stored inputs"),
    (sealed_without_goldens, "ended with exit code 1 and said: .*Error"),
    (sealed_with_broken_answers, "ended with exit code 1 and said: "),
    (sealed_with_weights_of_another_network, "weights that do not fit test_vit"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "reason"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_planted_faults_are_refused(bundle: Path, plant: Callable[[Path], None], reason: str) -> None:
    plant(bundle)
    decision = goldens(RULE, bundle)
    assert (decision.outcome, decision.statistic, decision.n) == ("refuse", None, 0)
    assert re.search(reason, decision.reason), decision.reason


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    decision = goldens(RULE, tmp_path)
    assert decision.outcome == "refuse"
    assert "cannot be read as a bundle manifest" in decision.reason


def test_a_process_that_does_not_end_is_refused(manifest_only: Path) -> None:
    decision = goldens(RULE, manifest_only, timeout_seconds=0.01)
    assert decision.outcome == "refuse"
    assert "not done after 0.01 seconds" in decision.reason


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit(0)", "exit code 0 and said: nothing"),
        ("print('all is well')", "exit code 0 and said: all is well"),
        ('print(\'{"bundle": "x"}\')', "exit code 0 and said"),
        ('print(\'{"bundle": "other", "n_goldens": 4, "largest_difference": 0, "tolerance": 1}\')', "loaded the bundle other, not "),
        ("import os; os.abort()", "exit code -6"),
        ('import sys; print(\'{"error": {"got": "a crash."}}\'); sys.exit(4)', "a crash."),
    ],
)
def test_whatever_the_process_says_instead_is_refused(
    manifest_only: Path, monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    """Other programs in place of the replay, run for real."""

    def run_another_program(bundle: Path, timeout_seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, timeout=timeout_seconds, check=False)

    monkeypatch.setattr(goldens_module, "_run_replay", run_another_program)
    decision = goldens(RULE, manifest_only)
    assert decision.outcome == "refuse"
    assert reason in decision.reason


def test_a_difference_beyond_the_tolerance_is_refused_whatever_the_process_allowed(
    manifest_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = json.dumps({"bundle": read_manifest(manifest_only)[1], "n_goldens": 4, "largest_difference": 0.5, "tolerance": 1.0})
    monkeypatch.setattr(goldens_module, "_run_replay", lambda bundle, timeout_seconds: subprocess.CompletedProcess([], 0, line, ""))
    decision = goldens(RULE, manifest_only)
    assert (decision.outcome, decision.statistic) == ("refuse", 0.5)
