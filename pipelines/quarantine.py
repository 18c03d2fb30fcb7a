"""Samples that could not be added to the data: kept with their reasons, as a source that can be corrected and ingested itself.

FOLDER/NAME/labels.csv     path, label, group, domain, arrival, split, further columns, source, reason
FOLDER/NAME/files/         copies of the files
FOLDER/taken/NAME/         a quarantine that was ingested; what is in it is not put into quarantine again
"""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.feedback import NewSample
from pipelines.known_content import file_size
from pipelines.staging import staged_folder

TABLE, _FILES, _TAKEN = "labels.csv", "files", "taken"
_COLUMNS = ("path", "label", "group", "domain", "arrival", "split")


@dataclass(frozen=True)
class Unused:
    """A sample that was not added.

    Attributes:
        where: As its finding names it.
        file: With its bytes.
        sample: As its source states it; the label may be empty or none of the project's.
        reason: Why it was not added.
    """

    where: str
    file: Path
    sample: NewSample
    reason: str


def keep_unused(unused: Sequence[Unused], folder: Path) -> Path | None:
    """Puts samples into quarantine; the same ones are there once, however often they come.

    Args:
        unused: Those whose files are gone are left out: there is nothing to correct.
        folder: Of all quarantines.

    Returns:
        The quarantine; None where there is nothing to keep.
    """
    kept = [one for one in unused if file_size(one.file) is not None]
    if not kept:
        return None
    table = _table(kept)
    name = hashlib.sha256(table).hexdigest()[:12]
    if (folder / _TAKEN / name).is_dir():
        return None
    target = folder / name
    if not (target / TABLE).is_file():
        with staged_folder(target) as staging:
            (staging / _FILES).mkdir()
            for number, one in enumerate(kept):
                shutil.copyfile(one.file, staging / _path(number, one))
            (staging / TABLE).write_bytes(table)
    return target


def set_aside(source: Path, folder: Path, left: Path | None) -> None:
    """Moves a quarantine out of the way that has been ingested; anything else, and one that is as it was, stays.

    Args:
        source: That was ingested: the quarantine or its table.
        folder: Of all quarantines.
        left: The quarantine of what could still not be added.
    """
    place = (source if source.is_dir() else source.parent).resolve()
    if place.parent != folder.resolve() or place.name == _TAKEN or (left is not None and left.resolve() == place):
        return
    (folder / _TAKEN).mkdir(exist_ok=True)
    target = folder / _TAKEN / place.name
    shutil.rmtree(target, ignore_errors=True)
    place.rename(target)


def _path(number: int, one: Unused) -> str:
    # The ending says nothing of a raw input, whose name is a digest; nobody needs it: content decides.
    return f"{_FILES}/{number:06d}{one.file.suffix.lower()}"


def _table(kept: Sequence[Unused]) -> bytes:
    further = sorted({name for one in kept for name, _ in one.sample.slices})
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *further, "source", "reason"])
    for number, one in enumerate(kept):
        sample, cells = one.sample, dict(one.sample.slices)
        row = [_path(number, one), sample.label, sample.group, sample.domain, sample.arrival, sample.split]
        writer.writerow([*row, *(cells.get(name, "") for name in further), one.where, one.reason])
    return text.getvalue().encode()
