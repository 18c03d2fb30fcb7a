"""Makes the backbone that ships with Regraft, from Omniglot alone: weights, a card for machines, the same card for people."""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.backbone_cards import CARD, CARD_FOR_PEOPLE, WEIGHTS, BackboneCard, DataSource, HeldOutAccuracy, card_markdown
from pipelines.core.backbones import BackboneSpec, build_backbone
from pipelines.core.bundle import install_directory
from pipelines.core.errors import ConfigurationError
from pipelines.core.preprocess import ImagePreprocess
from pipelines.pretraining.episodes import few_shot_accuracy, held_out_features
from pipelines.pretraining.omniglot import OMNIGLOT, Characters, as_characters, read_drawings, verify_zips
from pipelines.pretraining.recipe import PretrainRecipe
from pipelines.pretraining.training import deterministic, train_backbone

if TYPE_CHECKING:
    from torch import nn

LIMITS = (
    "Line drawings only: it has seen nothing but handwritten characters, white ink on black, one to a frame. Black ink on white, "
    "colour, texture and photographs are outside what it was trained for. It learned to tell a character from its quarter turns, so "
    "a task in which orientation does not matter has to unlearn that. A few alphabets of 20 writers each are a small world. "
    "No digit was trained on, and no accuracy on digits chose anything, as digits are what transfer is measured on; but that the "
    "augmentation goes down to 8 px was chosen knowing that inputs such as scikit-learn's digits are that small."
)


def pretrain_shipped_backbone(
    omniglot_zips: Sequence[Path],
    out_dir: Path,
    seed: int,
    progress: Callable[[str], None],
    recipe: PretrainRecipe | None = None,
    data: Sequence[DataSource] = OMNIGLOT,
) -> BackboneCard:
    """Trains the backbone and writes its folder in one step.

    Args:
        omniglot_zips: The files that `data` names.
        out_dir: The backbone's folder, which must not exist; its name becomes the backbone's.
        seed: Of the initial weights, the order, the augmentation and the episodes.
        progress: Called with a line now and then.
        recipe: Another than the default one; its seed is replaced by `seed`.
        data: What the files must be.

    Returns:
        The card that was written.

    Raises:
        ConfigurationError: `out_dir` exists.
        IntegrityError: The files are not those of `data`.
        DataError: A drawing does not decode, or a held-out alphabet is not there.
    """
    _refuse_existing(out_dir)
    verify_zips(omniglot_zips, data)
    recipe = (recipe or PretrainRecipe(seed=seed)).model_copy(update={"seed": seed})
    drawings = read_drawings(omniglot_zips)
    held_out = (*recipe.selection_alphabets, *recipe.report_alphabets)
    characters = as_characters(drawings, sorted({name.split("/")[0] for name in drawings} - set(held_out)), recipe.source_px)
    progress(f"{len(characters.images)} drawings of {len(characters.names)} characters; held out: {', '.join(held_out)}")
    with deterministic(seed, recipe.n_threads):
        backbone = build_backbone(_spec(out_dir.name, recipe, None))
        unseen = {alphabet: as_characters(drawings, [alphabet], recipe.input_px) for alphabet in reversed(held_out)}
        before = _held_out(backbone, unseen, recipe)
        train_backbone(backbone, characters, recipe, progress)
        after = _held_out(backbone, unseen, recipe)
    weights = _weights_bytes(backbone)
    card = BackboneCard(
        spec=_spec(out_dir.name, recipe, hashlib.sha256(weights).hexdigest()),
        preprocess=_preprocess_spec(recipe),
        data=tuple(data),
        n_classes=len(characters.names),
        n_images=len(characters.images),
        recipe=recipe,
        versions=_versions(),
        command=f"regraft backbones pretrain --data DIR --out backbones/{out_dir.name} --seed {seed}",
        held_out_accuracy=tuple(new.model_copy(update={"untrained_mean": old.mean}) for new, old in zip(after, before, strict=True)),
        limits=LIMITS,
    )
    _write(out_dir, weights, card)
    return card


def _refuse_existing(out_dir: Path) -> None:
    if out_dir.exists():
        raise ConfigurationError(
            got=f"--out {out_dir}, which exists.",
            allowed="a folder that is not there yet: a backbone never changes under its name.",
            next_step="give another name, or remove the folder first.",
        )


def _spec(name: str, recipe: PretrainRecipe, weights_sha256: str | None) -> BackboneSpec:
    return BackboneSpec(
        name=recipe.architecture,
        in_channels=1,
        model_args=recipe.model_args,
        origin=name,
        weights_sha256=weights_sha256,
        licence="Apache-2.0",
    )


def _preprocess_spec(recipe: PretrainRecipe) -> ImagePreprocess:
    return ImagePreprocess(color="L", height_px=recipe.input_px, width_px=recipe.input_px, mean=(recipe.mean,), std=(recipe.std,))


def _held_out(backbone: nn.Module, unseen: dict[str, Characters], recipe: PretrainRecipe) -> list[HeldOutAccuracy]:
    rows = []
    for alphabet, characters in unseen.items():
        for view in ("full", "coarse"):
            features = held_out_features(backbone, characters, recipe, view)
            rows += [few_shot_accuracy(features, characters, alphabet, view, shots, recipe.seed) for shots in (1, 5)]
    return rows


def _weights_bytes(backbone: nn.Module) -> bytes:
    from safetensors.torch import save

    data: bytes = save({name: tensor.detach().contiguous() for name, tensor in backbone.state_dict().items()})
    return data


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    libraries = {name: version(name) for name in ("numpy", "pillow", "safetensors", "timm", "torch")}
    return {"python": platform.python_version(), **libraries, "machine": f"{platform.system()} {platform.machine()}"}


def _write(out_dir: Path, weights: bytes, card: BackboneCard) -> None:
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    try:
        (staging / WEIGHTS).write_bytes(weights)
        (staging / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (staging / CARD_FOR_PEOPLE).write_text(card_markdown(card), encoding="utf-8")
        staging.chmod(0o755)
        install_directory(staging, out_dir)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
