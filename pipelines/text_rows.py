"""Texts as samples: they stay in the column `text` of the labels table, and have paths made of their content.

    labels.csv#0123456789abcdef      the text whose sha256 in UTF-8 begins so
    labels.csv#0123456789abcdef.2    its second copy in the table

Some hundred thousand short texts are too many files: DVC pushes them one by one, and each takes a block of the disk. See
docs/adr/0014-texts-in-the-labels-table.md.
"""

from __future__ import annotations

import functools
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

TEXT_COLUMN = "text"
_N_DIGITS = 16
_TEXT_PATH = re.compile(rf"(?P<table>.+\.(?:csv|parquet))#(?P<digits>[0-9a-f]{{{_N_DIGITS}}})(?:\.\d+)?")
_LOCK = threading.Lock()


def text_bytes(text: str) -> bytes:
    """The bytes of a text: what its id is the sha256 of, and what a client would send."""
    # A lone surrogate, which a Parquet file may hold, is no character; its bytes are refused when they are decoded.
    return text.encode("utf-8", "surrogatepass")


def text_paths(texts: Sequence[str], table: str) -> list[str]:
    """The path of each text of a table, copies numbered in its order.

    Args:
        texts: In the table's order.
        table: Its path relative to `data/`.
    """
    seen: Counter[str] = Counter()
    paths = []
    for text in texts:
        digits = hashlib.sha256(text_bytes(text)).hexdigest()[:_N_DIGITS]
        seen[digits] += 1
        paths.append(f"{table}#{digits}" + (f".{seen[digits]}" if seen[digits] > 1 else ""))
    return paths


def table_of(path: str, identity: str) -> str | None:
    """The table that a sample's text stands in, relative to `data/`; nothing where the sample is a file.

    Args:
        path: Of the sample.
        identity: Its id: a file whose name only looks like a text's path has another.
    """
    found = _TEXT_PATH.fullmatch(path)
    return found["table"] if found and identity.startswith(found["digits"]) else None


def read_text(table: Path, identity: str) -> bytes | None:
    """The bytes of the text with this id; nothing where the table has none.

    Raises:
        OSError: The table cannot be read.
        DataError: It is no table of texts.
    """
    status = table.stat()
    # Several threads ask at once when a training begins; one of them reads.
    with _LOCK:
        texts = _texts(table, status.st_mtime_ns, status.st_size)
    found = texts.get(identity)
    return None if found is None else text_bytes(found)


@functools.lru_cache(maxsize=2)
def _texts(table: Path, modified: int, n_bytes: int) -> Mapping[str, str]:
    from pipelines.labels_table import read_labels_table

    return {hashlib.sha256(text_bytes(row.text)).hexdigest(): row.text for row in read_labels_table(table, holds="texts").rows}
