"""Builds a Bento: the service's own sources, the inference core and one bundle, and nothing else."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.bundle import install_directory, read_manifest, verify_files
from pipelines.core.errors import IntegrityError, RegraftError
from pipelines.exclusive import exclusive, is_abandoned
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
    "torch",
)
# And what builds a backbone of a kind, so that a Bento of images does not carry the libraries of texts.
REQUIREMENTS_OF_BACKBONES = {"timm": ("timm", "torchvision"), "transformers": ("tokenizers", "transformers")}
REQUIREMENTS_OF_TASKS = {"audio": ("soundfile", "soxr")}
_BUILD_SECONDS = 300
_ASIDE = ".building-"
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

    The version is the bundle's id and a digest of sources and library versions, so that a Bento is never reused with other code. It is
    there in one step: a build that is killed leaves nothing under the final name.

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
    code, requirements = source_digest(own_root()), pinned_requirements(manifest.backbone.kind, manifest.task)
    made_from = hashlib.sha256("\n".join([code, *requirements]).encode()).hexdigest()
    tag = f"{project}:{identity}-{made_from[:8]}"
    build = BentoBuild(tag, bentoml_home / "bentos" / tag.replace(":", "/"), code)
    with exclusive(bentoml_home / ".locks" / tag.replace(":", "-")):
        if _is_intact(build, identity):
            progress(f"Bento {tag} is there already")
            return build
        shutil.rmtree(build.path, ignore_errors=True)
        progress(f"building Bento {tag}")
        _build_aside(bundle, build, bentoml_home, requirements)
    return build


def _is_intact(build: BentoBuild, identity: str) -> bool:
    """Whether a Bento is there whole: BentoML copies file by file, so a folder of the right name may be the start of one."""
    source = build.path / "src"
    parts = ("bento.yaml", "env/python/requirements.txt", "env/docker/Dockerfile")
    if not all((build.path / part).is_file() for part in parts):
        return False
    try:
        manifest, found = read_manifest(source / "bundle")
        verify_files(source / "bundle", manifest)
        return found == identity and source_digest(source) == build.code_digest
    except (IntegrityError, OSError):  # it can be made again
        return False


def _build_aside(bundle: Path, build: BentoBuild, bentoml_home: Path, requirements: list[str]) -> None:
    for left in bentoml_home.glob(f"{_ASIDE}*"):
        if is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    # Beside the final place, so that the finished Bento can be renamed in.
    with (
        tempfile.TemporaryDirectory(prefix=_ASIDE, dir=bentoml_home) as aside,
        tempfile.TemporaryDirectory(prefix="regraft-bento-") as folder,
    ):
        context = Path(folder) / "context"
        _stage(bundle, context)
        _run_build(_options(build.tag, context, requirements), Path(aside), Path(folder))
        finished = Path(aside) / build.path.relative_to(bentoml_home)
        if not finished.is_dir():
            raise _build_failed("left no Bento")
        # BentoML builds in a folder that only its owner may read, and copies that mode; the folder above it has the usual one.
        finished.chmod(stat.S_IMODE(finished.parent.stat().st_mode))
        install_directory(finished, build.path)
    _name_latest(build.path)


def _name_latest(path: Path) -> None:
    """Keeps BentoML's own note of the newest version, which `bentoml get NAME:latest` reads."""
    beside = path.parent / f".latest-{path.name}"
    beside.write_text(path.name, encoding="utf-8")
    beside.replace(path.parent / "latest")


def pinned_requirements(backbone: str, task: str) -> list[str]:
    """The libraries of a service with a backbone of this kind for this task, at the versions that are installed here."""
    names = sorted({*REQUIREMENTS, *REQUIREMENTS_OF_BACKBONES[backbone], *REQUIREMENTS_OF_TASKS.get(task, ())})
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names]


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
