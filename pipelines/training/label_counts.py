"""How many training samples each label has, and what is too few to learn from.

Letters for shapes: n samples, k labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import DataError, Finding

_SHOWN = 8
_LABEL_SUCH = "label such samples, or remove the label from labels in the conf file."


def label_counts(targets: NDArray[Any], labels: Sequence[str]) -> dict[str, int]:
    """Samples that have each label.

    Args:
        targets: One label a sample: [n], its index. Many: [n, k] of 0 and 1.
        labels: The k names.
    """
    counts = (np.asarray(targets) > 0).sum(axis=0) if np.ndim(targets) == 2 else np.bincount(targets, minlength=len(labels))
    return {label: int(count) for label, count in zip(labels, counts, strict=True)}


def refuse_rare_labels(targets: NDArray[Any], labels: Sequence[str], at_least: int = 1, next_step: str = _LABEL_SUCH) -> None:
    """Raises where a label cannot be learnt.

    Args:
        targets: As for `label_counts`.
        labels: The k names.
        at_least: Samples of every label that are needed where a sample has one label; with many, one with it and one without.
        next_step: Of the error.

    Raises:
        DataError: Names the labels and what they have.
    """
    counts = label_counts(targets, labels)
    if np.ndim(targets) == 2:
        rare = [f"{'none' if count == 0 else 'all'} with {label!r}" for label, count in counts.items() if count in (0, len(targets))]
        allowed = "for every label at least one training sample with it and one without."
    else:
        rare = [f"{count} of {label!r}" for label, count in counts.items() if count < at_least]
        allowed = f"at least {at_least} of every label."
    if rare:
        shown = ", ".join(rare[:_SHOWN]) + (f", and {len(rare) - _SHOWN} more labels" if len(rare) > _SHOWN else "")
        findings = [Finding("training samples", text) for text in rare]
        raise DataError(got=f"training samples: {shown}.", allowed=allowed, next_step=next_step, findings=findings)
