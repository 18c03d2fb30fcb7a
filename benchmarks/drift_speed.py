"""How long does a large window take, and a long log? `python -m benchmarks.drift_speed`. Writes results/drift_speed.csv.

Windows of made-up embeddings (10,000 x 1,280 against 2,000), once unchanged and once changed; goal: at most 2 s each. A request log of
1,000,000 made-up lines with 32 numbers of embedding and 10 probabilities, read as `regraft monitor` reads it; goal: at most 30 s, and a
peak of memory that a log of 100,000 lines has, too. Each part runs in a process of its own, so that its peak is its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks.machine import write_results

COMMAND = "python -m benchmarks.drift_speed"
N_COLUMNS, N_REFERENCE, N_WINDOW = 1_280, 2_000, 10_000
N_REPEATS = 3
BUNDLE = "d1617500d1617502"


def judge_seconds(shift: float) -> dict[str, object]:
    from benchmarks.real_digits import LABELS, Answers, as_reference, as_window
    from monitoring.alarm_budget import Allowance
    from monitoring.decision import judge_window
    from pipelines.config import MonitorSection

    rng = np.random.default_rng(0)

    def made_up(n: int, moved: float) -> Answers:
        embeddings = np.maximum(0, rng.normal(size=(n, N_COLUMNS)) + moved)
        return Answers(embeddings, rng.dirichlet(np.full(len(LABELS), 0.1), n), rng.normal(size=(n, 6)), rng.integers(0, 10, n))

    reference, window = as_reference(made_up(N_REFERENCE, 0.0)), as_window(made_up(N_WINDOW, shift))
    seconds = []
    for _ in range(N_REPEATS + 1):
        started = time.perf_counter()
        verdict = judge_window(window, reference, MonitorSection(window=N_WINDOW), Allowance(0.0072, 0.0))
        seconds.append(time.perf_counter() - started)
    return {"verdict": verdict.verdict, "seconds": round(float(np.median(seconds[1:])), 2), "peak_mb": _peak_mb()}


def read_seconds(log: Path) -> dict[str, object]:
    from monitoring.window import Window
    from pipelines.core.request_log import read_feedback, read_requests

    started = time.perf_counter()
    window = Window.from_lines(read_requests(log), read_feedback(log), BUNDLE, tuple("0123456789"), 1_000)
    seconds = time.perf_counter() - started
    return {
        "verdict": f"{window.n_requests} requests, {len(window.labelled_answers)} labels",
        "seconds": round(seconds, 1),
        "peak_mb": _peak_mb(),
    }


def write_log(folder: Path, n_lines: int) -> None:
    rng = np.random.default_rng(0)
    for name in ("requests", "feedback"):
        (folder / name).mkdir(parents=True)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ending = _line_ending(rng)
    with (folder / "requests/2026-01-01.jsonl").open("w") as requests, (folder / "feedback/2026-01-01.jsonl").open("w") as feedback:
        for number in range(n_lines):
            moment = (start + timedelta(milliseconds=50 * number)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            requests.write(f'{{"request_id":"{number:032x}","time":"{moment}",{ending}\n')
            if number % 20 == 0:
                feedback.write(json.dumps({"request_id": f"{number:032x}", "label": "3", "time": moment}) + "\n")


def _line_ending(rng: np.random.Generator) -> str:
    content = {
        "bundle": BUNDLE,
        "label": "3",
        "probabilities": [0.1] * 10,
        "embedding": [float(f"{value:.5g}") for value in rng.normal(size=32)],
        "statistics": [float(f"{value:.5g}") for value in rng.normal(size=6)],
        "domain": "default",
        "raw_sha256": None,
    }
    return json.dumps(content)[1:]


def _peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024)


def _in_own_process(*arguments: str) -> dict[str, object]:
    command = [sys.executable, "-m", "benchmarks.drift_speed", *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(output.splitlines()[-1])
    print(arguments[0], found, flush=True)
    return dict(found)


def main() -> None:
    rows: list[dict[str, object]] = []
    for name, shift in (("unchanged", "0"), ("changed", "0.3")):
        what = f"judge {N_WINDOW} x {N_COLUMNS}, {name}"
        rows.append({"what": what, **_in_own_process("judge", shift)})
    for n_lines in (100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            write_log(Path(folder), n_lines)
            rows.append({"what": f"read {n_lines} lines", **_in_own_process("read", folder)})
    write_results("drift_speed", COMMAND, rows, {"n_reference": N_REFERENCE, "n_repeats": N_REPEATS})


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["judge", shift]:
            print(json.dumps(judge_seconds(float(shift))))
        case ["read", folder]:
            print(json.dumps(read_seconds(Path(folder))))
        case _:
            main()
