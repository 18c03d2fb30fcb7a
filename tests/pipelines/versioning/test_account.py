from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines.versioning.account import account_of, parent_version
from pipelines.versioning.comparison import ABSENT, compare_versions, differences
from pipelines.versioning.model_versions import find_version, register
from pipelines.versioning.promotion import rollback
from pipelines.versioning.tags import read_tags

TREES = st.recursive(
    st.integers() | st.text(max_size=3) | st.none(),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


def test_what_was_not_recorded_is_none_and_hides_nothing(promoted) -> None:
    found = account_of(promoted.root, "digits", "v0.0.1")
    assert (found["run"], found["hardware"], found["workspace"]) == (None, None, None)
    assert (found["version"], found["seed"], found["data"]["parent"]) == ("v0.0.1", 0, None)
    assert [row["kind"] for row in found["promotions"]] == ["promote"]


def test_the_parent_is_the_champion_of_then(promoted, new_bundle) -> None:
    rollback(promoted.root, "digits", "worse")  # v0.0.1 is champion again, v0.0.3 the version registered last
    register(promoted.root, new_bundle(b"four").path, {"decision.json": b"{}"}, "Fourth")
    parents = [
        parent_version(read_tags(promoted.root, "digits"), find_version(promoted.root, "digits", name))
        for name in ("v0.0.1", "v0.0.2", "v0.0.4")
    ]
    assert parents == [None, "v0.0.1", "v0.0.1"]


def test_a_record_beside_the_bundle_changes_no_bundle(place, new_bundle) -> None:
    bundle = new_bundle(b"one")
    record: dict[str, Any] = {"run": {"id": "r1"}, "hardware": {"cpu": "X"}, "libraries": {"torch": "1"}}
    version = register(place.root, bundle.path, {"decision.json": b"{}", "provenance.json": json.dumps(record).encode()}, "First")
    assert version.bundle_id == bundle.id
    found = account_of(place.root, "digits", "v0.0.1")
    assert (found["run"], found["hardware"], found["libraries"]) == ({"id": "r1"}, {"cpu": "X"}, {"torch": "1"})


def test_two_versions_side_by_side(promoted) -> None:
    found = compare_versions(promoted.root, "digits", "v0.0.1", "v0.0.2")
    assert found["a"]["bundle"] != found["b"]["bundle"]
    assert found["data"]["added"] == found["data"]["removed"] == found["data"]["relabelled"] == {}
    assert found["config"] == found["libraries"] == found["backbone"] == {}
    same = compare_versions(promoted.root, "digits", "v0.0.1", "v0.0.1")
    assert same["a"] == same["b"]


def test_differences_by_path() -> None:
    a = {"method": {"kind": "probe", "epochs": 3}, "seed": 0, "labels": ["x"]}
    b = {"method": {"kind": "probe", "epochs": 4}, "labels": ["x", "y"]}
    assert differences(a, b) == {
        "labels": {"a": ["x"], "b": ["x", "y"]},
        "method.epochs": {"a": 3, "b": 4},
        "seed": {"a": 0, "b": ABSENT},
    }


@given(a=MAPPINGS, b=MAPPINGS)
def test_no_difference_exactly_where_equal_and_the_mirror_image(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert (differences(a, b) == {}) == (a == b)
    assert {path: (values["b"], values["a"]) for path, values in differences(a, b).items()} == {
        path: (values["a"], values["b"]) for path, values in differences(b, a).items()
    }
