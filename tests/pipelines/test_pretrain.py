"""Pretraining on a few generated drawings: deterministic, it learns, it is honest about its data, and it leaves nothing half done."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from pipelines.backbone_cards import CARD, CARD_FOR_PEOPLE, WEIGHTS, BackboneCard, DataSource, load_shipped
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, DataError, IntegrityError
from pipelines.pretrain import pretrain_shipped_backbone
from pipelines.pretraining.augment import augment, ink_boxes
from pipelines.pretraining.omniglot import as_characters, read_drawings
from pipelines.pretraining.recipe import AugmentRecipe, PretrainRecipe
from pipelines.pretraining.training import deterministic

ALPHABETS = ("Seen_A", "Seen_B", "Chosen", "Reported")
N_DRAWINGS = 10
TINY = PretrainRecipe(
    seed=0,
    architecture="resnet10t",
    model_args={"channels": (8, 8, 16, 16), "stem_width": 8},
    input_px=32,
    source_px=32,
    selection_alphabets=("Chosen",),
    report_alphabets=("Reported",),
    epochs=4,
    batch_size=32,
    learning_rate=1e-2,
    n_threads=1,
)


@pytest.fixture(scope="module")
def zips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files as Omniglot lays them out, with an alphabet in both."""
    folder = tmp_path_factory.mktemp("omniglot")
    return [_write_zip(folder / "part1.zip", ALPHABETS[:2]), _write_zip(folder / "part2.zip", ALPHABETS[1:])]


def _write_zip(path: Path, alphabets: tuple[str, ...]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for alphabet in alphabets:
            for character in range(2):
                for drawing in range(N_DRAWINGS):
                    member = f"{path.stem}/{alphabet}/character{character:02}/{drawing:04}.png"
                    archive.writestr(zipfile.ZipInfo(member), _drawing(ALPHABETS.index(alphabet) * 2 + character, drawing))
    return path


def _drawing(character: int, drawing: int) -> bytes:
    """Black strokes on white: the character fixes them, the drawing moves them a little."""
    corners = np.random.default_rng(character).integers(15, 90, (5, 2))
    moved = corners + np.random.default_rng([character, drawing]).integers(-4, 5, (5, 2))
    image = Image.new("1", (105, 105), 1)
    ImageDraw.Draw(image).line([(int(x), int(y)) for x, y in moved], fill=0, width=3)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _sources(zips: list[Path]) -> list[DataSource]:
    return [DataSource(name=path.name, licence="MIT", sha256=file_sha256(path), n_images=40, source="generated") for path in zips]


def _pretrain(zips: list[Path], out_dir: Path, seed: int = 0) -> tuple[BackboneCard, list[str]]:
    lines: list[str] = []
    return pretrain_shipped_backbone(zips, out_dir, seed, lines.append, TINY, _sources(zips)), lines


@pytest.fixture(scope="module")
def made(zips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BackboneCard, list[str]]:
    out_dir = tmp_path_factory.mktemp("first") / "tiny"
    return out_dir, *_pretrain(zips, out_dir)


def test_two_runs_give_identical_bytes(zips: list[Path], made: tuple[Path, BackboneCard, list[str]], tmp_path: Path) -> None:
    torch.manual_seed(999)  # what a caller did before must not matter
    _pretrain(zips, tmp_path / "tiny")
    for name in (WEIGHTS, CARD, CARD_FOR_PEOPLE):
        assert (tmp_path / "tiny" / name).read_bytes() == (made[0] / name).read_bytes()


def test_another_seed_gives_other_weights(zips: list[Path], made: tuple[Path, BackboneCard, list[str]], tmp_path: Path) -> None:
    assert _pretrain(zips, tmp_path / "tiny", seed=1)[0].spec.weights_sha256 != made[1].spec.weights_sha256


def test_loss_falls(made: tuple[Path, BackboneCard, list[str]]) -> None:
    losses = [float(line.rsplit(" ", 1)[1]) for line in made[2] if line.startswith("epoch")]
    assert len(losses) == TINY.epochs
    assert losses[-1] < losses[0] - 0.5


def test_shared_drawings_count_once_and_held_out_alphabets_are_not_trained_on(made: tuple[Path, BackboneCard, list[str]]) -> None:
    assert (made[1].n_classes, made[1].n_images) == (4, 4 * N_DRAWINGS)


def test_the_result_loads_as_a_shipped_backbone(made: tuple[Path, BackboneCard, list[str]]) -> None:
    card, weights = load_shipped("tiny", made[0].parent)
    assert card == made[1]
    assert weights["conv1.0.weight"].shape[1] == 1
    assert sorted(path.name for path in made[0].parent.iterdir()) == ["tiny"]


def test_torch_settings_are_put_back() -> None:
    torch.manual_seed(5)
    expected, before = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(5)
    with pytest.raises(ZeroDivisionError), deterministic(0, 1):
        _ = torch.rand(3) / (1 // 0)
    assert torch.rand(1) == expected
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (before, False)


def test_existing_folder_is_refused_before_any_work(zips: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"which exists\. Allowed: a folder that is not there yet"):
        _pretrain(zips, tmp_path)


def test_changed_data_is_refused(zips: list[Path], tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"pretraining data part1\.zip .*Allowed: exactly omniglot_small1\.zip f38eb80f8012"):
        pretrain_shipped_backbone(zips, tmp_path / "tiny", 0, print, TINY)


def test_missing_held_out_alphabet_is_refused(zips: list[Path], tmp_path: Path) -> None:
    recipe = TINY.model_copy(update={"selection_alphabets": ("Klingon",)})
    with pytest.raises(DataError, match=r"alphabets Klingon\. Allowed: the alphabets of the data: Chosen, Reported, Seen_A, Seen_B"):
        pretrain_shipped_backbone(zips, tmp_path / "tiny", 0, print, recipe, _sources(zips))
    assert list(tmp_path.iterdir()) == []


def test_ink_is_white_on_black_and_its_box_is_found(zips: list[Path]) -> None:
    characters = as_characters(read_drawings(zips), ["Chosen"], 105)
    assert characters.images.shape == (2 * N_DRAWINGS, 1, 105, 105)
    assert characters.images.mean() < 0.2
    ink = characters.images[0, 0] > 0.5
    columns, rows = torch.where(ink.any(dim=0))[0], torch.where(ink.any(dim=1))[0]
    longer = max(int(columns[-1] - columns[0]), int(rows[-1] - rows[0])) + 1
    assert ink_boxes(characters.images)[0, 2].item() == pytest.approx(longer / 105, abs=1e-6)


def test_quarter_turn_of_the_augmentation_is_a_rotation_by_90_degrees() -> None:
    images = torch.zeros(2, 1, 33, 33)
    images[:, :, 8:25, 8:12] = 1
    images[:, :, 8:12, 8:25] = 1  # a corner at the top left: an L that no turn maps onto itself
    still = AugmentRecipe(
        rotation_deg=0,
        shear=0,
        log_aspect=0,
        fill=(0.8, 0.8),
        shift=0,
        thicken_px=(1,),
        coarse_share=0,
        gamma=(1, 1),
        brightness=(1, 1),
        noise=0,
    )
    views = augment(images, ink_boxes(images), torch.tensor([0, 1]), 33, still, torch.Generator().manual_seed(0))
    turned = torch.rot90(views[0, 0], 1)
    assert torch.allclose(views[1, 0], turned, atol=1e-4) or torch.allclose(views[1, 0], torch.rot90(views[0, 0], -1), atol=1e-4)
    assert not torch.allclose(views[1, 0], views[0, 0], atol=0.1)
