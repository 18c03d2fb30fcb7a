from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.new_workspace import init_workspace
from pipelines.config import load_config
from pipelines.core.errors import DataError


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


@pytest.mark.slow
@pytest.mark.usefixtures("identity")
def test_a_workspace_of_texts(tmp_path: Path) -> None:
    rows = ["text,label,domain,review_id", '"A fine, fine read",good,books,1', "Dull \N{OWL},bad,books,2", '"Two\nlines",good,,3']
    (tmp_path / "reviews.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    made = init_workspace(tmp_path / "my-reviews", tmp_path / "reviews.csv", "text")
    assert made.samples.n_samples == {"bad": 1, "good": 2}
    assert "left out, no samples: the column 'review_id' of reviews.csv" in made.as_text()
    conf = made.root / "conf" / "my-reviews.yaml"
    text = conf.read_text(encoding="utf-8")
    assert text.startswith("# my-reviews: 3 text samples, 2 labels.")
    assert "columns text, label; optional group" in text
    assert "image" not in text
    config = load_config(conf)
    assert (config.task, config.backbone.kind, config.method.kind) == ("text", "transformers", "auto")
    assert (made.root / "data" / "labels.csv").read_text(encoding="utf-8").startswith('text,label,domain\n"A fine, fine read",good,books\n')


@pytest.mark.usefixtures("identity")
def test_bad_texts_make_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\nfine,good\n ,bad\n", encoding="utf-8")
    with pytest.raises(DataError, match="1 fault"):
        init_workspace(tmp_path / "my-reviews", tmp_path / "reviews.csv", "text")
    assert not (tmp_path / "my-reviews").exists()
