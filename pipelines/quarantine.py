"""Samples that could not be added to the data: kept with their reasons, as a source that can be corrected and ingested itself.

FOLDER/NAME/labels.csv     path, label, group, domain, arrival, split, further columns, source, reason; of texts `text` instead of `path`
FOLDER/NAME/files/         copies of the files; texts have none
FOLDER/taken/NAME/         a quarantine that was ingested; what is in it is not put into quarantine again
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.feedback import NewSample
from pipelines.known_content import file_size
from pipelines.labels_append import csv_line
from pipelines.staging import staged_folder
from pipelines.text_rows import TEXT_COLUMN

TABLE, _FILES, _TAKEN = "labels.csv", "files", "taken"
_COLUMNS = ("label", "group", "domain", "arrival", "split")


@dataclass(frozen=True)
class Unused:
    """A sample that was not added.

    Attributes:
        where: As its finding names it.
        sample: As its source states it; the label may be empty or none of the project's.
        reason: Why it was not added.
        file: With its bytes.
        root: Folder that the file must lie in: a table may name any file of the machine, and so may a link.
        text: The sample itself, where samples are texts. Where there is no such file, it stood in a table.
    """

    where: str
    sample: NewSample
    reason: str
    file: Path
    root: Path
    text: str | None = None


def keep_unused(unused: Sequence[Unused], folder: Path) -> Path | None:
    """Puts samples into quarantine; the same ones are there once, however often they come.

    Args:
        unused: All of files, or all of texts. Left out are those whose files are gone, as there is nothing to correct, and files that
            do not lie in their root once links are followed, as nobody meant to hand them over.
        folder: Of all quarantines.

    Returns:
        The quarantine; None where there is nothing to keep.
    """
    kept = [one for one in unused if _is_kept(one)]
    if not kept:
        return None
    table = _table(kept)
    name = _name_of(table, kept)
    if (folder / _TAKEN / name).is_dir():
        return None
    target = folder / name
    if not (target / TABLE).is_file():
        with staged_folder(target) as staging:
            _copy_files(kept, staging)
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


def _name_of(table: bytes, kept: Sequence[Unused]) -> str:
    """Of the table and of what the files hold: another picture under the same name is another quarantine."""
    digest = hashlib.sha256(table)
    for one in kept:
        if one.text is None:
            with one.file.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _is_kept(one: Unused) -> bool:
    if file_size(one.file) is None:
        return one.text is not None
    return one.file.resolve().is_relative_to(one.root.resolve())


def _copy_files(kept: Sequence[Unused], staging: Path) -> None:
    for number, one in enumerate(kept):
        if one.text is None:
            (staging / _FILES).mkdir(exist_ok=True)
            shutil.copyfile(one.file, staging / _path(number, one))


def _path(number: int, one: Unused) -> str:
    # The ending says nothing of a raw input, whose name is a digest; nobody needs it: content decides.
    return f"{_FILES}/{number:06d}{one.file.suffix.lower()}"


def _table(kept: Sequence[Unused]) -> bytes:
    further = sorted({name for one in kept for name, _ in one.sample.slices})
    # A project may have such columns of its own, and a table with one twice could not be ingested.
    said = [f"quarantine_{name}" if name in further else name for name in ("source", "reason")]
    first = "path" if kept[0].text is None else TEXT_COLUMN
    lines = [csv_line([first, *_COLUMNS, *further, *said])]
    for number, one in enumerate(kept):
        sample, cells = one.sample, dict(one.sample.slices)
        stated = [sample.label, sample.group, sample.domain, sample.arrival, sample.split]
        given = _path(number, one) if one.text is None else one.text
        lines.append(csv_line([given, *stated, *(cells.get(name, "") for name in further), one.where, one.reason]))
    return "".join(f"{line}\n" for line in lines).encode()
