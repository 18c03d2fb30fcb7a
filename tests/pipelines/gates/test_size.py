from __future__ import annotations

import pytest

from pipelines.config import SizeGate
from pipelines.gates.size import bundle_mb


@pytest.mark.parametrize(("n_bytes", "outcome"), [(0, "pass"), (2_500_000, "pass"), (2_500_001, "refuse"), (10**12, "refuse")])
def test_the_limit_itself_is_allowed_and_a_byte_more_is_not(n_bytes: int, outcome: str) -> None:
    decision = bundle_mb(SizeGate(kind="bundle_mb", limit_mb=2.5), n_bytes, 7)
    assert (decision.outcome, decision.n, decision.threshold) == (outcome, 7, 2.5)
    assert decision.statistic == n_bytes / 1e6
    assert f"{n_bytes:,} bytes" in decision.reason
    assert ("smaller backbone" in decision.reason) == (outcome == "refuse")
