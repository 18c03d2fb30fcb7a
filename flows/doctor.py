"""`regraft doctor`: what Regraft needs, looked at before it is missed."""

from __future__ import annotations

import importlib.metadata
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.session import only_conf_file
from pipelines.config import BehaviourGate, ProjectConfig, ServingSection, load_config
from pipelines.core.errors import RegraftError
from pipelines.workspace import Workspace

_PACKAGES = ("prefect", "torch", "torchvision", "timm", "transformers", "dvc", "gto", "great-expectations", "bentoml", "evidently")
# Of extras, by task.
_PACKAGES_OF: Mapping[str, tuple[str, ...]] = {"audio": ("soundfile", "soxr")}
_MIN_FREE_GB = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: Of the thing.
        ok: Whether it will do.
        found: What is there.
        next_step: What to do where it will not.
    """

    name: str
    ok: bool
    found: str
    next_step: str = ""

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"name": self.name, "ok": self.ok, "found": self.found, "next_step": self.next_step}


def examine(folder: Path, conf: Path | None = None) -> list[Finding]:
    """Looks at the machine, and at the workspace if `folder` is one."""
    findings = [_packages(_PACKAGES, "install the lock: make setup"), _git(folder), _disk(folder)]
    try:
        workspace = Workspace.at(folder)
    except RegraftError as error:
        return [*findings, Finding("workspace", False, error.got, error.next_step)]
    findings += [Finding("workspace", True, str(workspace.root)), _data(workspace), _remote(workspace)]
    try:
        config = load_config(conf or only_conf_file(workspace))
    except RegraftError as error:
        return [*findings, Finding("configuration", False, error.got, error.next_step)]
    findings += [Finding("configuration", True, config.project), _port(workspace, config.serving)]
    extra = _PACKAGES_OF.get(config.task, ())
    findings += [_packages(extra, f"install them: pip install 'regraft[{config.task}]'")] if extra else []
    return [*findings, *_behaviour(workspace, config)]


def print_findings(findings: list[Finding]) -> None:
    """A table for people."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "what", "found", "next step")
    for finding in findings:
        table.add_row("[green]ok[/]" if finding.ok else "[red]no[/]", finding.name, escape(finding.found), escape(finding.next_step))
    Console().print(table)


def _told(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except RegraftError as error:
        return Finding(name, False, error.got, error.next_step)


def _packages(packages: Sequence[str], next_step: str) -> Finding:
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return Finding("packages", False, f"{package} is missing", next_step)
    return Finding("packages", True, ", ".join(f"{name} {version}" for name, version in found.items()))


def _git(folder: Path) -> Finding:
    from pipelines.versioning.git import identity

    def look() -> str:
        found = identity(folder.expanduser().resolve())
        return f"{found.name} <{found.email}>"

    return _told("git identity", look)


def _disk(folder: Path) -> Finding:
    free_gb = shutil.disk_usage(folder if folder.is_dir() else Path.cwd()).free / 1e9
    return Finding("disk", free_gb >= _MIN_FREE_GB, f"{free_gb:.1f} GB free", "" if free_gb >= _MIN_FREE_GB else "free some space")


def _data(workspace: Workspace) -> Finding:
    from pipelines.versioning.dataset import dataset_version

    return _told("data", lambda: f"dataset {dataset_version(workspace.root).digest}")


def _remote(workspace: Workspace) -> Finding:
    from pipelines.versioning.dvc_repository import open_dvc, require_remote

    def look() -> str:
        with open_dvc(workspace.root) as repo:
            return str(require_remote(repo).path)

    return _told("DVC remote", look)


def _port(workspace: Workspace, section: ServingSection) -> Finding:
    from flows.endpoint_record import recorded_endpoint

    name, found = "endpoint's port", f"port {section.port}"
    with socket.socket() as probe:
        probe.settimeout(1)
        taken = probe.connect_ex((section.host, section.port)) == 0
    own = recorded_endpoint(workspace)
    if not taken or (own is not None and own.url.endswith(f":{section.port}")):
        return Finding(name, True, f"{found} {'serves this workspace' if taken else 'is free'}")
    return Finding(name, False, f"{found} is taken by another program", "stop it, or change serving.port in the conf file")


def _behaviour(workspace: Workspace, config: ProjectConfig) -> list[Finding]:
    from pipelines.behaviour_inputs import check_behaviour

    files = [gate.file for gate in config.gates if isinstance(gate, BehaviourGate)]

    def look() -> str:
        check_behaviour(workspace.root, config)
        return f"{', '.join(files)}, and every input named there"

    return [_told("behaviour tests", look)] if files else []
