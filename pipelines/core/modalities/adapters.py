"""The table of adapters: which one a preprocess spec asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.core.modalities.audio import AudioModality, AudioPreprocess
from pipelines.core.modalities.image import ImageModality
from pipelines.core.modalities.modality import Modality
from pipelines.core.modalities.text import TextModality, TextPreprocess
from pipelines.core.preprocess import ImagePreprocess

Preprocess = Annotated[ImagePreprocess | TextPreprocess | AudioPreprocess, Field(discriminator="kind")]


def modality_of(spec: Preprocess, folder: Path | None = None) -> Modality:
    """The adapter of a spec.

    Args:
        spec: Of a bundle, or of a selected backbone.
        folder: Where the files lie that the spec refers to: the bundle, or the folder of `backbone.json`. Texts alone need one.

    Raises:
        IntegrityError: The spec refers to files and there is no folder.
    """
    if isinstance(spec, ImagePreprocess):
        return ImageModality(spec)
    if isinstance(spec, AudioPreprocess):
        return AudioModality(spec)
    if folder is None:
        raise IntegrityError(
            got="the preprocess spec of a text backbone without the folder of its tokeniser.",
            allowed="the folder of a bundle or of backbone.json.",
            next_step="report this as a bug of Regraft.",
        )
    return TextModality(spec, folder)


def image_spec(spec: Preprocess) -> ImagePreprocess:
    """The spec of a model for images, for what is there for images alone.

    Raises:
        ConfigurationError: The model is for another kind of input.
    """
    if not isinstance(spec, ImagePreprocess):
        raise ConfigurationError(
            got=f"a model for {spec.kind} inputs.",
            allowed="a model for images: what was asked for alters or shows pictures.",
            next_step="leave it out for this project.",
        )
    return spec
