"""Every choice of the pretraining run as data; the card stores it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipelines.core.backbones import ModelArgument

Share = Annotated[float, Field(ge=0, le=1)]


class AugmentRecipe(BaseModel):
    """Ranges of the random changes of a training image; each is drawn uniformly.

    Attributes:
        rotation_deg: Largest turn to either side.
        shear: Largest shear to either side, as a share of the image.
        log_aspect: Largest log of width over height to either side, of the stretch.
        fill: Share of the frame that the longer side of the ink's bounding box fills.
        shift: Largest move to either side, as a share of half the frame.
        thicken_px: Stroke thickening: one of these widths of a max filter, 1 changes nothing. There is no thinning:
            Omniglot's strokes are already 1 to 2 px wide at the input's size.
        coarse_px, coarse_share: This share of the images is scaled down to a size in the range, then up again.
        gamma, brightness: Ranges of `brightness * value ** gamma`.
        noise: Largest standard deviation of the added normal noise.
        n_groups: The batch is cut into as many parts; each draws its own width of the filter and its own coarse size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotation_deg: float = 15.0
    shear: float = 0.2
    log_aspect: float = 0.25
    fill: tuple[float, float] = (0.6, 1.0)
    shift: float = 0.12
    thicken_px: tuple[int, ...] = (1, 1, 3, 3, 5)
    coarse_px: tuple[int, int] = (8, 20)
    coarse_share: Share = 0.6
    gamma: tuple[float, float] = (0.6, 1.6)
    brightness: tuple[float, float] = (0.7, 1.0)
    noise: float = 0.06
    n_groups: Annotated[int, Field(ge=1)] = 8


class PretrainRecipe(BaseModel):
    """Hyperparameters of one pretraining run.

    Attributes:
        architecture, model_args: Of timm.
        input_px: Side of the network's input.
        source_px: Side at which the training images are kept; the augmentation samples them at `input_px`.
        mean, std: The normalisation, of white ink on black scaled to [0, 1].
        selection_alphabets: Never trained on; their accuracy chose this recipe.
        report_alphabets: Never trained on and not used to choose anything; their accuracy is what the card reports first.
        n_rotations: 4 counts the characters turned by 90, 180 and 270 degrees as classes of their own; 1 does not.
        cosine_scale: Multiplies the cosine of features and class vectors to give the logits.
        learning_rate: Its peak; it rises linearly in the warm-up, then falls to 0 along a cosine.
        n_threads: Of torch; another number adds in another order, and so gives other bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = "resnet10t"
    model_args: dict[str, ModelArgument] = {"channels": (32, 64, 112, 224), "stem_width": 16}
    input_px: int = 40
    source_px: int = 64
    mean: float = 0.25
    std: float = 0.35
    selection_alphabets: tuple[str, ...] = ("Tagalog",)
    report_alphabets: tuple[str, ...] = ("Early_Aramaic",)
    n_rotations: Annotated[int, Field(ge=1, le=4)] = 4
    epochs: Annotated[int, Field(ge=1)] = 60
    batch_size: Annotated[int, Field(ge=2)] = 128
    learning_rate: float = 1e-2
    weight_decay: float = 0.05
    warmup_share: Share = 0.1
    label_smoothing: Share = 0.1
    cosine_scale: float = 30.0
    augment: AugmentRecipe = AugmentRecipe()
    seed: int
    n_threads: Annotated[int, Field(ge=1)] = 2
