"""What the demo ends in: `summary.json`, a table, and one page that links everything."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from flows.pages import percent, write_page
from flows.records import Accuracy

if TYPE_CHECKING:
    from rich.console import Console

_PACKAGES = ("prefect", "torch", "timm", "transformers", "dvc", "great-expectations", "bentoml", "evidently")


class DomainAccuracy(BaseModel):
    """One model on the test samples of both domains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    old_domain: Accuracy
    new_domain: Accuracy


class BeforeAfter(BaseModel):
    """The first champion and the one that took its place, on the same samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: DomainAccuracy
    after: DomainAccuracy


class Requests(BaseModel):
    """What became of all requests of the demo's clients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sent: int
    failed: int
    lost: int


class Champions(BaseModel):
    """Versions in the registry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: str
    after: str


class Summary(BaseModel):
    """The demo in numbers.

    Attributes:
        data, shift: What the demo was about.
        domains: The old one and the new one.
        accuracy: On the test split, with 95 % Clopper-Pearson intervals.
        served_accuracy: What the endpoint's answers were worth, by name of the traffic.
        verdicts: Of the monitor, in order.
        retraining_started_by: `automation`, or `reconciled` where Prefect lost the event and the demo made up for it.
        stages_seconds: Wall time of the demo's steps.
        reports: Absolute paths.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    shift: str
    domains: tuple[str, str]
    accuracy: BeforeAfter
    served_accuracy: dict[str, Accuracy]
    verdicts: list[str]
    requests: Requests
    champion: Champions
    retraining_started_by: str
    n_labelled: int
    stages_seconds: dict[str, float]
    versions: dict[str, str]
    reports: dict[str, str]


def package_versions() -> dict[str, str]:
    """Of the packages that did the work."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def write_summary(summary: Summary, folder: Path) -> Path:
    """Writes `summary.json` and `index.html` into the demo's folder; returns the page."""
    page = folder / "index.html"
    write_page("demo.html.j2", page, title="Regraft demo", summary=summary, total=sum(summary.stages_seconds.values()))
    staging = folder / "summary.json.part"
    staging.write_text(summary.model_dump_json(indent=2), encoding="utf-8")
    staging.replace(folder / "summary.json")
    return page


def print_summary(console: Console, summary: Summary, page: Path) -> None:
    """The tables at the end."""
    console.print(_accuracy_table(summary), _facts_table(summary))
    console.print(f"Everything is linked from {page}", soft_wrap=True, highlight=False)


def _accuracy_table(summary: Summary) -> Any:
    from rich.table import Table

    table = Table(
        "", f"before ({summary.champion.before})", f"after ({summary.champion.after})", "n", title="Test accuracy, 95 % intervals"
    )
    before, after = summary.accuracy.before, summary.accuracy.after
    table.add_row("old domain", percent(before.old_domain), percent(after.old_domain), str(after.old_domain.n))
    table.add_row("new domain", percent(before.new_domain), percent(after.new_domain), str(after.new_domain.n))
    return table


def _facts_table(summary: Summary) -> Any:
    from rich.table import Table

    table = Table(show_header=False)
    table.add_row("verdicts", ", ".join(summary.verdicts))
    table.add_row("requests", f"{summary.requests.sent} sent, {summary.requests.failed} failed, {summary.requests.lost} lost")
    table.add_row("retraining", f"started by {summary.retraining_started_by}, {summary.n_labelled} labels through POST /feedback")
    table.add_row("time", ", ".join(f"{name} {seconds:.0f} s" for name, seconds in summary.stages_seconds.items()))
    table.add_row("in all", f"{sum(summary.stages_seconds.values()):.0f} s")
    table.add_row("versions", ", ".join(f"{name} {version}" for name, version in summary.versions.items()))
    return table
