"""Alibi-detect's detectors on the windows that `benchmarks.drift_detection` hands over; runs in an environment of its own.

Its numpy is older than the project's: see benchmarks/drift-peers-requirements.txt. Usage: `python drift_alibi_peer.py WINDOWS.npz`. For
each pair `reference_N`, `window_N` it prints one JSON object with the alarm of each detector, all at a p-value of 0.05 and their defaults.
"""

from __future__ import annotations

import json
import sys

import numpy as np


def main(path: str) -> None:
    from alibi_detect.cd import KSDrift, MMDDrift  # type: ignore[import-not-found]

    with np.load(path) as arrays:
        for number in range(len(arrays.files) // 2):
            reference, window = (arrays[f"{name}_{number}"].astype(np.float32) for name in ("reference", "window"))
            detectors = {"alibi_mmd": MMDDrift(reference, backend="pytorch", p_val=0.05), "alibi_ks": KSDrift(reference, p_val=0.05)}
            alarms = {name: bool(detector.predict(window)["data"]["is_drift"]) for name, detector in detectors.items()}
            print(json.dumps({"number": number, **alarms}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
