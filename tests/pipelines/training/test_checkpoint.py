from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

from pipelines.core.errors import IntegrityError
from pipelines.training.checkpoint import CheckpointFolder, of_prefix, with_prefix


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"weights": torch.full((3, 2), value), "count": torch.tensor(int(value))}


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_was_saved_comes_back_to_the_bit(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "new", "a")
    folder.save(7, tensors(0.1), {"loss": 0.1 + 0.2, "worst": float("inf"), "names": ["x"]})
    found = folder.load()
    assert found is not None
    assert torch.equal(found.tensors["weights"], tensors(0.1)["weights"])
    assert found.tensors["count"].dtype == torch.int64
    assert found.state == {"loss": 0.1 + 0.2, "worst": float("inf"), "names": ["x"]}


def test_an_empty_or_missing_folder_has_none(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path, "a").load() is None
    assert CheckpointFolder(tmp_path / "nowhere", "a").load() is None


def test_the_newest_is_loaded_and_the_one_before_it_is_gone(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, "a")
    for number in (1, 2, 10):
        folder.save(number, tensors(number), {"number": number})
    assert only_file(tmp_path).name.startswith("step-000000010-")
    assert folder.load().state == {"number": 10}  # type: ignore[union-attr]


def test_a_kill_while_one_is_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path, "a")
    folder.save(1, tensors(1), {"number": 1})

    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.save(2, tensors(2), {"number": 2})
    assert folder.load().state == {"number": 1}  # type: ignore[union-attr]
    folder.save(3, tensors(3), {"number": 3})
    assert len(list(tmp_path.iterdir())) == 1  # what was begun is cleared away


def test_a_kill_between_writing_and_removing_leaves_two_and_the_newer_counts(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, "a")
    folder.save(1, tensors(1), {"number": 1})
    older = only_file(tmp_path)
    content = older.read_bytes()
    folder.save(2, tensors(2), {"number": 2})
    older.write_bytes(content)
    assert folder.load().state == {"number": 2}  # type: ignore[union-attr]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_one_is_not_used_aloud(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = CheckpointFolder(tmp_path, "a")
    folder.save(1, tensors(1), {})
    path = only_file(tmp_path)
    whole = path.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    path.write_bytes({"cut": whole[:-5], "flipped": flipped, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert folder.load() is None
    assert f"checkpoint {path.name} is not used: its content is not what was written" in caplog.text


def test_before_a_damaged_one_the_one_before_is_used(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, "a")
    folder.save(1, tensors(1), {"number": 1})
    content, name = only_file(tmp_path).read_bytes(), only_file(tmp_path).name
    folder.save(2, tensors(2), {"number": 2})
    only_file(tmp_path).write_bytes(b"damaged")
    (tmp_path / name).write_bytes(content)
    assert folder.load().state == {"number": 1}  # type: ignore[union-attr]


def test_one_of_another_training_is_not_used_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    CheckpointFolder(tmp_path, "a").save(1, tensors(1), {})
    with caplog.at_level(logging.WARNING):
        assert CheckpointFolder(tmp_path, "b").load() is None
    assert "it belongs to another training" in caplog.text


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "step-notes.safetensors").write_bytes(b"mine")
    folder = CheckpointFolder(tmp_path, "a")
    folder.save(1, tensors(1), {})
    assert folder.load() is not None
    assert (tmp_path / "step-notes.safetensors").read_bytes() == b"mine"


def test_the_content_is_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("sync"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda self, target: (events.append("rename"), replace(self, target))[1])
    CheckpointFolder(tmp_path, "a").save(1, tensors(1), {})
    assert events == ["sync", "rename", "sync"]


def test_weights_of_epochs_stay_and_are_verified(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = CheckpointFolder(tmp_path, "a")
    names = [folder.save_epoch(number, tensors(number)) for number in (0, 1)]
    folder.save(9, tensors(9), {})
    assert torch.equal(folder.load_epoch(names[1])["weights"], tensors(1)["weights"])
    assert folder.has(names[0])
    (tmp_path / names[0]).write_bytes(b"damaged")
    assert not folder.has(names[0])
    assert not folder.has("epoch-000000007-0000000000000000.safetensors")
    assert "there is no such file" in caplog.text
    with pytest.raises(IntegrityError, match=r"weights of an epoch, epoch-000000000-.*not what was written.*start the training again"):
        folder.load_epoch(names[0])


def test_a_tensor_with_two_names_is_stored_twice(tmp_path: Path) -> None:
    shared = torch.arange(3.0)
    folder = CheckpointFolder(tmp_path, "a")
    folder.save(1, {"one": shared, "two": shared}, {})
    assert torch.equal(folder.load().tensors["two"], shared)  # type: ignore[union-attr]


def test_prefixes() -> None:
    joined = with_prefix("a", {"x/y": torch.tensor(1)}) | with_prefix("ab", {"x": torch.tensor(2)})
    assert of_prefix("a", joined) == {"x/y": torch.tensor(1)}
    assert of_prefix("c", joined) == {}
