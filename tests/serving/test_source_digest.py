"""The digest of the sources: everything that answers is in it, tools are not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serving.source_digest import NOT_SHIPPED, own_root, shipped_sources, source_digest


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in shipped_sources(own_root()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(own_root() / name, tmp_path / name)
    return tmp_path


def test_what_ships(copy: Path) -> None:
    names = shipped_sources(own_root())
    assert {"serving/service.py", "serving/app.py", "pipelines/__init__.py", "pipelines/core/predict.py"} <= set(names)
    assert not NOT_SHIPPED & set(names)
    assert all((own_root() / name).is_file() for name in NOT_SHIPPED), "the list names a file that is gone"
    assert {Path(name).parts[0] for name in names} == {"pipelines", "serving"}
    assert all(name.startswith(("serving/", "pipelines/core/", "pipelines/__init__")) for name in names)


def test_a_copy_has_the_same_digest_and_any_change_another(copy: Path) -> None:
    before = source_digest(own_root())
    assert source_digest(copy) == before
    (copy / "pipelines/core/heads.py").write_bytes((copy / "pipelines/core/heads.py").read_bytes() + b"\n")
    changed = source_digest(copy)
    assert changed != before
    (copy / "serving/more.py").touch()
    assert source_digest(copy) not in (before, changed)
