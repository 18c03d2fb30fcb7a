"""What a demo of one task is about: its data, its traffic and its words. The loop itself is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.conf_template import ConfDefaults


@dataclass(frozen=True)
class Item:
    """An input as it is sent, with the label that the sender knows."""

    content: bytes
    label: str
    domain: str


@dataclass(frozen=True)
class Scenario:
    """One demo.

    Attributes:
        task: Of the project.
        project: Its name.
        data: What the data are, for people.
        shift: What changes in the new domain, for people.
        old_domain, new_domain: Their names.
        labels: Of the project.
        n_samples: In the first dataset version.
        conf: What the conf file says; the port is set by the demo.
        materialise: Writes the first dataset version to a folder.
        held_out: Items of the old domain that no stage uses, given the data's folder.
        shifted: Items of the new domain, given those of the old one that were not sent.
        n_old_traffic: Sent of the old domain.
        n_labelled: Of the new domain's traffic, labelled through feedback.
    """

    task: str
    project: str
    data: str
    shift: str
    old_domain: str
    new_domain: str
    labels: tuple[str, ...]
    n_samples: int
    conf: ConfDefaults
    materialise: Callable[[Path], None]
    held_out: Callable[[Path], Sequence[Item]]
    shifted: Callable[[Sequence[Item]], Sequence[Item]]
    n_old_traffic: int
    n_labelled: int


def scenario_of(task: str, reviews: Path | None = None) -> Scenario:
    """The demo of a task.

    Args:
        task: `image` or `text`.
        reviews: Table of reviews for the demo of texts, in place of the one that is looked for beside the checkout.
    """
    return _SCENARIOS[task](reviews)


def _digits(_: Path | None) -> Scenario:
    from flows.demo.digits import digits

    return digits()


def _texts(reviews: Path | None) -> Scenario:
    from flows.demo.texts import documentation, reviews_beside_the_checkout, reviews_of

    file = reviews or reviews_beside_the_checkout()
    return documentation() if file is None else reviews_of(file)


_SCENARIOS: Mapping[str, Callable[[Any], Scenario]] = {"image": _digits, "text": _texts}
