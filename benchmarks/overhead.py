"""What the command line and Prefect cost, side by side on one server: `python -m benchmarks.overhead`.

    help, status         wall time of the commands, in processes of their own
    empty_flow           a flow that does nothing, in a process of its own
    unchanged            `regraft retrain` with nothing changed, in a process of its own
    plain, flow          all stages from an empty stage store, features kept: as plain functions, and as tasks of the flow up to the gates

Rounds alternate, so that a busy moment hits all alike.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import spread, write_results

ROOT = Path(__file__).resolve().parent.parent
_EMPTY = """
import sys
from pathlib import Path
from flows.session import open_session
open_session(Path(sys.argv[1]))
from prefect import flow
@flow(name="empty")
def empty(): pass
empty()
"""
_CANDIDATE = """
import sys, time
from pathlib import Path
from flows.session import open_session
session = open_session(Path(sys.argv[1]))
from flows.learning import make_candidate
from flows.tasks import in_task
from pipelines.stages import Stages
from pipelines.versioning.dataset import dataset_version
def run(step):
    return make_candidate(Stages(session.workspace, session.config), dataset_version(session.workspace.root).digest, step)
started = time.perf_counter()
if sys.argv[2] == "flow":
    from prefect import flow
    flow(name="learning", persist_result=False)(lambda: run(in_task) and None)()
else:
    run(lambda name, function, *arguments: function(*arguments))
print(time.perf_counter() - started)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="regraft-bench-") as folder:
        seconds = _measure(Path(folder), rounds)
    rows = [{"what": name, "unit": "seconds", **spread(values)} for name, values in seconds.items()]
    print(write_results("overhead", "python -m benchmarks.overhead", rows).read_text())
    medians = {row["what"]: float(str(row["median"])) for row in rows}
    print(f"unchanged retrain minus empty flow: {medians['unchanged'] - medians['empty_flow']:.2f} s (aim: at most 2 s)")
    added = medians["flow"] - medians["plain"]
    print(f"Prefect adds {added:.2f} s to {medians['plain']:.1f} s of stages (aim: at most {0.05 * medians['plain'] + 5:.1f} s)")


def _measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    from flows.demo.place import prepare
    from flows.demo.scenario import scenario_of
    from flows.environment import apply_environment
    from flows.server import prefect_server

    workspace = prepare(folder / "demo", 3000, scenario_of("image"))
    apply_environment(workspace)
    with prefect_server(workspace):
        apply_environment(workspace)
        regraft = [sys.executable, "-m", "flows.cli"]
        _timed([*regraft, "retrain", "-w", str(workspace.root), "--json"])
        calls: dict[str, Callable[[], float]] = {
            "help": lambda: _timed([*regraft, "--help"]),
            "status": lambda: _timed([*regraft, "status", "-w", str(workspace.root)]),
            "empty_flow": lambda: _timed([sys.executable, "-c", _EMPTY, str(workspace.root)]),
            "unchanged": lambda: _timed([*regraft, "retrain", "-w", str(workspace.root), "--json"]),
            "plain": lambda: _learning(workspace.store, workspace.root, "plain"),
            "flow": lambda: _learning(workspace.store, workspace.root, "flow"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                seconds[name].append(call())
        return seconds


def _timed(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=dict(os.environ))
    return time.perf_counter() - started


def _learning(store: Path, workspace: Path, how: str) -> float:
    """From an empty store; what later calls need is put back."""
    kept = store.with_name("store-kept")
    store.rename(kept)
    try:
        command = [sys.executable, "-c", _CANDIDATE, str(workspace), how]
        return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[-1])
    finally:
        shutil.rmtree(store, ignore_errors=True)
        kept.rename(store)


if __name__ == "__main__":
    main()
