"""One workspace, made once with real git and DVC, and copied for each test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.core.backbones import BackboneSpec
from pipelines.core.bundle import BundleManifest, canonical_json, read_manifest, seal
from pipelines.core.preprocess import ImagePreprocess
from pipelines.versioning.dataset import commit_dataset
from pipelines.versioning.model_versions import ModelVersion, register
from pipelines.versioning.promotion import promote
from pipelines.versioning.workspace_repo import init_repository

PROJECT = "digits"
IDENTITY = ("Ada Tester", "ada@example.org")
N_FILES = 5


@dataclass(frozen=True)
class Place:
    """A workspace for one test, with its remote beside it."""

    root: Path
    remote: Path

    def git(self, *arguments: str) -> str:
        return plain_git(self.root, *arguments)

    def tags(self) -> list[str]:
        return self.git("tag", "--list").split()

    def n_commits(self) -> int:
        return int(self.git("rev-list", "--count", "HEAD"))

    def copied_to(self, target: Path) -> Place:
        return _copied(self.root.parent, target)

    def start(self, code: str) -> subprocess.Popen[bytes]:
        return start_python(code)


@dataclass(frozen=True)
class Bundle:
    path: Path
    id: str


def start_python(code: str) -> subprocess.Popen[bytes]:
    """A Python process in a session of its own, so that it can be killed with its children."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def plain_git(folder: Path, *arguments: str) -> str:
    """git as a person runs it."""
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def write_bundle(folder: Path, weights: bytes, project: str = PROJECT) -> str:
    """A small sealed bundle; its id depends on `weights`."""
    (folder / "goldens").mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(weights)
    (folder / "goldens" / "0123456789abcdef.bin").write_bytes(b"image")
    (folder / "lineage.json").write_bytes(canonical_json({"seed": 0, "weights": weights.decode()}))
    manifest = BundleManifest(
        project=project,
        task="image",
        labels=("a", "b"),
        backbone=BackboneSpec(name="resnet18", in_channels=1, origin="test", weights_sha256=None),
        preprocess=ImagePreprocess(color="L", height_px=8, width_px=8, mean=(0.5,), std=(0.5,)),
        temperature=1.0,
        files={},
    )
    return seal(folder, manifest)


def register_weights(place: Place, weights: bytes) -> ModelVersion:
    """Registers the bundle with these weights, through a fresh directory."""
    bundle = place.root / ".regraft" / "made" / weights.decode()
    if not bundle.exists():
        write_bundle(bundle, weights)
    return register(place.root, bundle, {"decision.json": b'{"pass": true}', "card.md": b"# " + weights}, f"Register {weights.decode()}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """DVC 3.67 uses a part of pygtrie that is deprecated."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:_NoneStep.value will soon raise:DeprecationWarning:dvc"))


@pytest.fixture(scope="session", autouse=True)
def isolated_tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither the person's git settings nor DVC's shared folder under /var/tmp."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    patch.setenv("DVC_SITE_CACHE_DIR", str(home / "dvc"))
    patch.setenv("DVC_GLOBAL_CONFIG_DIR", str(home / "dvc-config"))
    patch.setenv("DVC_NO_ANALYTICS", "1")
    (home / "gitconfig").touch()
    yield
    patch.undo()


def _copied(source: Path, target: Path) -> Place:
    shutil.copytree(source, target, symlinks=True)
    place = Place(target / "workspace", target / "remote")
    config = place.root / ".dvc" / "config"
    config.write_text(config.read_text().replace(str(source), str(target)))
    place.git("commit", "--quiet", "--all", "--message", "Move the remote")
    return place


@pytest.fixture(scope="session")
def bare_template(tmp_path_factory: pytest.TempPathFactory, isolated_tools: None) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    root = folder / "workspace"
    init_repository(root, folder / "remote", IDENTITY)
    (root / "conf").mkdir()
    (root / "conf" / "digits.yaml").write_text("project: digits\n")
    (root / "data" / "images").mkdir(parents=True)
    for index in range(N_FILES - 1):
        (root / "data" / "images" / f"{index}.png").write_bytes(b"image %d" % index)
    (root / "data" / "labels.csv").write_text("path,label\n" + "".join(f"images/{index}.png,a\n" for index in range(N_FILES - 1)))
    commit_dataset(root, "First data")
    return folder


@pytest.fixture(scope="session")
def promoted_template(tmp_path_factory: pytest.TempPathFactory, bare_template: Path) -> Path:
    """v0.0.1, v0.0.2 and v0.0.3 registered; v0.0.1 and then v0.0.2 promoted."""
    folder = tmp_path_factory.mktemp("promoted") / "base"
    place = _copied(bare_template, folder)
    for weights in (b"one", b"two", b"three"):
        register_weights(place, weights)
    promote(place.root, PROJECT, "v0.0.1", "first", {"trigger": "person"}, judged_against=None)
    promote(place.root, PROJECT, "v0.0.2", "better on every domain", {"gates": [{"kind": "beats_champion", "gain": 0.02}]})
    return folder


@pytest.fixture
def place(tmp_path: Path, bare_template: Path) -> Place:
    """A workspace with one dataset version and no model."""
    return _copied(bare_template, tmp_path / "copy")


@pytest.fixture
def promoted(tmp_path: Path, promoted_template: Path) -> Place:
    """A workspace with three versions, the second of them champion."""
    return _copied(promoted_template, tmp_path / "copy")


@pytest.fixture
def run_python() -> Callable[[str], subprocess.Popen[bytes]]:
    """Starts a Python process."""
    return start_python


@pytest.fixture
def new_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """Makes a sealed bundle whose id depends on the weights and the project."""

    def make(weights: bytes, project: str = PROJECT) -> Bundle:
        path = tmp_path / "bundles" / f"{project}-{weights.decode()}"
        return Bundle(path, write_bundle(path, weights, project) if not path.exists() else read_manifest(path)[1])

    return make
