"""kill -9 at every step of a registration, promotion, rollback and removal; run again, all is as if nothing had happened."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from pipelines.versioning.bundles import fetch_bundle, materialise
from pipelines.versioning.cache_garbage import remove_unnamed_bundles, unnamed_bundles
from pipelines.versioning.champions import champion, history
from pipelines.versioning.model_versions import register, versions
from pipelines.versioning.promotion import promote, rollback
from tests.pipelines.versioning.conftest import register_weights

DECISION = {"decision.json": b'{"pass": true}'}

# Kills its own process, and whatever it started, after the given number of steps.
STEPS = """
import os, signal, sys
from pathlib import Path
import dvc.repo, gto.api
from pipelines.versioning import bundles, cache_garbage, git, model_versions, promotion
root, bundle, last_step, what = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
steps = 0
def stop_after(owner, name):
    original = getattr(owner, name)
    def stepping(*arguments, **options):
        global steps
        answer = original(*arguments, **options)
        steps += 1
        if steps == last_step:
            os.killpg(0, signal.SIGKILL)
        return answer
    setattr(owner, name, stepping)
for owner, name in [(git, "_run_once"), (model_versions, "_place_bundle"), (model_versions, "push_objects"), (bundles, "_copy"),
                    (model_versions, "_declare_artifact"), (dvc.repo.Repo, "add"), (gto.api, "register"), (gto.api, "assign"),
                    (Path, "write_bytes")]:
    stop_after(owner, name)
if what == "gc":
    import dvc_objects.fs.local
    stop_after(dvc_objects.fs.local, "remove")  # one file of DVC's cache
if what == "register":
    model_versions.register(root, bundle, {"decision.json": b'{"pass": true}'}, "Register")
elif what == "rollback":
    promotion.rollback(root, "digits", "worse")
elif what == "gc":
    cache_garbage.remove_unnamed_bundles(root, frozenset(sys.argv[5:]))
else:
    promotion.promote(root, "digits", "v0.0.3", "better", {}, judged_against="v0.0.2")
"""


def interrupted(place, tmp_path: Path, bundle: Path, what: str, last_step: int, *further: str) -> bool:
    """Whether the process was killed before its end."""
    (tmp_path / "steps.py").write_text(STEPS)
    arguments = ["steps.py", str(place.root), str(bundle), str(last_step), what, *further]
    code = f"import sys, runpy; sys.argv = {arguments!r}; runpy.run_path({str(tmp_path / 'steps.py')!r})"
    process = place.start(code)
    process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGKILL), process.returncode
    return process.returncode != 0


def fresh_copy(place, tmp_path: Path):
    target = tmp_path / "again"
    shutil.rmtree(target, ignore_errors=True)
    return place.copied_to(target)


def assert_whole(place) -> None:
    subprocess.run(["git", "fsck", "--strict"], cwd=place.root, check=True, capture_output=True)
    assert place.git("status", "--porcelain", "models", "dvc.yaml", "data.dvc", ".gitignore") == ""
    assert not list((place.root / ".git").rglob("*.lock"))
    with Repo(str(place.root)) as repo:
        assert repo.status() == {}


@pytest.mark.slow
def test_a_registration_killed_at_any_step_ends_the_same(promoted, tmp_path, new_bundle) -> None:
    bundle = new_bundle(b"four")
    n_commits = promoted.n_commits()
    step = 0
    while True:
        step += 1
        copy = fresh_copy(promoted, tmp_path)
        killed = interrupted(copy, tmp_path, bundle.path, "register", step)
        version = register(copy.root, bundle.path, DECISION, "Register")
        assert (version.name, version.bundle_id) == ("v0.0.4", bundle.id), step
        assert len(versions(copy.root, "digits")) == 4, step
        assert copy.n_commits() == n_commits + 2, step  # the copy itself makes one
        assert_whole(copy)
        shutil.rmtree(copy.root / ".dvc" / "cache")
        assert (
            fetch_bundle(copy.root, "digits", "v0.0.4", tmp_path / "served" / str(step)) / "weights.safetensors"
        ).read_bytes() == b"four"
        if not killed:
            break
    assert step > 20


@pytest.mark.slow
def test_the_first_registration_of_a_workspace_killed_at_any_step_ends_the_same(place, tmp_path, new_bundle) -> None:
    bundle = new_bundle(b"first")
    step = 0
    while True:
        step += 1
        copy = fresh_copy(place, tmp_path)
        killed = interrupted(copy, tmp_path, bundle.path, "register", step)
        assert [found.name for found in versions(copy.root, "digits")] in ([], ["v0.0.1"]), step  # named, or not there at all
        assert register(copy.root, bundle.path, DECISION, "Register").bundle_id == bundle.id, step
        assert_whole(copy)
        if not killed:
            break
    assert step > 20


@pytest.mark.slow
def test_a_rollback_killed_at_any_step_ends_the_same(promoted, tmp_path) -> None:
    step = 0
    while True:
        step += 1
        copy = fresh_copy(promoted, tmp_path)
        killed = interrupted(copy, tmp_path, tmp_path, "rollback", step)
        if champion(copy.root, "digits").version == "v0.0.2":  # not yet; a second rollback would go one further
            rollback(copy.root, "digits", "worse")
        assert [record.version for record in history(copy.root, "digits")] == ["v0.0.1", "v0.0.2", "v0.0.1"], step
        assert_whole(copy)
        if not killed:
            break
    assert step > 5


@pytest.mark.slow
def test_a_removal_killed_at_any_step_is_completed_and_harms_no_version(promoted, tmp_path, new_bundle) -> None:
    version = register(promoted.root, new_bundle(b"four").path, DECISION, "Register")
    promoted.git("tag", "--delete", f"digits@{version.name}")
    register_weights(promoted, b"five")
    (garbage,) = unnamed_bundles(promoted.root)
    step = 0
    while True:
        step += 1
        copy = fresh_copy(promoted, tmp_path)
        killed = interrupted(copy, tmp_path, tmp_path, "gc", step, garbage.digest)
        for found in versions(copy.root, "digits"):
            materialise(copy.root, found, tmp_path / "checked" / f"{step}-{found.name}")
        remove_unnamed_bundles(copy.root, frozenset({garbage.digest}))
        assert unnamed_bundles(copy.root) == []
        cached = [path for path in (copy.root / ".dvc" / "cache").rglob("*") if path.is_file()]
        assert not [path for path in cached if path.read_bytes() == b"four"], step
        assert_whole(copy)
        if not killed:
            break
    assert step > 5


@pytest.mark.slow
def test_a_promotion_killed_at_any_step_ends_the_same(promoted, tmp_path) -> None:
    step = 0
    while True:
        step += 1
        copy = fresh_copy(promoted, tmp_path)
        killed = interrupted(copy, tmp_path, tmp_path, "promote", step)
        assert champion(copy.root, "digits").version in ("v0.0.2", "v0.0.3")  # never nobody, never half
        promote(copy.root, "digits", "v0.0.3", "better", {}, judged_against="v0.0.2")
        assert champion(copy.root, "digits").version == "v0.0.3", step
        assert [record.version for record in history(copy.root, "digits")] == ["v0.0.1", "v0.0.2", "v0.0.3"], step
        assert_whole(copy)
        if not killed:
            break
    assert step > 5
