"""Two versions side by side, from what git holds of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipelines.versioning.account import account, changes_between
from pipelines.versioning.lineage import Lineage, show

ABSENT = "(not set)"


def compare_versions(root: Path, project: str, first: str, second: str) -> dict[str, Any]:
    """What differs between two versions, and how good each is.

    Returns:
        `a`, `b`: name, bundle and commit of each; `data`: samples added, removed, relabelled from a to b; `config`, `libraries`,
        `backbone`, `hardware`, `code`: only the keys that differ, each with both values; `method`, `metrics`, `decisions`: of both.

    Raises:
        ConfigurationError: There is no such version.
        IntegrityError: Records in git are not readable.
    """
    lineages = show(root, project, first), show(root, project, second)
    a, b = account(lineages[0]), account(lineages[1])
    return {
        **{side: {name: one[name] for name in ("version", "bundle", "commit", "registered_at")} for side, one in (("a", a), ("b", b))},
        "data": changes_between(root, *lineages),
        "split": _pair(a["split"], b["split"]) if a["split"] != b["split"] else None,
        **{part: differences(a[part] or {}, b[part] or {}) for part in ("config", "libraries", "backbone", "hardware", "code")},
        "method": _pair(a["method"], b["method"]),
        "metrics": _pair(a["metrics"], b["metrics"]),
        "decisions": _pair(_decisions(lineages[0]), _decisions(lineages[1])),
    }


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, JsonValue]]:
    """The leaves of two nested mappings that differ, by dotted path; lists count as leaves.

    Returns:
        Path -> `{"a": value, "b": value}`; `ABSENT` stands for a missing one.
    """
    flat_a, flat_b = _leaves(a), _leaves(b)
    paths = sorted(flat_a.keys() | flat_b.keys())
    return {
        path: {"a": flat_a.get(path, ABSENT), "b": flat_b.get(path, ABSENT)}
        for path in paths
        if flat_a.get(path, ABSENT) != flat_b.get(path, ABSENT)
    }


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return found


def _pair(a: Any, b: Any) -> dict[str, Any]:
    return {"a": a, "b": b}


def _decisions(lineage: Lineage) -> list[dict[str, Any]]:
    decision = lineage.decision if isinstance(lineage.decision, dict) else {}
    rows = decision.get("decisions")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
