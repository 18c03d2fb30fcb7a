"""`regraft gc`: what can be made or fetched again and nothing needs, listed first, removed on request.

Kept: everything of a bundle that a tag names (so the champion and those before it), that the endpoint's pointer names, that a run waits
with, or that one of the latest runs made; whatever was made in the last day; the request log, feedback and records of decisions.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from flows.endpoint_record import recorded_endpoint
from flows.exclusive import only_writer
from flows.promotion import pointer_path
from flows.records import read_records
from flows.session import Session
from pipelines.core.bundle import MANIFEST, bundle_id
from pipelines.exclusive import if_free, is_abandoned
from pipelines.progress import Progress, silent
from pipelines.store import RECORD, StageStore

Kind = Literal["stage output", "Bento", "bundle copy", "cached bundle", "log"]
_ID = re.compile(r"[0-9a-f]{16}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
# From the data to the bundle; the outputs of all other stages judge or show one, and other stages rest on none of them.
_CHAIN = frozenset({"manifest", "split", "select", "train", "calibrate", "package"})
_GONE = "-gone"
_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Retention:
    """What is kept besides what is in use.

    Attributes:
        n_runs: The latest runs, whatever became of them.
        log_days: Logs of servers that were written to since.
    """

    n_runs: int = 5
    log_days: float = 30


@dataclass(frozen=True)
class Removable:
    """One thing that may go.

    Attributes:
        kind: Of it.
        name: Relative to the workspace; of a cached bundle DVC's digest.
        n_bytes: That removing it frees.
        why: It is not needed.
    """

    kind: Kind
    name: str
    n_bytes: int
    why: str


def find_garbage(session: Session, retention: Retention) -> list[Removable]:
    """What would be removed; nothing is changed.

    Raises:
        ConfigurationError: git or DVC cannot say what is in use: then nothing is garbage.
    """
    from pipelines.versioning.cache_garbage import named_bundles, unnamed_bundles

    root = session.workspace.root
    kept = set(named_bundles(root).ids) | _used_here(session, retention)
    why = "no tag names it"
    cached = [Removable("cached bundle", bundle.digest, bundle.n_bytes, why) for bundle in unnamed_bundles(root)]
    return [*_stage_outputs(session, kept), *_bentos(session, kept), *_bundle_copies(session, kept), *cached, *_logs(session, retention)]


def remove_garbage(session: Session, found: Sequence[Removable], retention: Retention, progress: Progress = silent) -> int:
    """Removes what `find_garbage` found and what nothing has come to need since.

    Killed midway, it leaves every single thing whole or gone.

    Args:
        session: Of the workspace.
        found: What may go.
        retention: As it was found with.
        progress: Told of every thing.

    Returns:
        Bytes freed.

    Raises:
        RefusedError: A retraining or an ingestion is under way.
    """
    from pipelines.versioning.cache_garbage import remove_unnamed_bundles

    with only_writer(session.workspace):
        _finish_what_was_killed(session)
        listed = {(thing.kind, thing.name) for thing in found}
        sure = [thing for thing in find_garbage(session, retention) if (thing.kind, thing.name) in listed]
        cached = frozenset(thing.name for thing in sure if thing.kind == "cached bundle")
        if cached:
            remove_unnamed_bundles(session.workspace.root, cached)
        for done, thing in enumerate(sure, start=1):
            if thing.kind != "cached bundle":
                _remove(session, thing)
            progress("gc", done, len(sure))
    return sum(thing.n_bytes for thing in sure)


def _used_here(session: Session, retention: Retention) -> set[str]:
    """Ids of bundles that this machine uses, whether a tag names them or not."""
    latest = read_records(session.workspace)[-retention.n_runs :] if retention.n_runs else []
    kept_by_runs = [path for folder in ("approvals", "decided") for path in (session.workspace.state / folder).glob("*.json")]
    files = [pointer_path(session), *kept_by_runs]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file()]
    return {run.bundle for run in latest if run.bundle} | {identity for text in texts for identity in _ID.findall(text)}


def _stage_outputs(session: Session, kept: set[str]) -> Iterator[Removable]:
    records = {path.parent: json.loads(path.read_bytes()) for path in session.workspace.store.glob(f"*/*/{RECORD}")}
    needed = needed_outputs({output: record["key"] for output, record in records.items()}, kept)
    for output, record in sorted(records.items()):
        if output not in needed and is_abandoned(output):
            size = sum(record["files"].values())
            yield Removable("stage output", _relative(session, output), size, "no kept version and none of the latest runs rests on it")


def needed_outputs(keys: Mapping[Path, Mapping[str, JsonValue]], kept: set[str]) -> set[Path]:
    """The outputs of stages that kept bundles rest on, and those that judge or show just these.

    Args:
        keys: By output, what it was made from; fingerprints of other outputs are among the values.
        kept: Ids of bundles.
    """
    by_fingerprint = {output.name: output for output in keys}
    needed: set[Path] = set()
    waiting = [output for output in keys if output.parent.name == "package" and _packaged(output) in kept]
    while waiting:
        output = waiting.pop()
        if output not in needed:
            needed.add(output)
            waiting += [by_fingerprint[name] for name in _fingerprints(keys[output]) if name in by_fingerprint]
    return _with_their_leaves(keys, needed, kept)


def _with_their_leaves(keys: Mapping[Path, Mapping[str, JsonValue]], needed: set[Path], kept: set[str]) -> set[Path]:
    by_fingerprint = {output.name: output for output in keys}
    complete = set(needed)
    while True:  # a leaf may rest on another: the pictures of mistakes on an evaluation
        more = set()
        for output in keys.keys() - complete:
            # Other texts of 64 hex digits are digests of files.
            rests_on = {by_fingerprint[name] for name in _fingerprints(keys[output]) if name in by_fingerprint}
            bundle = keys[output].get("bundle")
            if output.parent.name not in _CHAIN and rests_on <= complete and (bundle in kept if bundle else rests_on):
                more.add(output)
        if not more:
            return complete
        complete |= more


def _packaged(output: Path) -> str:
    manifest = output / "bundle" / MANIFEST
    return bundle_id(manifest.read_bytes()) if manifest.is_file() else ""


def _fingerprints(value: JsonValue | Mapping[str, JsonValue]) -> set[str]:
    if isinstance(value, str):
        return {value} if _FINGERPRINT.fullmatch(value) else set()
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return {name for part in parts for name in _fingerprints(part)}


def _bentos(session: Session, kept: set[str]) -> Iterator[Removable]:
    running = _running_command(session)
    for bento in sorted((session.workspace.bentoml_home / "bentos").glob("*/*")):
        if bento.is_dir() and _ID.match(bento.name) and bento.name[:16] not in kept and str(bento) not in running and is_abandoned(bento):
            yield Removable("Bento", _relative(session, bento), _n_bytes(bento), "its candidate was not registered")


def _running_command(session: Session) -> str:
    import psutil

    endpoint = recorded_endpoint(session.workspace)
    return " ".join(psutil.Process(endpoint.pid).cmdline()) if endpoint else ""


def _bundle_copies(session: Session, kept: set[str]) -> Iterator[Removable]:
    for copy in sorted((session.workspace.serving / "bundles").glob("*")):
        if copy.is_dir() and _ID.fullmatch(copy.name) and copy.name not in kept:
            yield Removable("bundle copy", _relative(session, copy), _n_bytes(copy), "no tag names its bundle")


def _logs(session: Session, retention: Retention) -> Iterator[Removable]:
    for log in sorted(session.workspace.logs.rglob("*.log")):
        age_days = (time.time() - log.stat().st_mtime) / _DAY_SECONDS
        if age_days > retention.log_days:
            yield Removable("log", _relative(session, log), log.stat().st_size, f"last written to {age_days:.0f} days ago")


def _remove(session: Session, thing: Removable) -> None:
    path = session.workspace.root / thing.name
    if thing.kind == "log":
        path.unlink(missing_ok=True)
        return
    lock = _lock(session, thing, path)
    with if_free(lock) as free:
        if not free:  # it is being made or read anew: it is needed after all
            return
        aside = path.with_name(f".{path.name}{_GONE}")  # out of its place in one step
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        _forget_latest(path)


def _finish_what_was_killed(session: Session) -> None:
    workspace = session.workspace
    for folder, pattern in ((workspace.store, "*/"), (workspace.bentoml_home / "bentos", "*/"), (workspace.serving / "bundles", "")):
        for aside in folder.glob(f"{pattern}.*{_GONE}"):
            shutil.rmtree(aside, ignore_errors=True)


def _lock(session: Session, thing: Removable, path: Path) -> Path:
    if thing.kind == "stage output":
        return StageStore(session.workspace.store).lock(path.parent.name, path.name)
    if thing.kind == "Bento":
        return session.workspace.bentoml_home / ".locks" / f"{path.parent.name}-{path.name}"
    return session.workspace.root / ".dvc" / "tmp" / f"regraft-bundle-{path.name}.lock"


def _forget_latest(bento: Path) -> None:
    """BentoML's own note of the newest version must not name one that is gone."""
    note = bento.parent / "latest"
    if note.is_file() and note.read_text(encoding="utf-8").strip() == bento.name:
        note.unlink()


def _n_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _relative(session: Session, path: Path) -> str:
    return str(path.relative_to(session.workspace.root))
