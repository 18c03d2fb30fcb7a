"""A bundle out of DVC's cache, wanted by several at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.versioning import bundles
from pipelines.versioning.bundles import fetch_bundle


def test_two_that_want_the_same_bring_it_once(promoted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brought: list[Path] = []
    materialise = bundles.materialise

    def counted(root: Path, model: Any, target: Path) -> None:
        brought.append(target)
        materialise(root, model, target)

    monkeypatch.setattr(bundles, "materialise", counted)
    with ThreadPoolExecutor(2) as pool:
        paths = set(pool.map(lambda _: fetch_bundle(promoted.root, "digits", "v0.0.1", tmp_path / "served"), range(2)))
    assert brought == [*paths]
    assert (brought[0] / "weights.safetensors").read_bytes() == b"one"


def test_the_copy_has_the_mode_that_the_umask_gives(promoted: Any, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = fetch_bundle(promoted.root, "digits", "v0.0.1", tmp_path / "served")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o750
    assert list((tmp_path / "served").iterdir()) == [path]
