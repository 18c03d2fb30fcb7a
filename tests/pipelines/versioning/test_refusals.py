from __future__ import annotations

import datetime
import json

import pytest

from pipelines.core.errors import ConfigurationError
from pipelines.versioning.refusals import record_refusal, refusals

CANDIDATE = "0123456789abcdef"


def test_a_refusal_is_kept_in_git_with_its_decision(place) -> None:
    decision = {"pass": False, "gates": [{"kind": "min_metric", "reason": "0.71 < 0.9"}]}
    refusal = record_refusal(place.root, CANDIDATE, decision)
    assert refusal.decision == decision
    assert refusal.commit == place.git("rev-parse", "HEAD")
    assert abs(datetime.datetime.now(datetime.UTC) - refusal.refused_at) < datetime.timedelta(seconds=60)
    assert json.loads(place.git("show", f"HEAD:models/refused/{CANDIDATE}.json")) == decision
    assert record_refusal(place.root, CANDIDATE, decision) == refusal


def test_every_decision_on_a_candidate_stays_readable(place) -> None:
    first = record_refusal(place.root, CANDIDATE, {"against": "v0.0.1"})
    second = record_refusal(place.root, "f" * 16, {"against": "v0.0.1"})
    third = record_refusal(place.root, CANDIDATE, {"against": "v0.0.2"})
    (place.root / "models" / "refused" / f"{CANDIDATE}.json").unlink()
    assert refusals(place.root) == [first, second, third]
    assert [refusal.decision["against"] for refusal in refusals(place.root)] == ["v0.0.1", "v0.0.1", "v0.0.2"]


@pytest.mark.parametrize("bundle_id", ["", "0123", "../../../etc/passwd", "G" * 16])
def test_what_is_no_bundle_id_is_refused(place, bundle_id: str) -> None:
    with pytest.raises(ConfigurationError, match=r"the bundle id .*16 hex digits"):
        record_refusal(place.root, bundle_id, {})
