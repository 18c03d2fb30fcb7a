from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.sample_source import SampleSource, SourceSample, read_source
from tests.pipelines.planted import as_csv, picture, write_files


def findings_of(source: SampleSource) -> list[tuple[str, str]]:
    return [(item.where, item.problem) for item in source.findings]


def test_class_folders_are_read_to_any_depth(tmp_path: Path) -> None:
    write_files(tmp_path, {"bee/b.png": picture(1), "ant/deep er/ä.jpg": picture(2, file_format="JPEG"), "ant/no suffix": picture(3)})
    source = read_source(tmp_path)
    assert source.samples == (
        SourceSample("ant/no suffix", "ant"),
        SourceSample("ant/deep er/ä.jpg", "ant"),
        SourceSample("bee/b.png", "bee"),
    )
    assert [image.extension for image in source.inputs] == [".png", ".jpg", ".png"]
    assert (source.classes, source.split_folders, source.ignored, source.findings) == (("ant", "bee"), (), (), ())


def test_what_is_no_image_is_ignored_and_named(tmp_path: Path) -> None:
    write_files(tmp_path, {"ant/1.png": picture(1), "bee/2.png": picture(2)})
    others = ["ant/.DS_Store", "ant/._1.png", "ant/Thumbs.db", "ant/notes.txt", "README.md", "loose.png", ".git/x.png", "__MACOSX/y.png"]
    write_files(tmp_path, dict.fromkeys(others, b"whatever"))
    (tmp_path / "bee" / "more").symlink_to(tmp_path / "ant")
    source = read_source(tmp_path)
    assert sorted(source.ignored) == sorted([*others[:6], ".git", "__MACOSX", "bee/more"])
    assert (len(source.samples), source.findings) == (2, ())


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_split_folders(tmp_path: Path, validation: str) -> None:
    write_files(tmp_path, {f"{split}/{label}/1.png": picture(1) for split in ("train", validation, "test") for label in ("ant", "bee")})
    source = read_source(tmp_path)
    assert {(sample.path.split("/")[0], sample.split) for sample in source.samples} == {
        ("train", "train"),
        (validation, "validation"),
        ("test", "test"),
    }
    assert source.split_folders == tuple(sorted(["train", validation, "test"]))
    assert {sample.label for sample in source.samples} == {"ant", "bee"} == set(source.classes)


def test_one_split_folder_alone_splits_nothing(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/ant/1.png": picture(1), "train/bee/1.png": picture(2)})
    assert [(sample.label, sample.split) for sample in read_source(tmp_path).samples] == [("ant", ""), ("bee", "")]


def test_a_folder_beside_split_folders_makes_them_classes(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/1.png": picture(1), "tram/1.png": picture(2)})
    assert read_source(tmp_path).classes == ("train", "tram")


def test_all_faults_at_once(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {"ant/1.png": picture(1), "ant/broken.png": picture(2)[:60], "bee/readme.txt": b"soon", "wasp/line\nbreak.png": picture(3)},
    )
    (tmp_path / "fly").mkdir()
    (tmp_path / os.fsdecode(b"ant/caf\xe9.png")).write_bytes(picture(4))
    assert sorted(findings_of(read_source(tmp_path))) == [
        ("ant/broken.png", "60 bytes that do not decode as an image (OSError)"),
        ("ant/caf\\udce9.png", "the name is not valid UTF-8; rename the file"),
        ("bee", "is a class folder without an image"),
        ("fly", "is a class folder without an image"),
        ("wasp/line\nbreak.png", "the name holds a control character; rename the file"),
    ]


@pytest.mark.parametrize("files", [{}, {"1.png": b"x"}, {"train/1.png": b"x", "val/2.png": b"x"}])
def test_no_class_folders(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    write_files(source, files)
    assert findings_of(read_source(source)) == [("photos", "has no class folders: one folder for each label, with its images")]


@pytest.mark.parametrize("name", ["labels.csv", "my table.csv"])
def test_a_table(tmp_path: Path, name: str) -> None:
    rows = [("path", "label", "group", "domain", "arrival", "split", "weather"), ("x/1.png", "ant", "g", "d", "2026-11-20", "test", "rain")]
    write_files(tmp_path, {"x/1.png": picture(1), "x/2.png": picture(2), name: as_csv([*rows, ("./x/2.png", "bee", "", "", "", "", "")])})
    source = read_source(tmp_path if name == "labels.csv" else tmp_path / name)
    assert source.samples == (SourceSample("x/1.png", "ant", "g", "d", "2026-11-20", "test"), SourceSample("x/2.png", "bee"))
    assert source.ignored == (f"the column 'weather' of {name}",)
    assert source.root == tmp_path


def test_all_faults_of_a_table_at_once(tmp_path: Path) -> None:
    rows = [
        ("gone.png", "ant", ""),
        ("", "ant", ""),
        ("1.png", "", ""),
        ("../2.png", "bee", ""),
        ("1.png", "ant", ""),
        ("3.png", "bee", "dev"),
    ]
    write_files(tmp_path, {"1.png": picture(1), "3.png": picture(3), "labels.csv": as_csv([("path", "label", "split"), *rows])})
    assert findings_of(read_source(tmp_path)) == [
        ("labels.csv line 3", "the path is empty"),
        ("labels.csv line 6", "the path 1.png is listed already (labels.csv line 4)"),
        ("3.png", "the split 'dev' is none of train, validation, test, holdout or empty"),
        ("labels.csv line 4", "the label is empty"),
        ("gone.png", "no such file"),
        ("../2.png", f"the path leads out of {tmp_path.name}/"),
    ]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no folder or table at .*photos.*correct the path"):
        read_source(tmp_path / "photos")


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    write_files(tmp_path, {"archive.zip": b"PK"})
    with pytest.raises(DataError, match=r"the labels table archive\.zip"):
        read_source(tmp_path / "archive.zip")
