"""The gate `behaviour`: the team's own examples are answered as the team says. Exact, like the goldens: no statistics."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from pipelines.behaviour_answers import InputResult, TestResult, read_behaviour_results
from pipelines.config import BehaviourGate
from pipelines.gates.decision import Decision

_MAX_SHOWN = 10


def behaviour(rule: BehaviourGate, asked: Path) -> tuple[Decision, ...]:
    """Passes where of every test as many inputs were answered as asked as the test wants.

    Args:
        rule: Of the conf file.
        asked: Output of stage `behaviour`.

    Returns:
        One decision for each test of the team's file, in its order.
    """
    return tuple(_decide(rule, result) for result in read_behaviour_results(asked))


def _decide(rule: BehaviourGate, result: TestResult) -> Decision:
    n = len(result.inputs)
    failed = [found for found in result.inputs if not found.passed]
    passed = result.n_passed >= result.n_needed
    counts = f"{result.n_passed} of {n} inputs give {result.asked}, and {result.n_needed} must"
    return Decision(
        gate=rule.kind,
        condition=f"{result.name}: {result.asked}",
        outcome="pass" if passed else "refuse",
        statistic=result.n_passed / n,
        n=n,
        threshold=result.n_needed / n,
        reason=f"{counts}{_first(failed)}.",
        detail={"test": "exact", "n_passed": result.n_passed, "n_needed": result.n_needed, "failed": _shown(failed)},
    )


def _first(failed: list[InputResult]) -> str:
    return f"; {failed[0].file} gives {failed[0].said}" if failed else ""


def _shown(failed: list[InputResult]) -> list[JsonValue]:
    return [found.model_dump(mode="json") for found in failed[:_MAX_SHOWN]]
