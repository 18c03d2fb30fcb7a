"""The backbones that ship with the project: a folder each, with weights, a card for machines and the same card for people.

    card.json              a `BackboneCard`
    weights.safetensors    the state dict of the backbone without its classifier
    README.md              `card_markdown` of the card

`pipelines/pretrain.py` writes such a folder; nothing else does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.config.section import Sha256
from pipelines.core.backbones import BackboneSpec
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.core.preprocess import ImagePreprocess
from pipelines.pretraining.recipe import PretrainRecipe

if TYPE_CHECKING:
    from torch import Tensor

CARD = "card.json"
WEIGHTS = "weights.safetensors"
CARD_FOR_PEOPLE = "README.md"


class DataSource(BaseModel):
    """One file of the training data.

    Attributes:
        name: The file's name.
        licence: Of its content.
        n_images: In the file; files of one data set may share images.
        source: Where it came from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    licence: str
    sha256: Sha256
    n_images: Annotated[int, Field(ge=1)]
    source: str


class HeldOutAccuracy(BaseModel):
    """Few-shot accuracy on classes that were never trained on.

    Attributes:
        alphabet: Whose characters are the classes.
        view: `full` is the drawing at the input's size, `coarse` the same seen through 12 x 12 pixels.
        ways, shots: Classes of an episode, and labelled examples of each.
        n_episodes, n_queries: Episodes, and test images in each.
        mean, p05, p95: Of the accuracy over the episodes.
        untrained_mean: The same for the same architecture and seed before training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alphabet: str
    view: Literal["full", "coarse"]
    ways: int
    shots: int
    n_episodes: int
    n_queries: int
    mean: float
    p05: float
    p95: float
    untrained_mean: float | None = None


class BackboneCard(BaseModel):
    """What a shipped backbone is, what made it, and what it is worth.

    Attributes:
        spec: The architecture, the licence and the sha256 of the weights; `origin` is the folder's name.
        preprocess: The input that it was trained for.
        data: All that it was trained on, held-out classes included.
        n_classes, n_images: Trained on, before the quarter turns.
        versions: Of the libraries and of the processor: other ones may give other bytes.
        command: Makes the same weights again.
        limits: What it is not good for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: BackboneSpec
    preprocess: ImagePreprocess
    data: tuple[DataSource, ...]
    n_classes: int
    n_images: int
    recipe: PretrainRecipe
    versions: dict[str, str]
    command: str
    held_out_accuracy: tuple[HeldOutAccuracy, ...]
    limits: str


def shipped_cards(folder: Path) -> dict[str, BackboneCard]:
    """The cards of all backbones below `folder`, by name.

    Raises:
        IntegrityError: A card cannot be read, or speaks of another backbone.
    """
    return {path.parent.name: _read_card(path) for path in sorted(folder.glob(f"*/{CARD}"))}


def load_shipped(name: str, folder: Path) -> tuple[BackboneCard, dict[str, Tensor]]:
    """Reads a shipped backbone's card and weights; the weights are verified before they are parsed.

    Args:
        name: The folder's name.
        folder: Where the shipped backbones lie, `backbones/` of the project.

    Returns:
        The card and the state dict.

    Raises:
        ConfigurationError: No backbone of this name; lists those that there are.
        IntegrityError: The weights are not those of the card.
    """
    from safetensors.torch import load

    cards = shipped_cards(folder)
    if name not in cards:
        raise ConfigurationError(
            got=f"the backbone {name!r}, which does not ship with the project.",
            allowed=f"one of {', '.join(cards) or 'none: the folder holds no card'}.",
            next_step="correct backbone.name in the conf file, or list the names with `regraft backbones list`.",
        )
    card = cards[name]
    data = _verified_bytes(folder / name / WEIGHTS, card)
    return card, load(data)


def _read_card(path: Path) -> BackboneCard:
    try:
        card = BackboneCard.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise IntegrityError(
            got=f"{path.parent.name}/{CARD} that cannot be read as a backbone card: {error}.",
            allowed="the card that `regraft backbones pretrain` wrote.",
            next_step="restore the file from git, or make the backbone again with `regraft backbones pretrain`.",
        ) from error
    if card.spec.origin != path.parent.name:
        raise IntegrityError(
            got=f"the card of {card.spec.origin!r} in the folder {path.parent.name!r}.",
            allowed="a folder that has its backbone's name.",
            next_step=f"rename the folder to {card.spec.origin!r}.",
        )
    return card


def _verified_bytes(path: Path, card: BackboneCard) -> bytes:
    data = path.read_bytes() if path.is_file() else b""
    digest = hashlib.sha256(data).hexdigest()
    if digest != card.spec.weights_sha256:
        raise IntegrityError(
            got=f"weights of {card.spec.origin} ({len(data)} bytes) with sha256 {digest[:12]}.",
            allowed=f"the weights of its card, sha256 {str(card.spec.weights_sha256)[:12]}.",
            next_step=f"restore {path.parent.name}/{WEIGHTS} from git, or make it again with: {card.command}.",
        )
    return data


def card_markdown(card: BackboneCard) -> str:
    """The card for people: Markdown, made from the card alone."""
    parts = [_what_it_is(card), _data_table(card), _accuracy_table(card), _recipe_list(card), f"## Limits\n\n{card.limits}\n"]
    return "\n".join(parts)


def _what_it_is(card: BackboneCard) -> str:
    spec, size = card.spec, card.preprocess
    arguments = ", ".join(f"{key}={value}" for key, value in sorted(spec.model_args.items()))
    return (
        f"# {spec.origin}\n\n"
        f"<!-- Made from card.json by pipelines/backbone_cards.py; `regraft backbones pretrain` writes both. -->\n\n"
        f"- architecture: timm `{spec.name}` ({arguments}), {spec.in_channels} input channel\n"
        f"- input: {size.color}, {size.height_px} x {size.width_px} px, {size.fit}, {size.interpolation}, white ink on black, "
        f"mean {size.mean[0]}, std {size.std[0]}\n"
        f"- licence of the weights: {spec.licence}\n"
        f"- sha256 of the weights: `{spec.weights_sha256}`\n"
        f"- made by: `{card.command}`\n"
    )


def _data_table(card: BackboneCard) -> str:
    rows = "".join(f"| {item.name} | {item.licence} | {item.n_images} | `{item.sha256}` | {item.source} |\n" for item in card.data)
    recipe = card.recipe
    return (
        f"## Data\n\n| file | licence | images | sha256 | source |\n|---|---|---|---|---|\n{rows}\n"
        f"Trained on {card.n_images} drawings of {card.n_classes} characters; files of one content count once. Each character in "
        f"{recipe.n_rotations} orientations, each a class of its own.\n\n"
        f"Held out: {', '.join(recipe.selection_alphabets)}, which chose the recipe, and {', '.join(recipe.report_alphabets)}, which chose "
        "nothing.\n"
    )


def _accuracy_table(card: BackboneCard) -> str:
    head = (
        "## Few-shot accuracy on held-out characters\n\n"
        "Frozen features, nearest centroid by cosine; mean over episodes (5th to 95th percentile). "
        "`coarse` is the drawing seen through 12 x 12 px.\n\n"
        "| alphabet | view | ways | shots | episodes x queries | accuracy | untrained |\n|---|---|---|---|---|---|---|\n"
    )
    rows = [
        f"| {row.alphabet} | {row.view} | {row.ways} | {row.shots} | {row.n_episodes} x {row.n_queries} | "
        f"{row.mean:.3f} ({row.p05:.3f} to {row.p95:.3f}) | {'-' if row.untrained_mean is None else f'{row.untrained_mean:.3f}'} |\n"
        for row in card.held_out_accuracy
    ]
    return head + "".join(rows)


def _recipe_list(card: BackboneCard) -> str:
    values = card.recipe.model_dump(mode="json")
    augment = values.pop("augment")
    lines = [f"- {key}: {value}" for key, value in values.items()] + [f"- augment.{key}: {value}" for key, value in augment.items()]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(card.versions.items()))
    return "## Recipe\n\n" + "\n".join(lines) + f"\n\nMade with {versions}. The same versions on the same machine give the same bytes.\n"
