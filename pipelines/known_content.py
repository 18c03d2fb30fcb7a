"""What the data hold already: the labels under which the bytes of a file, or the picture in it, are listed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipelines.core.bundle import file_sha256
from pipelines.image_files import ImageFile, inspect_images, normal_path, sides_px
from pipelines.labels_table import LabelRow

Sides = tuple[int, int]


class KnownContent:
    """Labels by content for the rows of a labels table, and for what is added meanwhile.

    Files are hashed only if another could have the same bytes, and decoded only if another could hold the same picture: whoever asks
    about little waits for little. A file that cannot be read is known by nothing; validation says what is wrong with it.
    """

    def __init__(self, data_dir: Path, rows: Iterable[LabelRow]) -> None:
        self._data_dir = data_dir
        self._rows = tuple(rows)
        self._by_bytes: dict[str, set[str]] = {}
        self._by_pixels: dict[str, set[str]] = {}
        self._rows_by_sides: dict[Sides, list[LabelRow]] | None = None

    def hash_files(self, sizes: set[int] | None = None) -> None:
        """Makes the files of these sizes known by their bytes, or all files; must come before `labels_of_bytes`."""
        for row in self._rows:
            size = file_size(self._data_dir / row.path)
            if size is not None and (sizes is None or size in sizes):
                self._by_bytes.setdefault(file_sha256(self._data_dir / row.path), set()).add(row.label)

    def labels_of_bytes(self, sha256: str) -> set[str]:
        """The labels of the files with these bytes."""
        return self._by_bytes.get(sha256, set())

    def labels_of_picture(self, image: ImageFile) -> set[str]:
        """The labels of the files with these pixels, whatever their format."""
        self._decode_files(_sides(image.width_px, image.height_px))
        return self._by_pixels.get(image.pixel_digest, set())

    def add(self, image: ImageFile, label: str) -> None:
        """Makes a file that the table does not list yet known."""
        self._by_bytes.setdefault(image.id, set()).add(label)
        self._by_pixels.setdefault(image.pixel_digest, set()).add(label)

    def _decode_files(self, sides: Sides) -> None:
        if self._rows_by_sides is None:
            self._rows_by_sides = self._grouped_rows()
        # Taken out, so that the files of one size are decoded once.
        rows = self._rows_by_sides.pop(sides, [])
        files = inspect_images(self._data_dir, [normal_path(row.path) for row in rows])
        for row, file in zip(rows, files, strict=True):
            if isinstance(file, ImageFile):
                self._by_pixels.setdefault(file.pixel_digest, set()).add(row.label)

    def _grouped_rows(self) -> dict[Sides, list[LabelRow]]:
        grouped: dict[Sides, list[LabelRow]] = {}
        for row in self._rows:
            size = sides_px(self._data_dir / row.path)
            if size is not None:
                grouped.setdefault(_sides(*size), []).append(row)
        return grouped


def file_size(file: Path) -> int | None:
    """Bytes of a regular file; None for anything else, and for what is no path at all."""
    try:
        return file.stat().st_size if file.is_file() else None
    # A null byte in what a table names makes a ValueError.
    except (OSError, ValueError):
        return None


def _sides(width_px: int, height_px: int) -> Sides:
    # Without order: a header's sides are those before EXIF turns the picture.
    return min(width_px, height_px), max(width_px, height_px)
