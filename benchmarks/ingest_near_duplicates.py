"""What it costs to compare new samples with the data: seconds and memory by how much is new and how much is known.

    python -m benchmarks.ingest_near_duplicates

Thumbnails are smooth random pictures; one new one in ten is a brighter copy of a known one. Decoding is left out: known thumbnails are kept
between ingestions. Each row is a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import write_results
from pipelines.near_duplicates import pairs_of_new

COMMAND = "python -m benchmarks.ingest_near_duplicates"
SIZES = ((10_000, 100), (10_000, 1_000), (100_000, 100), (100_000, 1_000))


def compare(n_known: int, n_new: int) -> None:
    """Prints seconds, megabytes on top of the thumbnails, and how many copies were found."""
    rng = np.random.default_rng(0)
    known, new = _clouds(rng, n_known), _clouds(rng, n_new)
    n_copies = n_new // 10
    new[:n_copies] = np.minimum(known[:n_copies].astype(np.int64) + 20, 255)
    thumbnails = np.concatenate([known, new])
    before_kib, start = _peak_kib(), time.perf_counter()
    pairs = pairs_of_new(thumbnails, np.arange(len(thumbnails)) >= n_known)
    seconds = time.perf_counter() - start
    found = {(first, second - n_known) for first, second in pairs.tolist()}
    n_found = sum((number, number) in found for number in range(n_copies))
    row = {"n_known": n_known, "n_new": n_new, "seconds": round(seconds, 2), "added_memory_mib": round((_peak_kib() - before_kib) / 1024)}
    print(json.dumps(row | {"n_copies": n_copies, "n_copies_found": n_found, "n_pairs": len(pairs)}))


def _clouds(rng: np.random.Generator, n: int) -> NDArray[np.uint8]:
    coarse = rng.integers(20, 220, (n, 8, 8)).astype(np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def _peak_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    rows = []
    for n_known, n_new in SIZES:
        script = f"from benchmarks.ingest_near_duplicates import compare; compare({n_known}, {n_new})"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
    write_results("ingest_near_duplicates", COMMAND, rows)


if __name__ == "__main__":
    main()
