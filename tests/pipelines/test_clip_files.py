"""A CLIP from its files: as the library's own model and processor, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from pydantic import ValidationError

from pipelines.clip_files import clip_source, load_clip
from pipelines.config import ClipModel, ProjectConfig, load_config
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.core.preprocess import preprocess
from tests.pipelines.conftest import tiny_config
from tests.pipelines.test_zero_shot_images import png
from tests.pipelines.tiny_clip import SIDE_PX, entry, write_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """For a test that spoils it."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def section(folder: Path, **changes: object) -> ClipModel:
    return ClipModel.model_validate(entry(folder) | changes)


def photo(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, size=(6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def test_points_are_those_of_the_librarys_own_model(folder: Path) -> None:
    from transformers import CLIPModel

    clip, theirs = load_clip(section(folder), "cpu"), CLIPModel.from_pretrained(folder).eval()
    assert clip.origin == "tiny"
    images = torch.randn(2, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0))
    ids = clip.ids("A photo of dark")
    assert ids.tolist() == [0, 3, 4, 5, 6, 1]
    with torch.inference_mode():
        one, other = clip.images(images), clip.texts(torch.from_numpy(ids[None]))
        cosines = torch.nn.functional.cosine_similarity(one, other)
        logits = theirs(input_ids=torch.from_numpy(ids[None]), pixel_values=images).logits_per_image[:, 0]
        torch.testing.assert_close(cosines * theirs.logit_scale.exp(), logits, rtol=1e-4, atol=1e-5)
    assert clip.ids("a " * 50).tolist() == [0, *[3] * 10, 1], "cut to its positions, its end kept"


@pytest.mark.parametrize("size", [(32, 32), (47, 80), (100, 64)])
def test_pixels_are_those_of_the_librarys_own_processor(folder: Path, size: tuple[int, int]) -> None:
    from transformers import CLIPImageProcessor

    image = photo(*size)
    mine = preprocess([png(image)], load_clip(section(folder), "cpu").preprocess)
    theirs = CLIPImageProcessor.from_pretrained(folder)(image, return_tensors="np")["pixel_values"]
    # torchvision rounds elsewhere than PIL: a few of 255 steps, of a std of 0.26.
    assert mine.shape == theirs.shape == (1, 3, SIDE_PX, SIDE_PX)
    assert np.abs(mine - theirs).max() < 3 / 255 / 0.26
    assert np.abs(mine - theirs).mean() < 0.01


@pytest.mark.parametrize("missing", ["config.json", "preprocessor_config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(copied: Path, missing: str) -> None:
    described = section(copied)
    (copied / missing).unlink()
    with pytest.raises(ConfigurationError, match=rf"of a CLIP without {missing}\."):
        load_clip(described, "cpu")
    with pytest.raises(ConfigurationError, match="of a CLIP without"):
        clip_source(described)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_another_file_than_the_stated_one_is_refused(copied: Path, name: str) -> None:
    described = section(copied)
    (copied / name).write_bytes((copied / name).read_bytes() + b" ")
    with pytest.raises(IntegrityError, match=rf"{name} with sha256"):
        load_clip(described, "cpu")


def test_weights_that_do_not_fit_are_refused_and_old_buffers_are_not(copied: Path) -> None:
    state = safetensors.torch.load_file(copied / "model.safetensors")
    with_buffer = state | {"text_model.embeddings.position_ids": torch.arange(12)[None]}
    safetensors.torch.save_file(with_buffer, copied / "model.safetensors")
    load_clip(section(copied), "cpu")
    del state["text_projection.weight"]
    safetensors.torch.save_file(state, copied / "model.safetensors")
    with pytest.raises(IntegrityError, match=r"do not fit clip: text_projection.weight is missing"):
        load_clip(section(copied), "cpu")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("config.json", {"model_type": "bert"}),
        ("config.json", {"vision_config": {"hidden_size": 15, "num_attention_heads": 2}}),
        ("preprocessor_config.json", {"image_mean": None}),
        ("preprocessor_config.json", {"crop_size": {"height": 32, "width": 16}}),
        ("preprocessor_config.json", {"resample": 9}),
        ("preprocessor_config.json", {"size": {"shortest_edge": 16}}),
        ("preprocessor_config.json", {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}),
    ],
)
def test_a_description_that_cannot_be_used_is_refused(copied: Path, name: str, changes: dict[str, Any]) -> None:
    described = section(copied)
    (copied / name).write_text(json.dumps(json.loads((copied / name).read_text()) | changes))
    with pytest.raises(ConfigurationError, match=rf"{name} of zero_shot.clip, which cannot be used"):
        load_clip(described, "cpu")


@pytest.mark.parametrize("change", ["without an end", "of more words"])
def test_a_tokeniser_of_another_network_is_refused(copied: Path, change: str) -> None:
    content = json.loads((copied / "tokenizer.json").read_text())
    if change == "without an end":
        content["post_processor"] = None
    else:
        content["model"]["vocab"] |= {"more": 10}
    (copied / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=r"tokenizer.json of zero_shot.clip.*not those that the network was trained with"):
        load_clip(section(copied), "cpu")


def test_what_it_is_does_not_depend_on_where_it_lies(folder: Path, copied: Path) -> None:
    assert clip_source(section(folder)) == clip_source(section(copied))
    settings = json.loads((copied / "preprocessor_config.json").read_text())
    (copied / "preprocessor_config.json").write_text(json.dumps(settings | {"image_mean": [0.5, 0.5, 0.5]}))
    assert clip_source(section(folder)) != clip_source(section(copied))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({}, r"give one of folder \(with sha256 and tokenizer_sha256\) and hub \(with revision, a full commit id\)"),
        ({"folder": "x", "hub": "a/b"}, "give one of folder"),
        ({"folder": "x", "sha256": "0" * 64}, "folder needs sha256 and tokenizer_sha256"),
        ({"hub": "a/b"}, "hub needs revision"),
        ({"hub": "a/b", "revision": "main"}, "should match pattern"),
    ],
)
def test_an_entry_names_one_pinned_source(content: dict[str, object], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        ClipModel.model_validate(content)


def test_a_repository_is_asked_for_its_pinned_commit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The four files of that commit, and no other; without them it says what to do."""
    import huggingface_hub

    asked: list[tuple[str, str, str]] = []

    def local(repository: str, name: str, revision: str) -> str:
        asked.append((repository, name, revision))
        return str(folder / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", local)
    clip = load_clip(ClipModel(hub="a/b", revision="1" * 40), "cpu")
    assert clip.origin == f"a/b@{'1' * 40}"
    assert {name for _, name, _ in asked} == {"config.json", "preprocessor_config.json", "model.safetensors", "tokenizer.json"}
    assert {(repository, revision) for repository, _, revision in asked} == {("a/b", "1" * 40)}
    with pytest.raises(IntegrityError, match=r"model.safetensors with sha256"):
        load_clip(ClipModel(hub="a/b", revision="1" * 40, sha256="0" * 64), "cpu")
    monkeypatch.undo()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match=r"zero_shot.clip.hub a/b@1{40}, which could not be fetched"):
        load_clip(ClipModel(hub="a/b", revision="1" * 40), "cpu")


def test_a_folder_is_relative_to_the_workspace_and_no_part_of_what_is_written(folder: Path, tiny_weights: Path, tmp_path: Path) -> None:
    import yaml

    config = tiny_config(tiny_weights, zero_shot={"clip": entry(folder) | {"folder": "weights/clip"}})
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "p.yaml").write_text(yaml.safe_dump(json.loads(config.model_dump_json())))
    loaded = load_config(tmp_path / "conf" / "p.yaml")
    assert loaded.zero_shot.clip is not None
    assert loaded.zero_shot.clip.folder == tmp_path / "weights" / "clip"
    from pipelines.config import MACHINE_PATHS

    assert str(tmp_path) not in json.dumps(loaded.model_dump(mode="json", include={"zero_shot"}, exclude=MACHINE_PATHS))
    assert isinstance(config, ProjectConfig)
