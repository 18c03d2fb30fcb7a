"""The backbone that the stage `select` chose, as `backbone.json` holds it, with the files that it refers to beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from pipelines.core.backbones import AnyBackboneSpec
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import ConfigurationError
from pipelines.core.modalities.adapters import Preprocess, modality_of
from pipelines.core.modalities.modality import Modality
from pipelines.core.modalities.text import TOKENIZER_FILE, TextModality, TextPreprocess
from pipelines.core.preprocess import ImagePreprocess


class SelectedBackbone(BaseModel):
    """A backbone that is ready to be loaded: what `backbone.json` holds.

    Attributes:
        candidate: Its place among the candidates of a `best_of` entry; 0 where the conf file names one backbone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: AnyBackboneSpec
    preprocess: Preprocess
    candidate: Annotated[int, Field(ge=0)] = 0
    _folder: Path | None = PrivateAttr(None)

    @property
    def folder(self) -> Path | None:
        """Where the files lie that `preprocess` refers to; nothing where it refers to none. No part of what the backbone is."""
        return self._folder

    @property
    def modality(self) -> Modality:
        """Bytes to inputs of this backbone."""
        return modality_of(self.preprocess, self._folder)

    @property
    def image_preprocess(self) -> ImagePreprocess:
        """The preprocessing, for what only images have; the conf file is refused before it comes to another.

        Raises:
            ConfigurationError: It is of another kind of input.
        """
        if isinstance(self.preprocess, ImagePreprocess):
            return self.preprocess
        raise self._of_another_kind("images")

    @property
    def text_modality(self) -> TextModality:
        """Texts to inputs of this backbone.

        Raises:
            ConfigurationError: It reads another kind of input.
        """
        if isinstance(modality := self.modality, TextModality):
            return modality
        raise self._of_another_kind("texts")

    def beside(self, folder: Path) -> SelectedBackbone:
        """The same with its files in `folder`, under their names in a bundle."""
        placed = self.model_copy()
        placed._folder = folder
        return placed

    def _of_another_kind(self, wanted: str) -> ConfigurationError:
        return ConfigurationError(
            got=f"{self.spec.name}, a backbone whose inputs are of kind {self.preprocess.kind}.",
            allowed=f"a backbone of {wanted}.",
            next_step="take another method or backbone in the conf file.",
        )


def write_selected(selected: SelectedBackbone, path: Path) -> None:
    """Writes `backbone.json`, and beside it what its preprocessing refers to."""
    path.write_bytes(canonical_json(selected.model_dump(mode="json")))
    copy_preprocess_files(selected, path.parent)


def copy_preprocess_files(selected: SelectedBackbone, folder: Path) -> None:
    """Puts the files that the preprocessing refers to into a folder: the tokeniser of a text backbone."""
    if selected.folder is not None:
        shutil.copyfile(selected.folder / TOKENIZER_FILE, folder / TOKENIZER_FILE)


def read_selected(path: Path) -> SelectedBackbone:
    """Reads `backbone.json`."""
    selected = SelectedBackbone.model_validate_json(path.read_bytes())
    return selected.beside(path.parent) if isinstance(selected.preprocess, TextPreprocess) else selected
