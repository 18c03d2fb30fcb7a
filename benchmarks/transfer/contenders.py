"""Who competes on images, and how each is started."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.contest.cells import Contest

CONTEST = Contest(peers=("fastai", "timm"), floor="sklearn", ours=("probe", "auto"), command="make bench-peers")
PEERS_PACKAGES = ("fastai", "timm", "torch", "torchvision")


def commands(peers_python: Path, contest: Contest = CONTEST) -> dict[str, list[str]]:
    """By name of the contender."""
    found = {name: [str(peers_python), "-m", f"benchmarks.transfer.{name}_peer"] for name in contest.peers}
    found["sklearn"] = [sys.executable, "-m", "benchmarks.transfer.sklearn_floor"]
    return found | {method: [sys.executable, "-m", "benchmarks.transfer.ours", method] for method in contest.ours}
