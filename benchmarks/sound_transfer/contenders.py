"""Who competes on sounds, and how each is started."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.contest.cells import Contest

COMMAND = "make bench-sound-peers"
CONTEST = Contest(peers=("fastai", "fastai_one_cycle"), floor="sklearn", ours=("auto", "default"), command=COMMAND)
PEERS_PACKAGES = ("fastai", "timm", "torch", "torchvision")


def commands(peers_python: Path) -> dict[str, list[str]]:
    """By name of the contender."""
    found = {name: [str(peers_python), "-m", "benchmarks.sound_transfer.fastai_peer", name] for name in CONTEST.peers}
    found[CONTEST.floor] = [sys.executable, "-m", "benchmarks.sound_transfer.sklearn_floor"]
    return found | {method: [sys.executable, "-m", "benchmarks.sound_transfer.ours", method] for method in CONTEST.ours}
