from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.ingest import IngestSummary, NewSample, add_samples, ingest_folder, unknown_samples
from pipelines.labels_table import read_labels_table
from pipelines.manifest import build_manifest, read_problems
from tests.pipelines.planted import (
    add_line,
    as_csv,
    picture,
    project,
    project_of_sets,
    tree,
    write_dataset,
    write_files,
    write_sets,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def keep(raw: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    (raw / digest).write_bytes(content)
    return digest


def problems_of(data: Path, out: Path) -> list[object]:
    out.mkdir(exist_ok=True)
    build_manifest(data, project(), out)
    return list(read_problems(out))


def test_new_samples_are_added(data: Path, raw: Path, tmp_path: Path) -> None:
    before = (data / "labels.csv").read_bytes()
    new = [
        NewSample(keep(raw, picture(100)), "ant", "scanner-b", "2026-11-20"),
        NewSample(keep(raw, picture(101, file_format="JPEG")), "bee", "scanner-b", "2026-11-21"),
    ]
    assert add_samples(data, new, raw, project()) == IngestSummary(2, 0, ())
    table = read_labels_table(data / "labels.csv")
    assert [(row.path, row.label, row.domain, row.arrival, row.split) for row in table.rows[-2:]] == [
        (f"images/feedback/{new[0].sha256[:32]}.png", "ant", "scanner-b", "2026-11-20", ""),
        (f"images/feedback/{new[1].sha256[:32]}.jpg", "bee", "scanner-b", "2026-11-21", ""),
    ]
    assert (data / table.rows[-1].path).read_bytes() == picture(101, file_format="JPEG")
    assert len(table.rows) == 18
    assert before.splitlines()[0] == b'"path","label"'
    assert problems_of(data, tmp_path / "manifest") == []


def test_twice_adds_nothing(data: Path, raw: Path) -> None:
    new = [NewSample(keep(raw, picture(n)), "ant", "scanner-b") for n in (100, 101)]
    add_samples(data, new, raw, project())
    before = tree(data)
    assert add_samples(data, new, raw, project()) == IngestSummary(0, 2, ())
    assert tree(data) == before


def test_rows_that_need_no_column_leave_the_rest_byte_for_byte(data: Path, raw: Path) -> None:
    before = (data / "labels.csv").read_bytes()
    add_samples(data, [NewSample(keep(raw, picture(100)), "ant")], raw, project())
    assert (data / "labels.csv").read_bytes().startswith(before)


def test_known_content_is_not_added_again(data: Path, raw: Path) -> None:
    before = tree(data)
    assert add_samples(data, [NewSample(keep(raw, picture(0)), "ant", "lab")], raw, project()) == IngestSummary(0, 1, ())
    assert tree(data) == before


@pytest.mark.parametrize(
    ("content", "label", "problem"),
    [
        (picture(0), "bee", "labelled 'bee', but the same content is known as 'ant'"),
        (picture(100), "wasp", "the label 'wasp' is not in the conf file's labels"),
        (b"no image", "ant", "8 bytes that do not decode as an image (UnidentifiedImageError)"),
        (picture(100)[:60], "ant", "60 bytes that do not decode as an image (OSError)"),
        (None, "ant", "its bytes cannot be read (No such file or directory)"),
    ],
)
def test_what_cannot_be_used_is_named_and_not_added(data: Path, raw: Path, content: bytes | None, label: str, problem: str) -> None:
    digest = "f" * 64 if content is None else keep(raw, content)
    before = tree(data)
    summary = add_samples(data, [NewSample(digest, label)], raw, project())
    assert (summary.n_added, summary.n_known) == (0, 0)
    assert [(item.where, item.problem) for item in summary.findings] == [(f"raw input {digest[:32]}", problem)]
    assert tree(data) == before


def test_bytes_that_are_not_what_their_name_states(data: Path, raw: Path) -> None:
    digest = keep(raw, picture(100))
    (raw / digest).write_bytes(picture(101))
    summary = add_samples(data, [NewSample(digest, "ant")], raw, project())
    assert [item.problem for item in summary.findings] == ["its bytes are not those that its name states"]


def test_one_bad_sample_does_not_hold_up_the_others(data: Path, raw: Path) -> None:
    new = [NewSample(keep(raw, b"no image"), "ant"), NewSample(keep(raw, picture(100)), "ant"), NewSample(keep(raw, picture(0)), "ant")]
    summary = add_samples(data, new, raw, project())
    assert (summary.n_added, summary.n_known, len(summary.findings)) == (1, 1, 1)


def test_a_crash_before_the_table_is_written_is_made_good(data: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = [NewSample(keep(raw, picture(100)), "ant")]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.ingest.append_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            add_samples(data, new, raw, project())
    assert len(read_labels_table(data / "labels.csv").rows) == 16
    assert add_samples(data, new, raw, project()) == IngestSummary(1, 0, ())
    assert len(list((data / "images" / "feedback").iterdir())) == 1


KILLED = """
import os, pathlib, signal, sys
from pathlib import Path
from pipelines.ingest import NewSample, add_samples
from tests.pipelines.planted import project

n_left, whole = int(sys.argv[1]), pathlib.Path.replace

def replace(self, target):
    global n_left
    n_left -= 1
    if n_left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, target)

pathlib.Path.replace = replace
add_samples(Path("data"), [NewSample(digest, "ant", "lab") for digest in sys.argv[2:]], Path("raw"), project())
"""


@pytest.mark.parametrize("n_replaced", [0, 1, 2, 3])
def test_a_killed_process_leaves_nothing_unfinished_in_the_data(data: Path, raw: Path, n_replaced: int) -> None:
    """Killed before the first file, the second, the thumbnails that are kept, the table: DVC tracks whatever lies in data/."""
    before = tree(data)
    contents = [picture(100), picture(101)]
    digests = [keep(raw, content) for content in contents]
    paths = os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])
    command = [sys.executable, "-c", KILLED, str(n_replaced), *digests]
    killed = subprocess.run(command, cwd=data.parent, env={**os.environ, "PYTHONPATH": paths}, check=False)
    assert killed.returncode == -signal.SIGKILL
    finished = {f"images/feedback/{digest[:32]}.png": digest for digest in digests[:n_replaced]}
    assert tree(data) == {**before, **finished}
    unfinished = data.parent / ".regraft" / "tmp" / "ingest"
    assert len([path for path in unfinished.rglob("*") if path.is_file()]) == 1
    assert add_samples(data, [NewSample(digest, "ant", "lab") for digest in digests], raw, project()) == IngestSummary(2, 0, ())
    assert len(read_labels_table(data / "labels.csv").rows) == 18
    assert list(unfinished.iterdir()) == []


def reencoded(content: bytes, file_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).save(buffer, file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("file_format", ["BMP", "TIFF", "WEBP"])
def test_a_known_picture_in_another_format_under_another_label_is_not_added(data: Path, raw: Path, file_format: str) -> None:
    before = tree(data)
    digest = keep(raw, reencoded(picture(0), file_format))
    summary = add_samples(data, [NewSample(digest, "bee")], raw, project())
    assert [(item.where, item.problem) for item in summary.findings] == [
        (f"raw input {digest[:32]}", "labelled 'bee', but the same picture is known as 'ant'")
    ]
    assert (summary.n_added, summary.n_known, tree(data)) == (0, 0, before)
    assert unknown_samples(data, [NewSample(digest, "bee")], project(), raw) == []


def test_a_known_picture_in_another_format_under_its_label_is_known(data: Path, raw: Path) -> None:
    """Added without its twin's group, it could end up in another split, which every later run would refuse."""
    before = tree(data)
    new = [NewSample(keep(raw, reencoded(picture(0), "BMP")), "ant"), NewSample(keep(raw, picture(100)), "ant")]
    assert unknown_samples(data, new, project(), raw) == new[1:]
    assert add_samples(data, new[:1], raw, project()) == IngestSummary(0, 1, ())
    assert tree(data) == before


def test_copies_among_what_is_new(data: Path, raw: Path, tmp_path: Path) -> None:
    contents = [(picture(100), "ant"), (reencoded(picture(100), "BMP"), "ant"), (reencoded(picture(100), "TIFF"), "bee")]
    summary = add_samples(data, [NewSample(keep(raw, content), label) for content, label in contents], raw, project())
    assert (summary.n_added, summary.n_known) == (1, 1)
    assert [item.problem for item in summary.findings] == ["labelled 'bee', but the same picture is known as 'ant'"]
    assert problems_of(data, tmp_path / "manifest") == []


def test_a_copy_that_exif_turns_is_the_same_picture(data: Path, raw: Path) -> None:
    """Its header states other sides than the picture has."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    Image.open(io.BytesIO(picture(0))).transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    summary = add_samples(data, [NewSample(keep(raw, buffer.getvalue()), "bee")], raw, project())
    assert [item.problem for item in summary.findings] == ["labelled 'bee', but the same picture is known as 'ant'"]


def test_files_that_cannot_be_read_hold_nothing_up(data: Path, raw: Path) -> None:
    write_files(data, {"broken.png": b"no image", "short.png": picture(0)[:60]})
    for path in ("broken.png", "short.png", "missing.png"):
        add_line(data, f"{path},ant")
    assert add_samples(data, [NewSample(keep(raw, picture(100)), "ant")], raw, project()) == IngestSummary(1, 0, ())


def test_a_folder_with_known_pictures_in_another_format(data: Path, tmp_path: Path) -> None:
    files = {"ant/1.bmp": reencoded(picture(0), "BMP"), "bee/2.bmp": reencoded(picture(2), "BMP"), "bee/3.png": picture(300)}
    write_files(tmp_path / "more", files)
    summary = ingest_folder(tmp_path / "more", data, project(), "default")
    assert (summary.n_added, summary.n_known) == (1, 1)
    assert [(item.where, item.problem) for item in summary.findings] == [
        ("bee/2.bmp", "labelled 'bee', but the same picture is known as 'ant'")
    ]
    assert problems_of(data, tmp_path / "manifest") == []


def test_two_at_once_lose_nothing(data: Path, raw: Path) -> None:
    batches = [[NewSample(keep(raw, picture(1000 * k + n)), "ant") for n in range(10)] for k in range(1, 5)]
    threads = [threading.Thread(target=add_samples, args=(data, batch, raw, project())) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = read_labels_table(data / "labels.csv").rows
    assert len(rows) == len({row.path for row in rows}) == 16 + 40


def test_unknown_samples(data: Path, raw: Path) -> None:
    new = [NewSample(keep(raw, picture(n)), "ant") for n in (0, 100)]
    assert unknown_samples(data, new, project(), raw) == new[1:]
    assert unknown_samples(data, new, project()) == [], "the workspace's own folder of raw inputs holds none of them"
    add_samples(data, new, raw, project())
    assert unknown_samples(data, new, project(), raw) == []


def test_what_no_ingestion_can_add_does_not_wait(data: Path, raw: Path) -> None:
    """A file that is gone, that is no picture, and that is another one than its name states."""
    changed = keep(raw, picture(101))
    (raw / changed).write_bytes(picture(102))
    new = [NewSample(digest, "ant") for digest in ("f" * 64, keep(raw, b"no image"), changed, keep(raw, picture(100)))]
    assert unknown_samples(data, new, project(), raw) == new[3:]
    assert add_samples(data, new, raw, project()).n_added == 1
    assert unknown_samples(data, new, project(), raw) == []


def test_a_folder(data: Path, tmp_path: Path) -> None:
    write_files(
        tmp_path / "more", {"ant/ü 1.png": picture(200), "bee/2.png": picture(201), "ant/known.png": picture(0), "ant/notes.txt": b"x"}
    )
    assert ingest_folder(tmp_path / "more", data, project(), "scanner-b") == IngestSummary(2, 1, ())
    rows = read_labels_table(data / "labels.csv").rows[-2:]
    expected = [("ant", picture(200)), ("bee", picture(201))]
    assert [(row.label, row.domain, (data / row.path).read_bytes()) for row in rows] == [
        (label, "scanner-b", content) for label, content in expected
    ]
    assert {Path(row.path).parent.as_posix() for row in rows} == {"images/ingested"}
    before = tree(data)
    assert ingest_folder(tmp_path / "more", data, project(), "scanner-b") == IngestSummary(0, 3, ())
    assert tree(data) == before


def test_a_table_states_more_than_the_option(data: Path, tmp_path: Path) -> None:
    header = ("path", "label", "group", "domain", "arrival", "split")
    rows = [header, ("1.png", "ant", "anna", "x-ray", "2026-11-01", "test"), ("2.png", "bee", "", "", "", "")]
    write_files(tmp_path / "more", {"1.png": picture(200), "2.png": picture(201), "labels.csv": as_csv(rows)})
    assert ingest_folder(tmp_path / "more", data, project(), "scanner-b").n_added == 2
    added = read_labels_table(data / "labels.csv").rows[-2:]
    assert [(row.group, row.domain, row.arrival, row.split) for row in added] == [
        ("anna", "x-ray", "2026-11-01", "test"),
        ("", "scanner-b", "", ""),
    ]


def test_a_folder_with_faults_adds_the_rest_and_names_them(data: Path, tmp_path: Path) -> None:
    files = {
        "ant/1.png": picture(200),
        "ant/2.png": b"x",
        "wasp/3.png": picture(202),
        "bee/4.png": picture(0),
        "ant/copy.png": picture(200),
    }
    write_files(tmp_path / "more", files)
    summary = ingest_folder(tmp_path / "more", data, project(), "default")
    assert (summary.n_added, summary.n_known) == (1, 1)
    assert [(item.where, item.problem) for item in summary.findings] == [
        ("ant/2.png", "1 bytes that do not decode as an image (UnidentifiedImageError)"),
        ("bee/4.png", "labelled 'bee', but the same content is known as 'ant'"),
        ("wasp/3.png", "the label 'wasp' is not in the conf file's labels"),
    ]


def test_nothing_usable_is_refused(data: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "more", {"ant/1.png": b"x"})
    before = tree(data)
    with pytest.raises(DataError, match=r"more without a usable sample.*nothing was added") as caught:
        ingest_folder(tmp_path / "more", data, project(), "default")
    assert [item.where for item in caught.value.findings] == ["ant/1.png"]
    with pytest.raises(ConfigurationError, match="no folder or table"):
        ingest_folder(tmp_path / "none", data, project(), "default")
    assert tree(data) == before


def test_sets_of_labels_are_added_in_one_form_and_known_in_every_form(tmp_path: Path, raw: Path) -> None:
    data, config = tmp_path / "data", project_of_sets()
    write_sets(data)
    new = [
        NewSample(keep(raw, picture(100)), "bee|ant"),
        NewSample(keep(raw, picture(101)), ""),
        NewSample(keep(raw, picture(3)), "ant|bee"),  # listed as `bee | ant`
        NewSample(keep(raw, picture(1)), "bee"),
        NewSample(keep(raw, picture(102)), "ant|owl"),
    ]
    summary = add_samples(data, new, raw, config)
    assert (summary.n_added, summary.n_known) == (2, 1)
    assert [finding.problem for finding in summary.findings] == [
        "labelled 'bee', but the same content is known as 'ant'",
        "the label 'owl' is not in the conf file's labels",
    ]
    assert [row.label for row in read_labels_table(data / "labels.csv").rows[-2:]] == ["ant|bee", ""]


def test_a_table_with_sets_is_ingested_and_class_folders_name_one_label(tmp_path: Path) -> None:
    data, source, config = tmp_path / "data", tmp_path / "source", project_of_sets()
    write_sets(data)
    write_files(source, {f"{number}.png": picture(200 + number) for number in range(3)})
    (source / "labels.csv").write_bytes(as_csv([("path", "label"), ("0.png", "bee| ant"), ("1.png", ""), ("2.png", "bee|bee")]))
    summary = ingest_folder(source, data, config, "lab")
    assert summary.n_added == 2
    assert [finding.problem for finding in summary.findings] == ["the label 'bee|bee' names 'bee' twice"]
    write_files(tmp_path / "folders", {"bee/0.png": picture(300)})
    assert ingest_folder(tmp_path / "folders", data, config, "lab").n_added == 1
    assert [row.label for row in read_labels_table(data / "labels.csv").rows[-3:]] == ["ant|bee", "", "bee"]


def test_further_columns_of_a_table_are_kept(data: Path, tmp_path: Path) -> None:
    """Of those that data.slices names; the workspace's table gets the column if it has not got it yet."""
    rows = [("path", "scanner", "label", "notes"), ("1.png", "x, y", "ant", "n"), ("2.png", "", "bee", "n")]
    write_files(tmp_path / "more", {"1.png": picture(200), "2.png": picture(201), "labels.csv": as_csv(rows)})
    config = project(data={"slices": ["scanner", "age"]})
    assert ingest_folder(tmp_path / "more", data, config, "default").n_added == 2
    table = read_labels_table(data / "labels.csv", config.data.slices)
    assert table.columns == ("path", "label", "scanner")
    assert [row.slices for row in table.rows[-3:]] == [(("scanner", ""),), (("scanner", "x, y"),), (("scanner", ""),)]
