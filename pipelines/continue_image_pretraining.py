"""Lets a workspace's image backbone look at unlabelled images of its domain, and writes it as weights that the conf file can name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipelines.backbones import load_backbone, select_backbone
from pipelines.config import AutoMethod, Method, ProjectConfig, Recipe, ShippedBackbone, TimmBackbone, plain_method
from pipelines.continued_backbone import backbone_lines, refuse_existing
from pipelines.core.backbones import BackboneSpec
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, DataError, RefusedError
from pipelines.core.preprocess import ImagePreprocess
from pipelines.dataset import Sample
from pipelines.progress import Progress, silent
from pipelines.selected_backbone import SelectedBackbone
from pipelines.siamese.images import ChosenImages, choose_images
from pipelines.siamese.training import ImagePretrainingSettings, LookingOutcome, look_on
from pipelines.siamese.views import Views
from pipelines.staging import staged_folder
from pipelines.training.flips import FLIP_AXES, Flip
from pipelines.training.inputs import SampleInputs

if TYPE_CHECKING:
    from torch import nn

_N_SHOWN = 20


@dataclass(frozen=True)
class ContinuedImages:
    """A backbone that has looked on.

    Attributes:
        entry: Of the conf file; its weights are the file that was written.
        outcome: Losses on held-out images.
        images: What became of the files that were given.
    """

    entry: TimmBackbone
    outcome: LookingOutcome
    images: ChosenImages

    def conf_lines(self, workspace: Path) -> str:
        """What the conf file is to say of the backbone.

        Args:
            workspace: What a file inside of it is named relative to.
        """
        return backbone_lines(self.entry, workspace)

    def as_json(self) -> dict[str, JsonValue]:
        """For machines."""
        counts: dict[str, JsonValue] = dict(self.images.counts.as_json())
        unreadable: list[JsonValue] = [{"path": found.where, "problem": found.problem} for found in self.images.unreadable]
        entry = self.entry.model_dump(mode="json", exclude_none=True)
        return {"backbone": entry, "images": {**counts, "unreadable": unreadable}, **self.outcome.as_json()}

    def as_lines(self) -> list[str]:
        """For people: what came of it."""
        before, after, cut = self.outcome.before, self.outcome.after, self.outcome.cut_at
        lines = [
            f"Loss of {after.n_images} held-out images: {before.loss:.4f} before, {after.loss:.4f} after (-1: two views look the same).",
            f"Spread of their outputs: {before.spread:.3f} before, {after.spread:.3f} after (0: all images look the same).",
        ]
        return [*lines, f"The deadline ended it in round {cut[0]}; the round before it is kept."] if cut else lines


def continue_image_pretraining(
    config: ProjectConfig,
    images: Path,
    test_digests: Collection[str],
    settings: ImagePretrainingSettings,
    checkpoints: Path,
    out: Path,
    progress: Progress = silent,
    tell: Callable[[str], None] = lambda _: None,
) -> ContinuedImages:
    """Trains the conf file's backbone by SimSiam and writes its weights in one step.

    Args:
        config: Of the project.
        images: A folder; labels are not looked at.
        test_digests: `pixel_digest` of the images of the splits test and holdout.
        settings: How.
        checkpoints: A folder of this command's own, which a kill leaves behind and the next call goes on from.
        out: The new folder.
        progress: Told of every step.
        tell: Told what became of the images.

    Raises:
        ConfigurationError: The backbone is none of images, `out` is there already, or time ran out before a round.
        DataError: There is no folder, or too few images.
        IntegrityError: A file of the backbone is another one than stated.
        RefusedError: The outputs collapsed or the loss on held-out images did not fall; nothing is written.
    """
    refuse_existing(out)
    backbone, selected, spec = _image_backbone_of(config)
    preprocess = selected.image_preprocess
    chosen = choose_images(images, preprocess, test_digests, settings.seed, progress)
    _say(chosen, tell)
    _refuse_fewer_than_a_batch(len(chosen.train), settings.batch_size)
    network = load_backbone(backbone, selected)
    train, held_out = (_inputs(part, images, preprocess) for part in (chosen.train, chosen.held_out))
    views = Views(preprocess, settings.flips, settings.least_area)
    try:
        outcome = look_on(network, train, held_out, views, settings, config, checkpoints, progress)
    except RefusedError:
        shutil.rmtree(checkpoints, ignore_errors=True)  # nothing would come of going on
        raise
    with staged_folder(out) as folder:
        entry = _write(network, spec, preprocess, _record(spec, settings, chosen, outcome), folder)
        select_backbone(entry)  # what cannot be loaded is not left behind
    shutil.rmtree(checkpoints, ignore_errors=True)
    return ContinuedImages(entry.model_copy(update={"weights": out / weights_name(spec.name, out)}), outcome, chosen)


def weights_name(architecture: str, folder: Path) -> str:
    """Of the file in a folder: the Hub's way, which `regraft backbones rank --weights` reads the architecture from."""
    return f"{architecture}.{folder.name}.safetensors"


def stated_flips(method: Method) -> tuple[Flip, ...] | None:
    """The flips that a conf file's method states for training images; nothing where it leaves them to be found out, which takes labels."""
    plain = plain_method(method)
    recipe = plain.fine_tune if isinstance(plain, AutoMethod) else plain
    setting = recipe.augment.flips if isinstance(recipe, Recipe) else "none"
    if setting == "auto":
        return None
    return tuple(flip for flip in FLIP_AXES if setting in (flip, "both"))


def _image_backbone_of(config: ProjectConfig) -> tuple[ShippedBackbone | TimmBackbone, SelectedBackbone, BackboneSpec]:
    if isinstance(config.backbone, ShippedBackbone | TimmBackbone):
        selected = select_backbone(config.backbone)
        if isinstance(selected.spec, BackboneSpec):
            return config.backbone, selected, selected.spec
    raise ConfigurationError(
        got=f"--images for a conf file whose backbone is of kind {config.backbone.kind}.",
        allowed="task: image with one backbone of kind shipped or timm; a transformer reads --texts.",
        next_step="name another workspace with --workspace, a conf file with --conf, or one of several candidates: --set 'backbone={…}'.",
    )


def _say(chosen: ChosenImages, tell: Callable[[str], None]) -> None:
    tell(f"{chosen.counts}.")
    for found in chosen.unreadable[:_N_SHOWN]:
        tell(f"  left out: {found.where}: {found.problem}")
    if len(chosen.unreadable) > _N_SHOWN:
        tell(f"  and {len(chosen.unreadable) - _N_SHOWN} more")


def _refuse_fewer_than_a_batch(n_train: int, batch_size: int) -> None:
    if n_train < batch_size:
        raise DataError(
            got=f"{n_train} images to learn from with --batch-size {batch_size}.",
            allowed="a batch of images at least.",
            next_step=f"give more images, or --batch-size {max(2, n_train // 4)}.",
        )


def _inputs(samples: Sequence[Sample], folder: Path, preprocess: ImagePreprocess) -> SampleInputs:
    return SampleInputs(samples, folder, preprocess, labels=("",))


def _write(
    network: nn.Module, spec: BackboneSpec, preprocess: ImagePreprocess, record: Mapping[str, JsonValue], folder: Path
) -> TimmBackbone:
    """Weights, and beside them what a description of weights says and how they came to be."""
    import safetensors.torch

    weights = folder / weights_name(spec.name, folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    safetensors.torch.save_file(state, weights, {"format": "pt"})
    entry = TimmBackbone(
        kind="timm",
        name=spec.name,
        weights=weights,
        sha256=file_sha256(weights),
        in_channels=1 if spec.in_channels == 1 else 3,
        model_args=spec.model_args,
        preprocess=preprocess,
    )
    content = _description(spec, preprocess) | {"sha256": entry.sha256} | dict(record)
    weights.with_suffix(".json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return entry


def _description(spec: BackboneSpec, preprocess: ImagePreprocess) -> dict[str, JsonValue]:
    """As `WeightsDescription` reads it, and the ranking of backbones."""
    described: dict[str, JsonValue] = {
        "arch": spec.name,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "input_size": list(preprocess.input_shape),
        "crop_pct": preprocess.crop_frac,
        "interpolation": preprocess.interpolation,
    }
    if "pad_type" in spec.model_args:
        described["pad_type"] = str(spec.model_args["pad_type"])
    return described if spec.licence == "unknown" else described | {"licence": spec.licence}


def _record(spec: BackboneSpec, settings: ImagePretrainingSettings, chosen: ChosenImages, outcome: LookingOutcome) -> dict[str, JsonValue]:
    images: dict[str, JsonValue] = dict(chosen.counts.as_json())
    return {
        "from": {"origin": spec.origin, "weights_sha256": spec.weights_sha256, "licence": spec.licence},
        "objective": "SimSiam: two views of an image, projector, predictor, stop-gradient",
        # How long it may take is no part of what was asked for.
        "settings": settings.model_dump(mode="json", exclude={"minutes"}),
        "images": images,
        **outcome.as_json(),
        "versions": {name: version(name) for name in ("torch", "timm", "pillow")},
    }
