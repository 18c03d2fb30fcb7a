"""Who competes on texts, and how each is started."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.contest.cells import Contest

CONTEST = Contest(peers=("trainer", "setfit"), floor="sklearn", ours=("auto",), command="make bench-text-peers")
PEERS_PACKAGES = ("setfit", "sentence-transformers", "transformers", "torch", "scikit-learn")


def commands(peers_python: Path, contest: Contest = CONTEST) -> dict[str, list[str]]:
    """By name of the contender."""
    found = {name: [str(peers_python), "-m", f"benchmarks.text_transfer.{name}_peer"] for name in contest.peers}
    found["sklearn"] = [sys.executable, "-m", "benchmarks.text_transfer.sklearn_floor"]
    return found | {method: [sys.executable, "-m", "benchmarks.text_transfer.ours", method] for method in contest.ours}
