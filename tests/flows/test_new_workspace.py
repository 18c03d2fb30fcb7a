from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.new_workspace import init_workspace
from pipelines.config import load_config


@pytest.mark.slow
@pytest.mark.usefixtures("identity")
def test_a_workspace_whose_samples_have_any_number_of_labels(tmp_path: Path) -> None:
    lines = ["path,label"]
    (tmp_path / "source").mkdir()
    for number, cell in enumerate(("dog|cat", "cat", "", "dog")):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "source" / f"{number}.png")
        lines.append(f"{number}.png,{cell}")
    (tmp_path / "source" / "labels.csv").write_text("\n".join(lines) + "\n")
    made = init_workspace(tmp_path / "my-pets", tmp_path / "source", "image", labels_per_sample="many")
    assert made.samples.n_samples == {"cat": 2, "dog": 2}
    conf = made.root / "conf" / "my-pets.yaml"
    assert conf.read_text(encoding="utf-8").startswith("# my-pets: 4 image samples, 2 labels.")
    config = load_config(conf)
    assert (config.labels, config.labels_per_sample) == (("cat", "dog"), "many")
    assert (made.root / "data" / "labels.csv").read_text().splitlines()[1:] == ["0.png,cat|dog", "1.png,cat", "2.png,", "3.png,dog"]
