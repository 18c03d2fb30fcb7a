"""Inputs of a folder or a table become a snapshot, and a run adapts to it: texts and sounds, in real workspaces without Prefect."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.app import main
from flows.ingestion import ingest_source
from flows.new_workspace import init_workspace
from flows.retraining import Retraining
from flows.session import open_session
from flows.snapshots import as_text, count_judging_samples, snapshot_source, snapshot_unlabelled
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.unlabelled import read_unlabelled, snapshot_names
from pipelines.versioning.dataset import dataset_version
from tests.conftest import git
from tests.flows.test_adapting import answered
from tests.pipelines import tiny_sounds, tiny_texts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("identity"),
    pytest.mark.filterwarnings("ignore:_NoneStep.value will soon raise:DeprecationWarning:dvc"),
]
FIELD = "field"
N_LABELLED, N_NEW, N_TEST = 120, 30, 40
CONF: dict[str, object] = {"gates": [{"kind": "min_metric", "floor": 0.2}], "method": {"kind": "probe", "strengths": [0.1]}}


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc-site"))
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "dvc-global"))


def plainly(name: str, function: Callable[..., Any], *arguments: object) -> Any:
    """A step that is no Prefect task."""
    return function(*arguments)


def shouted(n: int, seed: int) -> list[tuple[str, str]]:
    return [(f"{text.upper()}!", label) for text, label in tiny_texts.sentences(n, seed)]


def make_texts(root: Path) -> tuple[Path, Path]:
    """A workspace, and a table of 30 new texts, 3 that are labelled there already in other letters, and one that is none."""
    labelled = tiny_texts.sentences(N_LABELLED)
    source = tiny_texts.write_table(root / "source.csv", labelled)
    init_workspace(root / "tiny", source, "text", backbone=tiny_texts.backbone_entry(tiny_texts.write_model(root / "model")))
    rows = [text for text, _ in shouted(N_NEW, seed=9)] + [text.title() for text, _ in labelled[:3]] + ["   "]
    new = root / "new.jsonl"
    new.write_text("".join(json.dumps({"text": text, "label": "not looked at"}) + "\n" for text in rows))
    return root / "tiny", new


def make_sounds(root: Path) -> tuple[Path, Path]:
    """The same of sounds: those that are known come in another format."""
    source = tiny_sounds.write_sounds(root / "source", N_LABELLED)
    init_workspace(root / "tiny", source, "audio", backbone=tiny_sounds.backbone_entry(tiny_sounds.write_weights(root / "w.safetensors")))
    new = tiny_sounds.write_sounds(root / "new", N_NEW, first_seed=900)
    for number in range(3):
        label = tiny_sounds.LABELS[number % 2]
        (new / f"{number}.flac").write_bytes(tiny_sounds.as_file(tiny_sounds.sound(label, number), kind="FLAC"))
    (new / "torn.wav").write_bytes(b"RIFF")
    return root / "tiny", new


@pytest.fixture(params=[make_texts, make_sounds], ids=["texts", "sounds"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    workspace, new = request.param(tmp_path)
    conf = workspace / "conf" / "tiny.yaml"
    conf.write_text(yaml.safe_dump(yaml.safe_load(conf.read_text(encoding="utf-8")) | CONF), encoding="utf-8")
    git(workspace, "commit", "-qam", "the shortest gates")
    return workspace, new


def test_a_snapshot_of_a_source_leaves_out_what_is_known_and_is_the_same_twice(
    made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, new = made
    before = dataset_version(workspace).digest
    with pytest.raises(SystemExit, match=r"^(0|None)$"):
        main(["data", "unlabelled", str(new), "--domain", FIELD, "--workspace", str(workspace), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (said["n_found"], said["n_samples"], said["n_judging"]) == (N_NEW + 4, N_NEW, 0)
    assert said["left_out"] == {"known": 3, "unusable": 1, "not_drawn": 0}
    after = dataset_version(workspace).digest
    assert after != before
    assert {item.domain for item in read_unlabelled(workspace / "data", said["snapshot"])} == {FIELD}
    again = snapshot_source(open_session(workspace), new, FIELD)
    assert (again.name, dataset_version(workspace).digest) == (said["snapshot"], after)
    # In quotes for YAML, to which sixteen digits are a number, inside of quotes for the shell.
    assert f"regraft retrain --adapt --set \"adaptation.unlabelled='{again.name}'\"" in as_text(again)
    assert git(workspace, "status", "--porcelain") == ""
    few = snapshot_source(open_session(workspace, None, ["adaptation.n_newest=16"]), new, FIELD)
    assert {item.id for item in few.samples} < {item.id for item in again.samples}
    assert len(few.samples) == 16
    assert (few.n_found, few.n_not_drawn) == (N_NEW + 4, N_NEW + 4 - 16 - few.n_known - few.n_unusable)
    assert f": 16 of {few.n_found} inputs, without labels; " in as_text(few, 0)
    assert f"warning: no labelled test sample judges an adaptation to {FIELD}" in as_text(few, 0)


def test_labelled_samples_of_the_domain_are_said_at_once(made: tuple[Path, Path], tmp_path: Path) -> None:
    workspace, new = made
    ingest_source(open_session(workspace), labelled_tests(workspace, tmp_path / "tests"), FIELD)
    session = open_session(workspace)
    told: list[tuple[int, int]] = []
    snapshot = snapshot_source(session, new, FIELD, lambda _, done, total: told.append((done, total)))
    assert told == [(done, N_NEW + 4) for done in range(1, N_NEW + 5)]
    n_judging = count_judging_samples(session, snapshot)
    assert n_judging == N_TEST
    assert f"is judged by {N_TEST} labelled test samples of {FIELD}\n" in as_text(snapshot, n_judging)
    for blank in ("", " \t"):
        with pytest.raises(ConfigurationError, match=r"--domain .*: what is adapted to these inputs is judged by"):
            snapshot_source(session, new, blank)


def test_what_the_endpoint_has_kept_becomes_a_snapshot_of_its_kind(made: tuple[Path, Path]) -> None:
    workspace, _ = made
    session = open_session(workspace)
    if session.config.task == "text":
        inputs = [text.encode() for text, _ in shouted(20, seed=13)]
        known = tiny_texts.sentences(1)[0][0].upper().encode()
    else:
        inputs = [tiny_sounds.as_file(0.2 * tiny_sounds.sound("high", seed), kind="OGG") for seed in range(800, 820)]
        known = tiny_sounds.as_file(tiny_sounds.sound(tiny_sounds.LABELS[0], 0), kind="FLAC")
    for number, content in enumerate([*inputs, known]):
        answered(session.workspace.serving, content, number, domain=FIELD)
    snapshot = snapshot_unlabelled(session)
    assert {item.id for item in snapshot.samples} == {hashlib.sha256(content).hexdigest() for content in inputs}
    assert (snapshot.n_known, snapshot.n_unusable) == (1, 0)
    assert {(item.domain, item.arrival) for item in snapshot.samples} == {(FIELD, "2026-11-20")}


def test_a_run_adapts_to_the_snapshot_that_is_named_and_labels_of_its_domain_decide(made: tuple[Path, Path], tmp_path: Path) -> None:
    workspace, new = made
    name = snapshot_source(open_session(workspace), new, FIELD).name
    ingest_source(open_session(workspace), labelled_tests(workspace, tmp_path / "tests"), FIELD)
    session = open_session(workspace, None, [f"adaptation={{by: coral, unlabelled: '{name}'}}"])
    result = Retraining(session, "a1", {"kind": "adapt"}, datetime.now(UTC), None, plainly).carry_out()
    gate = {decision["gate"]: decision for decision in result.record.decisions}["adaptation"]
    assert (gate["n"], gate["detail"]["test"], gate["detail"]["domains"]) == (N_TEST, "mcnemar", [FIELD])
    assert result.candidate is not None
    method = json.loads((result.candidate.bundle / "lineage.json").read_bytes())["config"]["method"]
    assert (method["by"], method["unlabelled"], method["source"]["kind"]) == ("coral", name, "probe")
    assert snapshot_names(workspace / "data") == [name]


def labelled_tests(workspace: Path, folder: Path) -> Path:
    """A table of test samples of the other domain."""
    folder.mkdir()
    if open_session(workspace).config.task == "text":
        rows = ["text,label,split", *(f"{text},{label},test" for text, label in shouted(N_TEST, seed=11))]
    else:
        rows = ["path,label,split"]
        for number in range(N_TEST):
            label = tiny_sounds.LABELS[number % 2]
            (folder / f"{number}.wav").write_bytes(tiny_sounds.as_file(0.2 * tiny_sounds.sound(label, 700 + number)))
            rows.append(f"{number}.wav,{label},test")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


def test_a_source_that_holds_nothing_new(made: tuple[Path, Path], tmp_path: Path) -> None:
    workspace, _ = made
    before = dataset_version(workspace).digest
    with pytest.raises(ConfigurationError, match=r"no folder and no table at .*nowhere"):
        snapshot_source(open_session(workspace), tmp_path / "nowhere", FIELD)
    source = tmp_path / ("source.csv" if (tmp_path / "source.csv").is_file() else "source")
    with pytest.raises(DataError, match=rf"no unlabelled input: {N_LABELLED} are known to the labelled data"):
        snapshot_source(open_session(workspace), source, FIELD)
    assert dataset_version(workspace).digest == before
    assert snapshot_names(workspace / "data") == []


def test_a_snapshot_that_is_not_there_is_refused_before_anything_is_trained(made: tuple[Path, Path]) -> None:
    workspace, _ = made
    session = open_session(workspace, None, ["adaptation={by: coral, unlabelled: '0123456789abcdef'}"])
    with pytest.raises(ConfigurationError, match=r"adaptation\.unlabelled 0123456789abcdef, of which there is no .* there is none"):
        Retraining(session, "a1", {"kind": "adapt"}, datetime.now(UTC), None, plainly).carry_out()
