"""Label names against images, by a tiny random CLIP that the tests save themselves, in a project on another backbone."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.config import ProjectConfig
from pipelines.dataset import Sample, write_samples
from pipelines.report_stages import wants_zero_shot, zero_shot
from pipelines.stages import Stages
from pipelines.store import StageOutput
from pipelines.workspace import Workspace
from tests.pipelines.conftest import tiny_config
from tests.pipelines.tiny_clip import SIDE_PX, entry, teach, write_clip

LABELS = ("dark_thing", "light_thing")
MEAN, STD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
N_TEST = 40


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def pixels(seed: int, label: str) -> np.ndarray:
    """uint8 [h, w, 3]: noise around a grey."""
    rng = np.random.default_rng(seed)
    grey = 40 if label.startswith("dark") else 210
    return (grey + rng.integers(-30, 30, size=(SIDE_PX, SIDE_PX, 3))).astype(np.uint8)


def as_input(image: np.ndarray) -> np.ndarray:
    """float32 [3, h, w], by hand."""
    return ((image / 255 - MEAN) / STD).transpose(2, 0, 1).astype(np.float32)


def project(root: Path, weights: Path, **changes: object) -> tuple[Stages, StageOutput]:
    """A workspace with images and their split."""
    (root / "data").mkdir(exist_ok=True)
    samples = []
    for number in range(N_TEST + 20):
        label = LABELS[number % 2]
        content = png(Image.fromarray(pixels(number, label)))
        path = f"{number:03d}.png"
        (root / "data" / path).write_bytes(content)
        identity = hashlib.sha256(content).hexdigest()
        samples.append(Sample(identity, path, label, identity, "default", "", "test" if number < N_TEST else "train"))
    split = root / "split"
    split.mkdir(exist_ok=True)
    write_samples(samples, split / "samples.csv")
    config = tiny_config(weights, labels=LABELS, **changes)
    return Stages(Workspace(root), config), StageOutput("split", "5" * 64, split, cached=True, seconds=0.0)


def measured(stages: Stages, split: StageOutput) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((zero_shot(stages, split, stages.select()).path / "zero_shot.json").read_bytes())
    return content


def test_it_is_what_the_librarys_model_finds(tiny_weights: Path, tmp_path: Path) -> None:
    """Its own logits on pixels that NumPy made, and ids written down by hand."""
    from transformers import CLIPModel

    folder = write_clip(tmp_path / "clip", seed=3)
    stages, split = project(tmp_path, tiny_weights, zero_shot={"clip": entry(folder)})
    record = measured(stages, split)
    model = CLIPModel.from_pretrained(folder).eval()
    images = np.stack([as_input(pixels(number, LABELS[number % 2])) for number in range(N_TEST)])
    # "a photo of a dark thing." and "a photo of a light thing."
    ids = torch.tensor([[0, 3, 4, 5, 3, 6, 8, 9, 1], [0, 3, 4, 5, 3, 7, 8, 9, 1]])
    with torch.inference_mode():
        logits = model(input_ids=ids, pixel_values=torch.from_numpy(images)).logits_per_image
    assert (logits[:, 0] - logits[:, 1]).abs().min() > 1e-4, "nearer than rounding: take another seed"
    n_hits = int((logits.argmax(dim=1).numpy() == np.arange(N_TEST) % 2).sum())
    assert record["accuracy"]["value"] == n_hits / N_TEST
    assert record["wordings"] == {"dark_thing": ["a photo of a dark thing."], "light_thing": ["a photo of a light thing."]}
    assert (record["outcome"], record["network"]) == ("measured", "clip")


def test_where_words_mean_something_it_is_right_and_exchanged_it_is_wrong(tiny_weights: Path, tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    typical = np.stack([as_input(np.mean([pixels(seed, label) for seed in range(100, 120)], axis=0)) for label in LABELS])
    teach(folder, ["dark", "light"], typical)
    right = {"clip": entry(folder), "prompts": {"dark_thing": ["dark"], "light_thing": ["light"]}}
    assert measured(*project(tmp_path, tiny_weights, zero_shot=right))["accuracy"]["value"] == 1
    wrong = {"clip": entry(folder), "prompts": {"dark_thing": ["light"], "light_thing": ["dark"]}}
    assert measured(*project(tmp_path, tiny_weights, zero_shot=wrong))["accuracy"]["value"] == 0


def test_it_is_kept_wherever_the_clip_lies_and_measured_anew_with_another(tiny_weights: Path, tmp_path: Path) -> None:
    def output(folder: Path) -> StageOutput:
        stages, split = project(tmp_path, tiny_weights, zero_shot={"clip": entry(folder)})
        return zero_shot(stages, split, stages.select())

    folder = write_clip(tmp_path / "clip")
    assert not output(folder).cached
    assert output(folder.rename(tmp_path / "elsewhere")).cached
    assert not output(write_clip(tmp_path / "other", seed=1)).cached


def test_without_a_clip_nothing_is_asked(tiny_weights: Path, tmp_path: Path) -> None:
    def wants(**zero_shot: object) -> bool:
        config: ProjectConfig = tiny_config(tiny_weights, zero_shot=zero_shot)
        return wants_zero_shot(config)

    clip = {"hub": "a/b", "revision": "0" * 40}
    assert [wants(), wants(clip=clip), wants(clip=clip, enabled=False)] == [False, True, False]


def test_many_labels_a_sample_need_no_clip_to_be_said_not_to_fit(tiny_weights: Path, tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    described = entry(folder)
    stages, split = project(tmp_path, tiny_weights, labels_per_sample="many", zero_shot={"clip": described})
    (folder / "model.safetensors").write_bytes(b"")
    assert "any number of labels" in measured(stages, split)["reason"]


@pytest.mark.parametrize("broken", ["tokenizer.json", "model.safetensors"])
def test_a_clip_that_is_not_the_stated_one_is_an_error_and_leaves_nothing(tiny_weights: Path, tmp_path: Path, broken: str) -> None:
    from pipelines.core.errors import IntegrityError

    folder = write_clip(tmp_path / "clip")
    stages, split = project(tmp_path, tiny_weights, zero_shot={"clip": entry(folder)})
    (folder / broken).write_bytes((folder / broken).read_bytes() + b" ")
    with pytest.raises(IntegrityError, match=rf"{broken} with sha256"):
        measured(stages, split)
    assert not list((tmp_path / ".regraft" / "store" / "zero_shot").glob("*/zero_shot.json"))
