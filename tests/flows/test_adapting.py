"""A retraining that adapts to kept inputs, without Prefect: what becomes of them, what the gate says, and what is found in the lineage."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from flows.adapting import adapted_session
from flows.retraining import Result, Retraining
from flows.session import Session, open_session
from flows.snapshots import unlabelled_inputs
from pipelines.config import AdaptMethod, ProjectConfig
from pipelines.core.errors import ConfigurationError
from pipelines.core.request_log import log_time
from pipelines.domain_shift import shift_scanner
from pipelines.unlabelled import read_unlabelled, snapshot_names
from pipelines.versioning.dataset import commit_dataset, dataset_version
from tests.conftest import git
from tests.flows.conftest import make_workspace, project_config

SCANNER = "scanner-2"


def plainly(name: str, function: Callable[..., Any], *arguments: object) -> Any:
    """A step that is no Prefect task."""
    return function(*arguments)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((image * 255 // 16).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def answered(serving: Path, content: bytes, number: int, *, kept: bool = True, domain: str = SCANNER) -> str:
    """What an endpoint leaves of a request, which came in `number` minutes after midnight; returns the request's id."""
    digest = hashlib.sha256(content).hexdigest()
    identity = f"{number:032x}"
    line = {
        "request_id": identity,
        "time": log_time(datetime(2026, 11, 20, number // 60, number % 60, tzinfo=UTC)),
        "bundle": "0" * 16,
        "label": "digit 0",
        "probabilities": [0.9, 0.1],
        "embedding": [0.0],
        "statistics": [0.0],
        "domain": domain,
        "raw_sha256": digest if kept else None,
    }
    _append(serving / "log" / "requests" / "2026-11-20.jsonl", line)
    if kept:
        (serving / "raw").mkdir(parents=True, exist_ok=True)
        (serving / "raw" / digest).write_bytes(content)
    return identity


def fed_back(serving: Path, request_id: str, label: str) -> None:
    _append(serving / "log" / "feedback" / "2026-11-20.jsonl", {"request_id": request_id, "label": label, "time": log_time()})


def _append(path: Path, line: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def test_kept_inputs_without_a_label_the_newest_first(tmp_path: Path) -> None:
    session = Session(make_workspace(tmp_path / "workspace"), project_config("toy"))
    serving = session.workspace.serving
    names = {number: answered(serving, f"input {number}".encode(), number) for number in range(4)}
    answered(serving, b"input 2", 5)  # came again
    answered(serving, b"not kept", 6, kept=False)
    fed_back(serving, names[1], "a")
    found = [(item.folder / item.path).read_bytes() for item in unlabelled_inputs(session)]
    assert found == [b"input 2", b"input 3", b"input 2", b"input 0"]
    item = next(unlabelled_inputs(session))
    assert (item.domain, item.arrival) == (SCANNER, "2026-11-20")


def test_a_label_of_one_request_counts_for_all_with_the_same_bytes(tmp_path: Path) -> None:
    session = Session(make_workspace(tmp_path / "workspace"), project_config("toy"))
    serving = session.workspace.serving
    first = answered(serving, b"the same", 1)
    answered(serving, b"the same", 2)
    fed_back(serving, first, "a")
    assert list(unlabelled_inputs(session)) == []


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    """300 real digits of two classes, and 60 kept inputs of another scanner, which nobody has labelled."""
    from sklearn.datasets import load_digits

    from flows.new_workspace import init_workspace

    digits = load_digits()
    chosen = np.flatnonzero(digits.target < 2)
    for index in chosen[:260]:
        folder = tmp_path / "source" / f"digit {digits.target[index]}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index}.png").write_bytes(png(digits.images[index]))
    before = dict(os.environ)
    for role in ("AUTHOR", "COMMITTER"):
        os.environ[f"GIT_{role}_NAME"], os.environ[f"GIT_{role}_EMAIL"] = "Test", "test@example.invalid"
    os.environ |= {"DVC_SITE_CACHE_DIR": str(tmp_path / "dvc-site"), "DVC_GLOBAL_CONFIG_DIR": str(tmp_path / "dvc-global")}
    root = tmp_path / "workspace"
    init_workspace(root, tmp_path / "source", "image")
    for number, index in enumerate(chosen[260:320]):
        answered(root / ".regraft" / "serving", shift_scanner(png(digits.images[index]), int(index)), number)
    yield root
    os.environ.clear()
    os.environ.update(before)


def with_conf(workspace: Path, **changes: object) -> Session:
    conf = next((workspace / "conf").glob("*.yaml"))
    content = yaml.safe_load(conf.read_text(encoding="utf-8")) | {
        "gates": [{"kind": "min_metric", "floor": 0.2}],
        "method": {"kind": "probe", "strengths": [0.1]},
        "adaptation": {"by": "bn"},
    }
    conf.write_text(yaml.safe_dump(content | changes), encoding="utf-8")
    return open_session(workspace)


def adapt(session: Session, run: str = "a1") -> Result:
    return Retraining(session, run, {"kind": "adapt"}, datetime.now(UTC), None, plainly).carry_out()


def decided(result: Result) -> dict[str, dict[str, Any]]:
    return {decision["gate"]: decision for decision in result.record.decisions}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_without_labels_of_the_target_an_adaptation_is_made_and_refused(workspace: Path) -> None:
    session = with_conf(workspace)
    serving, data = session.workspace.serving, session.workspace.data
    known = sorted(path for path in data.rglob("*.png"))[:5]
    for number, path in enumerate(known, start=100):
        answered(serving, path.read_bytes(), number)  # a client that sends what is in the data, test samples among them
    before = dataset_version(workspace).digest
    result = adapt(session)
    assert (result.record.outcome, result.record.trigger) == ("refused", "adapt")
    gate = decided(result)["adaptation"]
    assert (gate["outcome"], gate["n"]) == ("insufficient_data", 0)
    assert SCANNER in gate["reason"]
    assert dataset_version(workspace).digest == result.record.dataset != before
    [name] = snapshot_names(data)
    unlabelled = read_unlabelled(data, name)
    assert len(unlabelled) == 60
    labelled = {hashlib.sha256(path.read_bytes()).hexdigest() for path in data.rglob("*.png") if "unlabelled" not in path.parts}
    assert not labelled & {item.id for item in unlabelled}
    assert result.candidate is not None
    lineage = json.loads((result.candidate.bundle / "lineage.json").read_bytes())
    assert lineage["dataset"] == result.record.dataset
    assert (lineage["config"]["method"]["by"], lineage["config"]["method"]["unlabelled"]) == ("bn", name)
    assert lineage["config"]["method"]["source"]["kind"] == "probe"
    again = adapt(session, "a2")
    assert again.record.bundle == result.record.bundle
    assert again.record.stages_seconds["train"] == 0.0, "the same inputs make no new snapshot and train nothing"
    assert git(workspace, "status", "--porcelain").split() == ["M", "conf/workspace.yaml"], "the snapshot and the refusal are committed"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_labelled_test_samples_of_the_target_decide(workspace: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    session = with_conf(workspace)
    data = session.workspace.data
    rows = []
    for index in np.flatnonzero(digits.target < 2)[320:]:
        path = f"target-{index}.png"
        (data / path).write_bytes(shift_scanner(png(digits.images[index]), int(index)))
        rows.append({"path": path, "label": f"digit {digits.target[index]}", "domain": SCANNER, "split": "test"})
    _add_rows(data / "labels.csv", rows)
    commit_dataset(workspace, "test samples of the other scanner")
    result = adapt(session)
    gate = decided(result)["adaptation"]
    assert gate["n"] == len(rows) >= 30
    assert gate["outcome"] in ("pass", "refuse")
    assert gate["detail"]["test"] == "mcnemar"
    assert gate["detail"]["domains"] == [SCANNER]
    assert "plain training" in result.record.stages_seconds


def _add_rows(table: Path, rows: list[dict[str, str]]) -> None:
    import pandas as pd

    old = pd.read_csv(table, dtype=str, keep_default_na=False)
    pd.concat([old, pd.DataFrame(rows)]).fillna("").to_csv(table, index=False)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"labels_per_sample": "many"}, "by: shot is for one label a sample"),
        ({"compute": {"processes": 2}}, "by: shot runs in one process"),
    ],
)
def test_a_way_that_does_not_fit_is_refused_before_anything_is_kept(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    config = ProjectConfig.model_validate(project_config("toy").model_dump(mode="json") | changes)
    session = Session(make_workspace(tmp_path / "workspace"), config)
    answered(session.workspace.serving, b"an input", 1)
    with pytest.raises(ConfigurationError, match=rf"{problem}.*nothing was added to the data"):
        adapted_session(session, "a1")
    assert snapshot_names(session.workspace.data) == []


@pytest.mark.slow
def test_the_session_adapts_the_project_s_own_method(workspace: Path) -> None:
    session = with_conf(workspace, gates=[{"kind": "min_metric", "floor": 0.2}, {"kind": "adaptation", "min_n": 40}])
    adapted = adapted_session(session, "a1").config
    assert isinstance(adapted.method, AdaptMethod)
    assert adapted.method.source == session.config.method
    assert [gate.kind for gate in adapted.gates] == ["min_metric", "adaptation"]
    own = adapted.method.model_dump(mode="json") | {"unlabelled": "0" * 16, "n_newest": 20}
    again = adapted_session(with_conf(workspace, method=own, gates=session.config.model_dump(mode="json")["gates"]), "a1").config
    assert isinstance(again.method, AdaptMethod)
    assert again.method.unlabelled not in (None, "0" * 16, adapted.method.unlabelled)
    assert len(read_unlabelled(session.workspace.data, str(again.method.unlabelled))) == 20
