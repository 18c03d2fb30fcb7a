"""Copies that were saved again, scaled or brightened share the split of what they were made from: at `init`, and at `ingest`."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from pipelines.config import ProjectConfig
from pipelines.core.errors import DataError
from pipelines.import_data import import_samples
from pipelines.ingest import IngestSummary, ingest_folder
from pipelines.labels_table import read_labels_table
from pipelines.manifest import build_manifest
from pipelines.near_duplicates import find_near_duplicates, read_pairs
from pipelines.split import assign_splits
from tests.pipelines.planted import project, tree

Alteration = Callable[[Image.Image], Image.Image]
LABELS = ("ant", "bee")
N_SCENES = 120


def as_jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75)
    return Image.open(io.BytesIO(file.getvalue()))


ALTERATIONS: dict[str, Alteration] = {
    "saved again": as_jpeg,
    "resized": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
}


def scene(seed: int) -> Image.Image:
    """Coloured clouds: smooth as photos are, and different for each seed."""
    coarse = np.random.default_rng(seed).integers(40, 200, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)


def write_scenes(source: Path, seeds: range) -> None:
    for seed in seeds:
        folder = source / LABELS[seed % 2]
        folder.mkdir(parents=True, exist_ok=True)
        scene(seed).save(folder / f"{seed}.png")


def write_copies(source: Path, seeds: range) -> None:
    for seed in seeds:
        folder = source / LABELS[seed % 2]
        folder.mkdir(parents=True, exist_ok=True)
        for name, alter in ALTERATIONS.items():
            alter(scene(seed)).save(folder / f"{seed} {name}.png")


def splits_of(data: Path, out: Path, config: ProjectConfig) -> dict[str, tuple[str, str]]:
    """Split and group by file name, as the stages make them."""
    for folder in ("manifest", "split"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    build_manifest(data, config, out / "manifest")
    assign_splits(out / "manifest", config, out / "split")
    table = pd.read_csv(out / "split" / "samples.csv", dtype=str, keep_default_na=False)
    return {path: (split, group) for path, split, group in zip(table["path"], table["split"], table["group"], strict=True)}


def leaking(data: Path, out: Path) -> int:
    (out / "pairs").mkdir(exist_ok=True)
    find_near_duplicates(out / "split" / "samples.csv", data, out / "pairs")
    return sum(pair.leaks for pair in read_pairs(out / "pairs" / "near_duplicates.csv"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "source", range(N_SCENES))
    return tmp_path / "source"


@pytest.fixture
def data(source: Path, tmp_path: Path) -> Path:
    import_samples(source, tmp_path / "place" / "data")
    return tmp_path / "place" / "data"


def test_without_near_duplicates_the_table_has_no_group(source: Path, tmp_path: Path) -> None:
    summary = import_samples(source, tmp_path / "data")
    assert (summary.n_grouped, summary.notes) == (0, ())
    assert read_labels_table(tmp_path / "data" / "labels.csv").columns == ("path", "label")


def test_at_init_copies_share_a_split(source: Path, tmp_path: Path) -> None:
    write_copies(source, range(30))
    summary = import_samples(source, tmp_path / "data")
    assert summary.n_grouped == 90
    assert summary.notes == ("90 samples look like others and share their split (column group of the labels table)",)
    splits = splits_of(tmp_path / "data", tmp_path, project())
    for seed in range(30):
        label = LABELS[seed % 2]
        alike = {splits[f"{label}/{name}.png"] for name in (str(seed), *(f"{seed} {name}" for name in ALTERATIONS))}
        assert len(alike) == 1
    assert len({split for split, _ in splits.values()}) == 3
    assert leaking(tmp_path / "data", tmp_path) == 0


def test_without_groups_these_copies_would_leak(source: Path, tmp_path: Path) -> None:
    """What the test above would see if nothing was done."""
    write_copies(source, range(30))
    import_samples(source, tmp_path / "data")
    table = pd.read_csv(tmp_path / "data" / "labels.csv", dtype=str)
    table.drop(columns="group").to_csv(tmp_path / "data" / "labels.csv", index=False)
    splits_of(tmp_path / "data", tmp_path, project())
    assert leaking(tmp_path / "data", tmp_path) > 10


def test_at_ingestion_copies_go_where_the_old_sample_is(data: Path, tmp_path: Path) -> None:
    config = project()
    before, rows = splits_of(data, tmp_path / "before", config), (data / "labels.csv").read_text().splitlines()
    write_copies(tmp_path / "new", range(30))
    summary = ingest_folder(tmp_path / "new", data, config, "default")
    assert summary == IngestSummary(90, 0, (), n_grouped=90)
    after = splits_of(data, tmp_path / "after", config)
    assert {path: after[path][0] for path in before} == {path: split for path, (split, _) in before.items()}
    assert [line.rstrip(",") for line in (data / "labels.csv").read_text().splitlines()[1 : len(rows)]] == rows[1:]
    new = [row for row in read_labels_table(data / "labels.csv").rows if row.path not in before]
    originals = {after[f"{LABELS[seed % 2]}/{seed}.png"] for seed in range(30)}
    assert {after[row.path] for row in new} == originals
    assert leaking(data, tmp_path / "after") == 0


def test_other_shares_of_the_splits_keep_them_together(data: Path, tmp_path: Path) -> None:
    """The new sample has the old one's key, not only its split of today."""
    write_copies(tmp_path / "new", range(30))
    ingest_folder(tmp_path / "new", data, project(), "default")
    config = project(split={"train": 0.3, "validation": 0.3, "test": 0.4, "salt": "another"})
    splits_of(data, tmp_path, config)
    assert leaking(data, tmp_path) == 0


def test_a_copy_of_a_copy_finds_its_way(data: Path, tmp_path: Path) -> None:
    config = project()
    for number, name in enumerate(ALTERATIONS):
        folder = tmp_path / f"new {number}" / "ant"
        folder.mkdir(parents=True)
        for seed in range(0, 30, 2):
            ALTERATIONS[name](scene(seed)).save(folder / f"{seed}.png")
        assert ingest_folder(folder.parent, data, config, "default").n_grouped == 15
    splits_of(data, tmp_path, config)
    assert leaking(data, tmp_path) == 0


def test_copies_among_the_new_ones_alone(data: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "new", range(500, 520))
    write_copies(tmp_path / "new", range(500, 520))
    summary = ingest_folder(tmp_path / "new", data, project(), "default")
    assert (summary.n_added, summary.n_grouped) == (80, 60)
    splits_of(data, tmp_path, project())
    assert leaking(data, tmp_path) == 0


def test_doing_it_twice_adds_nothing(data: Path, tmp_path: Path) -> None:
    write_copies(tmp_path / "new", range(5))
    ingest_folder(tmp_path / "new", data, project(), "default")
    before = tree(data)
    assert ingest_folder(tmp_path / "new", data, project(), "default") == IngestSummary(0, 15, ())
    assert tree(data) == before


def test_what_a_table_states_is_not_changed(data: Path, tmp_path: Path) -> None:
    write_copies(tmp_path / "new", range(2))
    rows = "".join(f"ant/0 {name}.png,ant,writer 5,\n" for name in ("resized", "brightened")) + "bee/1 resized.png,bee,,train\n"
    (tmp_path / "new" / "labels.csv").write_text("path,label,group,split\n" + rows)
    assert ingest_folder(tmp_path / "new", data, project(), "default").n_grouped == 0
    assert [(row.group, row.split) for row in read_labels_table(data / "labels.csv").rows[-3:]] == [("writer 5", "")] * 2 + [("", "train")]


def test_what_ties_test_to_train_is_held_out(data: Path, tmp_path: Path) -> None:
    """The same scene lies in test and in train, as a table can state it: its next copy is used by nobody."""
    table = pd.read_csv(data / "labels.csv", dtype=str, keep_default_na=False)
    as_jpeg(scene(0)).save(data / "ant" / "torn.png")
    table["split"] = np.where(table["path"] == "ant/0.png", "test", "")
    torn = pd.DataFrame([{"path": "ant/torn.png", "label": "ant", "split": "train"}])
    pd.concat([table, torn]).to_csv(data / "labels.csv", index=False)
    (tmp_path / "new" / "ant").mkdir(parents=True)
    ALTERATIONS["brightened"](scene(0)).save(tmp_path / "new" / "ant" / "next.png")
    summary = ingest_folder(tmp_path / "new", data, project(), "default")
    assert (summary.n_added, summary.n_grouped, summary.n_held_out) == (1, 0, 1)
    assert read_labels_table(data / "labels.csv").rows[-1].split == "holdout"


def test_near_duplicates_that_a_table_tears_are_refused(data: Path, tmp_path: Path) -> None:
    """Somebody states another split for the old one: its copies keep their key, and the set is named."""
    (tmp_path / "new" / "ant").mkdir(parents=True)
    as_jpeg(scene(0)).save(tmp_path / "new" / "ant" / "copy.png")
    ingest_folder(tmp_path / "new", data, project(), "default")
    (split, group) = splits_of(data, tmp_path / "before", project())["ant/0.png"]
    table = pd.read_csv(data / "labels.csv", dtype=str, keep_default_na=False)
    table["split"] = np.where(table["path"] == "ant/0.png", "validation" if split == "test" else "test", "")
    table.to_csv(data / "labels.csv", index=False)
    with pytest.raises(DataError, match="1 groups or pictures that lie in more than one") as error:
        splits_of(data, tmp_path / "after", project())
    assert [finding.where for finding in error.value.findings] == [f"the near-duplicates of the picture {group[7:19]}"]


def test_who_counts_by_group_finds_near_duplicates_in_one(data: Path, tmp_path: Path) -> None:
    write_copies(tmp_path / "new", range(1))
    ingest_folder(tmp_path / "new", data, project(), "default")
    groups = [group for _, group in splits_of(data, tmp_path, project()).values()]
    assert sorted(groups.count(group) for group in set(groups)) == [1] * (N_SCENES - 1) + [4]
