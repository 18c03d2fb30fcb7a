from __future__ import annotations

import pytest

from pipelines.core.errors import IntegrityError
from pipelines.versioning.past_judgements import past_judgements
from pipelines.versioning.refusals import record_refusal
from tests.pipelines.versioning.conftest import PROJECT


def test_registered_and_refused_candidates_are_all_there(promoted) -> None:
    record_refusal(promoted.root, "0" * 16, {"test_set": {"n": 5}})
    record_refusal(promoted.root, "0" * 16, {"test_set": {"n": 6}})
    past = past_judgements(promoted.root, PROJECT)
    assert [judged.judgement for judged in past] == [{"pass": True}] * 3 + [{"test_set": {"n": 5}}, {"test_set": {"n": 6}}]
    assert len({judged.bundle_id for judged in past}) == 4


def test_a_new_workspace_has_none(place) -> None:
    assert past_judgements(place.root, PROJECT) == []


def test_a_version_without_its_decision_is_named(promoted) -> None:
    promoted.git("rm", "--quiet", "models/decision.json")
    promoted.git("commit", "--quiet", "--message", "Lost")
    promoted.git("tag", "--force", "digits@v0.0.3", "-m", "moved")
    with pytest.raises(IntegrityError, match=r"the version v0\.0\.3, whose commit holds no readable models/decision\.json"):
        past_judgements(promoted.root, PROJECT)
