"""What the replay prints; the gate `goldens` tests it with real bundles."""

import json
from pathlib import Path

import pytest

from pipelines.core.replay import main


@pytest.mark.slow  # loading a bundle imports torch first
def test_an_unreadable_bundle_is_told_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "integrity"
    assert "cannot be read as a bundle manifest" in error["got"]
    assert error["next_step"].startswith("restore the bundle")


@pytest.mark.parametrize("arguments", [[], ["one", "two"]])
def test_wrong_use_is_told_in_json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["got"]) == ("configuration", f"{len(arguments)} arguments.")
