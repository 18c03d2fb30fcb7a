"""Verdicts without a window, for tests of what follows from them."""

from __future__ import annotations

from monitoring.harm import Harm, HarmName
from monitoring.quality import AccuracyLoss
from monitoring.verdict import Verdict, VerdictName


def verdict(name: VerdictName, harm: HarmName | None = None) -> Verdict:
    return Verdict(
        harm=None if harm is None else as_harm(harm),
        verdict=name,
        reason="",
        bundle="b",
        window_id="w",
        n_requests=200,
        n_needed=100,
        n_reference=500,
        first_at=None,
        last_at=None,
        n_malformed=0,
        problems=(),
        level=0.01,
        false_alarms_per_year=1,
        seed=0,
        signals=(),
        quality=None,
        where=None,
    )


def as_harm(name: HarmName) -> Harm:
    loss = AccuracyLoss(value=0, low=-0.01, high=0.01)
    return Harm(harm=name, basis="estimates", loss=loss, harmful_loss_frac=0.05, reason=f"By confidence: {name}.")
