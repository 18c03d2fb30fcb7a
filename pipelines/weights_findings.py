"""What the sanity check of a backbone's weights compared, and what looked wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import JsonValue

Check = Literal["normalisation", "channel order", "layers", "padding", "knowledge", "preprocessing"]


@dataclass(frozen=True)
class SanityFinding:
    """Something that looks wrong, for a person to decide.

    Attributes:
        got: What was seen, with numbers.
        next_step: What to try.
    """

    check: Check
    got: str
    next_step: str


@dataclass(frozen=True)
class Comparison:
    """One alternative against what is stated.

    Attributes:
        evidence: Above 0 the alternative fits better: a log ratio of KL divergences, standard errors of a paired difference, or
            log evidence.
        misfit: Median KL divergence of the channels under the alternative, where that was what was compared.
    """

    check: Check
    alternative: str
    evidence: float
    misfit: float | None = None


@dataclass(frozen=True)
class WeightsSanity:
    """What was compared on how many images."""

    n_images: int
    comparisons: tuple[Comparison, ...]
    findings: tuple[SanityFinding, ...]

    def record(self) -> dict[str, JsonValue]:
        """For `sanity.json`: nothing in it depends on time."""
        rows: list[JsonValue] = [asdict(comparison) for comparison in self.comparisons]
        findings: list[JsonValue] = [asdict(finding) for finding in self.findings]
        return {"n_images": self.n_images, "comparisons": rows, "findings": findings}
