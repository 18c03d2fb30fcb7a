"""How long a rollback takes, by the size of the bundle to go back to: `python -m benchmarks.rollback`.

    registry    the change of champion alone: the bundle read from DVC's cache and verified, the tag written
    command     `regraft rollback` as a person runs it, from the start of the process to its end, the endpoint's pointer included

After a change of champion the registry waits for a second of its own, so that tags have an order; between two rollbacks of this benchmark
that second has passed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.machine import spread, write_results
from pipelines.core.backbones import BackboneSpec
from pipelines.core.bundle import BundleManifest, canonical_json, seal
from pipelines.core.preprocess import ImagePreprocess
from pipelines.versioning.dataset import commit_dataset
from pipelines.versioning.promotion import promote, rollback
from pipelines.versioning.registry import register
from pipelines.versioning.workspace_repo import init_repository

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "rollback"
SIZES_MB = (1, 20, 100)
CONF = {
    "project": PROJECT,
    "task": "image",
    "labels": ["a", "b"],
    "backbone": {"kind": "shipped"},
    "method": {"kind": "probe"},
    "gates": [{"kind": "goldens"}],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rows = []
    for size_mb in SIZES_MB:
        with tempfile.TemporaryDirectory(prefix="regraft-rollback-") as folder:
            root = make_workspace(Path(folder), size_mb)
            registry = [timed_registry(root) for _ in range(rounds)]
            command = [timed_command(root) for _ in range(rounds)]
        for what, seconds in (("registry", registry), ("command", command)):
            rows.append({"what": what, "bundle_mb": size_mb, **spread(seconds)})
            print(rows[-1], flush=True)
    write_results("rollback", "python -m benchmarks.rollback", rows, {"unit": "seconds"})


def make_workspace(folder: Path, size_mb: int) -> Path:
    """Two versions of the given size, the second of them champion."""
    root = folder / "workspace"
    init_repository(root, folder / "remote", ("Benchmark", "benchmark@example.invalid"))
    (root / "conf").mkdir()
    (root / "conf" / f"{PROJECT}.yaml").write_text(yaml.safe_dump(CONF))
    (root / "data").mkdir()
    (root / "data" / "labels.csv").write_text("path,label\n")
    commit_dataset(root, "Data")
    for number in range(2):
        bundle = folder / f"bundle{number}"
        write_bundle(bundle, size_mb)
        version = register(root, bundle, {"decision.json": b"{}"}, "Register").name
        promote(root, PROJECT, version, "benchmark", {})
    return root


def write_bundle(bundle: Path, size_mb: int) -> None:
    bundle.mkdir()
    (bundle / "weights.safetensors").write_bytes(os.urandom(size_mb * 1_000_000))
    (bundle / "lineage.json").write_bytes(canonical_json({}))
    manifest = BundleManifest(
        project=PROJECT,
        task="image",
        labels=("a", "b"),
        backbone=BackboneSpec(name="resnet18", in_channels=1, origin="benchmark", weights_sha256=None),
        preprocess=ImagePreprocess(color="L", height_px=8, width_px=8, mean=(0.5,), std=(0.5,)),
        temperature=1.0,
        files={},
    )
    seal(bundle, manifest)


def timed_registry(root: Path) -> float:
    started = time.perf_counter()
    rollback(root, PROJECT, "benchmark")
    return forward_again(root, time.perf_counter() - started)


def timed_command(root: Path) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "flows.cli", "rollback", "--why", "benchmark", "--workspace", str(root)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return forward_again(root, time.perf_counter() - started)


def forward_again(root: Path, seconds: float) -> float:
    promote(root, PROJECT, "v0.0.2", "benchmark", {})
    time.sleep(1.1)
    return seconds


if __name__ == "__main__":
    main()
