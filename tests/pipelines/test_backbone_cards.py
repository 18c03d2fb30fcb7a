"""The backbones that ship: their files, their cards, and what is refused."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from pipelines.backbone_cards import CARD, CARD_FOR_PEOPLE, WEIGHTS, card_markdown, load_shipped, shipped_cards
from pipelines.core.backbones import build_backbone
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.core.preprocess import ImagePreprocess, preprocess

SHIPPED = Path(__file__).resolve().parents[2] / "backbones"
NAME = "omniglot_resnet"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with a copy of the shipped backbone, free to damage."""
    shutil.copytree(SHIPPED / NAME, tmp_path / NAME)
    return tmp_path


def test_shipped_weights_are_small_and_those_of_the_card() -> None:
    path = SHIPPED / NAME / WEIGHTS
    assert path.stat().st_size <= 4_000_000
    assert shipped_cards(SHIPPED)[NAME].spec.weights_sha256 == file_sha256(path)


def test_card_states_licences_data_and_held_out_accuracy_with_spread() -> None:
    card = shipped_cards(SHIPPED)[NAME]
    assert card.spec.licence == "Apache-2.0"
    assert [(item.name, item.licence) for item in card.data] == [("omniglot_small1.zip", "MIT"), ("omniglot_small2.zip", "MIT")]
    assert {row.alphabet for row in card.held_out_accuracy} == {*card.recipe.selection_alphabets, *card.recipe.report_alphabets}
    assert all(row.p05 <= row.mean <= row.p95 and row.untrained_mean is not None for row in card.held_out_accuracy)
    assert all(row.mean > (row.untrained_mean or 0) + 0.1 for row in card.held_out_accuracy)


def test_readme_is_generated_from_the_card() -> None:
    assert (SHIPPED / NAME / CARD_FOR_PEOPLE).read_text(encoding="utf-8") == card_markdown(shipped_cards(SHIPPED)[NAME])


def test_weights_load_strictly_as_contiguous_float32() -> None:
    card, weights = load_shipped(NAME, SHIPPED)
    build_backbone(card.spec).load_state_dict(weights, strict=True)
    assert all(tensor.is_contiguous() for tensor in weights.values())
    assert {tensor.dtype for name, tensor in weights.items() if not name.endswith("num_batches_tracked")} == {torch.float32}


def test_features_are_worth_more_than_those_of_random_weights() -> None:
    # A strict load alone proves nothing: wrong normalisation or polarity loads as well.
    card, weights = load_shipped(NAME, SHIPPED)
    torch.manual_seed(0)
    backbone = build_backbone(card.spec)
    untrained = _centroid_accuracy(backbone, card.preprocess)
    backbone.load_state_dict(weights, strict=True)
    assert _centroid_accuracy(backbone, card.preprocess) > untrained + 0.05


def _centroid_accuracy(backbone: torch.nn.Module, spec: ImagePreprocess) -> float:
    """Nearest centroid on 200 of scikit-learn's digits, from 100 others."""
    digits = load_digits()
    images = np.round(digits.images[:300] / 16 * 255).astype(np.uint8)
    with torch.inference_mode():
        features = torch.nn.functional.normalize(backbone.eval()(torch.from_numpy(preprocess([_png(image) for image in images], spec))))
    labels = torch.from_numpy(digits.target[:300])
    centroids = torch.stack([features[:100][labels[:100] == digit].mean(dim=0) for digit in range(10)])
    predicted = (features[100:] @ torch.nn.functional.normalize(centroids).T).argmax(dim=1)
    return float((predicted == labels[100:]).float().mean())


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def test_one_flipped_bit_in_the_weights_is_refused(copied: Path) -> None:
    path = copied / NAME / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=rf"weights of {NAME} \(\d+ bytes\) with sha256 .* Allowed: the weights of its card"):
        load_shipped(NAME, copied)


def test_missing_weights_are_refused(copied: Path) -> None:
    (copied / NAME / WEIGHTS).unlink()
    with pytest.raises(IntegrityError, match=r"\(0 bytes\).*Next: restore omniglot_resnet/weights\.safetensors from git"):
        load_shipped(NAME, copied)


def test_unknown_name_lists_those_that_exist(copied: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'resnet50'.*Allowed: one of omniglot_resnet\."):
        load_shipped("resnet50", copied)


def test_unknown_name_in_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the folder holds no card"):
        load_shipped(NAME, tmp_path)


def test_card_with_an_unknown_key_is_refused(copied: Path) -> None:
    path = copied / NAME / CARD
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"extra": 1}), encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"omniglot_resnet/card\.json that cannot be read as a backbone card(.|\n)*extra"):
        shipped_cards(copied)


def test_card_in_a_folder_of_another_name_is_refused(copied: Path) -> None:
    (copied / NAME).rename(copied / "other")
    with pytest.raises(IntegrityError, match="the card of 'omniglot_resnet' in the folder 'other'"):
        shipped_cards(copied)
