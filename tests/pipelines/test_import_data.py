from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.import_data import ImportSummary, import_samples
from pipelines.manifest import build_manifest, read_problems
from pipelines.split import assign_splits
from tests.pipelines.planted import as_csv, names_in, picture, project, tree, write_files


def class_folders(source: Path, n_per_class: int = 4, prefix: str = "", first: int = 0) -> None:
    for number in range(n_per_class):
        files = {f"{prefix}{label}/{label} {number}.png": picture(first + 1000 * k + number) for k, label in enumerate(("ant", "bee"))}
        write_files(source, files)


def labels_of(data: Path) -> pd.DataFrame:
    return pd.read_csv(data / "labels.csv", dtype=str, keep_default_na=False)


def test_class_folders(tmp_path: Path) -> None:
    source, data = tmp_path / "source", tmp_path / "new" / "data"
    class_folders(source)
    write_files(source, {"ant/Käfer ☀.png": picture(50), "ant/Thumbs.db": b"x"})
    summary = import_samples(source, data)
    assert summary == ImportSummary(("ant", "bee"), {"ant": 5, "bee": 4}, ("ant/Thumbs.db",), False, (), 9)
    copied = tree(data)
    assert list(labels_of(data).columns) == ["path", "label"]
    assert copied.keys() - {"labels.csv"} == set(labels_of(data)["path"])
    assert {name: digest for name, digest in tree(source).items() if name in copied} == {
        k: v for k, v in copied.items() if k != "labels.csv"
    }


def test_what_was_imported_makes_a_manifest_without_problems(tmp_path: Path) -> None:
    class_folders(tmp_path / "source", 40)
    write_files(tmp_path / "source", {"bee/with, comma and ü.png": picture(51)})
    import_samples(tmp_path / "source", tmp_path / "data")
    (tmp_path / "out").mkdir()
    build_manifest(tmp_path / "data", project(), tmp_path / "out")
    assert read_problems(tmp_path / "out") == []
    assign_splits(tmp_path / "out", project(), tmp_path / "out")


def test_copies_are_no_links(tmp_path: Path) -> None:
    class_folders(tmp_path / "source")
    (tmp_path / "elsewhere.png").write_bytes(picture(60))
    (tmp_path / "source" / "ant" / "link.png").symlink_to(tmp_path / "elsewhere.png")
    import_samples(tmp_path / "source", tmp_path / "data")
    for path in (tmp_path / "data").rglob("*.png"):
        assert not path.is_symlink()
        assert path.stat().st_nlink == 1
    assert (tmp_path / "data" / "ant" / "link.png").read_bytes() == picture(60)


def test_a_read_only_source_gives_data_that_can_be_changed(tmp_path: Path) -> None:
    class_folders(tmp_path / "source")
    for path in (tmp_path / "source").rglob("*.png"):
        path.chmod(0o444)
    import_samples(tmp_path / "source", tmp_path / "data")
    assert os.access(tmp_path / "data" / "ant" / "ant 0.png", os.W_OK)
    assert (tmp_path / "data" / "ant" / "ant 0.png").stat().st_mode & 0o200


def test_three_split_folders_are_kept(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "val", "test")):
        class_folders(tmp_path / "source", prefix=f"{split}/", first=100 * number)
    summary = import_samples(tmp_path / "source", tmp_path / "data")
    assert (summary.fixed_splits, summary.notes) == (True, ())
    assert labels_of(tmp_path / "data").groupby("split").size().to_dict() == {"train": 8, "validation": 8, "test": 8}


@pytest.mark.parametrize(
    ("other", "notes"),
    [
        ("test", ["a fifth of the train folder, chosen by a hash of the pixels, is the validation split"]),
        (
            "val",
            [
                "there is no test folder: the validation folder is the test split",
                "a fifth of the train folder, chosen by a hash of the pixels, is the validation split",
            ],
        ),
    ],
)
def test_two_split_folders_become_three_splits(tmp_path: Path, other: str, notes: list[str]) -> None:
    class_folders(tmp_path / "source", 50, prefix="train/")
    class_folders(tmp_path / "source", 5, prefix=f"{other}/", first=500)
    summary = import_samples(tmp_path / "source", tmp_path / "data")
    assert list(summary.notes) == notes
    table = labels_of(tmp_path / "data")
    from_folder = table["path"].str.split("/").str[0]
    assert set(table.loc[from_folder == other, "split"]) == {"test"}
    assert set(table.loc[from_folder == "train", "split"]) == {"train", "validation"}
    assert 8 <= (table["split"] == "validation").sum() <= 34  # 100 draws with probability 0.2: 20 +- 3.5 standard deviations


def test_of_texts_the_validation_split_is_chosen_by_the_text(tmp_path: Path) -> None:
    for split, n in (("train", 20), ("test", 2)):
        for label in ("ant", "bee"):
            write_files(tmp_path / "source" / split / label, {f"{number}.txt": f"{split} {label} {number}".encode() for number in range(n)})
    summary = import_samples(tmp_path / "source", tmp_path / "data", task="text")
    assert summary.notes == ("a fifth of the train folder, chosen by a hash of the text, is the validation split",)


def test_split_folders_without_train(tmp_path: Path) -> None:
    for split in ("val", "test"):
        class_folders(tmp_path / "source", prefix=f"{split}/")
    with pytest.raises(DataError, match="1 fault") as caught:
        import_samples(tmp_path / "source", tmp_path / "data")
    assert [(item.where, item.problem) for item in caught.value.findings] == [("source", "has the folders test, val, but no train")]


def test_only_a_train_folder(tmp_path: Path) -> None:
    class_folders(tmp_path / "source", prefix="train/")
    summary = import_samples(tmp_path / "source", tmp_path / "data")
    assert summary.notes == ("the folder train alone does not fix splits: a hash decides them",)
    assert not summary.fixed_splits
    assert "split" not in labels_of(tmp_path / "data")


def test_a_table_keeps_its_columns(tmp_path: Path) -> None:
    source = tmp_path / "source"
    rows = [("path", "label", "group", "weather"), ("a b.png", "ant", "anna", "sun"), ("ü.png", "007", "", "rain")]
    write_files(source, {"a b.png": picture(1), "ü.png": picture(2), "table.csv": b"\xef\xbb\xbf" + as_csv(rows)})
    summary = import_samples(source / "table.csv", tmp_path / "data")
    assert (summary.labels, summary.ignored) == (("007", "ant"), ("the column 'weather' of table.csv",))
    table = labels_of(tmp_path / "data")
    assert list(table.columns) == ["path", "label", "group"]
    assert table.values.tolist() == [["a b.png", "ant", "anna"], ["ü.png", "007", ""]]
    assert tree(tmp_path / "data").keys() == {"a b.png", "ü.png", "labels.csv"}


def test_all_faults_in_one_table_and_nothing_copied(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_files(source, {"ant/1.png": picture(1), "ant/2.png": b"no image", "ant/3.png": picture(3)[:40]})
    (source / "bee").mkdir()
    with pytest.raises(DataError, match=r"source with 3 faults\. .*nothing was copied\.") as caught:
        import_samples(source, tmp_path / "data")
    assert [item.where for item in caught.value.findings] == ["bee", "ant/2.png", "ant/3.png"]
    assert names_in(tmp_path) == ["source"]


def test_a_single_class(tmp_path: Path) -> None:
    write_files(tmp_path, {"source/ant/1.png": picture(1)})
    with pytest.raises(DataError, match="1 fault") as caught:
        import_samples(tmp_path / "source", tmp_path / "data")
    assert caught.value.findings[0].problem == "has one class only, 'ant': there is nothing to tell apart"


def test_no_source_and_a_taken_target(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no folder or table at"):
        import_samples(tmp_path / "nothing", tmp_path / "data")
    class_folders(tmp_path / "source")
    write_files(tmp_path, {"data/mine.txt": b"x"})
    with pytest.raises(ConfigurationError, match=r"which is there and not empty.*regraft ingest"):
        import_samples(tmp_path / "source", tmp_path / "data")
    assert tree(tmp_path / "data").keys() == {"mine.txt"}


def test_a_failing_copy_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "source")
    copied: list[str] = []

    def full_disk(source: Path, target: Path) -> None:
        copied.append(target.name)
        if len(copied) == 5:
            raise OSError(28, "No space left on device")
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr("pipelines.import_data.shutil.copyfile", full_disk)
    with pytest.raises(OSError, match="No space left"):
        import_samples(tmp_path / "source", tmp_path / "data")
    assert names_in(tmp_path) == ["source"]


@pytest.mark.shared("that a real folder of photos with train and val folders is imported whole")
def test_hymenoptera(tmp_path: Path, shared_dir: Path) -> None:
    source = shared_dir / "data" / "hymenoptera"
    summary = import_samples(source, tmp_path / "data")
    assert summary.labels == ("ants", "bees")
    assert sum(summary.n_samples.values()) == sum(path.is_file() for path in source.rglob("*"))


def table_of_sets(source: Path, cells: list[str]) -> None:
    write_files(source, {f"{number}.png": picture(number) for number in range(len(cells))})
    (source / "labels.csv").write_bytes(as_csv([("path", "label"), *((f"{number}.png", cell) for number, cell in enumerate(cells))]))


def test_a_table_with_sets_of_labels(tmp_path: Path) -> None:
    table_of_sets(tmp_path / "source", ["bee | ant", "", "ant", "ant|bee"])
    summary = import_samples(tmp_path / "source", tmp_path / "data", "many")
    assert (summary.labels, summary.n_samples, summary.n_all, summary.notes) == (("ant", "bee"), {"ant": 3, "bee": 2}, 4, ())
    assert list(labels_of(tmp_path / "data")["label"]) == ["ant|bee", "", "ant", "ant|bee"]


def test_without_the_word_a_separator_is_part_of_a_label_and_said(tmp_path: Path) -> None:
    table_of_sets(tmp_path / "source", ["ant|bee", "ant", "bee"])
    summary = import_samples(tmp_path / "source", tmp_path / "data")
    assert summary.labels == ("ant", "ant|bee", "bee")
    assert summary.notes == ("1 labels hold a |: each is taken as one label, as samples have one label here",)


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["ant|ant", "bee", "ant"], "0.png: the label 'ant|ant' names 'ant' twice"),
        (["ant|", "bee|ant"], "0.png: the label 'ant|' has no name on one side of a |"),
        (["ant", ""], "source: has one class only, 'ant': there is nothing to tell apart"),
        (["", ""], "source: has no label at all"),
    ],
)
def test_sets_that_cannot_be_used(tmp_path: Path, cells: list[str], problem: str) -> None:
    table_of_sets(tmp_path / "source", cells)
    with pytest.raises(DataError, match="with 1 fault") as caught:
        import_samples(tmp_path / "source", tmp_path / "data", "many")
    assert [f"{item.where}: {item.problem}" for item in caught.value.findings] == [problem]
    assert not (tmp_path / "data").exists()
