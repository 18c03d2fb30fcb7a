"""Labels as people gave them, before anything is made of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What one line of a returned file says.

    Attributes:
        where: Names the line to a reader.
        request_id: Of the input; empty where the line names none.
        label: As written; several choices with | between them.
        sha256: Of the input's bytes as the file states them; empty where it does not.
        problem: Why there is no label to take, where there is none.
    """

    where: str
    request_id: str
    label: str
    sha256: str = ""
    problem: str = ""
