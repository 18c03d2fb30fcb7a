"""What label names alone say of a sample, without any training: how labels are put into words, and by which network of images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipelines.config.section import Section
from pipelines.config.transformers_source import TransformersSource

_PLACE = "{label}"
# What CLIP's authors begin with (Radford et al. 2021, https://arxiv.org/abs/2103.00020).
_OF_IMAGES = "a photo of a {label}."


class ClipModel(TransformersSource):
    """A CLIP of the library transformers: config.json, preprocessor_config.json, model.safetensors and tokenizer.json.

    Code that a model brings along is never run, and weights are never a pickle.

    Attributes:
        folder: Holds the four files; relative to the workspace.
    """


class ZeroShotSection(Section):
    """Label names against test samples, by cosine: a row of the report. Nothing is trained, and no labelled sample is looked at.

    Of texts by the features of the backbone, where its pooling is `mean`; of images by a CLIP, where `clip` names one.

    Attributes:
        enabled: Whether it is measured after each run's decision.
        template: How a label is put into words; `{label}` is its name, an underscore in it a blank. Nothing: `{label}` of texts, and
            `a photo of a {label}.` of images.
        prompts: By label, one or more wordings in place of the template's; of several their mean counts.
        clip: The network of images.
    """

    enabled: bool = True
    template: str | None = None
    prompts: dict[str, Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]] = Field(default_factory=dict)
    clip: ClipModel | None = None

    @model_validator(mode="after")
    def _has_a_place(self) -> ZeroShotSection:
        if self.template is not None and _PLACE not in self.template:
            raise ValueError(f"template {self.template!r} has no {_PLACE}: every label would be put into the same words")
        return self

    def wordings(self, label: str, task: str) -> tuple[str, ...]:
        """What a label is called."""
        template = self.template or (_OF_IMAGES if task == "image" else _PLACE)
        return self.prompts.get(label) or (template.replace(_PLACE, label.replace("_", " ")),)
