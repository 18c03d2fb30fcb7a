"""A whole retraining without Prefect: what is asked of the served Bento and of a person, what is forced, and what is kept of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from flows.pending import all_pending, forget_pending, read_pending, save_pending
from flows.retraining import Answered, Result, Retraining, forced_by_caller
from flows.session import Session, open_session
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.gates.human_approval import Answer
from pipelines.versioning.registry import champion, refusals, show
from tests.conftest import git

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FLOOR = {"kind": "min_metric", "floor": 0.5}
BEATS = {"kind": "beats_champion", "without_champion": "pass", "margin": 0.3}
SIZE = {"kind": "bundle_mb", "limit_mb": 1_000}
FAST = {"kind": "latency_p95_ms", "limit_ms": 60_000, "n_requests": 60}
PERSON = {"kind": "human_approval", "timeout_minutes": 60}
NEVER = {"kind": "min_metric", "floor": 1.0}


def plainly(name: str, function: Callable[..., Any], *arguments: object) -> Any:
    """A step that is no Prefect task."""
    return function(*arguments)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with 300 real digits of two classes that has learnt nothing yet."""
    from sklearn.datasets import load_digits

    from flows.new_workspace import init_workspace

    root = tmp_path_factory.mktemp("template")
    digits = load_digits()
    for index in np.flatnonzero(digits.target < 2)[:300]:
        folder = root / "source" / f"digit {digits.target[index]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[index] * 255 // 16).astype(np.uint8)).save(folder / f"{index}.png")
    before = dict(os.environ)
    for role in ("AUTHOR", "COMMITTER"):
        os.environ[f"GIT_{role}_NAME"], os.environ[f"GIT_{role}_EMAIL"] = "Test", "test@example.invalid"
    os.environ |= {"DVC_SITE_CACHE_DIR": str(root / "dvc-site"), "DVC_GLOBAL_CONFIG_DIR": str(root / "dvc-global")}
    init_workspace(root / "workspace", root / "source", "image")
    learnt = retraining(root / "workspace", "warm-up", [NEVER])
    assert learnt.carry_out().record.outcome == "refused"  # every test finds the stages done
    yield root
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Path:
    place = tmp_path / "place"
    shutil.copytree(template, place, symlinks=True)
    remote = place / "workspace-dvc-remote"
    assert remote.is_dir()
    # Of its own: what one test pushes no other must find.
    (place / "workspace" / ".dvc" / "config.local").write_text(f"['remote \"storage\"']\n    url = {remote}\n")
    return place / "workspace"


def with_gates(workspace: Path, gates: list[dict[str, object]], **changes: object) -> Session:
    conf = next((workspace / "conf").glob("*.yaml"))
    content = yaml.safe_load(conf.read_text(encoding="utf-8")) | {"gates": gates, "method": {"kind": "probe"}} | changes
    conf.write_text(yaml.safe_dump(content), encoding="utf-8")
    return open_session(workspace)


def retraining(workspace: Path, run: str, gates: list[dict[str, object]], force: str | None = None, **changes: object) -> Retraining:
    session = with_gates(workspace, gates, **changes)
    return Retraining(session, run, {"kind": "person"}, datetime.now(UTC), forced_by_caller(session, force), plainly)


def asked(run: Retraining) -> Result:
    """The run up to its question, which is kept as the flow keeps it."""
    result = run.carry_out()
    assert result.question is not None
    save_pending(run.session.workspace, result.question)
    return result


def answered(result: Result, approve: bool = True) -> Answered:
    assert result.question is not None
    said = Answer(approve=approve, name="Ada", comment="looked at it", answered_at=datetime.now(UTC))
    return Answered(result.question.evidence, said)


def outcomes(result: Result) -> list[tuple[str, str]]:
    return [(decision["gate"], decision["outcome"]) for decision in result.record.decisions]


def test_a_first_run_is_measured_asked_about_and_promoted(workspace: Path) -> None:
    run = retraining(workspace, "r1", [PERSON, FAST, SIZE, FLOOR, BEATS])
    question = asked(run)
    assert question.record.outcome == "waiting"
    assert "regraft approve r1 --by NAME" in question.record.reason
    before = [("min_metric", "pass"), ("beats_champion", "pass"), ("latency_p95_ms", "pass"), ("bundle_mb", "pass")]
    assert outcomes(question) == before
    assert git(workspace, "tag") == "", "nothing is registered before a person has answered"
    again = run.carry_out(Answered("another question", answered(question).answer))
    assert again.question == replace_record(question, again), "an answer to other evidence is none, and nothing is measured anew"
    promoted = run.carry_out(answered(question))
    assert promoted.record.outcome == "promoted"
    assert promoted.record.decisions[:-1] == question.record.decisions, "it is decided on what was shown"
    assert outcomes(promoted) == [*before, ("human_approval", "pass")]
    record = champion(workspace, run.session.config.project)
    assert record is not None
    kept = record.evidence["decisions"]
    assert isinstance(kept, list)
    assert kept == promoted.record.decisions
    assert promoted.record.decisions[-1]["detail"]["name"] == "Ada"
    decided: Any = show(workspace, run.session.config.project, "v0.0.1").decision
    assert [item["gate"] for item in decided["decisions"]] == [gate for gate, _ in outcomes(promoted)]
    latency = promoted.record.decisions[2]
    assert latency["n"] == 60
    assert 0 < latency["statistic"] <= latency["high"]
    seconds = promoted.record.stages_seconds
    assert seconds["serve_once"] > 0
    assert seconds["latency"] > 0


def replace_record(question: Result, again: Result) -> Any:
    """The question as asked again: only when it was asked differs."""
    assert question.question is not None
    assert again.question is not None
    return question.question.model_copy(update={"record": again.question.record, "deadline": again.question.deadline})


def test_a_person_who_says_no_refuses(workspace: Path) -> None:
    run = retraining(workspace, "r1", [FLOOR, PERSON])
    refused = run.carry_out(answered(asked(run), approve=False))
    assert refused.record.outcome == "refused"
    assert "Ada refused on" in refused.record.reason
    assert git(workspace, "tag") == ""
    kept = refusals(workspace)[-1].decision
    assert kept["promote"] is False
    nobody = run.carry_out(Answered(answered(asked(run)).evidence, None))
    assert nobody.record.outcome == "refused"
    assert "nobody answered within 60 minutes." in nobody.record.reason


def test_a_champion_that_changed_meanwhile_is_judged_again(workspace: Path) -> None:
    run = retraining(workspace, "r1", [FLOOR, BEATS, PERSON])
    question = asked(run)
    other = retraining(workspace, "r2", [FLOOR], method={"kind": "probe", "strengths": [0.01]}).carry_out()
    assert other.record.outcome == "promoted"
    assert other.record.bundle != question.record.bundle
    same = replace(run, session=with_gates(workspace, [FLOOR, BEATS, PERSON]))
    again = same.carry_out(answered(question))
    assert again.question is not None, "the answer was about another champion"
    assert again.record.bundle == question.record.bundle
    assert again.record.champion_before == "v0.0.1"
    assert any("not worse than the champion" in decision["condition"] for decision in again.record.decisions)
    save_pending(same.session.workspace, again.question)
    assert same.carry_out(answered(again)).record.version == "v0.0.2"


def test_what_is_not_as_it_was_is_made_again(workspace: Path) -> None:
    run = retraining(workspace, "r1", [FLOOR, PERSON])
    question = asked(run)
    stricter = replace(run, session=with_gates(workspace, [NEVER, PERSON]))
    assert stricter.carry_out(answered(question)).record.outcome == "refused", "the gates of now decide"
    shutil.rmtree(workspace / ".regraft" / "store" / "package")
    back = replace(run, session=with_gates(workspace, [FLOOR, PERSON]))
    assert back.carry_out(answered(question)).record.outcome == "promoted", "the same bundle was made again, so the answer counts"


def test_a_question_that_is_no_longer_readable_is_asked_again(workspace: Path) -> None:
    run = retraining(workspace, "r1", [FLOOR, PERSON])
    question = asked(run)
    place = workspace / ".regraft" / "approvals" / "r1.json"
    place.write_text(place.read_text().replace('"promote": true', '"promote": false'))
    assert read_pending(run.session.workspace, "r1") is None
    assert all_pending(run.session.workspace) == []
    assert run.carry_out().question is not None
    forget_pending(run.session.workspace, "r1")
    assert not place.exists()
    assert question.question is not None


def test_a_bento_that_is_too_large_is_refused_and_a_person_can_force_it(workspace: Path) -> None:
    gates = [FLOOR, SIZE | {"limit_mb": 0.001}, FAST | {"limit_ms": 0.001}, PERSON]
    refused = retraining(workspace, "r1", gates).carry_out()
    assert (refused.record.outcome, refused.question) == ("refused", None)
    assert outcomes(refused) == [("min_metric", "pass"), ("bundle_mb", "refuse"), ("latency_p95_ms", "refuse")]
    assert git(workspace, "tag") == ""
    assert len(refusals(workspace)[-1].decision["decisions"]) == 3  # type: ignore[arg-type]

    forced = retraining(workspace, "r2", [BEATS | {"without_champion": "refuse"}, *gates], force="the line stands still").carry_out()
    assert forced.record.outcome == "promoted"
    assert outcomes(forced) == [
        ("beats_champion", "refuse"),
        ("min_metric", "pass"),
        ("bundle_mb", "refuse"),
        ("latency_p95_ms", "refuse"),
        ("human_approval", "refuse"),
    ]
    assert forced.record.reason.startswith("Forced by Test <test@example.invalid>: the line stands still. Without that: Not promoted")
    assert forced.record.forced is not None
    assert forced.record.forced.reason == "the line stands still"
    record = champion(workspace, "workspace")
    assert record is not None
    assert record.why == forced.record.reason
    assert record.evidence["forced"] == {"by": "Test <test@example.invalid>", "reason": "the line stands still"}
    assert "Forced by Test" in git(workspace, "tag", "--list", "--format=%(contents:subject)", "workspace#prod#1")
    assert json.loads((workspace / "models" / "decision.json").read_text())["forced"]["reason"] == "the line stands still"


def test_where_all_gates_pass_nothing_is_forced(workspace: Path) -> None:
    result = retraining(workspace, "r1", [FLOOR], force="to be sure").carry_out()
    assert (result.record.outcome, result.record.forced) == ("promoted", None)
    assert "Forced" not in result.record.reason


def test_goldens_that_differ_cannot_be_forced(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the process that replays the goldens comes to another answer."""
    from pipelines.gates import goldens as gate

    def other_answer(*_: object, **__: object) -> Any:
        from subprocess import CompletedProcess

        return CompletedProcess([], 3, stdout=json.dumps({"error": {"got": "a probability that differs by 0.3."}}), stderr="")

    monkeypatch.setattr(gate, "_run_replay", other_answer)
    result = retraining(workspace, "r1", [FLOOR, {"kind": "goldens"}], force="at once").carry_out()
    assert (result.record.outcome, result.record.forced) == ("refused", None)
    assert "differs by 0.3" in result.record.reason
    assert "It cannot be forced" in result.record.reason
    assert git(workspace, "tag") == ""


def other_model(workspace: Path, run: str, gates: list[dict[str, object]], force: str | None = None) -> Result:
    """A retraining that learns something else than the template's."""
    return retraining(workspace, run, gates, force, method={"kind": "probe", "strengths": [0.01]}).carry_out()


def stored_objects(workspace: Path) -> set[Path]:
    """Files of DVC's cache and of its remote."""
    folders = (workspace / ".dvc" / "cache", workspace.with_name("workspace-dvc-remote"))
    return {path for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_a_champion_whose_tags_are_lost_is_no_first_run(workspace: Path) -> None:
    assert retraining(workspace, "r1", [FLOOR]).carry_out().record.outcome == "promoted"
    for tag in git(workspace, "tag").split():
        git(workspace, "tag", "-d", tag)
    for force in (None, "at once"):
        with pytest.raises(IntegrityError, match=r"whose tags name no champion.*git fetch --tags"):
            other_model(workspace, "r2", [FLOOR, BEATS], force)
    assert git(workspace, "tag") == ""


def test_a_champion_that_cannot_be_read_never_lets_a_candidate_through_by_itself(workspace: Path) -> None:
    before = stored_objects(workspace)
    first = retraining(workspace, "r1", [FLOOR]).carry_out()
    for path in stored_objects(workspace) - before:
        path.unlink()
    shutil.rmtree(workspace / ".regraft" / "serving")
    refused = other_model(workspace, "r2", [FLOOR, BEATS])
    assert outcomes(refused) == [("min_metric", "pass"), ("beats_champion", "refuse")]
    record = champion(workspace, "workspace")
    assert record is not None
    assert record.bundle_id == first.record.bundle
    forced = other_model(workspace, "r3", [FLOOR, BEATS], force="the champion is gone")
    assert forced.record.outcome == "promoted"
    assert forced.record.champion_before == "v0.0.1"


def test_too_few_test_samples_for_the_champion(workspace: Path) -> None:
    assert retraining(workspace, "r1", [FLOOR]).carry_out().record.outcome == "promoted"
    result = other_model(workspace, "r2", [FLOOR, BEATS | {"min_n": 10_000}])
    assert outcomes(result) == [("min_metric", "pass"), ("beats_champion", "insufficient_data")]
    assert result.record.outcome == "refused"
    assert "10000" in result.record.reason


def test_a_tie_is_promoted_where_it_is_shown_to_be_one(workspace: Path) -> None:
    first = retraining(workspace, "r1", [FLOOR]).carry_out()
    same = retraining(workspace, "r2", [FLOOR, BEATS], bundle={"n_goldens": 5}).carry_out()
    assert first.record.bundle != same.record.bundle
    (compared,) = [decision for decision in same.record.decisions if decision["gate"] == "beats_champion"]
    assert (compared["outcome"], compared["statistic"]) == ("pass", 0.0)
    assert same.record.outcome == "promoted"


def test_the_champion_itself_changes_nothing(workspace: Path) -> None:
    assert retraining(workspace, "r1", [FLOOR]).carry_out().record.outcome == "promoted"
    again = retraining(workspace, "r2", [FLOOR, BEATS, PERSON], force="again").carry_out()
    assert (again.record.outcome, again.question) == ("unchanged", None)


@pytest.mark.parametrize("reason", ["", "  "])
def test_force_without_a_reason(workspace: Path, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=r"force without a reason.*kept in the registry.*--force"):
        forced_by_caller(with_gates(workspace, [FLOOR]), reason)
