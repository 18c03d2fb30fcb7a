"""What the data hold already: the labels under which the bytes of a file, or the picture or sound in it, are listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipelines.core.bundle import file_sha256
from pipelines.image_files import ImageFile, sides_px
from pipelines.input_files import Unusable, inspect_files, normal_path
from pipelines.labels_table import LabelRow
from pipelines.modalities.audio_inputs import SoundFile, stated_length
from pipelines.modalities.inspection import INPUTS, InputFile, content_digest

Size = tuple[int, int]


class KnownContent:
    """Labels by content for the rows of a labels table, and for what is added meanwhile.

    Files are hashed only if another could have the same bytes, and decoded only if another could hold the same: whoever asks about little
    waits for little. A file that cannot be read is known by nothing; validation says what is wrong with it.

    Args:
        data_dir: The folder that the rows' paths are relative to.
        rows: Of the labels table.
        task: What the files are; texts are no files.
    """

    def __init__(self, data_dir: Path, rows: Iterable[LabelRow], task: str = "image") -> None:
        self._data_dir = data_dir
        self._rows = tuple(rows)
        self._inspect = INPUTS[task].inspect
        self._stated_size = _STATED_SIZES[task]
        self._by_bytes: dict[str, set[str]] = {}
        self._by_content: dict[str, set[str]] = {}
        self._rows_by_size: dict[Size, list[LabelRow]] | None = None

    def hash_files(self, sizes: set[int] | None = None) -> None:
        """Makes the files of these sizes known by their bytes, or all files; must come before `labels_of_bytes`."""
        for row in self._rows:
            size = file_size(self._data_dir / row.path)
            if size is not None and (sizes is None or size in sizes):
                self._by_bytes.setdefault(file_sha256(self._data_dir / row.path), set()).add(row.label)

    def labels_of_bytes(self, sha256: str) -> set[str]:
        """The labels of the files with these bytes."""
        return self._by_bytes.get(sha256, set())

    def labels_of_copies(self, found: InputFile) -> set[str]:
        """The labels of the files with this picture or sound, whatever their format."""
        self._decode_files(_size(found))
        return self._by_content.get(content_digest(found), set())

    def add(self, found: InputFile, label: str) -> None:
        """Makes a file that the table does not list yet known."""
        self._by_bytes.setdefault(found.id, set()).add(label)
        self._by_content.setdefault(content_digest(found), set()).add(label)

    def _decode_files(self, size: Size) -> None:
        if self._rows_by_size is None:
            self._rows_by_size = self._grouped_rows()
        # Taken out, so that the files of one size are decoded once.
        rows = self._rows_by_size.pop(size, [])
        files = inspect_files(self._data_dir, [normal_path(row.path) for row in rows], self._inspect)
        for row, file in zip(rows, files, strict=True):
            if not isinstance(file, Unusable):
                self._by_content.setdefault(content_digest(file), set()).add(row.label)

    def _grouped_rows(self) -> dict[Size, list[LabelRow]]:
        grouped: dict[Size, list[LabelRow]] = {}
        for row in self._rows:
            size = self._stated_size(self._data_dir / row.path)
            if size is not None:
                grouped.setdefault(size, []).append(row)
        return grouped


def file_size(file: Path) -> int | None:
    """Bytes of a regular file; None for anything else, and for what is no path at all."""
    try:
        return file.stat().st_size if file.is_file() else None
    # A null byte in what a table names makes a ValueError.
    except (OSError, ValueError):
        return None


def _sides(file: Path) -> Size | None:
    sides = sides_px(file)
    return None if sides is None else _without_order(*sides)


def _without_order(width_px: int, height_px: int) -> Size:
    # A header's sides are those before EXIF turns the picture.
    return min(width_px, height_px), max(width_px, height_px)


def _size(found: InputFile) -> Size:
    """What files with this picture or sound state of their size."""
    match found:
        case ImageFile():
            return _without_order(found.width_px, found.height_px)
        case SoundFile():
            return found.rate_hz, found.n_samples
    return found.n_characters, 0


# By task; each reads a file's header alone.
_STATED_SIZES: Mapping[str, Callable[[Path], Size | None]] = {"image": _sides, "audio": stated_length}
