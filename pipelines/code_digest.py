"""A digest of the code that makes a stage's output: the stage's module and all first-party modules it imports, however deep.

Orchestrators that hash a task's own source replay stale results when a function that it calls changes; this does not.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_FIRST_PARTY = ("pipelines", "monitoring", "serving", "flows")
_NUMERIC_LIBRARIES = (
    "datasketch",
    "ftfy",
    "great-expectations",
    "numpy",
    "pandas",
    "peft",
    "pillow",
    "py3langid",
    "pyarrow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "soundfile",
    "soxr",
    "timm",
    "tokenizers",
    "torch",
    "transformers",
)

# The fields of a node that hold statements, or what holds some: `except` clauses and `case`s.
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


@cache
def code_digest(module: str) -> str:
    """sha256 over the sources of `module` and of every first-party module it reaches, lazy imports included, and library versions.

    Args:
        module: Dotted name, for example `pipelines.split`.
    """
    digest = hashlib.sha256()
    for name in sorted(reachable_modules(module)):
        digest.update(f"{name}\0".encode() + _source_path(name).read_bytes() + b"\0")
    for library in _NUMERIC_LIBRARIES:
        digest.update(f"{library}=={_version(library)}\0".encode())
    return digest.hexdigest()


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:  # of an extra that is not installed
        return "absent"


def reachable_modules(module: str) -> set[str]:
    """The first-party modules that `module` imports at any depth, itself included."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_imported_modules(name))
    return found


@cache
def _imported_modules(module: str) -> frozenset[str]:
    names: set[str] = set()
    for node in _statements(ast.parse(_source_path(module).read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(name for name in names if name.split(".")[0] in _FIRST_PARTY and _is_module(name))


def _statements(parent: ast.AST) -> Iterator[ast.AST]:
    """All statements in a module or in one of its blocks, at any depth. Expressions, most of a tree, hold none and are not walked."""
    for field in _BLOCKS:
        for child in getattr(parent, field, ()):
            yield child
            yield from _statements(child)


@cache
def _is_module(name: str) -> bool:
    # `from package import name` names a module or an attribute; only the first has a file.
    base = _package_root().joinpath(*name.split("."))
    return base.with_suffix(".py").is_file() or (base / "__init__.py").is_file()


def _source_path(module: str) -> Path:
    base = _package_root().joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _package_root() -> Path:
    return Path(__file__).resolve().parent.parent
