"""The gate `goldens`: a fresh process that loads the sealed bundle gives the stored answers for the stored inputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pydantic import JsonValue, ValidationError

from pipelines.config import GoldensGate
from pipelines.core.bundle import BundleManifest, read_manifest
from pipelines.core.errors import IntegrityError
from pipelines.core.replay import ReplayReport
from pipelines.gates.decision import Decision

_CONDITION = "a fresh process gives the stored answers"
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_MAX_SHOWN = 600


def goldens(rule: GoldensGate, bundle: Path, *, timeout_seconds: float = 600) -> Decision:
    """Loads the bundle in a new interpreter, which checks every hash and replays every golden.

    Whatever else happens in that process, a crash or a time-out included, refuses.

    Args:
        rule: Of the conf file.
        bundle: The sealed directory.
        timeout_seconds: For the whole process.
    """
    try:
        manifest, identity = read_manifest(bundle)
    except IntegrityError as error:
        return _refused(error.got, "manifest")
    try:
        done = _run_replay(bundle, timeout_seconds)
    except subprocess.TimeoutExpired:
        return _refused(f"the process that replays the goldens was not done after {timeout_seconds:g} seconds.", "timeout")
    report = _read_report(done)
    if report is None:
        return _refused(_what_it_said(done), "replay", exit_code=done.returncode)
    return _decide(rule, report, manifest, identity)


def _run_replay(bundle: Path, timeout_seconds: float) -> subprocess.CompletedProcess[str]:
    # Run from the package's own root: a workspace may have a folder of the package's name, and `-m` looks there first.
    return subprocess.run(
        [sys.executable, "-m", "pipelines.core.replay", str(bundle.resolve())],
        cwd=_PACKAGE_ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


def _last_line(text: str) -> str:
    # Libraries may print before us.
    return (text.strip().splitlines() or [""])[-1]


def _read_report(done: subprocess.CompletedProcess[str]) -> ReplayReport | None:
    try:
        return ReplayReport.model_validate_json(_last_line(done.stdout)) if done.returncode == 0 else None
    except ValidationError:
        return None


def _what_it_said(done: subprocess.CompletedProcess[str]) -> str:
    try:
        return str(json.loads(_last_line(done.stdout))["error"]["got"])
    except (ValueError, KeyError, TypeError):
        said = _last_line(done.stderr) or _last_line(done.stdout) or "nothing"
        return f"the process that replays the goldens ended with exit code {done.returncode} and said: {said[:_MAX_SHOWN]}."


def _decide(rule: GoldensGate, report: ReplayReport, manifest: BundleManifest, identity: str) -> Decision:
    n_files = sum(name.startswith("goldens/") for name in manifest.files)
    if report.bundle != identity:
        return _refused(f"the process loaded the bundle {report.bundle}, not {identity}.", "identity")
    if report.n_goldens < 1 or report.n_goldens != n_files:
        return _refused(f"{report.n_goldens} goldens have stored answers, and the bundle holds {n_files} stored inputs.", "goldens_missing")
    passed = report.largest_difference <= manifest.golden_tolerance
    return Decision(
        gate=rule.kind,
        condition=_CONDITION,
        outcome="pass" if passed else "refuse",
        statistic=report.largest_difference,
        n=report.n_goldens,
        threshold=manifest.golden_tolerance,
        reason=f"{report.n_goldens} goldens were replayed from the sealed bundle; the largest difference of a probability is"
        f" {report.largest_difference:.2g}, and {manifest.golden_tolerance:g} is allowed.",
        detail={"test": "replay", "bundle": identity},
    )


def _refused(why: str, test: str, **detail: JsonValue) -> Decision:
    reason = f"the sealed bundle does not load and answer as stored: {why}"
    return Decision(
        gate="goldens", condition=_CONDITION, outcome="refuse", statistic=None, n=0, reason=reason, detail={"test": test} | detail
    )
