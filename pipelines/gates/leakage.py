"""The gate `leakage`: no test sample looks like one that was learnt from. An exact count, no statistics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pipelines.config import LeakageGate
from pipelines.core.errors import IntegrityError
from pipelines.gates.decision import Decision
from pipelines.near_duplicates import PAIRS, SUMMARY, NearDuplicates, read_pairs

_MAX_NAMED = 10


def leakage(rule: LeakageGate, found: Path) -> Decision:
    """Counts the test samples that have a near-duplicate in train or validation, each once, however many it has.

    Args:
        rule: Of the conf file.
        found: Output of the stage `near_duplicates`.

    Raises:
        IntegrityError: That output cannot be read.
    """
    pairs, n_test = _read(found)
    nearest: dict[str, NearDuplicates] = {}
    for pair in sorted((pair for pair in pairs if pair.leaks), key=lambda pair: (pair.difference, pair.path, pair.other_path)):
        nearest.setdefault(pair.path, pair)
    passes = len(nearest) <= rule.max_pairs
    return Decision(
        gate=rule.kind,
        condition=f"at most {rule.max_pairs} test samples with a near-duplicate among what was learnt from",
        outcome="pass" if passes else "refuse",
        statistic=len(nearest),
        n=n_test,
        threshold=rule.max_pairs,
        reason=_reason(rule, list(nearest.values()), n_test, passes=passes),
        detail={
            "test": "exact",
            "pairs": [[pair.path, pair.other_path, pair.other_split, pair.difference] for pair in list(nearest.values())[:_MAX_NAMED]],
        },
    )


def _read(found: Path) -> tuple[list[NearDuplicates], int]:
    try:
        pairs, summary = read_pairs(found / PAIRS), json.loads((found / SUMMARY).read_bytes())
        if len(pairs) != summary["n_pairs"]:
            raise ValueError(f"{len(pairs)} pairs where {summary['n_pairs']} were written")
        return pairs, int(summary["n_test"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            got=f"near-duplicates in {found.name[:12]} that cannot be read ({type(error).__name__}).",
            allowed=f"{PAIRS} and {SUMMARY}, as the stage near_duplicates writes them.",
            next_step="remove that folder from .regraft/store/near_duplicates, and run `regraft retrain` again.",
        ) from error


def _reason(rule: LeakageGate, leaks: Sequence[NearDuplicates], n_test: int, *, passes: bool) -> str:
    if not leaks:
        return f"none of {n_test} test samples looks like one that was learnt from."
    have = "has" if len(leaks) == 1 else "have"
    named = "; ".join(f"{pair.path} and {pair.other_path} ({pair.other_split})" for pair in leaks[:_MAX_NAMED])
    more = f"; and {len(leaks) - _MAX_NAMED} more" if len(leaks) > _MAX_NAMED else ""
    counted = f"{len(leaks)} of {n_test} test samples {have} a near-duplicate that was learnt from, and {rule.max_pairs} may"
    cure = "" if passes else " Give both of a pair the same group in the labels table, or drop one: the run's audit shows them."
    return f"{counted}: {named}{more}.{cure}"
