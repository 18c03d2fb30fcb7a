"""Reads Omniglot's zip files as white ink on black, through the same decoder as everything else."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from pipelines.backbone_cards import DataSource
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import DataError, IntegrityError
from pipelines.core.preprocess import ImagePreprocess, preprocess

if TYPE_CHECKING:
    from torch import Tensor

SOURCE = (
    "https://github.com/brendenlake/omniglot (python/images_background_small{number}.zip), Lake et al. 2015, doi:10.1126/science.aab3050"
)
OMNIGLOT = (
    DataSource(
        name="omniglot_small1.zip",
        licence="MIT",
        sha256="f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
        n_images=2720,
        source=SOURCE.format(number=1),
    ),
    DataSource(
        name="omniglot_small2.zip",
        licence="MIT",
        sha256="3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
        n_images=3120,
        source=SOURCE.format(number=2),
    ),
)


@dataclass(frozen=True)
class Characters:
    """Drawings of characters.

    Attributes:
        images: float32 [n, 1, s, s] in [0, 1], ink 1 on ground 0.
        labels: int64 [n], index of the class.
        names: Of the classes, `alphabet/character`.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]


def verify_zips(zips: Sequence[Path], sources: Sequence[DataSource]) -> None:
    """Refuses any file that is not exactly what the card will say it is.

    Raises:
        IntegrityError: Another set of files, or another content.
    """
    found = {path.name: file_sha256(path) for path in zips if path.is_file()}
    wanted = {source.name: source.sha256 for source in sources}
    if found != wanted:
        raise IntegrityError(
            got=f"pretraining data {', '.join(f'{name} {digest[:12]}' for name, digest in sorted(found.items())) or 'none'}.",
            allowed=f"exactly {', '.join(f'{name} {digest[:12]}' for name, digest in sorted(wanted.items()))} (sha256).",
            next_step="download the files again from the addresses in backbones/omniglot_resnet/card.json.",
        )


def read_drawings(zips: Sequence[Path]) -> dict[str, list[bytes]]:
    """The image files of each class, sorted by class and file name; identical files count once.

    The two zip files share Greek and Latin, so their 292 folders are 242 classes.

    Raises:
        DataError: There is no image in them.
    """
    drawings: dict[str, dict[str, bytes]] = {}
    for path in sorted(zips):
        for name, data in _images_of(path):
            drawings.setdefault(name, {}).setdefault(hashlib.sha256(data).hexdigest(), data)
    if not drawings:
        raise DataError(
            got=f"no image in {', '.join(path.name for path in zips)}.",
            allowed="zip files with folder/alphabet/character/drawing.png.",
            next_step="give the unchanged files of the Omniglot repository.",
        )
    return {name: list(drawings[name].values()) for name in sorted(drawings)}


def _images_of(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in sorted(archive.namelist()):
            parts = PurePosixPath(member).parts
            if len(parts) == 4 and member.endswith(".png"):
                yield f"{parts[1]}/{parts[2]}", archive.read(member)


def as_characters(drawings: dict[str, list[bytes]], alphabets: Sequence[str], size_px: int) -> Characters:
    """Decodes the drawings of some alphabets and inverts them: Omniglot is black ink on white, the backbone's input is white on black.

    Raises:
        DataError: One of the alphabets is not there.
    """
    import torch

    present = {name.split("/")[0] for name in drawings}
    if missing := sorted(set(alphabets) - present):
        raise DataError(
            got=f"no drawing of the alphabets {', '.join(missing)}.",
            allowed=f"the alphabets of the data: {', '.join(sorted(present))}.",
            next_step="correct the recipe's held-out alphabets, or give all of the data.",
        )
    names = tuple(name for name in drawings if name.split("/")[0] in alphabets)
    plain = ImagePreprocess(color="L", height_px=size_px, width_px=size_px, mean=(0.0,), std=(1.0,))
    ink = np.concatenate([1 - preprocess(drawings[name], plain) for name in names])
    labels = np.repeat(np.arange(len(names)), [len(drawings[name]) for name in names])
    return Characters(torch.from_numpy(ink), torch.from_numpy(labels), names)
