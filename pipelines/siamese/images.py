"""Which images of a folder are learnt from, and which are only measured on."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.core.errors import DataError, Finding
from pipelines.core.preprocess import ImagePreprocess
from pipelines.dataset import Sample
from pipelines.image_files import IMAGE_SUFFIXES, ImageFile, inspect_bytes
from pipelines.input_files import Unusable, inspect_files
from pipelines.modalities.reading import ImageReader
from pipelines.progress import Progress
from pipelines.split import unit_hash

HELD_OUT_FRAC = 0.05
# The spread of fewer says nothing.
LEAST_HELD_OUT = 16
LEAST_IMAGES = 100
_FILES_AT_ONCE = 256


@dataclass(frozen=True)
class ImageCounts:
    """What became of the files of a folder.

    Attributes:
        n_files: With the ending of an image.
        n_unreadable: That do not decode, or are too large for the backbone's preprocessing.
        n_of_test: In the workspace's test or holdout split; neither learnt from nor measured on.
        n_copies: Of another file, pixel by pixel, whatever its format.
        n_train: Learnt from.
        n_held_out: Measured on.
    """

    n_files: int
    n_unreadable: int
    n_of_test: int
    n_copies: int
    n_train: int
    n_held_out: int

    def __str__(self) -> str:
        return (
            f"{self.n_files} images: {self.n_of_test} left out because they are in the workspace's test or holdout split, "
            f"{self.n_copies} copies, {self.n_unreadable} unreadable; {self.n_train} to learn from, "
            f"{self.n_held_out} held out to measure on"
        )

    def as_json(self) -> dict[str, int]:
        """For the record."""
        return asdict(self)


@dataclass(frozen=True)
class ChosenImages:
    """Images, in an order that does not depend on the names of their files.

    Attributes:
        folder: That their paths are relative to.
        train, held_out: Each picture once.
        counts: Of all files.
        unreadable: What is wrong with those that were left out.
    """

    folder: Path
    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    counts: ImageCounts
    unreadable: tuple[Finding, ...]


def choose_images(folder: Path, spec: ImagePreprocess, test_digests: Collection[str], seed: int, progress: Progress) -> ChosenImages:
    """Looks into every image below a folder, leaves out what must not be learnt from, and holds a twentieth of the rest out.

    Folders and files whose names begin with a dot are not looked at, nor are links to folders.

    Args:
        folder: Labels, if its folders have the names of any, are not looked at.
        spec: Of the backbone.
        test_digests: `pixel_digest` of the images of the test and holdout splits.
        seed: Decides who is held out, with the picture and nothing else.
        progress: Told while files are decoded.

    Raises:
        DataError: There is no folder, or fewer than 100 images are left.
    """
    paths = _image_paths(folder)
    usable: dict[str, Sample] = {}
    unreadable: list[Finding] = []
    n_of_test = n_copies = 0
    for path, image in zip(paths, _inspected(folder, paths, spec, progress), strict=True):
        if isinstance(image, Unusable):
            unreadable.append(Finding(path, image.problem))
            continue
        digest = image.pixel_digest
        n_of_test += digest in test_digests
        n_copies += digest in usable
        if digest not in test_digests:
            usable.setdefault(digest, Sample(image.id, path, "", digest, "", "", "train"))
    _refuse_few(len(usable), len(paths), n_of_test, unreadable)
    order = sorted(usable, key=lambda digest: (unit_hash(digest, f"held out of continued pretraining {seed}"), digest))
    n_held_out = max(LEAST_HELD_OUT, math.ceil(HELD_OUT_FRAC * len(order)))
    held_out, train = (tuple(usable[digest] for digest in part) for part in (order[:n_held_out], order[n_held_out:]))
    counts = ImageCounts(len(paths), len(unreadable), n_of_test, n_copies, len(train), len(held_out))
    return ChosenImages(folder, train, held_out, counts, tuple(unreadable))


def _image_paths(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(
            got=f"--images {folder}, {'which is a file' if folder.exists() else 'which is not there'}.",
            allowed="a folder with images, in folders below it too.",
            next_step="correct the path.",
        )
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))


def _inspected(folder: Path, paths: Sequence[str], spec: ImagePreprocess, progress: Progress) -> list[ImageFile | Unusable]:
    reader = ImageReader(spec)

    def inspect(data: bytes) -> ImageFile | Unusable:
        image = inspect_bytes(data)
        if isinstance(image, ImageFile):
            try:
                reader.read(data)  # what only this preprocessing refuses, such as a strip that is too long to be cropped
            except DataError as error:
                return Unusable(error.got.rstrip("."))
        return image

    images: list[ImageFile | Unusable] = []
    for start in range(0, len(paths), _FILES_AT_ONCE):
        images += inspect_files(folder, paths[start : start + _FILES_AT_ONCE], inspect, links_may_leave=True)
        progress("looking at images", len(images), len(paths))
    return images


def _refuse_few(n_usable: int, n_files: int, n_of_test: int, unreadable: Sequence[Finding]) -> None:
    if n_usable < LEAST_IMAGES:
        raise DataError(
            got=f"{n_usable} different images of {n_files} files, {n_of_test} of the test and holdout splits left out.",
            allowed=f"at least {LEAST_IMAGES}; some thousands are worth the time.",
            next_step="collect more images of the domain; they need no labels.",
            findings=unreadable,
        )
