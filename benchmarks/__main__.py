"""`make bench`: every benchmark that needs nothing but this repository, one after the other."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "backbone_transfer",
    "features_per_second",
    "gate_power",
    "gate_power_paired",
    "drift_false_alarms",
    "trigger_year",
    "overhead",
    "rollback",
    "demo_cost",
)

for name in BENCHMARKS:
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
