"""What a labels table of texts holds already, asked as `pipelines.known_content` is asked of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pipelines.core.errors import DataError
from pipelines.core.modalities.text import decode_text
from pipelines.labels_table import LabelRow
from pipelines.modalities.inspection import InputFile, content_digest
from pipelines.modalities.text_inputs import MOST_CHARACTERS, text_digest
from pipelines.text_rows import text_bytes


class KnownTexts:
    """Labels by content for the rows of a labels table, and for what is added meanwhile."""

    def __init__(self, rows: Iterable[LabelRow]) -> None:
        self._by_bytes: dict[str, set[str]] = {}
        self._by_digest: dict[str, set[str]] = {}
        for row in rows:
            self._by_bytes.setdefault(hashlib.sha256(text_bytes(row.text)).hexdigest(), set()).add(row.label)
            self._by_digest.setdefault(_digest(row.text), set()).add(row.label)

    def labels_of_bytes(self, sha256: str) -> set[str]:
        """The labels of the texts with these bytes."""
        return self._by_bytes.get(sha256, set())

    def labels_of_copies(self, content: InputFile) -> set[str]:
        """The labels of the texts that say the same, whatever their case and white space."""
        return self._by_digest.get(content_digest(content), set())

    def add(self, content: InputFile, label: str) -> None:
        """Makes a text that the table does not list yet known."""
        self._by_bytes.setdefault(content.id, set()).add(label)
        self._by_digest.setdefault(content_digest(content), set()).add(label)


def _digest(text: str) -> str:
    """As `inspect_text` gives it, without all else that it finds out: a table may hold a million texts."""
    try:
        return text_digest(decode_text(text_bytes(text), MOST_CHARACTERS))
    except DataError:
        return text_digest(text)
