"""What could not be added is kept, can be corrected and ingested, and does not come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.feedback import NewSample
from pipelines.ingest import add_samples, ingest_folder
from pipelines.labels_table import read_labels_table
from pipelines.quarantine import Unused, keep_unused, set_aside
from tests.pipelines.planted import picture, project, tree, write_dataset, write_files
from tests.pipelines.test_ingest import keep
from tests.pipelines.tiny_texts import text_config, write_model, write_table


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "quarantine"


def planted(source: Path) -> None:
    """One sample that is right, an unknown label, a known picture under another label, and a file that is no picture."""
    write_files(source, {"a.png": picture(100), "b.png": picture(101), "c.png": picture(0), "d.png": b"no image", "labels.csv": b""})
    (source / "labels.csv").write_text("path,label,domain\na.png,ant,field\nb.png,wasp,field\nc.png,bee,\nd.png,ant,\n")


def test_what_could_not_be_added_is_kept_with_its_reason(data: Path, folder: Path, tmp_path: Path) -> None:
    planted(tmp_path / "new")
    summary = ingest_folder(tmp_path / "new", data, project(), "lab")
    assert (summary.n_added, len(summary.findings), len(summary.unused)) == (1, 3, 3)
    place = keep_unused(summary.unused, folder)
    assert place is not None
    assert (place / "labels.csv").read_text().splitlines() == [
        "path,label,group,domain,arrival,split,source,reason",
        "files/000000.png,,,lab,,,d.png,8 bytes that do not decode as an image (UnidentifiedImageError)",
        "files/000001.png,wasp,,field,,,b.png,the label 'wasp' is not in the conf file's labels",
        "files/000002.png,bee,,lab,,,c.png,\"labelled 'bee', but the same content is known as 'ant'\"",
    ]
    assert [(place / "files" / f"00000{n}.png").read_bytes() for n in range(3)] == [b"no image", picture(101), picture(0)]


def test_corrected_it_is_ingested(data: Path, folder: Path, tmp_path: Path) -> None:
    planted(tmp_path / "new")
    place = keep_unused(ingest_folder(tmp_path / "new", data, project(), "lab").unused, folder)
    assert place is not None
    table = place / "labels.csv"
    table.write_text(table.read_text().replace(",wasp,", ",bee,"))
    summary = ingest_folder(place, data, project(), "lab")
    assert (summary.n_added, len(summary.findings)) == (1, 2)
    left = keep_unused(summary.unused, folder)
    set_aside(place, folder, left)
    assert left is not None
    assert sorted(path.name for path in folder.iterdir()) == sorted([left.name, "taken"])
    assert [path.name for path in (folder / "taken").iterdir()] == [place.name]


def test_the_same_samples_are_kept_once_and_do_not_come_back(data: Path, folder: Path, tmp_path: Path) -> None:
    planted(tmp_path / "new")
    unused = ingest_folder(tmp_path / "new", data, project(), "lab").unused
    place = keep_unused(unused, folder)
    before = tree(folder)
    again = ingest_folder(tmp_path / "new", data, project(), "lab").unused
    assert keep_unused(again, folder) == place
    assert tree(folder) == before
    assert place is not None
    set_aside(place / "labels.csv", folder, None)
    assert keep_unused(again, folder) is None
    assert [path.name for path in folder.iterdir()] == ["taken"]


def test_other_bytes_of_the_same_name_and_reason_are_another_quarantine(folder: Path, tmp_path: Path) -> None:
    def refused(content: bytes) -> Path | None:
        (tmp_path / "img1.png").write_bytes(content)
        return keep_unused([Unused("img1.png", NewSample("", "ct"), "is no label", tmp_path / "img1.png", tmp_path)], folder)

    first, second = refused(b"week 1"), refused(b"week 2")
    assert first is not None
    assert second is not None
    assert first != second
    assert [(place / "files" / "000000.png").read_bytes() for place in (first, second)] == [b"week 1", b"week 2"]


def test_feedback_that_cannot_be_used_is_kept(data: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    new = [NewSample(keep(tmp_path / "raw", picture(0)), "bee"), NewSample("f" * 64, "ant")]
    summary = add_samples(data, new, tmp_path / "raw", project())
    place = keep_unused(summary.unused, folder)
    assert place is not None
    assert len((place / "labels.csv").read_text().splitlines()) == 2  # of the other there are no bytes


def test_nothing_to_keep(folder: Path) -> None:
    assert keep_unused([], folder) is None
    assert keep_unused([Unused("x", NewSample("", "ant"), "is gone", Path("missing"), Path())], folder) is None
    assert not folder.exists()


@pytest.mark.parametrize("left_as_it_was", [True, False])
def test_another_folder_and_a_quarantine_that_is_still_right_stay(tmp_path: Path, folder: Path, left_as_it_was: bool) -> None:
    place = folder / "abc" if left_as_it_was else tmp_path / "mine"
    place.mkdir(parents=True)
    set_aside(place, folder, folder / "abc" if left_as_it_was else None)
    assert place.is_dir()


def test_no_file_from_outside_of_the_source_is_copied(data: Path, folder: Path, tmp_path: Path) -> None:
    write_files(tmp_path, {"secret.txt": b"token=SECRET", "outer.png": picture(105)})
    write_files(tmp_path / "new", {"a.png": picture(100), "wrong.png": b"no image"})
    (tmp_path / "new" / "link.png").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "new" / "labelled.png").symlink_to(tmp_path / "outer.png")
    (tmp_path / "new" / "inner.png").symlink_to(tmp_path / "new" / "wrong.png")
    named = ["../secret.txt", "/etc/hostname", "link.png", "inner.png", "a/../../secret.txt", str(tmp_path / "secret.txt")]
    lines = ["a.png,ant", "labelled.png,wasp", *(f"{name},ant" for name in named)]
    (tmp_path / "new" / "labels.csv").write_text("\n".join(["path,label", *lines, ""]))
    summary = ingest_folder(tmp_path / "new", data, project(), "lab")
    assert (summary.n_added, len(summary.findings)) == (1, 7)
    place = keep_unused(summary.unused, folder)
    assert place is not None
    assert [file.read_bytes() for file in (place / "files").iterdir()] == [b"no image"]
    assert [line.split(",")[6] for line in (place / "labels.csv").read_text().splitlines()] == ["source", "inner.png"]


def test_a_project_s_own_column_called_source_does_not_stand_twice(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    one = Unused("a.png", NewSample("", "ant", slices=(("source", "web"),)), "is none", tmp_path / "a.png", tmp_path)
    place = keep_unused([one], folder)
    assert place is not None
    assert (place / "labels.csv").read_text().splitlines()[0] == "path,label,group,domain,arrival,split,source,quarantine_source,reason"


def test_texts_that_could_not_be_added_are_kept_in_a_table_that_can_be_corrected(folder: Path, tmp_path: Path) -> None:
    config = text_config(write_model(tmp_path / "model"))
    data, odd = tmp_path / "data", '\ufeff"a, b"\r\nand\rsoup'
    data.mkdir()
    write_table(data / "labels.csv", [("the anchor", "sailing"), ("the oven", "cooking")])
    table = write_table(tmp_path / "new.csv", [("the tide", "sailing"), (odd, "baking"), ("the oven", "sailing"), (" ", "cooking")])
    summary = ingest_folder(table, data, config, "phone")
    assert (summary.n_added, len(summary.findings)) == (1, 3)
    place = keep_unused(summary.unused, folder)
    assert place is not None
    assert [path.name for path in place.iterdir()] == ["labels.csv"]
    rows = read_labels_table(place / "labels.csv", ("reason",), "texts").rows
    assert [(row.text, row.label, row.domain) for row in rows] == [(odd, "baking", "phone"), ("the oven", "sailing", "phone")]
    assert rows[0].slices == (("reason", "the label 'baking' is not in the conf file's labels"),)
    content = (place / "labels.csv").read_bytes()
    (place / "labels.csv").write_bytes(content.replace(b",baking,", b",cooking,"))
    corrected = ingest_folder(place, data, config, "lab")
    assert (corrected.n_added, len(corrected.findings)) == (1, 1)
    assert [(row.text, row.label, row.domain) for row in read_labels_table(data / "labels.csv", holds="texts").rows][-1:] == [
        (odd, "cooking", "phone")
    ]
    left = keep_unused(corrected.unused, folder)
    set_aside(place, folder, left)
    assert left is not None
    assert [row.text for row in read_labels_table(left / "labels.csv", holds="texts").rows] == ["the oven"]


def test_feedback_on_texts_is_kept_as_text(folder: Path, tmp_path: Path) -> None:
    config, raw = text_config(write_model(tmp_path / "model")), tmp_path / "raw"
    for place in (raw, tmp_path / "data"):
        place.mkdir()
    write_table(tmp_path / "data" / "labels.csv", [("the anchor", "sailing"), ("the oven", "cooking")])
    new = [NewSample(keep(raw, content), "baking") for content in ("sail ⛵".encode(), b"\xff")] + [NewSample("f" * 64, "baking")]
    place = keep_unused(add_samples(tmp_path / "data", new, raw, config).unused, folder)
    assert place is not None
    assert [(row.text, row.label) for row in read_labels_table(place / "labels.csv", holds="texts").rows] == [("sail ⛵", "baking")]


def test_no_text_behind_a_link_out_of_the_source_is_copied(folder: Path, tmp_path: Path) -> None:
    write_files(tmp_path, {"secret.txt": b"token=SECRET", "new/baking/a.txt": b"the bun"})
    (tmp_path / "new" / "baking" / "b.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "data").mkdir()
    write_table(tmp_path / "data" / "labels.csv", [("the anchor", "sailing"), ("the oven", "cooking")])
    summary = ingest_folder(tmp_path / "new", tmp_path / "data", text_config(write_model(tmp_path / "model")), "lab")
    assert len(summary.findings) == 2
    place = keep_unused(summary.unused, folder)
    assert place is not None
    assert [row.text for row in read_labels_table(place / "labels.csv", holds="texts").rows] == ["the bun"]
