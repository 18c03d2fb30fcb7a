from __future__ import annotations

from pathlib import Path

import pytest

from flows.provenance import _address, _inside, _without_paths, code_digests, library_versions
from pipelines.code_digest import code_digest
from tests.flows.conftest import project_config


def test_addresses_carry_no_password_and_none_of_a_server_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://ada:pa55@prefect.example.org:4200/runs/flow-run/1"
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert _address(url) is None
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example.org:4200/api")
    assert _address(url) == "https://prefect.example.org:4200/runs/flow-run/1"
    assert _address(None) is None


def test_no_place_of_this_machine_is_recorded(tmp_path: Path) -> None:
    assert _inside(tmp_path.resolve(), tmp_path / "conf" / "a.yaml") == "conf/a.yaml"
    assert _inside(tmp_path / "workspace", tmp_path / "elsewhere" / "a.yaml") == "a.yaml"
    assert "/srv" not in _without_paths("backbone.weights=/srv/ada/x.safetensors")
    assert "/srv" not in _without_paths("backbone={kind: timm, weights: /srv/ada/x.safetensors}")
    assert _without_paths("method.budget_minutes=5") == "method.budget_minutes=5"


def test_the_digests_are_those_that_the_stage_store_uses() -> None:
    digests = code_digests(project_config("toy"))
    assert digests["train"] == code_digest("pipelines.training.train")
    assert digests["select"] == code_digest("pipelines.backbones")
    assert len(set(digests.values())) == len(digests)


def test_libraries_have_versions() -> None:
    assert {"torch", "numpy", "dvc"} <= library_versions().keys()
