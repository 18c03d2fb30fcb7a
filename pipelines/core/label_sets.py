"""Sets of labels as text: where a sample has any number of labels, its label is their names with | between them.

One set has one text, its names in the order of the project's labels, so that equal sets are equal strings; the empty set is the empty
string. Everything that compares labels, a gate for one, compares these texts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEPARATOR = "|"
LabelsPerSample = Literal["one", "many"]


def set_text(members: Collection[str], labels: Sequence[str]) -> str:
    """The text of a set.

    Args:
        members: Some of `labels`; what is not among them is left out.
        labels: The project's, in their order.
    """
    wanted = frozenset(members)
    return SEPARATOR.join(label for label in labels if label in wanted)


def members_of(text: str) -> list[str]:
    """The names in a text, in its order, without the blanks around them; an empty text has none."""
    return [name.strip() for name in text.split(SEPARATOR)] if text.strip() else []


def canonical_text(written: str | Iterable[str], labels: Sequence[str]) -> str | None:
    """The text of a set that somebody has written, in whatever order and with whatever blanks.

    Args:
        written: Names with | between them, or a list of names.
        labels: The project's, in their order.

    Returns:
        None where a name is not one of `labels`, or is there twice.
    """
    members = members_of(written) if isinstance(written, str) else [name.strip() for name in written]
    if len(set(members)) != len(members) or not set(members) <= set(labels):
        return None
    return set_text(members, labels)


def set_texts(decided: NDArray[Any], labels: Sequence[str]) -> tuple[str, ...]:
    """The text of each row of [b, k], true where the sample has the label."""
    return tuple(SEPARATOR.join(label for label, has in zip(labels, row, strict=True) if has) for row in decided.tolist())
