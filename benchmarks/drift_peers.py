"""The windows that the monitor judges through Evidently's embedding detectors and alibi-detect's, for the benchmarks of drift detection."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.drift_traffic import N_WINDOW, Traffic
from benchmarks.real_digits import Answers
from monitoring.reference import Reference
from monitoring.window import Window

COSTLY_FRAC = 0.05
N_PEER_NULL, N_PEER_EACH = 40, 3
ALIBI_PYTHON = Path(__file__).resolve().parents[1] / ".regraft" / "drift_peers" / "bin" / "python"

Row = dict[str, object]


def peer_rows(traffic: Traffic, own: Answers, unchanged: Answers, costly: Sequence[Answers]) -> list[Row]:
    """Windows of 200 at 5 %: unchanged ones, and those of each change that costs 5 points or more. Evidently's detectors are slow.

    Args:
        traffic: Of the endpoint.
        own: Answers of its own domain, for unchanged windows.
        unchanged: Those that are not among the changed ones, for the references of changed windows.
        costly: Answers of each such change.
    """
    from benchmarks.drift_false_alarms import detectors

    null = [traffic.null_pair(own, seed) for seed in range(N_PEER_NULL)]
    changed = [traffic.pair(pool, unchanged, N_WINDOW, seed) for pool in costly for seed in range(N_PEER_EACH)]
    alarms = {name: (_alarms(detector, null), _alarms(detector, changed)) for name, (_, detector) in detectors().items()}
    alarms |= _alibi_alarms(null, changed)
    rows: list[Row] = [
        {"detector": name, "n_null": len(false), "false_alarms": sum(false), "n_costly": len(found), "found": sum(found)}
        for name, (false, found) in alarms.items()
    ]
    print(*rows, sep="\n", flush=True)
    return rows


def _alarms(detector: Callable[[Window, Reference], bool], pairs: Sequence[tuple[Window, Reference]]) -> list[bool]:
    return [detector(*pair) for pair in pairs]


def _alibi_alarms(
    null: Sequence[tuple[Window, Reference]], changed: Sequence[tuple[Window, Reference]]
) -> dict[str, tuple[list[bool], list[bool]]]:
    """Alibi-detect's, where its environment is installed (benchmarks/drift-peers-requirements.txt)."""
    if not ALIBI_PYTHON.is_file():
        print("alibi-detect is not installed: its rows are left out", flush=True)
        return {}
    arrays: dict[str, NDArray[np.float64]] = {}
    for number, (window, reference) in enumerate([*null, *changed]):
        arrays |= {f"reference_{number}": reference.embeddings, f"window_{number}": window.embeddings}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "windows.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]
        command = [str(ALIBI_PYTHON), str(Path(__file__).with_name("drift_alibi_peer.py")), str(path)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    names, n_null = ("alibi_mmd", "alibi_ks"), len(null)
    return {name: ([item[name] for item in found[:n_null]], [item[name] for item in found[n_null:]]) for name in names}
