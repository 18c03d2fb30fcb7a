from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.config import AdaptMethod
from pipelines.core.errors import ConfigurationError, DataError, IntegrityError
from pipelines.dataset import Sample, Split, read_samples
from pipelines.input_files import Unusable
from pipelines.known_content import KnownContent
from pipelines.known_texts import KnownTexts
from pipelines.labels_table import LabelRow
from pipelines.manifest import build_manifest
from pipelines.modalities.inspection import INPUTS, content_digest
from pipelines.split import assign_splits
from pipelines.training.train import KeptFolders, train
from pipelines.unlabelled import (
    RawInput,
    Snapshot,
    UnlabelledSample,
    _move,
    add_snapshot,
    read_unlabelled,
    refuse_judged_samples,
    remove_unnamed,
    snapshot_names,
    unlabelled_digests,
)
from tests.pipelines import planted
from tests.pipelines.tiny_sounds import as_file, sound


def picture(seed: int, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, size=(9, 7), dtype=np.uint8)).save(buffer, file_format)
    return buffer.getvalue()


def raw(folder: Path, content: bytes, domain: str = "till-2", arrival: str = "2026-11-20") -> RawInput:
    folder.mkdir(exist_ok=True)
    file = folder / hashlib.sha256(content).hexdigest()
    file.write_bytes(content)
    return RawInput(folder, file.name, domain, arrival, sha256=file.name)


def known(data: Path, rows: list[LabelRow] | None = None) -> KnownContent:
    content = KnownContent(data, rows or [])
    content.hash_files()
    return content


def snapshot(root: Path, inputs: list[RawInput], rows: list[LabelRow] | None = None, n_most: int = 100) -> Snapshot:
    (root / "data").mkdir(exist_ok=True)
    return add_snapshot(root / "data", inputs, known(root / "data", rows), n_most, root / "staging")


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_snapshot_is_read_as_it_was_made(tmp_path: Path) -> None:
    inputs = [raw(tmp_path / "raw", picture(seed)) for seed in range(5)]
    made = snapshot(tmp_path, inputs)
    read = read_unlabelled(tmp_path / "data", made.name)
    assert tuple(read) == made.samples
    assert [item.id for item in read] == sorted(item.path for item in inputs)
    for item in read:
        assert hashlib.sha256((tmp_path / "data" / item.path).read_bytes()).hexdigest() == item.id
        assert (item.domain, item.arrival) == ("till-2", "2026-11-20")
    assert snapshot_names(tmp_path / "data") == [made.name]


def test_the_same_inputs_in_any_order_change_nothing(tmp_path: Path) -> None:
    inputs = [raw(tmp_path / "raw", picture(seed)) for seed in range(5)]
    first = snapshot(tmp_path, inputs)
    before = files(tmp_path / "data")
    assert snapshot(tmp_path, [*inputs[::-1], inputs[2]]).name == first.name
    assert files(tmp_path / "data") == before


def test_another_snapshot_stands_beside_the_first_and_shares_its_files(tmp_path: Path) -> None:
    inputs = [raw(tmp_path / "raw", picture(seed)) for seed in range(5)]
    names = {snapshot(tmp_path, inputs).name, snapshot(tmp_path, inputs[:3]).name}
    assert set(snapshot_names(tmp_path / "data")) == names
    assert len(names) == 2
    assert len(list((tmp_path / "data" / "unlabelled" / "files").iterdir())) == 5


def test_the_first_of_the_inputs_are_taken(tmp_path: Path) -> None:
    inputs = [raw(tmp_path / "raw", picture(seed)) for seed in range(6)]
    made = snapshot(tmp_path, [inputs[0], *inputs], n_most=2)
    assert {item.id for item in made.samples} == {item.path for item in inputs[:2]}
    assert (made.n_found, made.n_not_drawn) == (7, 4)


@pytest.mark.parametrize("file_format", ["PNG", "BMP"], ids=["the same bytes", "the same picture in another format"])
def test_what_is_labelled_is_left_out(tmp_path: Path, file_format: str) -> None:
    """A test sample must not be among them, whatever file it comes in."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.png").write_bytes(picture(0))
    rows = [LabelRow("labels.csv line 2", "test.png", "a", split="test")]
    made = snapshot(tmp_path, [raw(tmp_path / "raw", picture(0, file_format)), raw(tmp_path / "raw", picture(1))], rows)
    assert made.n_known == 1
    assert [item.id for item in made.samples] == [hashlib.sha256(picture(1)).hexdigest()]


def test_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    good, damaged = raw(tmp_path / "raw", picture(0)), raw(tmp_path / "raw", b"no picture")
    renamed = raw(tmp_path / "raw", picture(1))
    (renamed.folder / renamed.path).write_bytes(picture(2))
    gone = RawInput(tmp_path / "raw", "0" * 64, "", "", sha256="0" * 64)
    no_row = RawInput(tmp_path / "raw", good.path, "", "", problem="has 3 cells, the header has 2")
    made = snapshot(tmp_path, [no_row, good, damaged, renamed, gone])
    assert (len(made.samples), made.n_unusable, made.n_found) == (1, 4, 5)


def test_what_a_table_must_not_name_is_counted_and_never_read(tmp_path: Path) -> None:
    """A secret beside the table's folder must not get into the data, from where it would be pushed; a pipe would wait for ever."""
    outside = raw(tmp_path / "outside", picture(7))
    folder = tmp_path / "raw"
    good = raw(folder, picture(0))
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "linked.png").symlink_to(tmp_path / "outside" / outside.path)
    names = [f"../outside/{outside.path}", str(tmp_path / "outside" / outside.path), "/dev/zero", "pipe.png", "folder.png", "a\0b.png"]
    made = snapshot(tmp_path, [*(RawInput(folder, name, "d", "") for name in names), good])
    assert ([item.id for item in made.samples], made.n_unusable) == ([good.path], len(names))
    # A link in the folder was set by whoever owns it.
    assert len(snapshot(tmp_path, [RawInput(folder, "linked.png", "d", "")]).samples) == 1


def test_nothing_that_can_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no unlabelled input: 0 are known .*, 1 cannot be used\. .*sample_raw_frac"):
        snapshot(tmp_path, [raw(tmp_path / "raw", b"no picture")])
    assert files(tmp_path / "data") == {}


def test_a_table_that_was_changed_is_not_read(tmp_path: Path) -> None:
    made = snapshot(tmp_path, [raw(tmp_path / "raw", picture(seed)) for seed in range(3)])
    table = tmp_path / "data" / "unlabelled" / made.name / "samples.csv"
    table.write_text(table.read_text().replace("till-2", "till-3"))
    with pytest.raises(IntegrityError, match=r"whose content is not what its name says"):
        read_unlabelled(tmp_path / "data", made.name)


def test_a_snapshot_that_is_not_there(tmp_path: Path) -> None:
    made = snapshot(tmp_path, [raw(tmp_path / "raw", picture(0))])
    with pytest.raises(ConfigurationError, match=rf"method\.unlabelled 0123456789abcdef, of which there is no .*: {made.name}\."):
        read_unlabelled(tmp_path / "data", "0123456789abcdef")


@pytest.mark.parametrize(("split", "is_refused"), [("train", False), ("validation", True), ("test", True), ("holdout", True)])
def test_a_sample_that_the_model_is_judged_by_is_refused(split: Split, is_refused: bool) -> None:
    samples = [Sample(name, f"{name}.png", "a", name, "d", "", split) for name in ("1" * 64, "2" * 64)]
    unlabelled = [UnlabelledSample("2" * 64, "unlabelled/files/2.png", "d", ""), UnlabelledSample("3" * 64, "u/3.png", "d", "")]
    if not is_refused:
        refuse_judged_samples(samples, unlabelled, {})
        return
    with pytest.raises(DataError, match=r"1 unlabelled samples with the content of samples that the model is judged by") as raised:
        refuse_judged_samples(samples, unlabelled, {})
    assert raised.value.findings[0].problem == f"is {'2' * 64}.png ({split})"


def alike() -> dict[str, tuple[bytes, bytes]]:
    """By task, one content in two files."""
    tone = sound("low", 0)
    return {
        "image": (picture(0), picture(0, "BMP")),
        "text": (b"soup with salt", b"soup with salt\n"),
        "audio": (as_file(tone), as_file(tone, kind="FLAC")),
    }


@pytest.mark.parametrize("task", ["image", "text", "audio"])
def test_a_training_refuses_what_it_is_judged_by_in_other_bytes(task: str, tmp_path: Path) -> None:
    judged, again = alike()[task]
    first = INPUTS[task].inspect(judged)
    assert not isinstance(first, Unusable)
    sample = Sample(first.id, "1.png", "a", first.id, "d", "", "test")
    (tmp_path / "again").write_bytes(again)
    unlabelled = [UnlabelledSample(hashlib.sha256(again).hexdigest(), "again", "d", "")]
    contents = {first.id: content_digest(first)} | unlabelled_digests(tmp_path, unlabelled, task)
    with pytest.raises(DataError, match=r"1 unlabelled samples with the content of"):
        refuse_judged_samples([sample], unlabelled, contents)
    refuse_judged_samples([replace(sample, split="train")], unlabelled, contents)


def test_the_stages_before_say_what_the_content_of_a_judged_sample_is(tmp_path: Path) -> None:
    """From the labels table to the refusal, which comes before anything else is read."""
    data, config = tmp_path / "data", planted.project()
    planted.write_dataset(data, n_per_label=20)
    for name in ("manifest", "split"):
        (tmp_path / name).mkdir()
    build_manifest(data, config, tmp_path / "manifest")
    assign_splits(tmp_path / "manifest", config, tmp_path / "split")
    judged = read_samples(tmp_path / "split" / "samples.csv", "test")[0]
    number = int(Path(judged.path).stem.split("_")[1])
    name = snapshot(tmp_path, [raw(tmp_path / "raw", planted.picture(number, file_format="BMP"))]).name
    method = AdaptMethod.model_validate({"kind": "adapt", "unlabelled": name})
    kept = KeptFolders(tmp_path / "features", tmp_path / "checkpoints")
    with pytest.raises(DataError, match=r"1 unlabelled samples with the content of") as raised:
        train(
            tmp_path / "split" / "samples.csv", data, tmp_path / "none.json", config.model_copy(update={"method": method}), kept, tmp_path
        )
    assert raised.value.findings[0].problem == f"is {judged.path} (test)"


def of_texts(root: Path, texts: list[str], known_texts: list[str] | None = None) -> Snapshot:
    (root / "data").mkdir(exist_ok=True)
    rows = [LabelRow(f"labels.csv line {number}", "", "a", text=text) for number, text in enumerate(known_texts or [], start=2)]
    inputs = [RawInput(root, "reviews.csv#1", "kitchen", "", text=text) for text in texts]
    return add_snapshot(root / "data", inputs, KnownTexts(rows), 100, root / "staging", "text")


def test_texts_of_a_table_become_files_as_a_client_would_have_sent_them(tmp_path: Path) -> None:
    texts = ["Soup\r\nwith salt 🎉", "مرحبا", "soup"]
    made = of_texts(tmp_path, [*texts, "soup", "   "], ["an anchor"])
    assert (len(made.samples), made.n_known, made.n_unusable) == (3, 0, 1)
    written = {(tmp_path / "data" / item.path).read_bytes() for item in read_unlabelled(tmp_path / "data", made.name)}
    assert written == {text.encode() for text in texts}
    assert all(item.path == f"unlabelled/files/{item.id[:32]}.txt" for item in made.samples)


def test_a_text_that_says_what_a_labelled_one_says_is_left_out(tmp_path: Path) -> None:
    made = of_texts(tmp_path, ["SOUP  with salt", "soup with salt", "a spoon"], ["soup with salt"])
    assert ([item.id for item in made.samples], made.n_known) == ([hashlib.sha256(b"a spoon").hexdigest()], 2)


def test_a_sound_that_is_labelled_in_another_format_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.wav").write_bytes(as_file(sound("low", 0)))
    rows = [LabelRow("labels.csv line 2", "test.wav", "low", split="test")]
    content = KnownContent(tmp_path / "data", rows, "audio")
    content.hash_files()
    inputs = [raw(tmp_path / "raw", as_file(sound("low", seed), kind="FLAC")) for seed in range(3)]
    made = add_snapshot(tmp_path / "data", inputs, content, 100, tmp_path / "staging", "audio")
    assert made.n_known == 1
    assert {item.id for item in made.samples} == {item.path for item in inputs[1:]}
    assert {Path(item.path).suffix for item in made.samples} == {".flac"}


def test_a_picture_is_no_text_and_no_sound(tmp_path: Path) -> None:
    for task, content in (("text", KnownTexts([])), ("audio", KnownContent(tmp_path, [], "audio"))):
        with pytest.raises(DataError, match=r"0 are known to the labelled data, 1 cannot be used"):
            add_snapshot(tmp_path / "data", [raw(tmp_path / "raw", picture(0))], content, 9, tmp_path / "staging", task)
    assert not (tmp_path / "data").exists()


def stopped_at(place: int, items: list[RawInput]) -> Iterator[RawInput]:
    for number, item in enumerate(items):
        if number == place:
            raise KeyboardInterrupt
        yield item


def test_one_that_is_stopped_leaves_nothing_in_the_data(tmp_path: Path) -> None:
    inputs = [raw(tmp_path / "raw", picture(seed)) for seed in range(5)]
    snapshot(tmp_path, inputs[:1])
    before = files(tmp_path / "data")
    with pytest.raises(KeyboardInterrupt):
        add_snapshot(tmp_path / "data", stopped_at(3, inputs), known(tmp_path / "data"), 100, tmp_path / "staging")
    assert files(tmp_path / "data") == before
    assert not (tmp_path / "staging").exists()


def test_one_that_is_killed_while_it_moves_files_leaves_none_that_the_next_run_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [raw(tmp_path / "raw", picture(seed)) for seed in range(5)]
    kept = snapshot(tmp_path, inputs[:2])
    before = files(tmp_path / "data")
    moved: list[Path] = []

    def moving(staged: Path, target: Path) -> None:
        if len(moved) == 4:
            raise KeyboardInterrupt
        moved.append(target)
        _move(staged, target)

    monkeypatch.setattr("pipelines.unlabelled._move", moving)
    with pytest.raises(KeyboardInterrupt):
        snapshot(tmp_path, inputs)
    assert files(tmp_path / "data") != before
    remove_unnamed(tmp_path / "data")
    assert files(tmp_path / "data") == before
    assert snapshot_names(tmp_path / "data") == [kept.name]
