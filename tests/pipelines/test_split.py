from __future__ import annotations

import math
import random
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipelines.answers import TestAnswers
from pipelines.config import SplitSection
from pipelines.core.errors import DataError
from pipelines.dataset import SAMPLE_COLUMNS, read_samples
from pipelines.manifest import build_manifest
from pipelines.modalities.inspection import INPUTS
from pipelines.split import assign_splits, split_of, unit_hash
from tests.pipelines.planted import add_line, project, project_of_sets, write_dataset

Row = tuple[str, str, str, str, str]


def row(number: int, label: str = "ant", group: str = "", pixels: str = "", split: str = "") -> Row:
    return f"{number}.png", label, group, pixels or f"pixels{number}", split


def manifest_of(folder: Path, rows: list[Row]) -> Path:
    samples = [(f"id{path}", path, label, group or f"id{path}", "default", "", split) for path, label, group, _, split in rows]
    images = [(f"id{path}", path, 8, 8, "L", 100, pixels) for path, _, _, pixels, _ in rows]
    pd.DataFrame(samples, columns=list(SAMPLE_COLUMNS)).to_csv(folder / "samples.csv", index=False)
    pd.DataFrame(images, columns=["id", "path", *INPUTS["image"].columns]).to_csv(folder / "images.csv", index=False)
    return folder


def splits_of(rows: list[Row]) -> dict[str, str]:
    # One sample per label and split that is always there keeps every class complete.
    anchors = [
        row(10_000 + 10 * k + n, label, split=split)
        for k, label in enumerate(("ant", "bee"))
        for n, split in enumerate(("train", "validation", "test"))
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assign_splits(manifest_of(folder, [*rows, *anchors]), project(), folder)
        return {sample.path: sample.split for sample in read_samples(folder / "samples.csv") if int(sample.path[:-4]) < 10_000}


# Pictures lie in one group at most here: a picture in two groups is refused, which has a test of its own.
unique_rows = st.lists(
    st.builds(
        lambda number, label, group: row(number, label, group and f"writer {group}"),
        st.integers(0, 500),
        st.sampled_from(["ant", "bee"]),
        st.integers(0, 8),
    ),
    unique_by=lambda entry: entry[0],
    max_size=30,
)


@settings(max_examples=20)
@given(rows=unique_rows, draw=st.randoms(use_true_random=False))
def test_a_sample_never_moves(rows: list[Row], draw: random.Random) -> None:
    """Whatever is removed from or added to a dataset, and however it is ordered."""
    whole = splits_of(rows)
    fewer = [entry for entry in rows if draw.random() < 0.5]
    draw.shuffle(fewer)
    assert splits_of(fewer).items() <= whole.items()


@settings(max_examples=20)
@given(rows=unique_rows)
def test_a_group_lies_in_one_split(rows: list[Row]) -> None:
    splits = splits_of(rows)
    for group in {entry[2] for entry in rows if entry[2]}:
        assert len({splits[path] for path, _, its_group, _, _ in rows if its_group == group}) == 1


@settings(max_examples=20)
@given(pictures=st.lists(st.integers(0, 5), min_size=2, max_size=30))
def test_copies_of_a_picture_lie_in_one_split(pictures: list[int]) -> None:
    splits = splits_of([row(number, pixels=f"picture {picture}") for number, picture in enumerate(pictures)])
    for picture in set(pictures):
        assert len({splits[f"{number}.png"] for number, its in enumerate(pictures) if its == picture}) == 1


@given(key=st.text(max_size=30), salt=st.text(max_size=10))
def test_unit_hash_lies_in_the_half_open_interval(key: str, salt: str) -> None:
    assert 0 <= unit_hash(key, salt) < 1


@pytest.mark.parametrize("salt", ["regraft", "another", ""])
def test_shares_and_evenness(salt: str) -> None:
    n = 20_000
    section = SplitSection(train=0.6, validation=0.15, test=0.25, salt=salt)
    splits = [split_of(f"pixels:{number:064x}", section) for number in range(n)]
    for name, share in (("train", 0.6), ("validation", 0.15), ("test", 0.25)):
        assert abs(splits.count(name) - n * share) < 4.5 * math.sqrt(n * share * (1 - share))
    positions = np.array([unit_hash(f"pixels:{number:064x}", salt) for number in range(n)])
    assert stats.kstest(positions, "uniform").pvalue > 1e-4


def test_salts_are_independent() -> None:
    n = 20_000
    both = sum(unit_hash(str(k), "a") < 0.25 and unit_hash(str(k), "b") < 0.25 for k in range(n))
    assert abs(both - n / 16) < 4.5 * math.sqrt(n / 16 * 15 / 16)


def test_moving_train_to_validation_leaves_test_alone() -> None:
    before, after = SplitSection(train=0.6, validation=0.15, test=0.25), SplitSection(train=0.45, validation=0.3, test=0.25)
    keys = [str(number) for number in range(500)]
    assert [key for key in keys if split_of(key, before) == "test"] == [key for key in keys if split_of(key, after) == "test"]


def test_pinned_splits() -> None:
    """A change of the rule would move every team's samples: these may never change."""
    keys = ["pixels:0", "pixels:1", "group:anna", "group:bert", "pixels:äöü"]
    assert [split_of(key, SplitSection()) for key in keys] == ["train", "test", "validation", "train", "train"]


def test_a_fixed_split_wins() -> None:
    fixed = ["train", "validation", "test", "holdout"] * 5
    assert list(splits_of([row(number, split=split) for number, split in enumerate(fixed)]).values()) == fixed


def test_real_files_end_to_end(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", n_per_label=30)
    for name in ("manifest", "split"):
        (tmp_path / name).mkdir()
    build_manifest(tmp_path / "data", project(), tmp_path / "manifest")
    assign_splits(tmp_path / "manifest", project(), tmp_path / "split")
    before, after = read_samples(tmp_path / "manifest" / "samples.csv"), read_samples(tmp_path / "split" / "samples.csv")
    assert [sample.path for sample in before] == [sample.path for sample in after]
    assert {sample.split for sample in after} == {"train", "validation", "test"}


def refused(tmp_path: Path, rows: list[Row]) -> DataError:
    with pytest.raises(DataError, match="Allowed: ") as caught:
        assign_splits(manifest_of(tmp_path, rows), project(), tmp_path)
    assert not list(tmp_path.glob("split*"))
    return caught.value


def test_all_classes_that_fall_short_are_named(tmp_path: Path) -> None:
    error = refused(tmp_path, [row(1, "ant", split="train"), row(2, "bee", split="test"), row(3, "bee", split="holdout")])
    assert error.got == "2 of 2 classes without a sample in train or in test: ant, bee; no sample in validation, of any class."
    assert [(item.where, item.problem) for item in error.findings] == [
        ("ant", "has 1 in train, 0 in validation, 0 in test, 0 in holdout"),
        ("bee", "has 0 in train, 0 in validation, 1 in test, 1 in holdout"),
    ]


@pytest.mark.parametrize("in_validation", [(), ("ant",)])
def test_one_validation_sample_of_any_class_is_needed(tmp_path: Path, in_validation: tuple[str, ...]) -> None:
    """Temperature and best epoch are taken from it; not every class must be in it."""
    needed = [(label, split) for label in ("ant", "bee") for split in ("train", "test")]
    rows = [row(n, label, split=split) for n, (label, split) in enumerate([*needed, *((label, "validation") for label in in_validation)])]
    if in_validation:
        assign_splits(manifest_of(tmp_path, rows), project(), tmp_path)
        return
    error = refused(tmp_path, rows)
    assert error.exit_code == 3
    assert error.got == "no sample in validation, of any class."
    assert "at least one sample in validation" in error.allowed
    assert "column split" in error.next_step
    assert [item.problem for item in error.findings] == ["has 1 in train, 0 in validation, 1 in test, 0 in holdout"] * 2


def test_only_the_classes_that_fall_short_are_named_where_validation_has_samples(tmp_path: Path) -> None:
    rows = [row(n, "ant", split=split) for n, split in enumerate(("train", "validation", "test"))]
    assert [item.where for item in refused(tmp_path, [*rows, row(9, "bee", split="train")]).findings] == ["bee"]


def test_files_with_the_same_bytes_are_one_sample(tmp_path: Path) -> None:
    """The first of them in the table stays, so that no sample counts twice; from there to the answers of an evaluation."""
    write_dataset(tmp_path / "data", n_per_label=30)
    for name in ("manifest", "split"):
        (tmp_path / name).mkdir()
    build_manifest(tmp_path / "data", project(), tmp_path / "manifest")
    assign_splits(tmp_path / "manifest", project(), tmp_path / "split")
    without = read_samples(tmp_path / "split" / "samples.csv")
    tested = next(sample for sample in without if sample.split == "test")
    for number in range(2):
        (tmp_path / "data" / f"copy {number}.png").write_bytes((tmp_path / "data" / tested.path).read_bytes())
        add_line(tmp_path / "data", f"copy {number}.png,{tested.label}")
    build_manifest(tmp_path / "data", project(), tmp_path / "manifest")
    assert len(read_samples(tmp_path / "manifest" / "samples.csv")) == len(without) + 2
    assign_splits(tmp_path / "manifest", project(), tmp_path / "split")
    samples = read_samples(tmp_path / "split" / "samples.csv")
    assert samples == without
    copies = pd.read_csv(tmp_path / "split" / "copies.csv")
    assert copies.to_dict("list") == {"path": ["copy 0.png", "copy 1.png"], "copy_of": [tested.path] * 2}
    test = [sample for sample in samples if sample.split == "test"]
    columns = [
        np.array(column) for column in zip(*((sample.id, sample.domain, sample.label, sample.label) for sample in test), strict=True)
    ]
    assert TestAnswers(*columns, np.ones(len(test))).n == len(test)


def test_a_copy_may_not_take_a_class_along(tmp_path: Path) -> None:
    """Two files of one content are one sample: the class has none in test, whatever the copy's row says."""
    anchors = [row(n, label, split=split) for n, (label, split) in enumerate([("ant", "train"), ("ant", "test"), ("ant", "validation")])]
    manifest = manifest_of(tmp_path, [*anchors, row(8, "bee", split="train", pixels="x"), row(9, "bee", split="holdout", pixels="x")])
    samples = pd.read_csv(manifest / "samples.csv", keep_default_na=False)
    samples.loc[samples["path"].isin(["8.png", "9.png"]), ["id", "group"]] = "id8.png"
    samples.to_csv(manifest / "samples.csv", index=False)
    with pytest.raises(DataError, match="1 of 2 classes without a sample in train or in test: bee") as caught:
        assign_splits(manifest, project(), tmp_path)
    assert caught.value.findings[0].problem == "has 1 in train, 0 in validation, 0 in test, 0 in holdout"


def test_a_copy_that_lies_in_another_split_is_refused_before_it_is_left_out(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, [row(1, split="train", pixels="same"), row(2, split="test", pixels="same")])
    samples = pd.read_csv(manifest / "samples.csv", keep_default_na=False)
    samples["id"] = samples["group"] = "one"
    samples.to_csv(manifest / "samples.csv", index=False)
    with pytest.raises(DataError, match="more than one of train, validation and test"):
        assign_splits(manifest, project(), tmp_path)


def test_a_group_torn_by_the_table_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, [row(1, group="anna", split="train"), row(2, group="anna", split="test")])
    assert [(item.where, item.problem) for item in error.findings] == [("the group 'anna'", "lies in 1.png (train), 2.png (test)")]


def test_a_picture_in_two_groups_is_refused_when_the_groups_part(tmp_path: Path) -> None:
    section = project().split
    groups = [f"writer {n}" for n in range(50)]
    trained = next(group for group in groups if split_of(f"group:{group}", section) == "train")
    tested = next(group for group in groups if split_of(f"group:{group}", section) == "test")
    error = refused(tmp_path, [row(1, group=trained, pixels="same"), row(2, group=tested, pixels="same")])
    assert [(item.where, item.problem) for item in error.findings] == [("the picture same", "lies in 1.png (train), 2.png (test)")]
    assert "give copies of a picture the same group" in error.next_step


def test_holdout_may_share_a_group_with_train() -> None:
    assert splits_of([row(1, group="anna", split="train"), row(2, group="anna", split="holdout")]) == {"1.png": "train", "2.png": "holdout"}


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, [row(1, split="dev")])
    assert [(item.where, item.problem) for item in error.findings] == [("1.png", "the split 'dev'")]


def split_sets(folder: Path, labels: list[tuple[str, str]]) -> None:
    rows = [row(number, label, split=split) for number, (label, split) in enumerate(labels)]
    assign_splits(manifest_of(folder, rows), project_of_sets(), folder)


COMPLETE_SETS = [("ant|bee", "train"), ("", "train"), ("ant|bee", "test"), ("", "test"), ("", "validation")]


def test_each_label_of_sets_needs_samples_with_and_without_it(tmp_path: Path) -> None:
    split_sets(tmp_path, COMPLETE_SETS)
    assert [sample.label for sample in read_samples(tmp_path / "samples.csv", "train")] == ["ant|bee", ""]


@pytest.mark.parametrize(
    ("place", "label", "problem"),
    [
        (0, "bee", "no sample in train has it"),
        (2, "bee", "no sample in test has it"),
        (1, "ant", "all 2 samples in train have it"),
        (3, "ant", "all 2 samples in test have it"),
    ],
)
def test_a_label_that_cannot_be_learnt_or_judged_is_named(tmp_path: Path, place: int, label: str, problem: str) -> None:
    labels = list(COMPLETE_SETS)
    labels[place] = (label, labels[place][1])
    with pytest.raises(DataError, match=r"1 of 2 labels that no sample or every sample has in train or in test\. Allowed") as caught:
        split_sets(tmp_path, labels)
    assert [(item.where, item.problem) for item in caught.value.findings] == [("ant", problem)]


def test_sets_need_a_sample_in_validation(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^no sample in validation\."):
        split_sets(tmp_path, COMPLETE_SETS[:-1])


def test_further_columns_stay_with_their_samples(tmp_path: Path) -> None:
    anchors = [row(n, label, split=split) for n, (label, split) in enumerate(product(("ant", "bee"), ("train", "validation", "test")))]
    manifest_of(tmp_path, anchors)
    samples = pd.read_csv(tmp_path / "samples.csv", dtype=str, keep_default_na=False)
    samples["slice:key"] = [f"scanner {place}" for place in range(len(samples))]
    samples.to_csv(tmp_path / "samples.csv", index=False)
    (tmp_path / "out").mkdir()
    assign_splits(tmp_path, project(data={"slices": ["key"]}), tmp_path / "out")
    found = {sample.path: sample.slices for sample in read_samples(tmp_path / "out" / "samples.csv")}
    assert found == {path: (("key", scanner),) for path, scanner in zip(samples["path"], samples["slice:key"], strict=True)}
