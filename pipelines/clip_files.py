"""The files of a CLIP: where they lie, whether they are the stated ones, and what is in them.

config.json                the architecture
preprocessor_config.json   how an image becomes its input
model.safetensors          the weights; never a pickle
tokenizer.json             what makes tokens of texts, in the format of the library tokenizers
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue, ValidationError

from pipelines.backbone_weights import load_strictly, read_state
from pipelines.config import ClipModel
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError
from pipelines.core.modalities.text import TOKENIZER_FILE, load_tokenizer
from pipelines.core.preprocess import ImagePreprocess
from pipelines.core.text_backbone import NOT_ARCHITECTURE, TransformersSpec, constructor_errors
from pipelines.hub import hub_files
from pipelines.transformer_files import CONFIG, WEIGHTS, verify

if TYPE_CHECKING:
    from pipelines.clip_network import ClipImages, ClipTexts

PREPROCESSOR = "preprocessor_config.json"
_NAMES = (CONFIG, PREPROCESSOR, WEIGHTS, TOKENIZER_FILE)
# PIL's numbers of its filters.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
# Buffers that older versions of the library saved and newer ones compute.
_COMPUTED = "position_ids"
_LEGACY_END = 2


@dataclass(frozen=True)
class ClipFiles:
    """The four files, verified, and where they came from."""

    config: Path
    preprocessor: Path
    weights: Path
    tokenizer: Path
    origin: str


@dataclass(frozen=True, eq=False)
class Clip:
    """A CLIP that can be asked.

    Attributes:
        images: [b, c, h, w] -> [b, d].
        texts: int64 [b, l] -> [b, d].
        ids: Of a text, its beginning where it is longer than the network reads.
    """

    images: ClipImages
    texts: ClipTexts
    ids: Callable[[str], NDArray[np.int64]]
    preprocess: ImagePreprocess
    origin: str


def located_clip(section: ClipModel) -> ClipFiles:
    """Finds the files and compares hashes with those that are stated.

    Raises:
        ConfigurationError: A file is missing, or the repository cannot be had.
        IntegrityError: A hash is another one.
    """
    files = _in_folder(section.folder) if section.folder is not None else _fetched(section)
    for file, stated in ((files.weights, section.sha256), (files.tokenizer, section.tokenizer_sha256)):
        if stated is not None:  # a commit id names its content
            verify(file, stated)
    return files


def clip_source(section: ClipModel) -> dict[str, JsonValue]:
    """All that decides what `load_clip` gives, wherever the files lie: a commit, or digests.

    Raises:
        ConfigurationError: A file is missing in the folder.
    """
    if section.folder is None:
        return section.model_dump(mode="json", include={"hub", "revision", "sha256", "tokenizer_sha256"})
    files = _in_folder(section.folder)
    described: dict[str, JsonValue] = {path.name: file_sha256(path) for path in (files.config, files.preprocessor)}
    return {**described, WEIGHTS: section.sha256, TOKENIZER_FILE: section.tokenizer_sha256}


def _in_folder(folder: Path) -> ClipFiles:
    missing = [name for name in _NAMES if not (folder / name).is_file()]
    if missing:
        raise ConfigurationError(
            got=f"the folder {folder.name} of a CLIP without {', '.join(missing)}.",
            allowed=f"a folder with {', '.join(_NAMES)}; a pytorch_model.bin is a pickle and never loaded.",
            next_step="fetch these files from the model's author, or save model and processor anew with `save_pretrained`.",
        )
    config, preprocessor, weights, tokenizer = (folder / name for name in _NAMES)
    return ClipFiles(config, preprocessor, weights, tokenizer, folder.name)


def _fetched(section: ClipModel) -> ClipFiles:
    config, preprocessor, weights, tokenizer = hub_files("zero_shot.clip", section.hub, section.revision, _NAMES, "folder")
    return ClipFiles(config, preprocessor, weights, tokenizer, f"{section.hub}@{section.revision}")


def load_clip(section: ClipModel, device: str) -> Clip:
    """Builds the network with exactly the weights of the file.

    Args:
        section: Of the conf file.
        device: Where it is asked.

    Raises:
        ConfigurationError: As `located_clip`; or the files cannot be used, or do not belong together.
        IntegrityError: As `located_clip`; or a tensor is missing, too many, of another shape or not finite.
    """
    from pipelines.clip_network import ClipImages, ClipTexts

    files = located_clip(section)
    model, preprocess = _network(files).eval().to(device), _preprocess(files)
    side_px = model.config.vision_config.image_size
    if preprocess.height_px != side_px:
        raise _unusable(files.preprocessor, f"it gives images of {preprocess.height_px} px to a network of {side_px} px")
    return Clip(ClipImages(model), ClipTexts(model), _ids(files, model.config.text_config), preprocess, files.origin)


def _network(files: ClipFiles) -> Any:
    content = _read(files.config)
    spec = TransformersSpec(name="clip", config=content, pooling="last_token", origin=files.origin, weights_sha256=None)
    try:
        model = _build(content)
    except constructor_errors() as error:
        raise _unusable(files.config, f"the library transformers cannot build it: {type(error).__name__}: {error}") from error
    state = {name: tensor for name, tensor in read_state(files.weights).items() if not name.endswith(_COMPUTED)}
    load_strictly(model, state, spec)
    return model


def _build(content: dict[str, Any]) -> Any:
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(**_architecture(content))
    # Stated, not left to what a machine has: others differ in the last bits.
    config._attn_implementation = "sdpa"
    return CLIPModel(config)


def _architecture(content: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in content.items() if name not in NOT_ARCHITECTURE and value is not None}
    return {name: _architecture(value) if name in ("text_config", "vision_config") else value for name, value in kept.items()}


def _ids(files: ClipFiles, config: Any) -> Callable[[str], NDArray[np.int64]]:
    """Ids of a text, which must end as the network expects: what a text means is read at its end."""
    tokenizer, _ = load_tokenizer(files.tokenizer, file_sha256(files.tokenizer))
    tokenizer.enable_truncation(int(config.max_position_embeddings))

    def ids(text: str) -> NDArray[np.int64]:
        return np.array(tokenizer.encode(text).ids, dtype=np.int64)

    some = ids("a")
    # Of files with this number, which is wrong in them, the library takes the highest id for the end.
    end = some.max(initial=-1) if config.eos_token_id == _LEGACY_END else config.eos_token_id
    if tokenizer.get_vocab_size() > config.vocab_size or not some.size or some[-1] != end:
        raise _unusable(files.tokenizer, "its ids are not those that the network was trained with")
    return ids


def _preprocess(files: ClipFiles) -> ImagePreprocess:
    """As CLIP's own processor: the shorter side to a length, the centre of it, colours by mean and std."""
    content = _read(files.preprocessor)
    try:
        crop, short = _side(content["crop_size"]), _side(content["size"])
        return ImagePreprocess(
            color="RGB",
            height_px=crop,
            width_px=crop,
            fit="crop",
            crop_frac=crop / short,
            interpolation=_FILTERS[content.get("resample", 3)],
            mean=tuple(content["image_mean"]),
            std=tuple(content["image_std"]),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, ValidationError) as error:
        raise _unusable(files.preprocessor, f"{type(error).__name__}: {str(error).splitlines()[0]}") from error


def _side(stated: Any) -> int:
    sides = {int(stated)} if isinstance(stated, int) else {int(stated[name]) for name in stated}
    if len(sides) != 1:
        raise ValueError(f"sides that differ: {stated}")
    return sides.pop()


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise _unusable(file, str(error)) from error
    if not isinstance(content, dict) or (file.name == CONFIG and content.get("model_type") != "clip"):
        raise _unusable(file, "it describes no model of the model_type 'clip'")
    return content


def _unusable(file: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        got=f"{file.name} of zero_shot.clip, which cannot be used: {reason.rstrip('.')}.",
        allowed="what the library transformers wrote for a CLIP.",
        next_step="fetch the file that belongs to the weights, or leave zero_shot.clip out: nothing but a row of the report needs it.",
    )
