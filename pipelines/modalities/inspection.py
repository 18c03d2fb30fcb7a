"""What the stage `manifest` finds out of each sample, by task, and the table that it writes of it.

task    files      table        copies share      in messages
image   images/    images.csv   pixel_digest      picture
text    texts/     texts.csv    text_digest       text
audio   sounds/    sounds.csv   sound_digest      sound
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.image_files import ImageFile, inspect_bytes
from pipelines.input_files import Unusable, inspect_files, normal_path
from pipelines.labels_table import LabelRow
from pipelines.modalities.audio_inputs import SoundFile, inspect_sound
from pipelines.modalities.text_inputs import TextInput, inspect_text
from pipelines.text_rows import text_bytes

InputFile = ImageFile | TextInput | SoundFile


@dataclass(frozen=True)
class InputsTable:
    """How a task's inputs are kept and listed.

    Attributes:
        folder: Of the files, wherever Regraft writes some; the texts of a dataset stand in its labels table and are none.
        file: Name of the table, beside samples.csv.
        columns: Of the table, after id and path.
        digest: The one that copies in other bytes share.
        key: What stands before the digest in the key that a sample's split is a hash of.
        noun: What an input is called in messages.
        inspect: Looks into the bytes of one.
    """

    folder: str
    file: str
    columns: tuple[str, ...]
    digest: str
    key: str
    noun: str
    inspect: Callable[[bytes], InputFile | Unusable]


# The extension is known of the content and no column.
_SOUND_COLUMNS = tuple(field.name for field in fields(SoundFile))[1:-1]
_TEXT_COLUMNS = tuple(field.name for field in fields(TextInput))[1:]
_IMAGE_COLUMNS = ("width_px", "height_px", "mode", "n_bytes", "pixel_digest")
INPUTS: Mapping[str, InputsTable] = {
    "image": InputsTable("images", "images.csv", _IMAGE_COLUMNS, "pixel_digest", "pixels:", "picture", inspect_bytes),
    "text": InputsTable("texts", "texts.csv", _TEXT_COLUMNS, "text_digest", "text:", "text", inspect_text),
    "audio": InputsTable("sounds", "sounds.csv", _SOUND_COLUMNS, "sound_digest", "sound:", "sound", inspect_sound),
}


def inspect_inputs(task: str, data_dir: Path, rows: Sequence[LabelRow]) -> list[InputFile | Unusable]:
    """Looks into the sample of each row, once."""
    if task == "text":
        return [inspect_text(text_bytes(row.text)) for row in rows]
    return inspect_files(data_dir, [normal_path(row.path) for row in rows], INPUTS[task].inspect)


def content_digest(file: InputFile) -> str:
    """What copies of an input in other bytes share."""
    match file:
        case TextInput():
            return file.text_digest
        case SoundFile():
            return file.sound_digest
    return file.pixel_digest


def extension_of(file: InputFile) -> str:
    """The ending of a file that fits the content, for example `.png`."""
    return ".txt" if isinstance(file, TextInput) else file.extension


def read_inputs(manifest: Path) -> tuple[InputsTable, pd.DataFrame]:
    """The table of a manifest's inputs, every cell as text, with what it is."""
    described = next(table for table in INPUTS.values() if (manifest / table.file).is_file())
    return described, pd.read_csv(manifest / described.file, dtype=str, keep_default_na=False)


def as_row(file: InputFile, path: str, table: InputsTable) -> dict[str, Any]:
    """A row of the table."""
    return {"id": file.id, "path": path, **{column: getattr(file, column) for column in table.columns}}
