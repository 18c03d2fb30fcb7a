"""The Bento: what is inside, what is not, and when it is made again."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.core.bundle import read_manifest, verify_files
from pipelines.core.errors import IntegrityError, RegraftError
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
    assert pinned == set(pinned_requirements("timm", "image"))
    assert f"numpy=={importlib.metadata.version('numpy')}" in pinned
    assert len(pinned) == len(REQUIREMENTS) + 2
    assert not [line for line in pinned if line.startswith(("transformers", "tokenizers"))]
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


@pytest.mark.parametrize("lost", ["bento.yaml", "env/docker/Dockerfile", "src/bundle/weights.safetensors", "src/serving/service.py", "src"])
def test_a_half_built_bento_is_built_again(built: Any, bundle: Any, tmp_path: Path, lost: str) -> None:
    path = _copied_home(built, tmp_path)
    _remove(path / lost)
    _expect_rebuilt(built, bundle, tmp_path)


def test_kill_9_in_the_middle_leaves_nothing_under_the_final_name(built: Any, bundle: Any, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from serving.build import build_bento\n"
        "build_bento(Path(sys.argv[1]), 'test-animals', Path(sys.argv[2]), lambda text: print(text, flush=True))"
    )
    command = [sys.executable, "-c", script, str(bundle.path), str(tmp_path)]
    (tmp_path / "tmp").mkdir()  # for what a killed process cannot remove
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    with subprocess.Popen(command, cwd=own_root(), env=environment, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"building Bento")
        _wait_until(lambda: any(tmp_path.glob(".building-*/bentos/*/*/*")))  # BentoML is copying into its own store
        os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / "bentos").exists()
    _expect_rebuilt(built, bundle, tmp_path)
    left = next(tmp_path.glob(".building-*"))
    os.utime(left, (0, 0))
    _remove(tmp_path / "bentos")
    _expect_rebuilt(built, bundle, tmp_path)
    assert not any(tmp_path.glob(".building-*"))


def test_a_failed_build_leaves_nothing(bundle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.build._BUILD_SECONDS", 0.5)
    with pytest.raises(RegraftError, match=r"took longer than 0\.5 s"):
        build_bento(bundle.path, "test-animals", tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == [".locks"]


def test_bentoml_finds_it(built: Any) -> None:
    """Renamed in, it is an entry of BentoML's store like any other, and the newest."""
    home = built.path.parents[2]
    program = "import bentoml; print(*[bento.tag for bento in bentoml.list()], bentoml.get('test-animals:latest').tag)"
    environment = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, cwd=home, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [built.tag, built.tag]
    assert built.path.stat().st_mode & 0o777 == (home / "bentos").stat().st_mode & 0o777


def _copied_home(built: Any, home: Path) -> Path:
    path: Path = home / built.path.relative_to(built.path.parents[2])
    shutil.copytree(built.path, path)
    return path


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _expect_rebuilt(built: Any, bundle: Any, home: Path) -> None:
    said: list[str] = []
    again = build_bento(bundle.path, "test-animals", home, said.append)
    assert said == [f"building Bento {built.tag}"]
    names = [{item.relative_to(path) for item in path.rglob("*")} for path in (again.path, built.path)]
    assert names[0] == names[1]


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


def test_a_damaged_bundle_is_not_packed(damaged_bundle: Any, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"weights\.safetensors changed"):
        build_bento(damaged_bundle.path, "test-animals", tmp_path / "home")
    assert not (tmp_path / "home").exists()
