"""Wall time and peak memory of `regraft demo` over all its processes: `python -m benchmarks.demo_cost`.

Memory is the sum of the proportional set sizes (PSS: a shared page counts once) of the demo and all its descendants, and of the plain
resident sizes (RSS, which counts shared pages many times), sampled every half second. What the last demo printed, progress bars left
out, goes to `results/demo_output.txt`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.machine import RESULTS, spread, write_results

ROOT = Path(__file__).resolve().parent.parent
_SAMPLE_SECONDS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    runs = [_run() for _ in range(parser.parse_args().rounds)]
    rows = [{"what": name, **spread([run[name] for run in runs])} for name in runs[0]]
    print(write_results("demo_cost", "python -m benchmarks.demo_cost", rows).read_text())


def _run() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="regraft-demo-") as folder:
        output = Path(folder) / "output.txt"
        started = time.perf_counter()
        with output.open("wb") as stream:
            command = [sys.executable, "-m", "flows.cli", "demo", "--folder", f"{folder}/demo"]
            process = subprocess.Popen(command, cwd=ROOT, stderr=stream, env={**os.environ, "COLUMNS": "110"})
            peak_pss, peak_rss = _watch(process)
        wall = time.perf_counter() - started
        text = output.read_text(encoding="utf-8")
        if process.returncode != 0:
            raise SystemExit(f"the demo ended with {process.returncode}: {text}")
        (RESULTS / "demo_output.txt").write_text(_readable(text, f"{folder}/demo"), encoding="utf-8")
        stages = json.loads((Path(folder) / "demo" / "summary.json").read_text())["stages_seconds"]
    measured = {"wall_seconds": round(wall, 1), "peak_pss_mb": round(peak_pss / 1e6), "peak_rss_mb": round(peak_rss / 1e6)}
    return measured | {f"{name}_seconds": seconds for name, seconds in stages.items()}


def _readable(text: str, folder: str) -> str:
    lines = [line.rstrip() for line in text.replace(folder, ".regraft/demo").splitlines()]
    return "\n".join(line for line in lines if not re.search(r"━ +\d+/\d+", line)).strip() + "\n"


def _watch(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    peak_pss = peak_rss = 0
    while process.poll() is None:
        pss, rss = _memory(process.pid)
        peak_pss, peak_rss = max(peak_pss, pss), max(peak_rss, rss)
        time.sleep(_SAMPLE_SECONDS)
    return peak_pss, peak_rss


def _memory(pid: int) -> tuple[int, int]:
    pss = rss = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, 0
    for member in family:
        try:
            full = member.memory_full_info()
        except psutil.Error:
            continue
        pss, rss = pss + full.pss, rss + full.rss
    return pss, rss


if __name__ == "__main__":
    main()
