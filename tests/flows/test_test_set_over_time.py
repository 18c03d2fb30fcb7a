"""One workspace over several retrainings: the champion is judged again on a test set that has grown, and looks at it are counted."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from flows.retraining import Result, Retraining
from flows.session import open_session
from pipelines.answers import read_answers
from pipelines.dataset import read_samples
from pipelines.gates.sample_sketch import sketch_of
from pipelines.versioning.dataset import commit_dataset
from pipelines.versioning.registry import refusals, show

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LOOKS = {"kind": "test_reuse", "max_looks": 2}
FLOOR = {"kind": "min_metric", "floor": 0.5, "min_n": 5}
NEVER = {"kind": "min_metric", "floor": 1.0}
BEATS = {"kind": "beats_champion", "without_champion": "pass", "margin": 0.3, "min_n": 5}


def plainly(name: str, function: Callable[..., Any], *arguments: object) -> Any:
    """A step that is no Prefect task."""
    return function(*arguments)


def write_digits(folder: Path, start: int, stop: int) -> list[tuple[str, str]]:
    """Real digits of two classes as PNG; path and label of each."""
    from sklearn.datasets import load_digits

    digits, rows = load_digits(), []
    for index in np.flatnonzero(digits.target < 2)[start:stop]:
        name = f"digit {digits.target[index]}/{index}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[index] * 255 // 16).astype(np.uint8)).save(folder / name)
        rows.append((name, f"digit {digits.target[index]}"))
    return rows


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with 140 digits."""
    from flows.new_workspace import init_workspace

    folder, before = tmp_path_factory.mktemp("growing"), dict(os.environ)
    for role in ("AUTHOR", "COMMITTER"):
        os.environ[f"GIT_{role}_NAME"], os.environ[f"GIT_{role}_EMAIL"] = "Test", "test@example.invalid"
    os.environ |= {"DVC_SITE_CACHE_DIR": str(folder / "dvc-site"), "DVC_GLOBAL_CONFIG_DIR": str(folder / "dvc-global")}
    write_digits(folder / "source", 0, 140)
    init_workspace(folder / "workspace", folder / "source", "image")
    yield folder / "workspace"
    os.environ.clear()
    os.environ.update(before)


def retrain(root: Path, gates: list[dict[str, object]], strength: float) -> Result:
    conf = next((root / "conf").glob("*.yaml"))
    content = yaml.safe_load(conf.read_text(encoding="utf-8")) | {"gates": gates, "method": {"kind": "probe", "strengths": [strength]}}
    conf.write_text(yaml.safe_dump(content), encoding="utf-8")
    return Retraining(open_session(root), "run", {"kind": "person"}, datetime.now(UTC), None, plainly).carry_out()


def grow(root: Path) -> None:
    """220 more digits, most of them not in the first test set."""
    rows = write_digits(root / "data" / "more", 140, 360)
    with (root / "data" / "labels.csv").open(newline="", encoding="utf-8") as file:
        columns = csv.DictReader(file).fieldnames or []
    with (root / "data" / "labels.csv").open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writerows({"path": f"more/{path}", "label": label} for path, label in rows)
    commit_dataset(root, "220 more digits")


def reuse(result: Result) -> dict[str, Any]:
    (decision,) = [decision for decision in result.record.decisions if decision["gate"] == "test_reuse"]
    return {"outcome": decision["outcome"], "reason": decision["reason"], **decision["detail"]}


def test_ids(result: Result) -> set[str]:
    assert result.candidate is not None
    return {sample.id for sample in read_samples(result.candidate.outputs["split"].path / "samples.csv", "test")}


test_ids.__test__ = False  # type: ignore[attr-defined]


def test_a_growing_test_set(root: Path) -> None:
    first = retrain(root, [LOOKS, FLOOR, BEATS], 1.0)
    assert first.record.outcome == "promoted", first.record.reason
    assert reuse(first)["n_looks"] == 1
    registered: Any = show(root, first.record.project, "v0.0.1").decision
    assert registered["test_set"] == sketch_of(test_ids(first)).model_dump(mode="json")

    refused = retrain(root, [LOOKS, NEVER], 0.1)
    assert (refused.record.outcome, reuse(refused)["n_looks"], reuse(refused)["outcome"]) == ("refused", 2, "pass")
    assert refusals(root)[-1].decision["test_set"] == registered["test_set"]
    again = retrain(root, [LOOKS, NEVER], 0.1)
    assert reuse(again)["n_looks"] == 2, "the same bundle judged twice is one look"

    third = retrain(root, [LOOKS, FLOOR, BEATS], 0.01)
    assert (third.record.outcome, reuse(third)["outcome"], reuse(third)["n_looks"]) == ("refused", "insufficient_data", 3)
    assert f"Label at least {len(test_ids(first)) + 1} new test samples." in reuse(third)["reason"]

    grow(root)
    grown = retrain(root, [LOOKS, FLOOR, BEATS], 0.01)
    assert test_ids(first) < test_ids(grown)
    assert len(test_ids(grown)) > 2 * len(test_ids(first))
    assert grown.record.outcome == "promoted", grown.record.reason
    assert (reuse(grown)["n_looks"], reuse(grown)["n_other_test_sets"]) == (1, 3)
    assert grown.judged is not None
    assert grown.judged.champion_evaluation is not None
    champion = read_answers(grown.judged.champion_evaluation.path / "predictions.csv")
    assert set(champion.ids.tolist()) == test_ids(grown), "the champion answered today's test set, from its bundle"
    overall = next(decision for decision in grown.record.decisions if decision["condition"].endswith("on all test samples"))
    assert overall["n"] == len(test_ids(grown))

    unchanged = retrain(root, [LOOKS, FLOOR, BEATS], 0.01)
    assert unchanged.record.outcome == "unchanged"
