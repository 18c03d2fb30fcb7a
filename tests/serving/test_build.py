"""The Bento: what is inside, what is not, and when it is made again."""

from __future__ import annotations

import importlib.metadata
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.core.bundle import read_manifest, verify_files
from pipelines.core.errors import IntegrityError
from serving.build import REQUIREMENTS, build_bento, pinned_requirements
from serving.source_digest import own_root, shipped_sources, source_digest

pytestmark = pytest.mark.slow


def test_the_sources_and_the_bundle_are_inside_and_nothing_else(built: Any, bundle: Any) -> None:
    src = built.path / "src"
    names = {path.relative_to(src).as_posix() for path in src.rglob("*") if path.is_file()}
    expected = {*shipped_sources(own_root()), "bentofile.yaml"}
    expected |= {f"bundle/{path.relative_to(bundle.path).as_posix()}" for path in bundle.path.rglob("*") if path.is_file()}
    assert names == expected
    assert source_digest(src) == source_digest(own_root()) == built.code_digest
    manifest, identity = read_manifest(src / "bundle")
    verify_files(src / "bundle", manifest)
    assert identity == bundle.id


def test_nothing_tells_of_the_machine_that_built_it(built: Any) -> None:
    words = [str(Path.home()), str(own_root()), "/tmp/", socket.gethostname(), "index-url", "--extra-index", "files.python" + "hosted"]  # noqa: S108
    for path in built.path.rglob("*"):
        if path.is_file() and path.suffix not in (".safetensors", ".bin"):
            text = path.read_text()
            # The Dockerfile's own paths are those of the image.
            found = [word for word in words if word in text and not (path.parent.name == "docker" and word in ("/root", "/tmp/"))]  # noqa: S108
            assert not found, f"{path.name} holds {found}"


def test_requirements_are_the_installed_versions(built: Any) -> None:
    lines = (built.path / "env" / "python" / "requirements.txt").read_text().split()
    pinned = {line for line in lines if "==" in line}
    assert pinned == set(pinned_requirements())
    assert f"numpy=={importlib.metadata.version('numpy')}" in pinned
    assert len(pinned) == len(REQUIREMENTS)
    assert not [line for line in lines if "://" in line]


def test_the_tag_names_the_bundle_and_is_built_once(built: Any, bundle: Any) -> None:
    assert built.tag.startswith(f"test-animals:{bundle.id}-")
    information = yaml.safe_load((built.path / "bento.yaml").read_text())
    assert f"{information['name']}:{information['version']}" == built.tag
    said: list[str] = []
    before = built.path.stat().st_mtime_ns
    again = build_bento(bundle.path, "test-animals", built.path.parents[2], said.append)
    assert again == built
    assert said == [f"Bento {built.tag} is there already"]
    assert built.path.stat().st_mtime_ns == before


def test_a_damaged_bundle_is_not_packed(damaged_bundle: Any, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"weights\.safetensors changed"):
        build_bento(damaged_bundle.path, "test-animals", tmp_path / "home")
    assert not (tmp_path / "home").exists()
