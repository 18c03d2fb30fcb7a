"""What must hold of the repository itself: configurations, README commands, and what must never be committed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from flows.cli.app import app
from pipelines.config import load_config

ROOT = Path(__file__).resolve().parents[2]


def tracked_text() -> dict[str, str]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    texts = {}
    for name in names:
        path = ROOT / name
        if name and path.is_file() and path.suffix not in (".png", ".safetensors"):
            texts[name] = path.read_text(encoding="utf-8")
    return texts


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*.yaml")), ids=lambda path: path.name)
def test_every_conf_file_loads_and_says_what_to_expect(path: Path) -> None:
    load_config(path)
    header = path.read_text().partition("\nproject:")[0]
    assert "regraft retrain" in header
    assert re.search(r"minute.*accuracy", header)


def test_prefect_yaml_names_flows_that_exist() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    for deployment in deployments:
        file, _, function = deployment["entrypoint"].partition(":")
        assert f"def {function}(" in (ROOT / file).read_text()


def test_every_command_of_the_readme_exists() -> None:
    group = typer.main.get_command(app)
    known = {name: getattr(command, "commands", {}) for name, command in group.commands.items()}  # type: ignore[attr-defined]
    used = re.findall(r"(?:`|^)regraft ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert len(used) >= 5
    for command, sub in used:
        assert command in known, command
        assert not known[command] or not sub or sub in known[command], (command, sub)


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    used = set(re.findall(r"(?:`|^ {4})make ([a-z]+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    assert {"demo", "test"} <= used <= targets


def test_every_picture_and_page_of_the_readme_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", (ROOT / "README.md").read_text())
    missing = [a or b for a, b in links if not (ROOT / (a or b)).exists()]
    assert missing == []


def test_every_number_of_the_readme_comes_from_a_file() -> None:
    from benchmarks.readme_tables import render

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert render(text) == text


def test_no_index_address_and_no_path_of_a_machine() -> None:
    address = re.compile(r"(--(?:extra-)?index-url|--find-links)[ =]\S|\bpypi\.(?:org|io)|pythonhosted", re.IGNORECASE)
    machine = re.compile(r"/(?:root|home/[a-z]+)/|/work/(?:main|shared)")
    this = str(Path(__file__).relative_to(ROOT))
    found = [
        (name, match.group())
        for name, text in tracked_text().items()
        if name != this
        for match in [*address.finditer(text), *machine.finditer(text)]
    ]
    assert found == []


def test_the_lock_pins_every_package_with_a_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    packages = re.findall(r"^[a-z0-9][^\s=]*==\S+", lock, flags=re.MULTILINE)
    assert len(packages) > 200
    assert all(f"{package} \\\n    --hash=sha256:" in lock for package in packages)


@pytest.mark.parametrize(("package", "wrong"), [("fastapi", "0.155"), ("sqlalchemy", "2.1"), ("pandas", "3.0"), ("setuptools", "80.0")])
def test_the_lock_keeps_away_from_versions_that_do_not_work(package: str, wrong: str) -> None:
    match = re.search(rf"^{package}==(\S+)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    assert match is not None
    assert tuple(map(int, match.group(1).split(".")[:2])) < tuple(map(int, wrong.split(".")))


def test_shipped_weights_are_small() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "backbones").rglob("*.safetensors")) <= 4 * 1024 * 1024
