from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.conf_yaml import read_mapping
from pipelines.core.errors import ConfigurationError

TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6)


@given(content=st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_is_unique_reads_as_ever(tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "unique.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8", newline="")
    assert read_mapping(path) == content


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a: 1\nb: 2\na: 3\n", (1, 3)),
        ("s:\n  a: 1\n  'a': 3\n", (2, 3)),
        ("s: [{a: 1,\n b: 1, a: 2}]\n", (1, 2)),
    ],
)
def test_a_key_that_is_there_twice_at_any_depth(tmp_path: Path, text: str, lines: tuple[int, int]) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(
        ConfigurationError, match=rf"c\.yaml that cannot be read: the key 'a' is on line {lines[0]} and again on line {lines[1]}\."
    ):
        read_mapping(tmp_path / "c.yaml")


def test_merged_and_repeated_keys_are_no_duplicates(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: 1}\nmiddle: &middle {<<: *base, b: 2}\ntop: {<<: *middle, a: 3}\nagain: {a: 5}\n"
    (tmp_path / "c.yaml").write_text(text)
    read = read_mapping(tmp_path / "c.yaml")
    assert (read["middle"], read["top"]) == ({"a": 1, "b": 2}, {"a": 3, "b": 2})


def test_no_object_is_made(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigurationError, match="could not determine a constructor"):
        read_mapping(tmp_path / "c.yaml")
