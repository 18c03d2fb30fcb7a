"""Who may import what, lazy imports included. The layers themselves are import-linter's (`make contracts`)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.code_digest import reachable_modules

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("flows", "pipelines", "serving", "monitoring")
ONLY_IMPORTER = {
    "prefect": "flows",
    "great_expectations": "pipelines.validate",
    "dvc": "pipelines.versioning",
    "dvc_data": "pipelines.versioning",
    "gto": "pipelines.versioning",
    "evidently": "monitoring",
    "bentoml": "serving",
    "_bentoml_sdk": "serving",
    "typer": "flows.cli",
}
FORBIDDEN = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield name, ast.parse(path.read_bytes())


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def importers(library: str, found: dict[str, set[str]]) -> set[str]:
    return {module for module, names in found.items() if library in names}


@pytest.fixture(scope="module")
def found() -> dict[str, set[str]]:
    return {name: imported(tree) for name, tree in modules()}


@pytest.mark.parametrize(("library", "owner"), ONLY_IMPORTER.items())
def test_each_engine_has_one_owner(library: str, owner: str, found: dict[str, set[str]]) -> None:
    strangers = {module for module in importers(library, found) if not f"{module}.".startswith(f"{owner}.")}
    assert strangers == set()


@pytest.mark.parametrize("library", ["prefect", "great_expectations", "dvc", "gto", "evidently", "bentoml", "typer"])
def test_each_engine_is_used_by_its_owner(library: str, found: dict[str, set[str]]) -> None:
    """Without this the test above could not fail: a renamed package would pass it for ever."""
    assert any(f"{module}.".startswith(f"{ONLY_IMPORTER[library]}.") for module in importers(library, found))


def test_nothing_unpickles(found: dict[str, set[str]]) -> None:
    assert {module: names & FORBIDDEN for module, names in found.items() if names & FORBIDDEN} == {}


def test_the_planted_stranger_is_seen() -> None:
    tree = ast.parse("def lazy():\n    from prefect.client import orchestration\n    import pickle")
    assert imported(tree) == {"prefect", "pickle"}


def test_serving_reaches_nothing_but_the_core() -> None:
    reached = reachable_modules("serving.service")
    allowed = ("serving", "pipelines.core")
    assert {name for name in reached if name != "pipelines" and not name.startswith(allowed)} == set()
    assert "pipelines.core.predict" in reached


HEADER_FIELDS = {"width", "height", "size", "mode", "format"}


def pixel_uses(tree: ast.Module) -> set[str]:
    """What is read of images that `Image.open` opened in a `with`, headers apart; "bare" where it was opened without one."""
    opens = {node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PIL.Image.open")}
    uses = set()
    for block in (node for node in ast.walk(tree) if isinstance(node, ast.With)):
        for item in block.items:
            if item.context_expr in opens:
                opens.discard(item.context_expr)  # type: ignore[arg-type]
                name = item.optional_vars.id if isinstance(item.optional_vars, ast.Name) else None
                loads = [n for n in ast.walk(block) if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load)]
                fields = [
                    n.attr for n in ast.walk(block) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == name
                ]
                uses |= set(fields) - HEADER_FIELDS | ({"itself"} if len(loads) > len(fields) else set())
    return uses | ({"bare"} if opens else set())


def test_only_the_core_decodes_images() -> None:
    """Train/serve skew is impossible by construction: no other code turns bytes into pixels; some read headers."""
    assert {name for name, tree in modules() if pixel_uses(tree)} == {"pipelines.core.preprocess"}


@pytest.mark.parametrize("line", ["image.load()", "np.asarray(image)", "image.convert('L')"])
def test_a_planted_second_decoder_is_seen(line: str) -> None:
    assert pixel_uses(ast.parse(f"with Image.open(path) as image:\n    {line}"))
    assert pixel_uses(ast.parse("x = Image.open(path)")) == {"bare"}
    assert not pixel_uses(ast.parse("with Image.open(path) as image:\n    return image.width * image.height"))


@pytest.mark.parametrize("module", ["flows.cli.app", "flows.status", "pipelines.stages", "pipelines.core.preprocess", "serving.settings"])
def test_heavy_packages_wait_for_their_use(module: str) -> None:
    heavy = ["prefect", "torch", "timm", "transformers", "great_expectations", "evidently", "bentoml", "dvc", "gto", "sklearn", "scipy"]
    if module.startswith("flows.cli"):
        heavy += ["pandas", "numpy"]
    program = f"import sys, {module}; print(*[name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize(
    "module", ["flows.cli.app", "pipelines.core.predict", "pipelines.config", "pipelines.validate", "monitoring.decision"]
)
def test_import_has_no_side_effects(module: str, tmp_path: Path) -> None:
    program = (
        f"import os; before = dict(os.environ); import {module}; print({{k for k in os.environ if os.environ[k] != before.get(k)}} or 0)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "0"
    assert list(tmp_path.iterdir()) == []
