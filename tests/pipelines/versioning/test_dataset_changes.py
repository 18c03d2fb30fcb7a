from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import IntegrityError
from pipelines.versioning.account import account_of
from pipelines.versioning.dataset import commit_dataset
from pipelines.versioning.dataset_changes import DatasetState, compare_labels, dataset_changes
from pipelines.versioning.model_versions import register

DECISION = {"decision.json": b'{"pass": true}'}
LABELS = st.dictionaries(st.integers(0, 9).map(str), st.sampled_from("abc"))


def head(place) -> DatasetState:
    return DatasetState(place.git("rev-parse", "HEAD"), "labels.csv")


def rewrite(place) -> None:
    """One sample added, one removed, one relabelled, one moved, of the four with label a."""
    data = place.root / "data"
    (data / "images" / "0.png").unlink()
    (data / "images" / "1.png").rename(data / "moved.png")
    (data / "new.png").write_bytes(b"new")
    (data / "labels.csv").write_text("path,label\nmoved.png,a\nimages/2.png,b\nimages/3.png,a\nnew.png,c\n")
    commit_dataset(place.root, "Second data")


def lose_samples(place) -> None:
    """What is no listing and no labels table leaves both cache and remote."""
    for store in (place.root / ".dvc" / "cache", place.remote):
        for path in [path for path in store.rglob("*") if path.is_file() and path.read_bytes().startswith((b"image", b"new"))]:
            path.unlink()


def test_counts_by_label_without_reading_a_single_sample(place) -> None:
    before = head(place)
    rewrite(place)
    lose_samples(place)
    changes = dataset_changes(place.root, before, head(place))
    assert (changes.n_old, changes.n_new) == (4, 4)
    assert (changes.added, changes.removed, changes.relabelled) == ({"c": 1}, {"a": 1}, {"a -> b": 1})
    assert changes.old != changes.new


def test_the_same_version_has_no_changes(place) -> None:
    changes = dataset_changes(place.root, head(place), head(place))
    assert changes.added == changes.removed == changes.relabelled == {}


def test_listings_that_the_cache_lacks_come_from_the_remote_and_no_sample_with_them(place) -> None:
    before = head(place)
    rewrite(place)
    shutil.rmtree(place.root / ".dvc" / "cache")
    assert dataset_changes(place.root, before, head(place)).added == {"c": 1}
    cached = [path.read_bytes() for path in (place.root / ".dvc" / "cache").rglob("*") if path.is_file()]
    assert len(cached) == 4  # two listings, two tables


def test_a_lost_listing_is_named_and_hides_nothing_else_of_a_version(place, new_bundle) -> None:
    register(place.root, new_bundle(b"one").path, DECISION, "First")
    rewrite(place)
    register(place.root, new_bundle(b"two").path, DECISION, "Second")
    account = account_of(place.root, "digits", "v0.0.2")
    assert account["data"]["parent"] == "v0.0.1"
    assert account["data"]["changes"]["relabelled"] == {"a -> b": 1}
    old = place.git("show", "digits@v0.0.1:data.dvc").split("md5: ")[1].split()[0]
    for store in (place.root / ".dvc" / "cache", place.remote):
        for path in store.rglob(old[2:]):
            path.unlink()
    account = account_of(place.root, "digits", "v0.0.2")
    assert "neither in DVC's cache nor in its remote" in account["data"]["changes"]["unknown"]
    assert account["bundle"]
    with pytest.raises(IntegrityError, match=old):
        dataset_changes(place.root, DatasetState("digits@v0.0.1", "labels.csv"), head(place))


def test_a_labels_table_under_another_name_is_named(place) -> None:
    with pytest.raises(IntegrityError, match=r"which has no other\.csv.*data\.labels_table"):
        dataset_changes(place.root, head(place), DatasetState("HEAD", "other.csv"))


@given(old=LABELS, new=LABELS)
def test_counts_agree_with_counting_each_sample(old: dict[str, str], new: dict[str, str]) -> None:
    changes = compare_labels(("x", old), ("y", new))
    assert changes.added == Counter(label for key, label in new.items() if key not in old)
    assert changes.removed == Counter(label for key, label in old.items() if key not in new)
    assert sum(changes.relabelled.values()) == sum(key in new and new[key] != label for key, label in old.items())
    assert changes.n_old + sum(changes.added.values()) - sum(changes.removed.values()) == changes.n_new


def test_the_workspace_fixture_is_what_the_counts_assume(place) -> None:
    assert len(list(Path(place.root / "data" / "images").glob("*.png"))) == 4
