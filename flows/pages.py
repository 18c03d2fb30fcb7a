"""HTML pages: one self-contained file each, readable with no network; every text in them is escaped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flows.records import Accuracy

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(template: str, target: Path, **content: Any) -> None:
    """Renders a template of `flows/templates/` into `target`, in one step; links in it are relative to the page."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_TEMPLATES), undefined=jinja2.StrictUndefined, autoescape=True)
    functions = {"percent": percent, "link": lambda path: os.path.relpath(path, target.parent)}
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_suffix(".part")
    staging.write_text(environment.get_template(template).render(**functions, **content), encoding="utf-8")
    staging.replace(target)


def percent(accuracy: Accuracy) -> str:
    """For example `96.2 % (93.3 to 98.1)`."""
    return f"{100 * accuracy.value:.1f} % ({100 * accuracy.low:.1f} to {100 * accuracy.high:.1f})"
