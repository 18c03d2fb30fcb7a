"""Builds a Bento: the service's own sources, the inference core and one bundle, and nothing else."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.bundle import read_manifest, verify_files
from pipelines.core.errors import RegraftError
from serving.source_digest import own_root, shipped_sources, source_digest

SERVICE = "serving.service:RegraftService"
# What the sources import; what these need in turn is left to the installer.
REQUIREMENTS = (
    "bentoml",
    "fastapi",
    "numpy",
    "pillow",
    "prometheus-client",
    "pydantic",
    "python-multipart",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
)
_BUILD_SECONDS = 300
# A process of its own: BentoML reads its home once per process and imports the service under the name of a package that is loaded here.
_PROGRAM = "import bentoml, json, sys; bento = bentoml.build(**json.load(sys.stdin)); print(bento.path)"


@dataclass(frozen=True)
class BentoBuild:
    """A Bento in a BentoML home.

    Attributes:
        tag: `PROJECT:VERSION`.
        path: Its directory.
        code_digest: Of the sources inside; GET /model of an endpoint that runs this Bento states the same.
    """

    tag: str
    path: Path
    code_digest: str


def build_bento(bundle: Path, project: str, bentoml_home: Path, progress: Callable[[str], None] = lambda _: None) -> BentoBuild:
    """Builds a Bento without network, or returns the one that is there.

    The version is the bundle's id and a digest of sources and library versions, so that a Bento is never reused with other code.

    Args:
        bundle: Directory of a sealed bundle.
        project: Name of the Bento.
        bentoml_home: BentoML's store; made where it is missing.
        progress: Told what is being done.

    Raises:
        IntegrityError: The bundle's files do not match its manifest.
        RegraftError: BentoML failed; its last output is quoted.
    """
    manifest, identity = read_manifest(bundle)
    verify_files(bundle, manifest)
    code, requirements = source_digest(own_root()), pinned_requirements()
    made_from = hashlib.sha256("\n".join([code, *requirements]).encode()).hexdigest()
    tag = f"{project}:{identity}-{made_from[:8]}"
    path = bentoml_home / "bentos" / tag.replace(":", "/")
    if path.is_dir():
        progress(f"Bento {tag} is there already")
        return BentoBuild(tag, path, code)
    progress(f"building Bento {tag}")
    with tempfile.TemporaryDirectory(prefix="regraft-bento-") as folder:
        context = Path(folder) / "context"
        _stage(bundle, context)
        _run_build(_options(tag, context, requirements), bentoml_home, Path(folder))
    return BentoBuild(tag, path, code)


def pinned_requirements() -> list[str]:
    """The service's libraries at the versions that are installed here."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


def _stage(bundle: Path, context: Path) -> None:
    for name in shipped_sources(own_root()):
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(own_root() / name, target)
    shutil.copytree(bundle, context / "bundle")


def _options(tag: str, context: Path, requirements: list[str]) -> dict[str, object]:
    name, _, version = tag.partition(":")
    return {
        "service": SERVICE,
        "name": name,
        "version": version,
        "build_ctx": str(context),
        "include": ["*"],
        "description": f"# {tag}\n\nA Regraft endpoint with its bundle; see bundle/card.md in src.\n",
        "python": {"packages": requirements, "lock_packages": False},
        "docker": {"python_version": f"{sys.version_info.major}.{sys.version_info.minor}"},
    }


def _run_build(options: dict[str, object], bentoml_home: Path, folder: Path) -> None:
    bentoml_home.mkdir(parents=True, exist_ok=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("BENTOML_", "PYTHON", "PIP_", "UV_"))},
        "BENTOML_HOME": str(bentoml_home.absolute()),
        "BENTOML_DO_NOT_TRACK": "true",
        "DO_NOT_TRACK": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    # -P: the current folder must not stand before the build context on the import path.
    command = [sys.executable, "-P", "-c", _PROGRAM]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(options),
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _build_failed(f"took longer than {_BUILD_SECONDS} s") from error
    if done.returncode != 0:
        raise _build_failed(f"ended with status {done.returncode}: {done.stderr[-2_000:].strip()}")


def _build_failed(problem: str) -> RegraftError:
    return RegraftError(
        got=f"a build of the Bento that {problem}.",
        allowed="a build that BentoML finishes.",
        next_step="run `regraft doctor`, and report the output above if it finds nothing.",
    )
