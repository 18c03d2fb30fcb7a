"""The team's file: what is allowed in it, and that what is wrong is found before any training."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from PIL import Image
from pydantic import ValidationError

from pipelines.behaviour import BehaviourTests, read_behaviour
from pipelines.behaviour_inputs import check_behaviour, input_digests, inputs_of
from pipelines.config import BehaviourGate, ProjectConfig
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, DataError

LABELS = ("cat", "dog")
INVARIANCE = {"name": "mirrored", "files": "pictures/cat-*.png", "alter": {"flip": "horizontal"}, "max_change": 0.1}
DIRECTION = {"name": "a cat", "files": "pictures/cat-1.png", "label": "cat"}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for name in ("cat-1", "cat-2", "dog-1"):
        Image.new("L", (8, 8), 100).save(tmp_path / "pictures" / f"{name}.png")
    return tmp_path


def write(root: Path, **content: object) -> Path:
    (root / "behaviour.yaml").write_text(yaml.safe_dump(content))
    return root


def read(root: Path) -> BehaviourTests:
    return read_behaviour(root, "behaviour.yaml", "image", LABELS)


def config(**changes: object) -> ProjectConfig:
    content = {"project": "pets", "task": "image", "labels": LABELS, "backbone": {"kind": "shipped"}, "gates": [{"kind": "behaviour"}]}
    return ProjectConfig.model_validate(content | changes)


def test_a_good_file_is_read(workspace: Path) -> None:
    tests = read(write(workspace, invariance=[INVARIANCE], direction=[DIRECTION]))
    assert [test.name for test in tests.all] == ["mirrored", "a cat"]
    assert tuple(one.name for one in inputs_of(workspace, tests.all[0])) == ("pictures/cat-1.png", "pictures/cat-2.png")
    assert tests.invariance[0].alter.chosen == (("flip", "horizontal"),)
    check_behaviour(workspace, config())


def test_digests_are_those_of_all_inputs(workspace: Path) -> None:
    tests = read(write(workspace, invariance=[INVARIANCE], direction=[DIRECTION]))
    expected = {name: file_sha256(workspace / name) for name in ("pictures/cat-1.png", "pictures/cat-2.png")}
    assert input_digests(workspace, tests) == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({}, "give at least one test"),
        ({"invariance": [INVARIANCE, INVARIANCE]}, "tests have the same name: mirrored"),
        ({"invariance": [INVARIANCE | {"surprise": 1}]}, "surprise: Extra inputs are not permitted"),
        ({"invariance": [INVARIANCE | {"alter": {}}]}, "give exactly one of flip, rotate_degrees"),
        ({"invariance": [INVARIANCE | {"alter": {"flip": "horizontal", "jpeg": 30}}]}, "give exactly one of flip, rotate_degrees"),
        ({"invariance": [INVARIANCE | {"alter": {"flip": "sideways"}}]}, "Input should be 'horizontal' or 'vertical'"),
        ({"invariance": [INVARIANCE | {"files": "../secret.png"}]}, "below the workspace"),
        ({"invariance": [INVARIANCE | {"files": "/etc/*.png"}]}, "below the workspace"),
        ({"invariance": [INVARIANCE | {"files": "pictures/**.png"}]}, "** stands for folders"),
        ({"invariance": [INVARIANCE | {"files": ""}]}, "below the workspace"),
        ({"invariance": [INVARIANCE | {"min_share": 0}]}, "greater than 0"),
        ({"invariance": [INVARIANCE | {"texts": ["both"]}]}, "give exactly one of files, texts"),
        ({"direction": [{"name": "a", "label": "cat"}]}, "give exactly one of files, texts"),
        ({"direction": [{"name": "a", "texts": ["a cat"], "label": "cat"}]}, "a: texts is not for task: image; give files"),
        ({"invariance": [INVARIANCE | {"alter": {"gain_db": 6}}]}, "mirrored: gain_db is not for task: image; take flip, rotate_degrees"),
        ({"direction": [{"name": "a", "files": "x.png"}]}, "give exactly one of label, not_label, raises, lowers"),
        ({"direction": [DIRECTION | {"not_label": "dog"}]}, "give exactly one of label, not_label, raises, lowers"),
        ({"direction": [{"name": "a", "files": "x.png", "raises": "cat"}]}, "raises compares with an altered input: give alter"),
        ({"direction": [DIRECTION | {"by": 0.2}]}, "by belongs to raises and lowers"),
        ({"direction": [DIRECTION | {"label": "horse"}]}, "a cat: 'horse' is no label of the project; allowed: cat, dog"),
    ],
)
def test_wrong_entries_are_named(workspace: Path, content: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=r"behaviour\.yaml with") as error:
        read(write(workspace, **content))
    assert problem in error.value.got
    assert "docs/gates.md" in error.value.allowed
    assert "run the command again" in error.value.next_step


def test_all_wrong_entries_are_named_at_once(workspace: Path) -> None:
    wrong = [{"name": "one", "files": "/a", "alter": {"jpeg": 500}}]
    with pytest.raises(ConfigurationError, match="2 wrong entries"):
        read(write(workspace, invariance=wrong))


@pytest.mark.parametrize("content", ["- a list", "name: [", "invariance: 1\ninvariance: 2"])
def test_no_mapping_is_a_configuration_error(workspace: Path, content: str) -> None:
    (workspace / "behaviour.yaml").write_text(content)
    with pytest.raises(ConfigurationError, match=r"behaviour\.yaml"):
        read(workspace)


def test_a_missing_file_is_found_before_training(workspace: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"behaviour\.yaml does not exist\. Allowed: .* Next: write it \(docs/gates.md"):
        check_behaviour(workspace, config())


def test_missing_inputs_are_found_before_training(workspace: Path) -> None:
    write(workspace, direction=[DIRECTION, DIRECTION | {"name": "no such", "files": "pictures/horse-*.png"}])
    with pytest.raises(ConfigurationError, match=r"without input: no such: no file is called pictures/horse-\*\.png"):
        check_behaviour(workspace, config())


def test_inputs_that_are_rubbish_are_found_before_training(workspace: Path) -> None:
    (workspace / "pictures" / "cat-2.png").write_bytes(b"rubbish")
    write(workspace, invariance=[INVARIANCE])
    with pytest.raises(DataError, match=r"1 inputs of behaviour tests that cannot be used, the first: pictures/cat-2\.png 7 bytes"):
        check_behaviour(workspace, config())


def test_an_input_that_cannot_be_read_is_bad_data(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pipelines.behaviour_inputs.file_sha256", forbidden)  # the tests may run as root, who may read everything
    with pytest.raises(DataError, match=r"pictures/cat-1\.png of a behaviour test, which cannot be read \(Permission denied\)"):
        input_digests(workspace, read(write(workspace, direction=[DIRECTION])))


@pytest.mark.parametrize("file", ["conf/behaviour.yaml", "../behaviour.yaml", "/behaviour.yaml", "behaviour.json"])
def test_a_file_that_would_be_taken_for_something_else_is_refused(file: str) -> None:
    with pytest.raises(ValidationError, match="give a path"):
        BehaviourGate(kind="behaviour", file=file)


def test_a_project_without_the_gate_needs_no_file(tmp_path: Path) -> None:
    check_behaviour(tmp_path, config(gates=[{"kind": "goldens"}]))


def test_the_example_of_the_docs_is_read(workspace: Path) -> None:
    """The first YAML block of docs/gates.md that has an `invariance` key."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "gates.md").read_text(encoding="utf-8")
    lines = page[page.index("    invariance:") :].splitlines()
    end = next(row for row, line in enumerate(lines) if line and not line.startswith("    "))
    content = yaml.safe_load(io.StringIO("\n".join(line[4:] for line in lines[:end])))
    tests = BehaviourTests.model_validate(content)
    assert tests.invariance
    assert tests.direction
